//! Compiles keys in, and links for the board.
//!
//! `CIRCLET_KEYS` names the files of verifying keys, separated by `:` as in `PATH`. Each must be a key that the verifier
//! reads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use circlet_core::file::{Header, Kind};
use circlet_verifier::Key;

/// Features and the boards' linker scripts.
const BOARDS: [(&str, &str); 3] =
    [("MPS2_AN386", "mps2-an386"), ("NETDUINOPLUS2", "netduinoplus2"), ("RISCV_VIRT", "riscv-virt")];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CIRCLET_KEYS");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo does not say where to write")?);
    keys(&out)?;
    link(&out)
}

fn link(out: &Path) -> Result<(), String> {
    let chosen: Vec<&str> = BOARDS
        .iter()
        .filter(|(feature, _)| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some())
        .map(|(_, board)| *board)
        .collect();
    let [board] = chosen[..] else {
        let boards = BOARDS.map(|(_, board)| board).join(", ");
        return Err(format!("choose one board: --features with one of {boards}"));
    };
    let target = env::var("TARGET").unwrap_or_default();
    let family = if board == "riscv-virt" { "riscv32imac-" } else { "thumbv7em-" };
    if !target.starts_with(family) {
        let target =
            if board == "riscv-virt" { "riscv32imac-unknown-none-elf" } else { "thumbv7em-none-eabihf" };
        return Err(format!("the board {board} needs --target {target}"));
    }
    let script = format!("memory/{board}.x");
    println!("cargo:rerun-if-changed={script}");
    fs::copy(&script, out.join("memory.x")).map_err(|error| format!("cannot copy {script}: {error}"))?;
    println!("cargo:rustc-link-search={}", out.display());
    if board == "riscv-virt" {
        println!("cargo:rustc-link-arg-bins=-Tmemory.x");
    } else {
        println!("cargo:rustc-link-arg-bins=--nmagic");
    }
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
    }
    Ok(())
}

fn keys(out: &Path) -> Result<(), String> {
    let list = env::var_os("CIRCLET_KEYS").unwrap_or_default();
    let paths: Vec<PathBuf> = env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        return Err(
            "no keys: set CIRCLET_KEYS to the files that `circlet compile` wrote (model.vk), with a colon \
                    between one and the next"
                .into(),
        );
    }
    if paths.len() > u8::MAX.into() {
        return Err(format!("{} keys are too many; the device can name {}", paths.len(), u8::MAX));
    }
    let mut source = String::new();
    let mut held = String::new();
    let mut known = BTreeMap::new();
    for (index, path) in paths.iter().enumerate() {
        let shown = path.display();
        println!("cargo:rerun-if-changed={shown}");
        let bytes = fs::read(path).map_err(|error| {
            format!("cannot read the key {shown}: {error}; relative paths start at verifier/firmware")
        })?;
        let key = Key::from_file(&bytes).map_err(|error| format!("cannot use the key {shown}: {error}"))?;
        let (header, payload) = Header::split(&bytes, &Key::KINDS)
            .map_err(|error| format!("cannot use the key {shown}: {error}"))?;
        if let Some(other) = known.insert(key.digest(), path) {
            return Err(format!("{} and {shown} are the same key; leave one out", other.display()));
        }
        let file = out.join(format!("{index}.key"));
        fs::write(&file, payload).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let key_of = match header.kind {
            Kind::Key => "circlet_core::key::VerifyingKey",
            Kind::ModelKey => "circlet_core::decoder::DecoderKey",
            _ => "circlet_core::encoder::EncoderKey",
        };
        let bytes = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{index}.key\"))");
        let _ = writeln!(source, "    |kind, source| under({key_of}::from_bytes({bytes}), kind, source),");
        let _ = writeln!(held, "    Held {{ digest: {:?}, name: {:?} }},", key.digest(), key.name());
    }
    let count = paths.len();
    let text = format!(
        "/// What judges under each of them.\npub static JUDGES: [Judge; {count}] = [\n{source}];\n\
         /// What the device says of them.\npub static HELD: [Held<'static>; {count}] = [\n{held}];\n"
    );
    fs::write(out.join("keys.rs"), text).map_err(|error| format!("cannot write the list of keys: {error}"))
}
