//! The circlet command line.

mod cli;
mod progress;

fn main() -> std::process::ExitCode {
    cli::main()
}
