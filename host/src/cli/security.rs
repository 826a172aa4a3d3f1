//! `circlet security`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::files::{self, Kind};
use circlet_core::decoder::{Decoder, DecoderKey, Extent};
use circlet_core::encoder::{Encoder, EncoderKey};
use circlet_core::key::VerifyingKey;
use circlet_core::memory;
use circlet_core::profile::ProfileId;
use circlet_core::program::Program;
use circlet_core::protocol::Outline;
use circlet_core::security::Report;
use clap::Args;
use serde_json::{Value, json};

use super::failure::{Failure, OrFail};
use super::{Context, Outcome, demo, encoder, job, llm, text};

/// Show how many bits of security a profile gives, source by source, and the memory that a verifier needs.
///
/// Security depends on the sizes of the program: with a key, the table is for that program under the key's
/// profile; without one, for the bundled digits model under every profile. With the key of a language model it is
/// for texts of --positions positions, all but the first of them proven.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet security
  circlet security --profile p100-j8
  circlet security model.vk
  circlet security model.vk --profile p100-j    # what another profile would give
  circlet security smollm2.vk --positions 32")]
pub struct Arguments {
    /// A verifying key [default: the bundled digits model]
    key: Option<PathBuf>,
    /// Only this profile
    #[arg(long, value_name = "NAME", value_parser = super::profile_parser())]
    profile: Option<ProfileId>,
    /// Positions of the text, with a language model's key [default: the most that it has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    positions: Option<u32>,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        self.key.as_deref().into_iter().collect()
    }
}

/// Calculates.
pub fn run(_: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let (subject, own) = subject(arguments)?;
    let profiles = arguments.profile.map_or(own, |profile| vec![profile]);
    let mut out = match &subject {
        Subject::Program(program) => format!("program {}\n", text::name(&program.name)),
        Subject::Decoder(decoder, extent) => {
            format!("language model {}, texts of {} positions\n", text::name(&decoder.name), extent.rows)
        }
        Subject::Encoder(encoder, length) => {
            format!("sentence encoder {}, sentences of {length} tokens\n", text::name(&encoder.name))
        }
    };
    let mut reports = Vec::new();
    for profile in profiles {
        let (outline, program) = subject.outline(profile)?;
        let report = job::security(&outline)?;
        let _ = writeln!(out, "\n{report}");
        let [small, large] = [4, 8].map(|word| memory::plan(&outline, &program, word).total());
        let _ = writeln!(
            out,
            "a verifier needs at most {} of heap, {} on a machine of 64 bits, besides the key",
            text::bytes(small),
            text::bytes(large)
        );
        let mut report = json(&report);
        report["verifier_heap"] = json!({ "bits_32": small, "bits_64": large });
        reports.push(report);
    }
    let json = match &subject {
        Subject::Program(program) => json!({ "model": program.name, "profiles": reports }),
        Subject::Decoder(decoder, extent) => {
            json!({ "model": decoder.name, "positions": extent.rows, "profiles": reports })
        }
        Subject::Encoder(encoder, length) => {
            json!({ "model": encoder.name, "positions": length, "profiles": reports })
        }
    };
    Ok(Outcome { text: out, json, rejected: None })
}

/// What security is calculated for.
enum Subject {
    Program(Program),
    Decoder(Box<Decoder>, Extent),
    Encoder(Box<Encoder>, u32),
}

fn subject(arguments: &Arguments) -> Result<(Subject, Vec<ProfileId>), Failure> {
    let kind = arguments.key.as_deref().map(files::kind_of).transpose().or_bad()?.flatten();
    if let (Some(path), Some(Kind::ModelKey)) = (&arguments.key, kind) {
        let key: DecoderKey = files::read(path).or_bad()?;
        let positions = arguments.positions.unwrap_or(key.decoder.positions);
        let extent =
            llm::prover::extent(&key.decoder, 1, positions).or_usage("cannot use these --positions")?;
        return Ok((Subject::Decoder(Box::new(key.decoder), extent), vec![key.profile]));
    }
    if let (Some(path), Some(Kind::EncoderKey)) = (&arguments.key, kind) {
        let key: EncoderKey = files::read(path).or_bad()?;
        let length = arguments.positions.unwrap_or(key.encoder.positions);
        if length.next_power_of_two() > key.encoder.positions {
            return Err(Failure::usage(format!(
                "--positions {length}: the encoder has {} positions",
                key.encoder.positions
            )));
        }
        return Ok((Subject::Encoder(Box::new(key.encoder), length), vec![key.profile]));
    }
    if arguments.positions.is_some() {
        return Err(Failure::usage("--positions is for the keys of language models and sentence encoders"));
    }
    Ok(match &arguments.key {
        Some(path) => {
            let key: VerifyingKey = files::read(path).or_bad()?;
            (Subject::Program(key.program), vec![key.profile])
        }
        None => (Subject::Program(demo::digits()?.quantized.program), ProfileId::all().to_vec()),
    })
}

impl Subject {
    fn outline(&self, profile: ProfileId) -> Result<(Outline, Program), Failure> {
        Ok(match self {
            Self::Program(program) => {
                let outline = Outline::new(program, *profile.profile());
                (outline.or_file("this program cannot be proven")?, program.clone())
            }
            Self::Decoder(decoder, extent) => {
                (llm::prover::protocol(decoder, profile, *extent)?.outline, decoder.program(*extent))
            }
            Self::Encoder(encoder, length) => {
                (encoder::prover::protocol(encoder, profile, *length)?.outline, encoder.program(*length))
            }
        })
    }
}

fn json(report: &Report) -> Value {
    let mut value = job::security_json(report);
    let rows: Vec<Value> = report
        .rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name, "rounds": row.rounds, "bits": row.bits, "grinding_bits": row.grinding_bits,
                "formula": row.formula, "reference": row.reference,
            })
        })
        .collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("sources".into(), json!(rows));
        object.insert("unique_decoding_bits".into(), json!(report.unique_decoding_bits));
        object.insert("johnson_bits".into(), json!(report.johnson_bits));
    }
    value
}
