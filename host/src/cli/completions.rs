//! `circlet completions`.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::Outcome;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  circlet completions bash > ~/.local/share/bash-completion/completions/circlet"
)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Writes the script.
pub fn run<C: CommandFactory>(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    generate(arguments.shell, &mut C::command(), "circlet", &mut script);
    let text = String::from_utf8_lossy(&script).into_owned();
    Outcome { json: serde_json::json!({ "script": text }), text, rejected: None }
}
