//! The header is the one that the library's source gives.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(package).with_config(config).generate().unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    let path = package.join("include/circlet.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let there = std::fs::read(&path).unwrap_or_default();
    assert!(
        there == header,
        "include/circlet.h is not what the source gives; run this test with UPDATE_HEADER=1"
    );
}
