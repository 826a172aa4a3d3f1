//! Proves a step of a decoder of a given shape with random weights.
use std::time::Instant;

use circlet::llm::prover::DecoderProver;
use circlet::llm::shape::Shape;
use circlet_core::decoder::Text;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;

fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")).collect::<Vec<_>>().join(" ")
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let shape = Shape::named(&args[1]).unwrap();
    let start = Instant::now();
    let (decoder, data) = shape.decoder(args[2].parse()?, 1024, 64);
    println!("made {:?} {}", start.elapsed(), rss());
    let start = Instant::now();
    let prover = DecoderProver::<Poseidon2Blake2s>::new(decoder, data, ProfileId::P100U)?;
    println!("committed {:?} {} 2^{}", start.elapsed(), rss(), prover.key.log_rows);
    for given in args[3].split(',') {
        let given: u32 = given.parse()?;
        let mut tokens: Vec<u32> = (0..given).map(|i| i * 7 % 1000).collect();
        tokens.push(prover.runner.next(&tokens)?);
        let start = Instant::now();
        let run = prover.run(Text { tokens, prompt: given })?;
        let proof = run.prove();
        println!("T = {given} proved {:?} {} bytes {}", start.elapsed(), proof.len(), rss());
        let start = Instant::now();
        circlet_verifier::verify_text(&prover.key, &run.text, &proof)?;
        println!("verified {:?}", start.elapsed());
    }
    Ok(())
}
