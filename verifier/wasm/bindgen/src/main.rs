//! Writes the JavaScript around the wasm module: `circlet-wasm-bindgen MODULE FOLDER`.
//!
//! It does what the command line of wasm-bindgen does, at the version that the lock file names, so that a build needs
//! nothing but cargo.

use std::env;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        eprintln!("usage: circlet-wasm-bindgen MODULE FOLDER");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    // One form of glue serves Node and browsers: what differs is how the module's bytes are got (js/).
    let made = bindgen.web(true).and_then(|bindgen| {
        bindgen.input_path(module).typescript(false).remove_name_section(true).generate(folder)
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
