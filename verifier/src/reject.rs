use alloc::boxed::Box;

use circlet_core::circuit::CircuitError;
use circlet_core::decoder::TextError;
use circlet_core::encoder::EncodingError;

/// A stage of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The fraction tree of all lookups.
    Lookup,
    /// The sumcheck of all products.
    Relation,
    /// The batched opening.
    Opening,
}

impl core::fmt::Display for Stage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Lookup => "lookup stage",
            Self::Relation => "relation stage",
            Self::Opening => "opening stage",
        })
    }
}

/// The key of a proof, and another one under which it should be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigests {
    /// Digest of the key that the proof names.
    pub proof: [u8; 32],
    /// Digest of the key.
    pub key: [u8; 32],
}

/// Why a proof was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The key's program is not acceptable.
    #[error("the verifying key is refused: {0}")]
    Key(Box<CircuitError>),
    /// The key names a hash suite that does not exist.
    #[error("the verifying key names an unknown hash suite ({0})")]
    UnknownSuite(u8),
    /// The key's commitment is not of the form that its program asks for.
    #[error("the verifying key's commitment is malformed")]
    MalformedKey,
    /// The text is not one that the decoder can have.
    #[error("{0}")]
    Text(TextError),
    /// The sentence is not one that the encoder can have.
    #[error("{0}")]
    Sentence(EncodingError),
    /// The program reads the state of an earlier proof, and none is given.
    #[error("the proof goes on from another one; verify the whole conversation")]
    Past,
    /// The conversation is one of another key.
    #[error("the conversation so far was verified under another key")]
    OtherKey,
    /// There are more or fewer proofs than turns.
    #[error("a conversation needs one proof for each turn: it has {turns} turns and {proofs} proofs")]
    Turns {
        /// Turns of the conversation.
        turns: usize,
        /// Proofs.
        proofs: usize,
    },
    /// A turn of a conversation is rejected.
    #[error("turn {turn}: {reason}")]
    Turn {
        /// Which one, from 1.
        turn: usize,
        /// Why.
        reason: Box<Reject>,
    },
    /// The proof is one for another key.
    #[error("the proof is for the key {}, not for {}", Hex(&.0.proof), Hex(&.0.key))]
    KeyDigest(Box<KeyDigests>),
    /// The proof is of something that the key is not for.
    #[error("the proof is of another kind of model than the key")]
    OtherKind,
    /// A number in front of the proof is not written as it has to be.
    #[error("the statement is not in its canonical encoding")]
    Encoding,
    /// The statement has other tensors or lengths than the program.
    #[error("the statement does not have the shape of the program's inputs and outputs")]
    StatementShape,
    /// An entry of the statement is out of its tensor's range.
    #[error("an entry of the statement is out of range")]
    StatementRange,
    /// The proof ends before the protocol does.
    #[error("the proof is too short")]
    TooShort,
    /// The source of the proof has failed.
    #[error("the proof could not be read to its end")]
    Unread,
    /// The proof goes on after the protocol's end.
    #[error("the proof has bytes after its end")]
    TooLong,
    /// A field element or digest in the proof is not canonical.
    #[error("the proof holds a non-canonical field element or digest")]
    NonCanonical,
    /// A nonce does not carry the work that the profile asks for.
    #[error("a proof-of-work nonce is invalid")]
    Work,
    /// The sum of all fractions has a vanishing denominator.
    #[error("the lookup sum has denominator zero")]
    ZeroDenominator,
    /// A message is not the one whose digest was sent before.
    #[error("{0}: a message is not the one that was promised")]
    Promise(Stage),
    /// A sumcheck ended in another value than its relation has at the random point.
    #[error("{0}: the sumcheck's last claim is wrong")]
    FinalClaim(Stage),
    /// An opened leaf is not in the committed tree.
    #[error("a Merkle path does not lead to the commitment")]
    MerklePath,
    /// The opened rows do not combine to the value of the folded codeword.
    #[error("the folded codeword disagrees with the committed columns")]
    RowCombination,
    /// A fold layer disagrees with the one before it.
    #[error("a fold layer disagrees with the layer before it")]
    Fold,
    /// The last message disagrees with the last fold layer.
    #[error("the final message disagrees with the last fold layer")]
    FinalMessage,
}

impl Reject {
    /// The rejection of a proof that names another key.
    pub(crate) fn key_digest(proof: [u8; 32], key: [u8; 32]) -> Self {
        Self::KeyDigest(Box::new(KeyDigests { proof, key }))
    }

    /// The rejection of a turn of a conversation.
    pub(crate) fn in_turn(self, turn: usize) -> Self {
        Self::Turn { turn, reason: Box::new(self) }
    }
}

/// A digest in hexadecimal digits.
struct Hex<'a>(&'a [u8; 32]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
