//! Conversations on the command line: `prove --resumable` and `--continue`, and what `verify` and `inspect` say of them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::estimate::estimate;
use circlet::files::{self, ChatFile, Kind, ModelFile, Outputs, folder};
use circlet::llm::Tokenizer;
use circlet_core::circuit::CircuitError;
use circlet_core::decoder::{Chat, Decoder, DecoderKey, Reached, Text, Turn};
use circlet_core::profile::Regime;
use circlet_core::protocol::Outline;
use circlet_core::security::{Report, meets_target};
use circlet_verifier::{Key, Proven};
use clap::Args;
use serde_json::{Value, json};

use super::prompt::check_room;
use super::prove::{STOPPED, TOKENS, generate, text_json, tokenizer, tokens_in_words};
use super::prover::{Holding, protocol, run_and_commit, runner};
use super::verify::{claims, lines, open_tokenizer};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::{self, Suite};
use crate::cli::{Context, Outcome, prove, system, text, verify};
use crate::progress::Stage;

/// How a text is part of a conversation.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Language models")]
pub struct Options {
    /// Commit to the keys and values of the text too, so that --continue can go on from its end (profile p100-u only)
    #[arg(long, conflicts_with = "from")]
    resumable: bool,
    /// Go on from the end of these proofs, made with --resumable or --continue: the prompt is what is said next, and may
    /// be empty. The new file holds the whole conversation, and only the new turn is proven
    #[arg(long = "continue", id = "from", value_name = "PROOF")]
    from: Option<PathBuf>,
}

impl Options {
    /// Whether the text is part of one.
    pub fn is_given(&self) -> bool {
        self.resumable || self.from.is_some()
    }

    /// The file that is read.
    pub fn path(&self) -> Option<&Path> {
        self.from.as_deref()
    }
}

/// The turns so far, verified.
fn earlier(path: &Path, model: &Path, digest: [u8; 32]) -> Result<ChatFile, Failure> {
    if files::kind_of(path).or_bad()? == Some(Kind::Text) {
        return Err(Failure::file(format!(
            "{} was made without --resumable, so that no later proof can go on from it; prove its text again with \
             --resumable",
            path.display()
        )));
    }
    let file: ChatFile = files::read(path).or_bad()?;
    if file.key_digest == digest {
        return Ok(file);
    }
    Err(Failure::file(format!(
        "{} is of another model: its key is {}, and that of {} is {}",
        path.display(),
        text::hex(&file.key_digest),
        model.display(),
        text::hex(&digest)
    )))
}

/// Refuses a turn that leaves no room for the tokens that follow.
fn room(decoder: &Decoder, reached: Option<Reached>, given: usize, tokens: u32) -> Result<(), Failure> {
    let Some(reached) = reached else { return check_room(decoder, given, tokens) };
    // The last token of the turn before comes first, and that of this one is not fed.
    let all = reached.positions as usize + given + tokens as usize;
    if all <= decoder.positions as usize {
        return Ok(());
    }
    let left = (decoder.positions as usize).saturating_sub(reached.positions as usize);
    Err(Failure::usage(format!(
        "the conversation has {} positions, {given} tokens are given and {tokens} are to follow, but the model was \
         compiled for {} positions: {left} are left for both; ask for less, or compile it with more --positions",
        reached.positions, decoder.positions
    )))
}

/// Generates and proves a turn.
pub fn prove(
    context: &Context,
    arguments: &prove::Arguments,
    outputs: &Outputs<1>,
) -> Result<Outcome, Failure> {
    let ModelFile { mut head, numbers } =
        tracing::info_span!("import").in_scope(|| files::read(&arguments.program)).or_bad()?;
    let unusable = || format!("cannot use {}", arguments.program.display());
    let tokenizer = tokenizer(&mut head)?;
    let suite = Suite::of(head.suite)
        .ok_or_else(|| Failure::file(format!("{}: unknown hash suite {}", unusable(), head.suite)))?;
    let profile = head.profile;
    if profile.profile().regime != Regime::UniqueDecoding {
        return Err(Failure::usage(CircuitError::Profile(profile.profile().name).to_string()));
    }
    let path = arguments.chain.path();
    let before = path.map(|path| earlier(path, &arguments.program, head.key_digest)).transpose()?;
    let mut file = before.unwrap_or_else(|| ChatFile {
        key_digest: head.key_digest,
        chat: Chat::default(),
        proofs: Vec::new(),
    });
    let decoder = &head.decoder;
    let reached = reached(decoder, &file.chat).or_file("cannot go on from these proofs")?;
    let given = match reached {
        Some(reached) => arguments.prompt.following(decoder, tokenizer.as_ref(), reached.last)?,
        None => arguments.prompt.tokens(decoder, tokenizer.as_ref())?,
    };
    let count = arguments.tokens.unwrap_or(TOKENS);
    room(decoder, reached, given.len(), count)?;
    let longest = Turn { given: given.clone(), generated: vec![decoder.pad; count as usize] };
    let most = decoder.turn(reached, &longest).or_file(unusable())?.extent;
    let expected = estimate(&protocol(decoder, profile, most)?, rayon::current_num_threads());
    let holding = Holding::new(context, &expected)?;
    let expected = holding.expected(expected);

    let folder = holding.in_file.then(|| folder(&arguments.output));
    let runner = runner(&head, numbers, folder)?;
    let ((standing, turn), prover, shown) =
        run_and_commit(context, &head, runner, (suite, holding.keep), &expected.times, |runner| {
            let standing = runner.replay(&file.chat).or_file("cannot go on from these proofs")?;
            let generated =
                generate(context, runner, &standing, &given, count, &head.end, tokenizer.as_ref())?;
            Ok((standing, Turn { given, generated }))
        })?;
    // Before work goes into a proof that goes on from them.
    if !file.proofs.is_empty() {
        let verdict = circlet_verifier::verify_chat(prover.key(), &file.chat, &file.proofs);
        verdict.or_file("cannot go on from these proofs")?;
    }
    let proof = prover.prove_turn(&standing, &turn).or_file("cannot prove this turn")?;
    drop(shown);
    let proof_bytes = proof.len();
    file.proofs.push(proof);
    file.chat.turns.push(turn);
    let bytes = files::encode(&file);
    outputs.write([&bytes]).or_bad()?;

    let stages = context.monitor.take();
    let seconds = |names: &[&str]| {
        stages.iter().filter(|(name, _): &&Stage| names.contains(name)).map(|(_, s)| s).sum::<f64>()
    };
    let warm = seconds(&["execute", "commit", "lookup", "relation", "opening"]);
    let security = security(prover.key(), &file.chat)?;
    let turn = &file.chat.turns[file.chat.turns.len() - 1];
    let ended = turn.generated.last().is_some_and(|last| head.end.contains(last));
    let generated = turn.generated.len();
    let memory = system::peak_memory();
    let mut out = format!(
        "proved {}: turn {} of a conversation, {} after {} given{}\n",
        text::name(&prover.key().decoder.name),
        file.chat.turns.len(),
        tokens_in_words(generated),
        tokens_in_words(turn.given.len()),
        if ended { ", up to an end of text" } else { "" }
    );
    if tokenizer.is_none() {
        let ids: Vec<String> = turn.generated.iter().map(u32::to_string).collect();
        let _ = writeln!(out, "  tokens {}", ids.join(","));
    }
    let mut fields = vec![
        ("key", text::hex(&file.key_digest)),
        ("security", security_line(&security)),
        (
            "proof",
            format!(
                "{} ({}, of which this turn {})",
                arguments.output.display(),
                text::bytes(bytes.len() as u64),
                text::bytes(proof_bytes as u64)
            ),
        ),
        (
            "time",
            format!(
                "{} to run the turns before and generate, {} to run and prove, and {} (cold) to commit to the weights",
                text::seconds(seconds(&["generate"])),
                text::seconds(warm),
                text::seconds(seconds(&["weights"]))
            ),
        ),
        ("peak memory", memory.map_or_else(|| "unknown on this system".into(), text::bytes)),
    ];
    fields.extend(holding.note());
    out += &text::fields(&fields);
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let mut json = json!({
        "model": prover.key().decoder.name,
        "key": text::hex(&file.key_digest),
        "turn": file.chat.turns.len(),
        "stopped_by": STOPPED[usize::from(ended)],
        "security": security_json(&security),
        "proof": arguments.output,
        "proof_bytes": proof_bytes,
        "file_bytes": bytes.len(),
        "peak_memory_bytes": memory,
        "estimate": { "memory_bytes": expected.memory_bytes, "seconds": expected.times.prove(),
                      "proof_bytes": expected.proof_bytes },
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(text_json(&whole(turn), tokenizer.as_ref()));
    }
    Ok(Outcome { text: out, json, rejected: None })
}

/// Where a conversation stands, whoever says so.
fn reached(decoder: &Decoder, chat: &Chat) -> Result<Option<Reached>, circlet_core::decoder::TextError> {
    chat.turns.iter().try_fold(None, |before, turn| Ok(Some(decoder.turn(before, turn)?.reached)))
}

/// The security of a conversation, which is forged if any of its proofs is.
struct Security {
    /// That of the weakest proof.
    weakest: Report,
    /// Bits of all proofs together: their errors add up.
    bits: f64,
}

fn security(key: &DecoderKey, chat: &Chat) -> Result<Security, Failure> {
    let (mut before, mut reports) = (None, Vec::new());
    for turn in &chat.turns {
        let program = key.decoder.turn(before, turn).or_file("cannot use the key")?;
        let protocol = Outline::of_key(&key.instance(program.extent)).or_file("cannot use the key")?;
        reports.push(job::security(&protocol)?);
        before = Some(program.reached);
    }
    let bits = -reports.iter().map(|report| (-report.bits).exp2()).sum::<f64>().log2();
    let weakest = reports.into_iter().min_by(|a, b| a.bits.total_cmp(&b.bits));
    let weakest = weakest.ok_or_else(|| Failure::file("the conversation has no turns"))?;
    Ok(Security { weakest, bits })
}

fn security_line(security: &Security) -> String {
    let all = text::bits(security.bits);
    format!("{}\nall proofs together {all} bits: their errors add up", job::security_line(&security.weakest))
}

fn security_json(security: &Security) -> Value {
    let mut json = job::security_json(&security.weakest);
    json["bits_of_all"] = json!(security.bits);
    json
}

/// A turn as what is given and what follows.
fn whole(turn: &Turn) -> Text {
    Text { tokens: [turn.given.as_slice(), &turn.generated].concat(), prompt: turn.given.len() as u32 }
}

/// Verifies a conversation.
pub fn verify(arguments: &verify::Arguments, own: &Key, key: &DecoderKey) -> Result<Outcome, Failure> {
    let options = &arguments.llm;
    if options.expects() {
        return Err(Failure::usage(format!(
            "--expect-prompt and --expect-text are for a text by itself, and {} holds {}; compare the turns that are \
             printed",
            arguments.proof.display(),
            Kind::Chat
        )));
    }
    let tokenizer = options.tokenizer.as_deref().map(open_tokenizer).transpose()?;

    let verify::Judged { verdict, bytes, seconds } = verify::judge(arguments, own)?;
    let verdict = verdict.and_then(|proven| {
        verify::of_kind(match proven {
            Proven::Chat(chat) => Some(chat),
            _ => None,
        })
    });
    let about = verify::About { model: &key.decoder.name, digest: key.digest(), bytes, seconds };
    let registered = circlet_verifier::registered(key);
    let (mut json, chat) = match verify::settle(arguments, verdict, &about, &registered)? {
        Ok(accepted) => accepted,
        Err(rejected) => return Ok(rejected),
    };
    let report = security(key, &chat)?;
    let turns = &chat.turns;
    json.insert("security".into(), security_json(&report));
    json.insert("prefix".into(), json!(key.decoder.prefix));
    json.insert("turns".into(), turns_json(turns, tokenizer.as_ref()));
    let mut out = format!(
        "accepted: {} continues each of these prompts with the text after it, in one conversation\n",
        text::name(&key.decoder.name)
    );
    for (number, turn) in (1..).zip(turns) {
        let _ = writeln!(out, "turn {number}");
        out += &lines(&whole(turn), tokenizer.as_ref());
    }
    if !meets_target(&report.weakest) {
        out += "warning: for a text of this size the profile does not reach the bits that it promises\n";
    }
    let mut fields = claims(key, arguments, tokenizer.is_some());
    fields.extend([
        ("security", security_line(&report)),
        ("proofs", format!("{}, one for each turn", text::bytes(bytes))),
        ("time", text::seconds(seconds)),
    ]);
    out += &text::fields(&fields);
    Ok(Outcome { text: out, json: json.into(), rejected: None })
}

fn turns_json(turns: &[Turn], tokenizer: Option<&Tokenizer>) -> Value {
    turns.iter().map(|turn| Value::Object(text_json(&whole(turn), tokenizer))).collect()
}

/// What a file of a conversation holds.
pub fn inspect(path: &Path) -> Result<Outcome, Failure> {
    let file: ChatFile = files::read(path).or_bad()?;
    let tokens = file.chat.tokens().len();
    let bytes: usize = file.proofs.iter().map(Vec::len).sum();
    let out = String::from("proofs of a conversation (not verified here; use `circlet verify`)\n")
        + &text::fields(&[
            ("for the key", text::hex(&file.key_digest)),
            ("turns", file.chat.turns.len().to_string()),
            ("tokens", tokens.to_string()),
            ("proofs", text::bytes(bytes as u64)),
        ]);
    let json = json!({
        "kind": "proofs of a conversation",
        "key": text::hex(&file.key_digest),
        "turns": turns_json(&file.chat.turns, None),
        "proof_bytes": bytes,
    });
    Ok(Outcome { text: out, json, rejected: None })
}
