//! The circlet command line.

mod cli;
mod progress;

#[global_allocator]
static MEMORY: circlet::pages::HugePages = circlet::pages::HugePages;

fn main() -> std::process::ExitCode {
    cli::main()
}
