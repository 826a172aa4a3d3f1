//! `circlet security`.

use std::path::PathBuf;

use circlet::files;
use circlet_core::key::VerifyingKey;
use circlet_core::profile::ProfileId;
use circlet_core::program::Program;
use circlet_core::protocol::Protocol;
use circlet_core::security::Report;
use clap::Args;
use serde_json::{Value, json};

use super::failure::{Failure, OrFail};
use super::{Context, Outcome, demo, job};

/// Show how many bits of security a profile gives, source by source.
///
/// Security depends on the sizes of the program: with a key, the table is for that program under the key's
/// profile; without one, for the bundled digits model under every profile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet security
  circlet security --profile p100-j8
  circlet security model.vk
  circlet security model.vk --profile p100-j    # what another profile would give")]
pub struct Arguments {
    /// A verifying key [default: the bundled digits model]
    key: Option<PathBuf>,
    /// Only this profile
    #[arg(long, value_name = "NAME", value_parser = super::profile_parser())]
    profile: Option<ProfileId>,
}

/// Calculates.
pub fn run(_: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let (program, own) = match &arguments.key {
        Some(path) => {
            let key: VerifyingKey = files::read(path).or_bad()?;
            (key.program, vec![key.profile])
        }
        None => (demo::digits()?.quantized.program, ProfileId::all().to_vec()),
    };
    let profiles = arguments.profile.map_or(own, |profile| vec![profile]);
    let mut out = format!("program {}\n", program.name);
    let mut reports = Vec::new();
    for profile in profiles {
        let report = report(&program, profile)?;
        out += &format!("\n{report}\n");
        reports.push(json(&report));
    }
    Ok(Outcome { text: out, json: json!({ "model": program.name, "profiles": reports }), rejected: None })
}

fn report(program: &Program, profile: ProfileId) -> Result<Report, Failure> {
    job::security(&Protocol::new(program, *profile.profile()).or_file("this program cannot be proven")?)
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
