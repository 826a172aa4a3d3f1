//! Language models, with the bundled one of 230 thousand weights.

use std::process::Stdio;
use std::time::Duration;

use circlet::files::{self, ModelFile, PartialFile, TextFile};
use circlet::llm::float::FloatModel;
use circlet::llm::quantize::{Calibrating, Options};

use super::{Bench, FILE, OK, REJECTED, USAGE, Value, fs, models};

/// The files of the bundled model in a folder of their own.
pub fn source(bench: &Bench) {
    fs::create_dir(bench.path("model")).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(models(&format!("tiny-llama/{file}")), bench.path("model").join(file)).unwrap();
    }
    fs::copy(models("tiny-llama/calibration.txt"), bench.path("text.txt")).unwrap();
}

pub const COMPILE: [&str; 8] =
    ["compile", "model", "--calibrate", "text.txt", "-o", "m.circlet", "--calibrate-tokens", "256"];

/// The bundled model, compiled.
pub fn compiled() -> Bench {
    let bench = Bench::new();
    source(&bench);
    bench.run(OK, &[&COMPILE[..], &["--report", "none", "--positions", "32", "--quiet"]].concat());
    bench
}

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [&["prove", "m.circlet", "-o", "p"], more].concat()
}

#[test]
fn demo_of_a_language_model() {
    let bench = Bench::new();
    let (text, _) = bench.run(OK, &["demo", "--llm", "--tokens", "3"]);
    for part in
        ["  | <|begin_of_text|>Alice was very", "accepted", "a changed token  rejected", "229,952", "100."]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = bench.json(OK, &["demo", "--llm", "--prompt", "The Queen", "--tokens", "2"]);
    assert_eq!(json["text"], "'s v");
    assert_eq!(json["changed_rejected"], true);
    bench.fails(USAGE, &["demo", "--llm", "--prompt", ""], "the prompt is empty");
    assert_eq!(bench.output(&["demo", "--prompt", "x"]).status.code(), Some(USAGE));
    assert!(bench.files().is_empty());
}

#[test]
fn a_text_from_model_to_verdict() {
    let bench = Bench::new();
    source(&bench);
    let compiled = bench.json(OK, &[&COMPILE[..], &["--report-tokens", "128"]].concat());
    assert_eq!(compiled["prefix"], 0);
    let accuracy = &compiled["accuracy"];
    assert!(accuracy["agreement"].as_f64().unwrap() > 0.98, "{accuracy}");
    assert_eq!(accuracy["positions"], 128);
    let prompt = ["--prompt", "Alice was very", "--tokens", "6"];
    let inspected = bench.json(OK, &["inspect", "m.circlet", "--prompt-tokens", "4", "--tokens", "6"]);
    let (text, _) = bench.run(OK, &with(&prompt));
    assert!(text.starts_with(" glad to tal\n\nproved model: 6 tokens"), "{text}");
    let proven = bench.json(OK, &with(&prompt));
    assert_eq!((&proven["text"], &proven["stopped_by"]), (&" glad to tal".into(), &"length".into()));
    let ratio =
        inspected["estimate"]["proof_bytes"].as_f64().unwrap() / proven["proof_bytes"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    assert_eq!(proven["estimate"]["memory_bytes"], inspected["estimate"]["memory_bytes"]);

    let verified = bench.json(OK, &["verify", "m.vk", "p"]);
    assert_eq!((&verified["key"], &verified["text"]), (&compiled["key"], &Value::Null));
    assert_eq!(verified["text_tokens"], proven["text_tokens"]);
    for tokenizer in ["m.circlet", "model", "model/tokenizer.json"] {
        let verified = bench.json(OK, &["verify", "m.vk", "p", "--tokenizer", tokenizer]);
        assert_eq!(verified["text"], " glad to tal");
    }
    let verify = |code, more: &[&str]| {
        let all = [&["verify", "m.vk", "p", "--tokenizer", "model"], more].concat();
        bench.run(code, &all)
    };
    let (text, _) = verify(OK, &["--expect-prompt", "Alice was very", "--expect-text", " glad to tal"]);
    for part in ["accepted: model", "  | <|begin_of_text|>Alice was very\n", "  |  glad to", "prefix"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let (text, error) = verify(REJECTED, &["--expect-prompt", "Alice was"]);
    assert!(text.is_empty() && error.contains("another prompt"), "{error}");
    assert!(verify(REJECTED, &["--expect-text", " glad"]).1.contains("another text"));
    bench.fails(FILE, &["verify", "m.vk", "p", "--tokenizer", "none"], "cannot read");
    bench.fails(FILE, &["verify", "m.vk", "p", "--tokenizer", "text.txt"], "is no JSON");
    assert_eq!(bench.output(&["verify", "m.vk", "p", "--expect-text", "x"]).status.code(), Some(USAGE));
    for file in ["m.circlet", "m.vk", "p", "model", "model/model.safetensors"] {
        bench.json(OK, &["inspect", file]);
    }
}

#[test]
fn changed_texts_and_proofs_are_refused() {
    let bench = compiled();
    bench.run(OK, &with(&["--prompt", "The", "--tokens", "3", "--quiet"]));
    let good: TextFile = files::read(&bench.path("p")).unwrap();
    let changed = |change: &dyn Fn(&mut TextFile), says: &str| {
        let mut file = good.clone();
        change(&mut file);
        bench.write("bad", files::encode(&file));
        bench.fails(REJECTED, &["verify", "m.vk", "bad"], says);
    };
    for at in 1..good.text.tokens.len() {
        changed(&|file| file.text.tokens[at] ^= 1, "");
    }
    changed(&|file| file.text.tokens[0] = 1, "must begin with token 0");
    changed(&|file| file.text.prompt += 1, "");
    changed(&|file| file.text.prompt = u32::MAX, "at least one token");
    changed(&|file| file.text.tokens.push(5), "");
    changed(&|file| file.text.tokens.clear(), "must begin with token 0");
    changed(&|file| file.text.tokens[1] = 512, "not in the vocabulary");
    changed(&|file| file.text.tokens.extend([1; 64]), "does not have the shape");
    changed(&|file| file.proof.truncate(1000), "too short");
    changed(&|file| file.key_digest[0] ^= 1, "is for the key");
    // Damage is seen by the checksum.
    for (file, more) in [("p", &["verify", "m.vk"][..]), ("m.vk", &["inspect"]), ("m.circlet", &["inspect"])]
    {
        let good = fs::read(bench.path(file)).unwrap();
        for at in (0..good.len()).step_by(good.len().div_ceil(12)) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x20;
            bench.write("bad", &bytes);
            bench.run(FILE, &[more, &["bad"]].concat());
            bench.write("bad", &good[..at]);
            bench.run(FILE, &[more, &["bad"]].concat());
        }
    }
    // Weights that are not those of the key, under a good checksum.
    let mut model: ModelFile = files::read(&bench.path("m.circlet")).unwrap();
    let mut data = model.numbers.to_data();
    let first = data.constants[0].iter().position(|&w| w > 0).unwrap();
    data.constants[0][first] -= 1;
    model.numbers = data.into();
    bench.write("bad", files::encode(&model));
    bench.fails(
        FILE,
        &["prove", "bad", "--prompt", "The", "--tokens", "1", "-o", "q", "--quiet"],
        "inconsistent",
    );
    model.head.suite = 9;
    bench.write("bad", files::encode(&model));
    bench.fails(FILE, &["prove", "bad", "--prompt", "The", "-o", "q"], "unknown hash suite 9");
    assert!(!bench.path("q").exists());
}

#[test]
fn families_are_told_apart() {
    let bench = compiled();
    bench.write("m.onnx", super::small_model(17, 0.5));
    bench.write("x.json", "[1, -0.5]");
    bench.run(OK, &["compile", "m.onnx", "--calibrate", "x.json", "-o", "n.circlet", "--quiet"]);
    bench.run(OK, &["prove", "n.circlet", "--input", "x.json", "-o", "n.proof", "--quiet"]);
    bench.fails(USAGE, &["prove", "n.circlet", "--prompt", "x", "-o", "q"], "give --input FILE");
    bench.fails(USAGE, &["prove", "m.circlet", "--input", "x.json", "-o", "q"], "give --prompt TEXT");
    bench.fails(USAGE, &["prove", "n.circlet", "--input", "x.json", "--tokens", "2", "-o", "q"], "--tokens");
    bench.fails(FILE, &["verify", "m.vk", "n.proof"], "a proof of a text (.proof) was expected");
    bench.fails(USAGE, &["verify", "n.vk", "n.proof", "--tokenizer", "model"], "is for language models");
    bench.fails(USAGE, &["verify", "m.vk", "n.proof", "--expect-input", "x.json"], "--expect-prompt");
    bench.fails(FILE, &["verify", "n.circlet", "n.proof"], "this is a compiled program");
    bench.fails(FILE, &["verify", "m.circlet", "n.proof"], "this is a compiled language model");
    bench.fails(USAGE, &["inspect", "n.circlet", "--tokens", "3"], "language models");
    bench.fails(USAGE, &["security", "n.vk", "--positions", "3"], "language models");
    let compile = ["compile", "m.onnx", "--calibrate", "x.json", "-o", "q", "--positions", "32"];
    bench.fails(USAGE, &compile, "--positions is for language models");
    bench.fails(USAGE, &[&COMPILE[..], &["--batch", "2"]].concat(), "--batch is for ONNX models");
    assert_eq!(bench.output(&["prove", "m.circlet", "-o", "q"]).status.code(), Some(USAGE));
    let json = bench.json(OK, &["security", "m.vk", "--positions", "8"]);
    assert_eq!(json["positions"], 8);
    assert!(json["profiles"][0]["bits"].as_f64().unwrap() >= 100.0);
    assert!(!bench.path("q").exists());
}

#[test]
fn prompts_are_checked_first() {
    let bench = compiled();
    let fails = |more: &[&'static str], says: &str| bench.fails(USAGE, &with(more), says);
    fails(&["--prompt", ""], "the prompt is empty");
    fails(
        &["--prompt", "a b c d e f g h i j k l m n o p q r s t u v w x y z"],
        "shorten the prompt to 17 tokens",
    );
    fails(&["--ids", "1,2,3", "--tokens", "31"], "ask for at most 30 with --tokens");
    fails(&["--ids", "1,2,3", "--tokens", "40"], "ask for at most 32 with --tokens");
    fails(&["--ids", "1,512"], "tokens are numbers from 0 to 511");
    fails(&["--ids", "0"], "at least one more");
    fails(&["--ids", "1", "--chat"], "leave out --chat");
    fails(&["--prompt", "x", "--chat"], "<|im_start|>");
    bench.fails(FILE, &with(&["--text-file", "none"]), "cannot read");
    bench.write("latin", b"caf\xe9");
    bench.fails(FILE, &with(&["--text-file", "latin"]), "UTF-8");
    bench.fails(FILE, &with(&["--prompt", "x", "--memory", "1M"]), "of memory, --memory allows 1.0 MiB");
    assert_eq!(bench.output(&with(&["--prompt", "x", "--memory", "much"])).status.code(), Some(USAGE));
    bench.fails(FILE, &["prove", "m.circlet", "--prompt", "x", "-o", "m.circlet"], "would be overwritten");
    assert!(!bench.path("p").exists());
    // The token that every text begins with is not put there twice, and may be named only on request.
    let ids = |more: &[&'static str]| {
        let run = ["--tokens", "1", "--memory", "any", "--threads", "2"];
        bench.json(OK, &with(&[more, &run].concat()))["prompt_tokens"].clone()
    };
    let plain = ids(&["--prompt", "The"]);
    assert_eq!(plain[0], 0);
    assert_eq!(ids(&["--prompt", "<|begin_of_text|>The", "--special"]), plain);
    assert!(ids(&["--prompt", "<|begin_of_text|>The"]).as_array().unwrap().len() > 3);
    bench.write("the", "The");
    assert_eq!(ids(&["--text-file", "the"]), plain);
}

#[test]
fn models_without_a_tokenizer_take_numbers() {
    let bench = Bench::new();
    source(&bench);
    fs::remove_file(bench.path("model/tokenizer.json")).unwrap();
    bench.fails(FILE, &COMPILE, "must hold token numbers");
    bench.write("text.txt", (0..300).map(|i| (i * 37 % 500 + 1).to_string()).collect::<Vec<_>>().join(","));
    let more = ["--prefix", "none", "--positions", "16", "--report", "none"];
    let (text, _) = bench.run(OK, &[&COMPILE[..], &more].concat());
    assert!(text.contains("warning: no tokenizer") && text.contains("none, as asked for"), "{text}");
    bench.fails(USAGE, &with(&["--prompt", "x"]), "with --ids");
    let (text, _) = bench.run(OK, &with(&["--ids", "5, 6 7", "--tokens", "2"]));
    assert!(text.contains("  tokens "), "{text}");
    let verified = bench.json(OK, &["verify", "m.vk", "p"]);
    assert_eq!(verified["prompt_tokens"], serde_json::json!([5, 6, 7]));
    bench.fails(FILE, &["verify", "m.vk", "p", "--tokenizer", "m.circlet"], "without a tokenizer");
    bench.fails(USAGE, &[&COMPILE[..], &["--prefix", "512"]].concat(), "no such token");
    bench.fails(USAGE, &[&COMPILE[..], &["--prefix", "<|bos|>"]].concat(), "no such token");
    bench.fails(USAGE, &[&COMPILE[..], &["--positions", "24"]].concat(), "power of two");
    bench.fails(USAGE, &[&COMPILE[..], &["--positions", "512"]].concat(), "trained for 256");
}

#[test]
fn bad_language_models_are_named() {
    let bench = Bench::new();
    source(&bench);
    let good = fs::read(bench.path("model/model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut nan = good.clone();
    nan[header..header + 2].copy_from_slice(&[0xc0, 0x7f]);
    // Texts of the header are replaced by others of the same length.
    let edited = |from: &str, to: &str| {
        let text = str::from_utf8(&good[8..header]).unwrap().replacen(from, to, 1);
        assert_eq!(text.len(), header - 8, "{from}");
        [&good[..8], text.as_bytes(), &good[header..]].concat()
    };
    for (name, bytes, says) in [
        ("empty", Vec::new(), "is empty"),
        ("cut", good[..good.len() / 2].to_vec(), "cannot read"),
        ("nan", nan, "holds NaN"),
        ("format", edited("\"dtype\":\"BF16\"", "\"dtype\":\"I16\" "), "number format"),
        ("missing", edited("model.norm.weight", "model.norm.wEight"), "is missing"),
    ] {
        bench.write("model/model.safetensors", bytes);
        let (_, error) = bench.run(FILE, &COMPILE);
        assert!(error.contains(says) && error.contains("model"), "{name}: {says:?} is not in\n{error}");
        bench.output(&["inspect", "model"]);
    }
    bench.write("model/model.safetensors", &good);
    let config = fs::read_to_string(bench.path("model/config.json")).unwrap();
    bench.write(
        "model/config.json",
        config.replace("\"intermediate_size\": 192", "\"intermediate_size\": 128"),
    );
    bench.fails(FILE, &COMPILE, "has extents");
    fs::remove_file(bench.path("model/config.json")).unwrap();
    bench.fails(FILE, &COMPILE, "config.json");
    for (bytes, says) in
        [(&b"GGUF"[..], "cannot read"), (b"hello", "neither a GGUF"), (b"", "neither a GGUF")]
    {
        bench.write("m.gguf", bytes);
        bench.fails(FILE, &["compile", "m.gguf", "--calibrate", "text.txt", "-o", "q"], says);
        bench.fails(FILE, &["inspect", "m.gguf"], says);
    }
    bench.fails(FILE, &["compile", "model", "--calibrate", "none", "-o", "q"], "cannot");
    assert_eq!(bench.files(), ["m.gguf", "model", "text.txt"]);
}

#[test]
fn stopped_runs_leave_nothing() {
    let bench = compiled();
    let before = bench.files();
    let binary = env!("CARGO_BIN_EXE_circlet");
    let compile = ["compile", "model", "--calibrate", "text.txt", "-o", "q.circlet"];
    let prove = ["prove", "m.circlet", "--prompt", "The", "--tokens", "24", "-o", "q"];
    for arguments in [&compile[..], &prove[..]] {
        for milliseconds in [50, 300, 600] {
            let mut command = std::process::Command::new(binary);
            let command = command.args(arguments).arg("--quiet").current_dir(bench.path("."));
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(milliseconds));
            child.kill().unwrap();
            let stopped = !child.wait().unwrap().success();
            // Who is killed while files are put in their places leaves some, but none that is not whole.
            let left = bench.files();
            let placed = left.iter().any(|name| name == "q.circlet");
            if placed {
                bench.run(OK, &["inspect", "q.circlet"]);
            }
            if left.iter().any(|name| name == "q") {
                bench.run(OK, &["verify", "m.vk", "q", "--trust-key"]);
            }
            let temporary = left.iter().filter(|name| name.starts_with(".circlet-")).count();
            assert!(temporary <= 2, "{left:?}");
            for name in left {
                if name == "q" || (placed && name.starts_with("q.")) || name.starts_with(".circlet-") {
                    fs::remove_file(bench.path(&name)).unwrap();
                }
            }
            if stopped {
                assert_eq!(bench.files(), before, "{arguments:?}");
            }
        }
    }
    bench.run(OK, &with(&["--prompt", "The", "--tokens", "1"]));
}

#[test]
fn language_models_are_measured() {
    let bench = compiled();
    let run = ["--layers", "1,4", "--positions", "1,8", "--runs", "1"];
    for model in ["bundled", "m.circlet"] {
        let json = bench.json(OK, &[&["bench", "--llm", model], &run[..]].concat());
        let jobs = json["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 4);
        for job in jobs {
            assert!(job["warm_seconds"]["prove"].as_f64().unwrap() > 0.0);
            let bytes = |v: &Value| v["proof_bytes"].as_f64().unwrap();
            let ratio = bytes(&job["estimate"]) / bytes(job);
            assert!((0.85..1.15).contains(&ratio), "{ratio}");
        }
    }
    let (text, _) = bench.run(OK, &["bench", "--llm", "--layers", "1", "--positions", "1", "--runs", "1"]);
    assert!(text.contains("tiny-llama, 4 layers"), "{text}");
    bench.fails(USAGE, &["bench", "--llm", "--layers", "5", "--runs", "1"], "take 1 to 4");
    bench.fails(FILE, &["bench", "--llm", "m.vk"], "a compiled language model");
}

/// What a stopped compilation left is taken up by one of the same model, texts and options, and by no other.
#[test]
fn stopped_compilations_go_on() {
    let bench = Bench::new();
    source(&bench);
    let compile = || {
        let options = ["--report", "none", "--calibrate-tokens", "200"];
        let compiled = bench.json(OK, &[&COMPILE[..6], &options].concat());
        assert!(!bench.path("m.circlet.partial").exists());
        compiled["key"].clone()
    };
    let key = compile();
    let opened = circlet::llm::open(&bench.path("model")).unwrap();
    let text = fs::read_to_string(bench.path("text.txt")).unwrap();
    let tokens = opened.tokenizer.as_ref().unwrap().encode(&text, false);
    let options = Options { prefix: Some(0), positions: 256 };
    let inputs =
        |texts: &[Vec<u32>]| PartialFile::inputs(&bench.path("model"), [texts, &[]], options).unwrap();
    let (right, other) = ([tokens[..200].to_vec()], [tokens[300..302].to_vec()]);
    let model = FloatModel::open(opened.checkpoint.as_ref()).unwrap();
    let stop = |texts: &[Vec<u32>], layers: usize, inputs: [u8; 32]| {
        let mut calibrating = Calibrating::new(&model, options.prefix, texts).unwrap();
        for _ in 0..layers {
            calibrating.advance(&model, opened.checkpoint.as_ref()).unwrap();
        }
        let file = PartialFile { inputs, calibrating, accuracy: None };
        bench.write("m.circlet.partial", files::encode(&file));
    };
    for layers in [0, 1, 4, 5] {
        stop(&right, layers, inputs(&right));
        bench.json(OK, &["inspect", "m.circlet.partial"]);
        assert_eq!(compile(), key, "{layers}");
    }
    // It is used indeed: what another text gave makes another model.
    stop(&other, 5, inputs(&right));
    assert_ne!(compile(), key);
    // One of other inputs and one that cannot be read are not used.
    stop(&other, 5, inputs(&other));
    assert_eq!(compile(), key);
    bench.write("m.circlet.partial", "CIRCLETU");
    assert_eq!(compile(), key);
}
