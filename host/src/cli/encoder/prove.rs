//! `circlet prove` for sentence encoders.

use circlet::estimate::estimate;
use circlet::files::{self, EncoderFile, EncodingFile, Outputs};
use circlet::llm::encoder::WordPiece;
use circlet_core::encoder::Encoder;
use serde_json::json;

use super::prover::{commit_file, protocol, runner};
use super::{encoding_json, lines, tokenizer};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::{self, Suite};
use crate::cli::llm::prompt::{parse_ids, read_text};
use crate::cli::prove::Arguments;
use crate::cli::{Context, Outcome, system, text};

/// The tokens of the sentence that is asked for.
fn tokens(
    arguments: &Arguments,
    encoder: &Encoder,
    tokenizer: Option<&WordPiece>,
) -> Result<Vec<u32>, Failure> {
    let prompt = &arguments.prompt;
    if let Some(ids) = &prompt.ids {
        return parse_ids(ids, encoder.vocab).or_usage("cannot use --ids");
    }
    let text = match (&arguments.sentence, &prompt.text_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => read_text(path)?,
        (None, None) => {
            return Err(Failure::usage(format!(
                "{} is a compiled sentence encoder; give it a sentence with --text TEXT",
                arguments.program.display()
            )));
        }
    };
    let Some(tokenizer) = tokenizer else {
        return Err(Failure::usage(
            "this encoder was compiled without a tokenizer; give the sentence as token numbers with --ids",
        ));
    };
    Ok(tokenizer.encode(&text))
}

/// Runs and proves.
pub fn run(context: &Context, arguments: &Arguments, outputs: &Outputs<1>) -> Result<Outcome, Failure> {
    if arguments.tokens.is_some() || arguments.prompt.form.is_given() {
        return Err(Failure::usage(
            "--tokens, --chat and --special are for language models that generate text",
        ));
    }
    let EncoderFile { mut head, numbers } =
        tracing::info_span!("import").in_scope(|| files::read(&arguments.program)).or_bad()?;
    let unusable = || format!("cannot use {}", arguments.program.display());
    let tokenizer = tokenizer(&mut head)?;
    let suite = Suite::of(head.suite)
        .ok_or_else(|| Failure::file(format!("{}: unknown hash suite {}", unusable(), head.suite)))?;
    let tokens = tokens(arguments, &head.encoder, tokenizer.as_ref())?;
    let length = head.encoder.length(&tokens).or_usage("cannot prove this sentence")?;
    let protocol = protocol(&head.encoder, head.profile, length)?;
    let expected = estimate(&protocol, rayon::current_num_threads());
    context.check_memory(expected.memory_bytes, "this proof")?;

    let shown = context.monitor.plan(&job::plan(&expected.times), 1);
    let prover = commit_file(&context.device, &head, runner(&head, &numbers)?, suite)?;
    let (encoding, proof) = prover.prove(&tokens).or_file("cannot prove this sentence")?;
    drop(shown);
    let proven = EncodingFile { key_digest: head.key_digest, encoding, proof };
    let bytes = files::encode(&proven);
    outputs.write([&bytes]).or_bad()?;

    let stages = context.monitor.take();
    let seconds = |names: &[&str]| -> f64 {
        stages.iter().filter(|(name, _)| names.contains(name)).map(|(_, s)| s).sum()
    };
    let warm = seconds(&["execute", "commit", "lookup", "relation", "opening"]);
    let security = job::security(&protocol)?;
    let memory = system::peak_memory();
    let mut out = format!("proved {}\n", text::name(&head.encoder.name));
    out += &lines(&proven.encoding, tokenizer.as_ref());
    out += &text::fields(&[
        ("key", text::hex(&proven.key_digest)),
        ("security", job::security_line(&security)),
        ("proof", format!("{} ({})", arguments.output.display(), text::bytes(bytes.len() as u64))),
        (
            "time",
            format!(
                "{} to run and prove, and {} (cold) to commit to the weights",
                text::seconds(warm),
                text::seconds(seconds(&["weights"]))
            ),
        ),
        ("peak memory", memory.map_or_else(|| "unknown on this system".into(), text::bytes)),
    ]);
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let mut json = json!({
        "model": head.encoder.name,
        "key": text::hex(&proven.key_digest),
        "security": job::security_json(&security),
        "proof": arguments.output,
        "proof_bytes": proven.proof.len(),
        "file_bytes": bytes.len(),
        "peak_memory_bytes": memory,
        "embedding_bits": head.bits,
        "estimate": { "memory_bytes": expected.memory_bytes, "seconds": expected.times.prove(),
                      "proof_bytes": expected.proof_bytes },
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(encoding_json(&proven.encoding, tokenizer.as_ref()));
    }
    Ok(Outcome { text: out, json, rejected: None })
}
