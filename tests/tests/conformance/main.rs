//! The ONNX project's own tests of every operator in docs/onnx.md, from models/cache/onnx-node, where
//! scripts/fetch-onnx-tests puts them.
//!
//! Every case either passes in the float executor at ONNX's tolerances or is refused by name, and either passes as an
//! integer program within the bound that its scales imply (`bound`) or is refused by name. `table.txt` lists the
//! outcome of each with the text of every refusal; the test compares it line by line.

mod bound;
mod case;
mod proto;
mod repair;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use circlet::float;
use circlet::graph::Tensor;

use crate::bound::quantized;
use crate::case::Case;

/// ONNX's tolerances for these cases.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/cache/onnx-node");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/table.txt");

/// Passed, or why not.
type Outcome = Result<(), String>;

fn in_floats(case: &Case) -> Outcome {
    let imported = case.import(true)?;
    let outputs = float::run(&imported.graph, &imported.inputs).map_err(|error| error.to_string())?;
    for (found, expected) in outputs.iter().zip(&imported.expected) {
        compare(&case.name, found, expected);
    }
    Ok(())
}

fn compare(case: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape(), "{case}");
    for (i, (&x, &y)) in found.data().iter().zip(expected.data()).enumerate() {
        let (x, y) = (f64::from(x), f64::from(y));
        if repair::wraps(case) && (x <= -128.0 || x >= 127.0) {
            continue;
        }
        assert!((x - y).abs() <= ABSOLUTE + RELATIVE * y.abs(), "{case}: element {i} is {x} instead of {y}");
    }
}

fn line(name: &str, kind: &str, outcome: &Outcome) -> String {
    match outcome {
        Ok(()) => format!("{name} {kind} passes\n"),
        Err(reason) => format!("{name} {kind} refused: {reason}\n"),
    }
}

#[test]
fn every_listed_case() {
    let folder = Path::new(FOLDER);
    if !folder.is_dir() {
        println!("skipped: {FOLDER} is not there; run scripts/fetch-onnx-tests");
        return;
    }
    let mut folders: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut table = String::new();
    // For every operator: cases, passed in floats, passed as integers.
    let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for folder in folders {
        let case = Case::read(&folder);
        let (float, integer) = (in_floats(&case), quantized(&case));
        assert!(float.is_ok() || integer.is_err(), "{}: refused in floats only", case.name);
        for (kind, outcome) in [("float", &float), ("quantized", &integer)] {
            table.push_str(&line(&case.name, kind, outcome));
        }
        let count = counts.entry(case.node.op).or_default();
        let outcomes = [1, usize::from(float.is_ok()), usize::from(integer.is_ok())];
        count.iter_mut().zip(outcomes).for_each(|(count, one)| *count += one);
    }
    let mut total = [0; 3];
    let mut summary = String::new();
    for (op, count) in &counts {
        total.iter_mut().zip(count).for_each(|(total, count)| *total += count);
        let [cases, float, integer] = count;
        writeln!(summary, "| {op} | {cases} | {float} | {integer} |").unwrap();
    }
    println!("| operator | cases | pass in floats | pass quantized |\n{summary}total {total:?}");
    let pinned = std::fs::read_to_string(TABLE).unwrap_or_default();
    if table != pinned {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("table.txt");
        std::fs::write(&path, &table).unwrap();
        let pinned: Vec<&str> = pinned.lines().collect();
        let news: Vec<&str> = table.lines().filter(|line| !pinned.contains(line)).collect();
        panic!("outcomes differ from table.txt; all are in {}:\n{}", path.display(), news.join("\n"));
    }
    assert_eq!(total, [241, 220, 112]);
}
