//! Writes the corpus of honest and forged proofs into a folder: `forgeries FOLDER [KEY:PROOF...]`.
//!
//! The pairs name files in the folder: honest proofs, of which a few forgeries are made too. `cases.json` lists all with
//! their verdicts. `scripts/proof-fixtures` calls this.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use circlet_tests::corpus::Corpus;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: forgeries FOLDER [KEY:PROOF...]");
        return ExitCode::from(2);
    };
    match run(&folder, arguments) {
        Ok((files, honest, forged)) => {
            println!("{}: {files} files, {honest} honest proofs and {forged} forged ones", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("forgeries: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, pairs: impl Iterator<Item = String>) -> io::Result<(usize, usize, usize)> {
    let mut corpus = Corpus::small();
    for pair in pairs {
        let (key, proof) = pair.split_once(':').ok_or_else(|| io::Error::other("give KEY:PROOF"))?;
        let files = [fs::read(folder.join(key))?, fs::read(folder.join(proof))?];
        corpus.foreign(key, proof, files);
    }
    corpus.write(folder)?;
    let honest = corpus.cases.iter().filter(|case| case.verdict.is_ok()).count();
    Ok((corpus.files.len(), honest, corpus.cases.len() - honest))
}
