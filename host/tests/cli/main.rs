//! The binary, as a user runs it: outputs, exit codes, and what happens to bad files.

mod chat;
mod devices;
mod encoder;
mod llm;
mod send;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use circlet::files::{self, RegistrationFile};
use circlet::import::onnx_writer::{Attr, Dim, OnnxWriter};
use serde_json::Value;

const OK: i32 = 0;
const REJECTED: i32 = 1;
const USAGE: i32 = 2;
const FILE: i32 = 3;

/// Runs in a folder of its own.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let binary = env!("CARGO_BIN_EXE_circlet");
        // Keys are made here; what else can be said of them has its own test.
        let reasons = ["--trust-key", "--registration", "--model", "--no-reason"];
        let silent = arguments.first() == Some(&"verify") && !arguments.iter().any(|a| reasons.contains(a));
        let trust = silent.then_some("--trust-key");
        let arguments = arguments.iter().copied().filter(|&a| a != "--no-reason").chain(trust);
        Command::new(binary).args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    /// Runs, checks the exit code and that failures are one clear error, and returns both streams.
    #[track_caller]
    fn run(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.output(arguments);
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|s| String::from_utf8_lossy(s).into_owned());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        match code {
            OK => assert_eq!(stderr, ""),
            REJECTED => assert!(stderr.starts_with("rejected: "), "{stderr}"),
            _ => {
                assert!(stderr.starts_with("error: "), "{stderr}");
                assert_eq!(stdout, "");
            }
        }
        (stdout, stderr)
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let (stdout, _) = self.run(code, &[arguments, &["--json"]].concat());
        serde_json::from_str(&stdout).unwrap()
    }

    /// Runs and returns the error.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str], says: &str) {
        let (_, stderr) = self.run(code, arguments);
        assert!(stderr.contains(says), "{says:?} is not in\n{stderr}");
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn models(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).to_string_lossy().into_owned()
}

/// `y = relu(x w^T)` with two inputs and three outputs.
fn small_model(opset: i64, weight: f32) -> Vec<u8> {
    let mut model = OnnxWriter::new(opset);
    model.input("x", &[Dim::Symbol("N"), Dim::Fixed(2)]);
    model.weights("w", &[3, 2], &[1.0, weight, -0.5, 0.25, 0.75, -1.0]);
    model.node("Gemm", &["x", "w"], &["h"], &[("transB", Attr::Int(1))]);
    model.node("Relu", &["h"], &["y"], &[]);
    model.output("y", &[Dim::Symbol("N"), Dim::Fixed(3)]);
    model.to_bytes()
}

/// A folder with a small model, compiled and proven.
fn proven() -> Bench {
    let bench = Bench::new();
    bench.write("m.onnx", small_model(17, 0.5));
    bench.write("x.json", "[[1, -0.5], [0.25, 1]]");
    bench.run(OK, &["compile", "m.onnx", "--calibrate", "x.json", "-o", "m.circlet", "--quiet"]);
    bench.run(OK, &["prove", "m.circlet", "--input", "x.json", "--index", "1", "-o", "m.proof", "--quiet"]);
    bench
}

#[test]
fn demo_goes_all_the_way() {
    let bench = Bench::new();
    let (text, _) = bench.run(OK, &["demo", "--threads", "1"]);
    for part in
        ["the model says 6, the true digit is 6", "validity proof", "99,126 parameters", "accepted", "100."]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = bench.json(OK, &["demo", "--image", "2", "--profile", "p100-j8"]);
    assert_eq!((&json["predicted"], &json["digit"], &json["accepted"]), (&1.into(), &1.into(), &true.into()));
    assert!(json["seconds"]["opening"].as_f64().unwrap() > 0.0);
    bench.fails(USAGE, &["demo", "--image", "32"], "from 0 to 31");
    assert!(bench.files().is_empty());
    assert_eq!(bench.run(OK, &["demo", "--quiet"]).0, "");
}

#[test]
fn digits_from_model_to_verdict() {
    let bench = Bench::new();
    let (model, calibration, samples) =
        (models("digits.onnx"), models("digits-calibration.json"), models("digits-samples.json"));
    let compiled =
        bench.json(OK, &["compile", &model, "--calibrate", &calibration, "-o", "d.circlet", "--vk", "k.vk"]);
    let accuracy = &compiled["accuracy"]["outputs"][0];
    assert!(accuracy["agreeing_rows"].as_u64().unwrap() >= 199, "{accuracy}");
    let proven = bench.json(OK, &["prove", "d.circlet", "--input", &samples, "--index", "3", "-o", "p"]);
    bench.write("result.json", proven.to_string());
    // The report of `prove` can be used as a file of expectations.
    let verified = bench.json(
        OK,
        &["verify", "k.vk", "p", "--expect-input", "result.json", "--expect-output", "result.json"],
    );
    assert_eq!(verified["key"], compiled["key"]);
    assert_eq!(verified["outputs"], proven["outputs"]);
    assert_eq!(verified["security"]["proven"], true);
    bench.run(OK, &["verify", "k.vk", "p", "--expect-input", &samples, "--index", "3"]);
    bench.fails(
        REJECTED,
        &["verify", "k.vk", "p", "--expect-input", &samples, "--index", "4"],
        "another input",
    );
    bench.fails(USAGE, &["verify", "k.vk", "p", "--expect-input", &samples], "--index");
    for file in ["d.circlet", "k.vk", "p"] {
        bench.json(OK, &["inspect", file]);
    }
    // What was estimated is what came out, but for the luck of the queries: the Merkle paths they share.
    let inspected = bench.json(OK, &["inspect", &model, "--calibrate", &calibration]);
    let (estimate, bytes) = (&inspected["estimate"]["proof_bytes"], &proven["proof_bytes"]);
    let ratio = estimate.as_f64().unwrap() / bytes.as_f64().unwrap();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn every_profile_and_suite_proves() {
    let bench = Bench::new();
    bench.write("m.onnx", small_model(13, 0.5));
    bench.write("x.json", "[0.5, 0.25]");
    for profile in ["p100-u", "p100-j", "p100-j8"] {
        for suite in ["poseidon2", "blake2s"] {
            let compile = ["compile", "m.onnx", "--calibrate", "random", "-o", "m.circlet", "--quiet"];
            bench.run(OK, &[&compile[..], &["--profile", profile, "--suite", suite]].concat());
            bench.run(OK, &["prove", "m.circlet", "--input", "x.json", "-o", "p", "--quiet"]);
            let verified = bench.json(OK, &["verify", "m.vk", "p"]);
            assert_eq!(verified["security"]["profile"], profile);
        }
    }
}

/// A key is accepted with a registration, by who commits to its weights, or on the word of the user; and not else.
#[test]
fn keys_need_a_reason() {
    let bench = Bench::new();
    bench.write("x.json", "[0.5, 0.25]");
    for (name, weight) in [("a", 0.5), ("b", 0.75)] {
        bench.write("m.onnx", small_model(13, weight));
        let (file, registration) = (format!("{name}.circlet"), format!("{name}.reg"));
        bench.run(OK, &["compile", "m.onnx", "--calibrate", "random", "-o", &file, "--quiet"]);
        bench.run(OK, &["register", &file, "-o", &registration, "--quiet"]);
    }
    bench.run(OK, &["prove", "a.circlet", "--input", "x.json", "-o", "p", "--quiet"]);
    let verify = |code, reason: &[&str]| bench.run(code, &[&["verify", "a.vk", "p"], reason].concat());
    assert!(verify(OK, &["--registration", "a.reg"]).0.contains("proven by the registration"));
    assert!(verify(OK, &["--model", "a.circlet"]).0.contains("committing to the model again"));
    assert!(verify(OK, &["--trust-key"]).0.contains("taken on trust"));
    assert_eq!(bench.json(OK, &["verify", "a.vk", "p", "--registration", "a.reg"])["bounds"], "registration");
    let (text, error) = verify(REJECTED, &["--registration", "b.reg"]);
    assert!(text.is_empty() && error.contains("the registration is for the key"), "{error}");
    assert!(verify(REJECTED, &["--model", "b.circlet"]).1.contains("the model gives the key"));
    assert!(verify(USAGE, &["--no-reason"]).1.contains("--registration FILE"));
    assert!(verify(USAGE, &["--trust-key", "--model", "a.circlet"]).1.contains("cannot be used with"));
    assert!(verify(FILE, &["--registration", "a.circlet"]).1.contains("a registration"));
    // A registration is judged, not only compared by name.
    let mut file: RegistrationFile = files::read(&bench.path("a.reg")).unwrap();
    let middle = file.proofs[0].len() / 2;
    file.proofs[0][middle] ^= 1;
    bench.write("c.reg", files::encode(&file));
    assert!(verify(REJECTED, &["--registration", "c.reg"]).1.contains("the registration: "));
}

#[test]
fn batches_are_proven_together() {
    let bench = Bench::new();
    bench.write("m.onnx", small_model(17, 0.5));
    bench.write("x.json", "[[1, -0.5], [0.25, 1], [1, 1], [0, 0], [0.5, 0.5]]");
    let compile = ["compile", "m.onnx", "--calibrate", "x.json", "-o", "m.circlet"];
    bench.run(OK, &[&compile[..], &["--batch", "4"]].concat());
    bench.fails(FILE, &["prove", "m.circlet", "--input", "x.json", "-o", "p"], "shape");
    bench.write("four.json", "[[1, -0.5], [0.25, 1], [1, 1], [0, 0]]");
    let proven = bench.json(OK, &["prove", "m.circlet", "--input", "four.json", "-o", "p"]);
    assert_eq!(proven["outputs"][0].as_array().unwrap().len(), 12);
    bench.run(OK, &["verify", "m.vk", "p", "--expect-input", "four.json"]);
    bench.fails(USAGE, &[&compile[..], &["--batch", "0"]].concat(), "batch");
}

#[test]
fn expectations_decide() {
    let bench = proven();
    let verify = |code, more: &[&str]| bench.run(code, &[&["verify", "m.vk", "m.proof"], more].concat());
    let (text, _) = verify(OK, &[]);
    assert!(text.contains("accepted") && text.contains("[0.2500, 1.0000]"), "{text}");
    bench.write("same.json", "[0.25, 1]");
    bench.write("other.json", "[0.25, 0.99]");
    bench.write("out.json", "[0.75, 0.125, 0]");
    bench.write("shape.json", "[1, 2, 3, 4, 5]");
    verify(OK, &["--expect-input", "same.json"]);
    verify(OK, &["--expect-output", "out.json", "--tolerance", "0.01"]);
    let (text, error) = verify(REJECTED, &["--expect-input", "other.json"]);
    assert!(text.is_empty() && error.contains("another input: entry 1"), "{error}");
    bench.write("wrong.json", "[0.75, 0.5, 0]");
    verify(REJECTED, &["--expect-output", "wrong.json", "--tolerance", "0.01"]);
    verify(FILE, &["--expect-input", "shape.json"]);
    verify(FILE, &["--expect-input", "missing.json"]);
    verify(USAGE, &["--tolerance", "1"]);
    verify(USAGE, &["--expect-output", "out.json", "--tolerance=-1"]);
    verify(USAGE, &["--expect-input", "same.json", "--index", "1"]);
    let json = bench.json(OK, &["verify", "m.vk", "m.proof"]);
    bench.write("raw.json", json["input_integers"].to_string());
    verify(OK, &["--expect-input", "raw.json", "--raw"]);
    verify(FILE, &["--expect-input", "same.json", "--raw"]);
    let rejected = bench.json(REJECTED, &["verify", "m.vk", "m.proof", "--expect-input", "other.json"]);
    assert_eq!(rejected["accepted"], false);
    assert_eq!(verify(REJECTED, &["--expect-input", "other.json", "--quiet"]).0, "");
}

#[test]
fn changed_proofs_are_refused() {
    let bench = proven();
    let good = fs::read(bench.path("m.proof")).unwrap();
    // Damage is seen by the checksum; with the checksum made good again, by the verifier.
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bench.write("bad", &bytes);
        bench.run(FILE, &["verify", "m.vk", "bad"]);
    }
    for at in (files::HEADER..good.len()).step_by(good.len() / 40) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let digest =
            circlet_core::hash::blake2s::hash(circlet_core::hash::blake2s::DIGEST, &bytes[files::HEADER..]);
        bytes[10..files::HEADER].copy_from_slice(&digest);
        bench.write("bad", &bytes);
        let code = bench.output(&["verify", "m.vk", "bad"]).status.code();
        assert!([Some(REJECTED), Some(FILE)].contains(&code), "{at}: {code:?}");
    }
    // Another model's key, in the same shape.
    bench.write("n.onnx", small_model(17, 0.75));
    bench.run(OK, &["compile", "n.onnx", "--calibrate", "x.json", "-o", "n.circlet", "--quiet"]);
    bench.fails(REJECTED, &["verify", "n.vk", "m.proof"], "is for the key");
}

#[test]
fn bad_files_are_named() {
    let bench = proven();
    bench.write("empty", "");
    let proof = fs::read(bench.path("m.proof")).unwrap();
    bench.write("short", &proof[..proof.len() / 2]);
    for (file, says) in [
        ("missing", "cannot read"),
        ("empty", "is empty"),
        ("short", "cut short"),
        ("m.vk", "this is a verifying key"),
        ("m.circlet", "this is a compiled program"),
        ("m.onnx", "no file that circlet wrote"),
        (".", "cannot read"),
    ] {
        bench.fails(FILE, &["verify", "m.vk", file], says);
    }
    bench.fails(FILE, &["verify", "m.proof", "m.proof"], "this is a proof");
    bench.fails(FILE, &["prove", "m.vk", "--input", "x.json", "-o", "p"], "this is a verifying key");
    bench.fails(FILE, &["prove", "m.vk", "--prompt", "x", "-o", "p"], "this is a verifying key");
    bench.fails(FILE, &["security", "m.proof"], "this is a proof");
    bench.fails(FILE, &["inspect", "empty"], "empty");
    for (text, says) in [
        ("", "not valid JSON"),
        ("[1, 2", "not valid JSON"),
        ("[1, 2, 3]", "shape"),
        ("[1, null]", "must be a number"),
        ("{\"input\": [1, 2]}", "no \"inputs\""),
        ("\u{93}NUMPY", "not valid JSON"),
    ] {
        bench.write("in", text);
        bench.fails(FILE, &["prove", "m.circlet", "--input", "in", "-o", "p"], says);
    }
    bench.fails(USAGE, &["prove", "m.circlet", "--input", "x.json", "-o", "p"], "--index, from 0 to 1");
    bench.fails(
        USAGE,
        &["prove", "m.circlet", "--input", "x.json", "--index", "2", "-o", "p"],
        "no sample 2",
    );
    assert!(!bench.path("p").exists());
}

#[test]
fn damaged_programs_and_keys_are_refused() {
    let bench = proven();
    for (file, arguments) in [
        ("m.circlet", ["prove", "bad", "--input", "x.json", "--index", "0", "-o", "p"].as_slice()),
        ("m.vk", ["verify", "bad", "m.proof"].as_slice()),
    ] {
        let good = fs::read(bench.path(file)).unwrap();
        for at in (0..good.len()).step_by(good.len().div_ceil(30)) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x20;
            bench.write("bad", &bytes);
            bench.run(FILE, arguments);
            bench.write("bad", &good[..at]);
            bench.run(FILE, arguments);
        }
    }
    // Weights that are not those of the key, under a good checksum.
    let mut program: files::ProgramFile = files::read(&bench.path("m.circlet")).unwrap();
    program.data.constants[0][0] -= 1;
    bench.write("bad", files::encode(&program));
    let prove = ["prove", "bad", "--input", "x.json", "--index", "0", "-o", "p"];
    bench.fails(FILE, &prove, "inconsistent");
    program.data.constants.pop();
    bench.write("bad", files::encode(&program));
    bench.fails(FILE, &prove, "number of constants");
    program.suite = 9;
    bench.write("bad", files::encode(&program));
    bench.fails(FILE, &prove, "unknown hash suite 9");
    assert!(!bench.path("p").exists());
}

#[test]
fn bad_models_leave_nothing_behind() {
    let bench = Bench::new();
    let mut unsupported = OnnxWriter::new(17);
    unsupported.input("x", &[Dim::Fixed(1), Dim::Fixed(2)]);
    unsupported.node("Conv", &["x"], &["y"], &[]);
    unsupported.output("y", &[Dim::Fixed(1), Dim::Fixed(2)]);
    let mut huge = OnnxWriter::new(17);
    huge.input("x", &[Dim::Symbol("N"), Dim::Fixed(1 << 40)]);
    huge.node("Relu", &["x"], &["y"], &[]);
    huge.output("y", &[Dim::Symbol("N"), Dim::Fixed(1 << 40)]);
    let good = small_model(17, 0.5);
    bench.write("old.circlet", "kept");
    for (name, bytes, says) in [
        ("empty", Vec::new(), "truncated"),
        ("text", b"hello".to_vec(), "not an ONNX model"),
        ("cut", good[..good.len() / 2].to_vec(), "is cut off"),
        ("nan", small_model(17, f32::NAN), "holds NaN"),
        ("infinite", small_model(17, f32::INFINITY), "holds inf"),
        ("old", small_model(12, 0.5), "opset 12"),
        ("unsupported", unsupported.to_bytes(), "Conv"),
        ("huge", huge.to_bytes(), "more than 2^31 elements"),
    ] {
        bench.write("m.onnx", bytes);
        for command in [
            ["compile", "m.onnx", "--calibrate", "random", "-o", "old.circlet"].as_slice(),
            &["inspect", "m.onnx"],
        ] {
            let (_, stderr) = bench.run(FILE, command);
            assert!(stderr.contains(says), "{name}: {says:?} is not in\n{stderr}");
        }
        assert_eq!(bench.files(), ["m.onnx", "old.circlet"], "{name}");
        assert_eq!(fs::read(bench.path("old.circlet")).unwrap(), b"kept");
    }
    bench.fails(FILE, &["compile", "no.onnx", "--calibrate", "random", "-o", "p"], "cannot read");
}

#[test]
fn outputs_that_cannot_be_written_are_found_first() {
    let bench = proven();
    let before = bench.files();
    let compile = |output: &str, code, says: &str| {
        bench.fails(code, &["compile", "m.onnx", "--calibrate", "x.json", "-o", output], says);
    };
    compile("none/m.circlet", FILE, "cannot write");
    compile(".", FILE, "cannot write");
    compile("m.onnx", FILE, "would be overwritten");
    compile("./x.json", FILE, "would be overwritten");
    compile("m.vk", FILE, "would be overwritten");
    let prove = |output: &str, says: &str| {
        bench.fails(FILE, &["prove", "m.circlet", "--input", "x.json", "--index", "0", "-o", output], says);
    };
    prove("none/p", "cannot write");
    prove("m.circlet", "would be overwritten");
    prove("x.json", "would be overwritten");
    assert_eq!(bench.files(), before);
    bench.run(OK, &["verify", "m.vk", "m.proof"]);
}

#[test]
fn usage_errors_have_their_own_code() {
    let bench = Bench::new();
    for arguments in [
        [].as_slice(),
        &["frobnicate"],
        &["prove"],
        &["verify", "a"],
        &["demo", "--profile", "p200"],
        &["demo", "--threads", "0"],
        &["demo", "--json", "--quiet"],
        &["bench", "other"],
    ] {
        assert_eq!(bench.output(arguments).status.code(), Some(USAGE), "{arguments:?}");
    }
    bench.fails(USAGE, &["compile", "m.onnx", "-o", "m.circlet"], "--calibrate FILE");
    for arguments in [["--help"].as_slice(), &["--version"], &["compile", "--help"], &["help", "verify"]] {
        assert_eq!(bench.output(arguments).status.code(), Some(OK), "{arguments:?}");
    }
    assert!(bench.run(OK, &["--help"]).0.contains("Exit codes"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(bench.run(OK, &["completions", shell]).0.contains("circlet"));
    }
}

#[test]
fn security_and_bench_report() {
    let bench = Bench::new();
    let (text, _) = bench.run(OK, &["security"]);
    for profile in ["p100-u", "p100-j", "p100-j8", "seed-96c"] {
        assert!(text.contains(&format!("profile {profile}:")), "{text}");
    }
    let json = bench.json(OK, &["security", "--profile", "p100-j8"]);
    assert!(json["profiles"][0]["bits"].as_f64().unwrap() >= 100.0);
    let json = bench.json(OK, &["bench", "digits", "--runs", "1"]);
    assert_eq!(json["jobs"][0]["model"], "digits");
    assert!(json["jobs"][0]["warm_seconds"]["prove"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_trace_of_the_stages_can_be_written() {
    let bench = Bench::new();
    bench.run(OK, &["demo", "--quiet", "--trace-out", "trace.json"]);
    let trace: Value = serde_json::from_slice(&fs::read(bench.path("trace.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        trace.as_array().unwrap().iter().filter_map(|event| event["name"].as_str()).collect();
    for stage in ["quantize", "weights", "execute", "commit", "lookup", "relation", "opening"] {
        assert!(names.contains(&stage), "{stage}: {names:?}");
    }
    bench.fails(FILE, &["demo", "--trace-out", "none/trace.json"], "cannot write");
    bench.write("x.vk", "");
    bench.fails(FILE, &["security", "x.vk", "--trace-out", "x.vk"], "would be overwritten");
}
