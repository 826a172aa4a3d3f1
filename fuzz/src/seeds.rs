//! Inputs to start from: small real files of every kind, and arbitrary bytes where those decide what is done.

mod files;
mod link;
mod models;

use circlet_tests::programs::Random;

/// A target, a name, and bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    files::keys(&mut seeds);
    files::programs(&mut seeds);
    files::proofs(&mut seeds);
    link::conversation(&mut seeds);
    models::onnx(&mut seeds);
    models::gguf(&mut seeds);
    models::directories(&mut seeds);
    models::tokenizers(&mut seeds);
    models::inputs(&mut seeds);
    for target in ["proof_structured", "witness", "stream", "frames"] {
        let mut random = Random(1);
        for index in 0..16 {
            let bytes = (0..24 + 4 * index).map(|_| random.word() as u8);
            seeds.push((target, format!("random-{index}"), bytes.collect()));
        }
    }
    seeds
}
