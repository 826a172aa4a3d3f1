//! `circlet prove` for language models.

use std::fmt::Write as _;
use std::io::{self, Write};

use circlet::estimate::estimate;
use circlet::files::{self, Head, ModelFile, Outputs, TextFile, folder};
use circlet::llm::Tokenizer;
use circlet::llm::chat::Standing;
use circlet::llm::generate::Said;
use circlet::llm::run::Runner;
use circlet::llm::tokenizer::Stream;
use circlet_core::decoder::Text;
use serde_json::{Value, json};

use super::prompt::check_room;
use super::prover::{Holding, extent, protocol, run_and_commit, runner};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::{self, Suite};
use crate::cli::prove::Arguments;
use crate::cli::{Context, Outcome, system, text};
use crate::progress::Stage;

/// Tokens that follow a prompt, if the user does not say how many.
pub const TOKENS: u32 = 16;

/// Why a continuation ends.
pub const STOPPED: [&str; 2] = ["length", "end of text"];

/// The tokenizer of a compiled model, if it has one.
pub fn tokenizer(head: &mut Head) -> Result<Option<Tokenizer>, Failure> {
    let data = head.tokenizer.take();
    data.map(Tokenizer::new).transpose().or_file("cannot use the tokenizer of the compiled model")
}

/// Generates and proves.
pub fn run(context: &Context, arguments: &Arguments, outputs: &Outputs<1>) -> Result<Outcome, Failure> {
    if arguments.chain.is_given() {
        return super::chat::prove(context, arguments, outputs);
    }
    let ModelFile { mut head, numbers } =
        tracing::info_span!("import").in_scope(|| files::read(&arguments.program)).or_bad()?;
    let unusable = || format!("cannot use {}", arguments.program.display());
    let tokenizer = tokenizer(&mut head)?;
    let suite = Suite::of(head.suite)
        .ok_or_else(|| Failure::file(format!("{}: unknown hash suite {}", unusable(), head.suite)))?;
    let (decoder, profile) = (&head.decoder, head.profile);
    let count = arguments.tokens.unwrap_or(TOKENS);
    let prompt = arguments.prompt.tokens(decoder, tokenizer.as_ref())?;
    check_room(decoder, prompt.len(), count)?;
    let skip = usize::from(decoder.prefix.is_some());
    let most = extent(decoder, (prompt.len() - skip) as u32, count).or_file(unusable())?;
    let expected = estimate(&protocol(decoder, profile, most)?, rayon::current_num_threads());
    let holding = Holding::new(context, &expected)?;
    let expected = holding.expected(expected);

    let folder = holding.in_file.then(|| folder(&arguments.output));
    let runner = runner(&head, numbers, folder)?;
    let (texts, prover, shown) =
        run_and_commit(context, &head, runner, (suite, holding.keep), &expected.times, |runner| {
            continued(context, runner, &prompt, count, &head.end, tokenizer.as_ref())
        })?;
    let proof = prover.prove(&texts).or_file("cannot prove this text")?;
    drop(shown);
    let proof = TextFile { key_digest: head.key_digest, text: texts, proof };
    let bytes = files::encode(&proof);
    outputs.write([&bytes]).or_bad()?;

    let stages = context.monitor.take();
    let seconds = |names: &[&str]| {
        stages.iter().filter(|(name, _): &&Stage| names.contains(name)).map(|(_, s)| s).sum::<f64>()
    };
    let warm = seconds(&["execute", "commit", "lookup", "relation", "opening"]);
    let protocol = protocol(&prover.key().decoder, profile, most)?;
    let security = job::security(&protocol)?;
    let text = &proof.text;
    let ended = text.tokens.last().is_some_and(|last| head.end.contains(last));
    let generated = text.tokens.len() - text.prompt as usize;
    let memory = system::peak_memory();
    let mut out = format!(
        "proved {}: {} continue{} a prompt of {}{}\n",
        text::name(&prover.key().decoder.name),
        tokens_in_words(generated),
        if generated == 1 { "s" } else { "" },
        tokens_in_words(text.prompt as usize),
        if ended { ", up to an end of text" } else { "" }
    );
    if tokenizer.is_none() {
        let ids: Vec<String> = text.tokens[text.prompt as usize..].iter().map(u32::to_string).collect();
        let _ = writeln!(out, "  tokens {}", ids.join(","));
    }
    let mut fields = vec![
        ("key", text::hex(&proof.key_digest)),
        ("security", job::security_line(&security)),
        ("proof", format!("{} ({})", arguments.output.display(), text::bytes(bytes.len() as u64))),
        (
            "time",
            format!(
                "{} to generate, {} to run and prove, and {} (cold) to commit to the weights",
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
        "key": text::hex(&proof.key_digest),
        "stopped_by": STOPPED[usize::from(ended)],
        "security": job::security_json(&security),
        "proof": arguments.output,
        "proof_bytes": proof.proof.len(),
        "file_bytes": bytes.len(),
        "peak_memory_bytes": memory,
        "estimate": { "memory_bytes": expected.memory_bytes, "seconds": expected.times.prove(),
                      "proof_bytes": expected.proof_bytes },
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(text_json(text, tokenizer.as_ref()));
    }
    Ok(Outcome { text: out, json, rejected: None })
}

/// A number of tokens in words.
pub fn tokens_in_words(n: usize) -> String {
    format!("{} token{}", text::count(n as u64), if n == 1 { "" } else { "s" })
}

/// A text for programs: tokens, and what they mean if there is a tokenizer.
pub fn text_json(text: &Text, tokenizer: Option<&Tokenizer>) -> serde_json::Map<String, Value> {
    let (prompt, rest) = text.tokens.split_at((text.prompt as usize).min(text.tokens.len()));
    let mut object = serde_json::Map::new();
    for (name, tokens) in [("prompt", prompt), ("text", rest)] {
        object.insert(format!("{name}_tokens"), json!(tokens));
        object.insert(name.into(), json!(tokenizer.map(|t| t.decode(tokens))));
    }
    object
}

/// What follows on what is given after a conversation, up to an end of text or so many tokens; it is shown as it
/// comes.
pub fn generate(
    context: &Context,
    runner: &Runner,
    before: &Standing,
    given: &[u32],
    count: u32,
    end: &[u32],
    tokenizer: Option<&Tokenizer>,
) -> Result<Vec<u32>, Failure> {
    // A reader that has seen enough is no reason to stop.
    let show = |text: &str| {
        if context.stream {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(text::visible(text).as_bytes()).and_then(|()| stdout.flush());
        }
    };
    let mut stream = Stream::new();
    let generated = runner.generate(before, given, count, end, |said| match said {
        Said::Token(token) => {
            if let Some(bytes) = tokenizer.and_then(|t| t.token(token)) {
                show(&stream.push(bytes));
            }
        }
        Said::Again => {
            stream = Stream::new();
            show("\n\n(A text as short as this is proven with finer numbers, which choose another token. Again:)\n\n");
        }
    });
    let generated = generated.or_file("the model cannot continue this text")?;
    if tokenizer.is_some() {
        show(&(stream.finish() + "\n\n"));
    }
    Ok(generated)
}

/// A text by itself: a prompt and what follows.
pub fn continued(
    context: &Context,
    runner: &Runner,
    prompt: &[u32],
    count: u32,
    end: &[u32],
    tokenizer: Option<&Tokenizer>,
) -> Result<Text, Failure> {
    let generated = generate(context, runner, &Standing::default(), prompt, count, end, tokenizer)?;
    Ok(Text { tokens: [prompt, &generated].concat(), prompt: prompt.len() as u32 })
}
