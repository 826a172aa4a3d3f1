//! What a proof was accepted for, in 32 bytes: both sides compute it, and a host that knows the statement knows what a
//! device has accepted.
//!
//! The digest is Blake2s of the first eight bytes of the file ([`Kind::magic`]) and of the statement in the file's encoding.

use circlet_core::file::Kind;
use circlet_core::hash::blake2s::{self, Hasher};
use circlet_verifier::Proven;
use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// The digest of a statement.
pub fn digest(proven: &Proven) -> [u8; 32] {
    match proven {
        Proven::Program(statement) => hash(Kind::Proof, statement),
        Proven::Text(text) => hash(Kind::Text, text),
        Proven::Chat(chat) => hash(Kind::Chat, chat),
        Proven::Encoding(encoding) => hash(Kind::Encoding, encoding),
    }
}

fn hash(kind: Kind, statement: &impl Serialize) -> [u8; 32] {
    let mut hasher = Hasher::new(blake2s::DIGEST);
    hasher.update(kind.magic());
    // Hashing cannot fail, and statements are lists of numbers, which are all encoded.
    postcard::serialize_with_flavor(statement, Hashing(hasher)).unwrap_or_default()
}

/// Hashes what is encoded.
struct Hashing(Hasher);

impl Flavor for Hashing {
    type Output = [u8; 32];

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.update(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.update(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<[u8; 32]> {
        Ok(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use circlet_core::decoder::Text;

    use super::*;

    #[test]
    fn it_is_the_hash_of_the_files_encoding() {
        let text = Text { tokens: (0..1000).collect(), prompt: 7 };
        let mut bytes = Kind::Text.magic().to_vec();
        bytes.extend(postcard::to_allocvec(&text).unwrap());
        assert_eq!(digest(&Proven::Text(text)), blake2s::hash(blake2s::DIGEST, &bytes));
    }
}
