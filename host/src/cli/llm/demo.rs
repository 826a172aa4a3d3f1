//! `circlet demo --llm`.

use std::time::Instant;

use circlet::backend::device::Device;
use circlet::estimate::estimate;
use circlet::keys::Keep;
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Outline;
use clap::Args;
use serde_json::json;

use super::prompt::{Form, check_room, encode};
use super::prove::{continued, text_json};
use super::prover::{commit, extent, protocol};
use super::verify::lines;
use super::{bundled, compile};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::{self, Suite};
use crate::cli::{Context, Outcome, system, text};

/// What is said only of the language model.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Language models")]
pub struct Options {
    /// Take the bundled language model, which continues a prompt, instead of the classifier
    #[arg(long, conflicts_with = "image")]
    pub llm: bool,
    /// What it is to continue
    #[arg(long, value_name = "TEXT", requires = "llm", default_value = "Alice was very")]
    prompt: String,
    /// How many tokens
    #[arg(long, value_name = "N", requires = "llm", default_value_t = 12,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    tokens: u32,
}

/// Positions that the estimate of the waiting time is for.
const USUAL: u32 = 16;

/// Runs the demonstration.
pub fn run(context: &Context, options: &Options, profile: ProfileId) -> Result<Outcome, Failure> {
    let model = bundled::model(context, 256)?;
    let decoder = model.integers.runner.decoder().clone();
    let prompt = encode(&decoder, &model.tokenizer, &options.prompt, &Form::default())?;
    check_room(&decoder, prompt.len(), options.tokens)?;
    let usual = extent(&decoder, USUAL, 1).or_file("the bundled language model cannot be proven")?;
    let times = estimate(&protocol(&decoder, profile, usual)?, rayon::current_num_threads()).times;
    let said = tracing::info_span!("generate").in_scope(|| {
        let tokenizer = Some(&model.tokenizer);
        continued(context, &model.integers.runner, &prompt, options.tokens, &model.end, tokenizer)
    })?;
    let shown = context.monitor.plan(&job::plan(&times), 1);
    let prover = commit(&Device::Cpu, model.integers.runner, profile, Suite::default(), Keep::Codewords)?;
    let proof = prover.prove(&said).or_file("the bundled language model cannot be proven")?;
    let key = prover.key();
    let start = Instant::now();
    let verdict = circlet_verifier::verify_text(key, &said, &proof);
    let verify = start.elapsed().as_secs_f64();
    drop(shown);

    // The same proof for a text with another last token.
    let mut changed = said.clone();
    if let Some(last) = changed.tokens.last_mut() {
        *last = (*last + 1) % decoder.vocab;
    }
    let refused = circlet_verifier::verify_text(key, &changed, &proof).err();

    let mut stages = context.monitor.take();
    stages.push(("verify", verify));
    let extent = decoder.extent(&said).or_file("the bundled language model cannot be proven")?;
    let protocol = Outline::of_key(&key.instance(extent)).or_file("the key cannot be used")?;
    let report = job::security(&protocol)?;
    let memory = system::peak_memory();
    let digest = text::hex(&key.digest());
    let verdict = match (verdict, &refused) {
        (Err(reject), _) => Err(reject.to_string()),
        (Ok(()), None) => Err("a changed text was accepted; this is a bug in circlet".into()),
        (Ok(()), Some(_)) => Ok(()),
    };
    let mut out =
        String::from("statement: the language model with this key continues the prompt greedily so\n");
    out += &lines(&said, Some(&model.tokenizer));
    out += "\naccount\n";
    let mut fields = vec![
        (
            "model",
            format!(
                "{}: {} parameters, {} layers",
                text::name(&decoder.name),
                text::count(model.parameters),
                decoder.layers.len()
            ),
        ),
        ("key", digest.clone()),
        (
            "proof",
            format!(
                "{}, {}",
                text::bytes(proof.len() as u64),
                if verdict.is_ok() { "accepted" } else { "REJECTED" }
            ),
        ),
        (
            "a changed token",
            refused.as_ref().map_or_else(|| "ACCEPTED".into(), |reject| format!("rejected: {reject}")),
        ),
        ("security", job::security_line(&report)),
        (
            "what it shows",
            "that every token is the committed integer model's greedy choice (a validity proof); nothing is\n\
             hidden by it: all tokens are public, and the proof reveals some of the weights' combinations"
                .into(),
        ),
        ("threads", rayon::current_num_threads().to_string()),
    ];
    if let Some(prefix) = decoder.prefix {
        fields.push((
            "prefix",
            format!("token {prefix}, whose keys and values are parameters, computed outside the proof"),
        ));
    }
    if let Some(memory) = memory {
        fields.push(("peak memory", text::bytes(memory)));
    }
    out += &text::fields(&fields);
    if let Some(accuracy) = &model.integers.accuracy {
        out += "\naccuracy against the float model on a text that was not calibrated on\n";
        out += &text::fields(&compile::accuracy_fields(accuracy));
    }
    out += "\ntimes\n";
    out += &text::fields(&job::stage_fields(&stages));
    let mut json = json!({
        "model": decoder.name,
        "parameters": model.parameters,
        "key": digest,
        "accepted": verdict.is_ok(),
        "changed_rejected": refused.is_some(),
        "proof_bytes": proof.len(),
        "accuracy": model.integers.accuracy.as_ref().map(compile::accuracy_json),
        "security": job::security_json(&report),
        "threads": rayon::current_num_threads(),
        "peak_memory_bytes": memory,
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(text_json(&said, Some(&model.tokenizer)));
    }
    Ok(Outcome { text: out, json, rejected: verdict.err() })
}
