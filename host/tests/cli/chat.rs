//! Conversations, with the bundled model.

use circlet::files::{self, ChatFile};

use super::llm::{COMPILE, compiled, source};
use super::{Bench, FILE, OK, REJECTED, USAGE, Value};

fn say(bench: &Bench, code: i32, more: &[&str]) -> Value {
    bench.json(code, &[&["prove", "m.circlet"], more].concat())
}

fn tokens(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
}

#[test]
fn a_conversation_of_three_turns() {
    let bench = compiled();
    let one = say(&bench, OK, &["--prompt", "Alice was very", "--tokens", "4", "--resumable", "-o", "1"]);
    let two = say(&bench, OK, &["--prompt", " and the", "--tokens", "5", "--continue", "1", "-o", "2"]);
    let three = say(&bench, OK, &["--prompt", "", "--tokens", "3", "--continue", "2", "-o", "3"]);
    assert_eq!((&two["turn"], &three["turn"]), (&2.into(), &3.into()));
    for turn in [&one, &two, &three] {
        let ratio = turn["estimate"]["proof_bytes"].as_f64().unwrap() / turn["proof_bytes"].as_f64().unwrap();
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    // Everything as one text, turn by turn: the same tokens follow.
    let mut all: Vec<u64> = Vec::new();
    for turn in [&one, &two, &three] {
        all.extend(tokens(&turn["prompt_tokens"]));
        let generated = tokens(&turn["text_tokens"]);
        let ids = all.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let count = generated.len().to_string();
        let long = say(&bench, OK, &["--ids", &ids, "--tokens", &count, "-o", "long"]);
        assert_eq!(tokens(&long["text_tokens"]), generated);
        all.extend(generated);
    }

    let verified = bench.json(OK, &["verify", "m.vk", "3", "--tokenizer", "m.circlet"]);
    assert_eq!(verified["turns"].as_array().unwrap().len(), 3);
    for (turn, said) in verified["turns"].as_array().unwrap().iter().zip([&one, &two, &three]) {
        for part in ["prompt_tokens", "prompt", "text_tokens", "text"] {
            assert_eq!(turn[part], said[part], "{part}");
        }
    }
    let bits = |name: &str| verified["security"][name].as_f64().unwrap();
    assert!(bits("bits") >= 100.0);
    // One forged proof of three forges the conversation.
    let lost = bits("bits") - bits("bits_of_all");
    assert!(lost > 1.0 && lost <= 3f64.log2() + 1e-9, "{lost}");
    let (text, _) = bench.run(OK, &["verify", "m.vk", "2", "--tokenizer", "m.circlet"]);
    for part in [
        "accepted: model",
        "turn 1\n",
        "  | <|begin_of_text|>Alice was very\n",
        "turn 2\n",
        " and the",
        "all proofs together 9",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    bench.run(OK, &["verify", "m.vk", "1"]);
    assert_eq!(bench.json(OK, &["inspect", "3"])["turns"], {
        let mut turns = verified["turns"].clone();
        for turn in turns.as_array_mut().unwrap() {
            (turn["prompt"], turn["text"]) = (Value::Null, Value::Null);
        }
        turns
    });

    // Another token, another cut, another order.
    let good: ChatFile = files::read(&bench.path("2")).unwrap();
    let changed = |change: &dyn Fn(&mut ChatFile), says: &str| {
        let mut file = good.clone();
        change(&mut file);
        bench.write("bad", files::encode(&file));
        bench.fails(REJECTED, &["verify", "m.vk", "bad"], says);
    };
    changed(&|file| file.chat.turns[0].given[1] ^= 1, "turn 1");
    changed(&|file| file.chat.turns[1].given[0] ^= 1, "turn 2");
    changed(&|file| *file.chat.turns[1].generated.last_mut().unwrap() ^= 1, "turn 2");
    changed(&|file| file.chat.turns.swap(0, 1), "turn 1");
    changed(&|file| file.proofs.swap(0, 1), "turn 1");
    changed(&|file| drop(file.proofs.pop()), "2 turns and 1 proofs");
    changed(&|file| drop((file.proofs.remove(0), file.chat.turns.remove(0))), "turn 1");
    changed(&|file| (file.proofs, file.chat.turns) = (vec![], vec![]), "0 turns");
    changed(&|file| file.key_digest[0] ^= 1, "is for the key");
    bench.fails(
        USAGE,
        &["verify", "m.vk", "2", "--tokenizer", "m.circlet", "--expect-text", "x"],
        "a text by itself",
    );
    // Nothing goes on from what is not true.
    let mut file = good.clone();
    file.proofs[0][40] ^= 1;
    bench.write("bad", files::encode(&file));
    let go_on = ["prove", "m.circlet", "--prompt", "x", "-o", "q", "--tokens", "2", "--continue"];
    bench.fails(FILE, &[&go_on[..], &["bad", "--quiet"]].concat(), "turn 1");
    let mut file = good.clone();
    *file.chat.turns[0].generated.last_mut().unwrap() ^= 1;
    bench.write("bad", files::encode(&file));
    bench.fails(FILE, &[&go_on[..], &["bad", "--quiet"]].concat(), "greedy continuation");
    file.key_digest[0] ^= 1;
    bench.write("bad", files::encode(&file));
    bench.fails(FILE, &[&go_on[..], &["bad"]].concat(), "of another model");
    bench.fails(FILE, &[&go_on[..], &["long"]].concat(), "--resumable");
    bench.fails(FILE, &[&go_on[..], &["m.vk"]].concat(), "proofs of a conversation (.proof) was expected");
    bench.fails(USAGE, &[&go_on[..6], &["--tokens", "30", "--continue", "2"]].concat(), "are left for both");
    assert_eq!(bench.output(&[&go_on[..], &["2", "--resumable"]].concat()).status.code(), Some(USAGE));
    assert!(!bench.path("q").exists());
}

#[test]
fn profiles_that_cannot_carry_anything_on() {
    let bench = Bench::new();
    source(&bench);
    let more = ["--report", "none", "--positions", "16", "--quiet", "--profile", "p100-j"];
    bench.run(OK, &[&COMPILE[..], &more].concat());
    bench.fails(
        USAGE,
        &["prove", "m.circlet", "--prompt", "The", "--tokens", "2", "--resumable", "-o", "q"],
        "compile the model for p100-u",
    );
}
