//! Quantizes a decoder and compares it with the float one on a text.

use std::path::Path;
use std::time::Instant;

use circlet::llm::float::FloatModel;
use circlet::llm::quantize::{Options, calibrate, quantize};
use circlet::llm::report::compare;
use circlet::llm::run::Runner;

fn main() -> anyhow::Result<()> {
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
    let prefix: Option<u32> = args[4].parse().ok();
    let model = FloatModel::load(&*opened.checkpoint)?;
    let start = Instant::now();
    let calibration = calibrate(&*opened.checkpoint, &model, prefix, &pieces(&args[2], 250)?)?;
    println!("calibrated {:?}", start.elapsed());
    println!("{:?}", calibration.maxima);
    let start = Instant::now();
    let options = Options { prefix, positions: 256 };
    let quantized = quantize(&*opened.checkpoint, &calibration.maxima, &calibration.prefix, options)?;
    println!("quantized {:?}", start.elapsed());
    println!("{:?}", quantized.decoder.layers[0]);
    println!("{} tables, {:?}", quantized.decoder.tables.len(), quantized.decoder.exponentials);
    let runner = Runner::new(quantized.decoder, &quantized.data)?;
    let most: usize = args[5].parse()?;
    let held: Vec<Vec<u32>> = pieces(&args[3], 250)?.into_iter().take(most).collect();
    let start = Instant::now();
    let accuracy = compare(&model, &runner, quantized.logit_bits, &held, |n| println!("{n}"))?;
    println!("{accuracy:?} {:?}", start.elapsed());
    println!("agree {:.4} confident {:.4}", accuracy.agreement(), accuracy.confident_agreement());
    let mut tokens: Vec<u32> = prefix.into_iter().chain(held[0][..16].iter().copied()).collect();
    let start = Instant::now();
    let given = tokens.len();
    for _ in 0..8 {
        tokens.push(runner.next(&tokens)?);
    }
    println!(
        "{:?} -> {:?} {:?}",
        tokenizer.decode(&tokens[..given]),
        tokenizer.decode(&tokens[given..]),
        start.elapsed()
    );
    Ok(())
}
