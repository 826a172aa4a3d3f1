//! Where heavy work is done: what there is, and what is said where it is not.

use serde_json::Value;

use crate::{Bench, OK, USAGE};

#[test]
fn devices_are_listed_and_chosen() {
    let bench = Bench::new();
    let (list, _) = bench.run(OK, &["devices"]);
    let (json, _) = bench.run(OK, &["devices", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(list.starts_with("cpu: ") && json["cpu"].is_string());
    let gpus = json["gpus"].as_array().unwrap();
    // Either there are some, or it says why there is none.
    assert_eq!(gpus.is_empty(), json["no_gpu"].is_string(), "{json}");
    for gpu in gpus {
        assert!(list.contains(gpu["device"].as_str().unwrap()), "{list}");
    }

    // A device that is not there is found before anything else is done.
    for device in ["cuda:99", "gpu", "cuda:", "cuda:-1"] {
        let (_, error) = bench.run(USAGE, &["bench", "--device", device]);
        assert!(error.contains("--device"), "{error}");
    }
    if gpus.is_empty() {
        let (_, error) = bench.run(USAGE, &["bench", "--device", "cuda:0"]);
        assert!(error.contains("no GPU can be used: "), "{error}");
        // One line, and the work is done all the same.
        let output = bench.output(&["bench", "--runs", "1", "--device", "auto"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.lines().count() == 1 && said.ends_with("the processor is used\n"), "{said}");
    }
}
