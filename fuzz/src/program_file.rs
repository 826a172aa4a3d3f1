//! Compiled models and what is made with them: programs, language models, encoders, unfinished compilations,
//! registrations, proofs.

use std::fmt::Debug;

use bytes::Bytes;
use circlet::files::{
    ChatFile, EncoderFile, EncodingFile, Format, ModelFile, PartialFile, ProgramFile, ProofFile,
    RegistrationFile, TextFile, decode, encode,
};
use circlet::keys;
use circlet::llm::Tokenizer;
use circlet::llm::encoder::WordPiece;
use circlet::numbers::Source;
use circlet_core::decoder::Extent;
use circlet_core::program::Program;
use circlet_core::protocol::Protocol;

use crate::fixtures::file;
use crate::tokenizer::use_tokenizer;

/// The first byte chooses the kind, the others are the payload.
pub fn program_file(data: &[u8]) {
    let _ = decode::<ProgramFile>(Bytes::copy_from_slice(data));
    let _ = decode::<ModelFile>(Bytes::copy_from_slice(data));
    let Some((&first, payload)) = data.split_first() else { return };
    match first % 9 {
        0 => {
            let Some(file) = read::<ProgramFile>(payload) else { return };
            derive(&file.program, &file.data);
        }
        1 => {
            let Some(ModelFile { head, numbers }) = read::<ModelFile>(payload) else { return };
            let text = "Once upon a time, 12 caf\u{e9}s";
            if let Some(Ok(tokenizer)) = head.tokenizer.map(Tokenizer::new) {
                use_tokenizer(&tokenizer, text, true);
            }
            derive(&head.decoder.program(Extent { rows: 4, first: 1, generated: 2, past: None }), &numbers);
        }
        2 => {
            let Some(EncoderFile { head, numbers }) = read::<EncoderFile>(payload) else { return };
            if let Some(Ok(tokenizer)) = head.tokenizer.map(WordPiece::new) {
                let _ = tokenizer.decode(&tokenizer.encode("A man is eating food."));
            }
            derive(&head.encoder.program(3), &numbers);
        }
        3 => drop(read::<PartialFile>(payload)),
        4 => drop(read::<RegistrationFile>(payload)),
        5 => drop(read::<ProofFile>(payload)),
        6 => drop(read::<TextFile>(payload)),
        7 => drop(read::<ChatFile>(payload)),
        _ => drop(read::<EncodingFile>(payload)),
    }
}

/// A file of this payload, which has one encoding and no beginning that is a file too.
fn read<T: Format + Debug + PartialEq>(payload: &[u8]) -> Option<T> {
    let bytes = file(T::KIND, payload);
    let value = decode::<T>(bytes.clone()).ok()?;
    assert_eq!(encode(&value), bytes, "another encoding of the same value");
    let shorter = file(T::KIND, &payload[..payload.len() - 1]);
    assert_ne!(decode::<T>(shorter).ok().as_ref(), Some(&value), "a shorter file with the same contents");
    Some(value)
}

/// What a prover does with a program and its numbers before it commits to them.
fn derive(program: &Program, numbers: &impl Source) {
    if keys::check(program, numbers).is_ok() {
        let _ = Protocol::new(program, circlet_core::profile::P100_U);
    }
}
