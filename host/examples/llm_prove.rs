//! Proves a text of a decoder and prints what each stage takes.

use std::path::Path;
use std::time::Instant;

use circlet::llm::float::FloatModel;
use circlet::llm::prover::DecoderProver;
use circlet::llm::quantize::{Options, calibrate, quantize};
use circlet_core::decoder::Text;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Prints how long spans take.
struct Times;

impl<S> tracing_subscriber::Layer<S> for Times
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_new_span(
        &self,
        _: &tracing::span::Attributes<'_>,
        id: &tracing::Id,
        context: tracing_subscriber::layer::Context<'_, S>,
    ) {
        context.span(id).unwrap().extensions_mut().insert(Instant::now());
    }
    fn on_close(&self, id: tracing::Id, context: tracing_subscriber::layer::Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let start = *span.extensions().get::<Instant>().unwrap();
        println!("  {} {:?} rss {}", span.name(), start.elapsed(), rss());
    }
}

fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap_or("").replace("\t", " ");
    format!("{} {}", line("VmRSS"), line("VmHWM"))
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::registry().with(Times).init();
    let args: Vec<String> = std::env::args().collect();
    let opened = circlet::llm::open(Path::new(&args[1]))?;
    let tokenizer = opened.tokenizer()?;
    let pieces = |path: &str, len: usize| -> anyhow::Result<Vec<Vec<u32>>> {
        Ok(tokenizer
            .encode(&std::fs::read_to_string(path)?, false)
            .chunks(len)
            .map(<[u32]>::to_vec)
            .collect())
    };
    let prefix: Option<u32> = args[3].parse().ok();
    let profile = ProfileId::from_name(&args[4]).unwrap();
    let calibration = {
        let model = FloatModel::load(&*opened.checkpoint)?;
        calibrate(&*opened.checkpoint, &model, prefix, &pieces(&args[2], 64)?[..2])?
    };
    let options = Options { prefix, positions: 256 };
    let quantized = quantize(&*opened.checkpoint, &calibration.maxima, &calibration.prefix, options)?;
    let start = Instant::now();
    let prover = DecoderProver::<Poseidon2Blake2s>::new(quantized.decoder, quantized.data, profile)?;
    println!("commit {:?} {}, 2^{} rows", start.elapsed(), rss(), prover.key.log_rows);
    if args.get(6).is_some() {
        let start = Instant::now();
        let proofs = prover.register(|done, all| println!("registered {done} of {all} {:?} {}", start.elapsed(), rss()))?;
        println!("registration {:?}, {} bytes", start.elapsed(), proofs.iter().map(Vec::len).sum::<usize>());
        let start = Instant::now();
        circlet_verifier::verify_registration(&circlet_verifier::registered(&prover.key), &proofs)?;
        println!("registration verified {:?}", start.elapsed());
    }
    let tokens = &pieces(&args[2], 1000)?[0];
    for given in args[5].split(',') {
        let given: usize = given.parse()?;
        let mut text: Vec<u32> = prefix.into_iter().chain(tokens[..given].iter().copied()).collect();
        let prompt = text.len() as u32;
        text.push(prover.runner.next(&text)?);
        for _ in 0..2 {
            let start = Instant::now();
            let run = prover.run(Text { tokens: text.clone(), prompt })?;
            let ran = start.elapsed();
            let proof = run.prove();
            let lookups: usize = run.key.circuit().lookups.iter().map(|l| l.shape.size()).sum();
            println!(
                "T = {given}: run {ran:?}, all {:?}, {} bytes, {} columns, {lookups} lookups, {} relations, {} evaluations, {:?}",
                start.elapsed(),
                proof.len(),
                run.key.circuit().columns.len(),
                run.key.circuit().relations.len(),
                run.key.protocol.reduction.operands.len(),
                run.key.protocol.stacking.matrix_columns,
            );
            let start = Instant::now();
            circlet_verifier::verify_text(&prover.key, &run.text, &proof)?;
            println!("verified from the key {:?}", start.elapsed());
            let start = Instant::now();
            circlet_verifier::verify_with(&run.key.protocol, &run.key.verifying, &run.statement, &proof)?;
            println!("verified {:?}", start.elapsed());
        }
    }
    Ok(())
}
