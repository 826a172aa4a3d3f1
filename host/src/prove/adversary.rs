//! A cheating prover's grip on the protocol: for tests of soundness.
//!
//! The prover asks an [`Adversary`] before it commits to or sends anything. Whatever is changed, everything
//! after it is computed honestly from what was sent: that is what a cheating prover would do. The verifier has
//! no such thing.

use circlet_core::field::QM31;
use circlet_core::transcript::Label;

use crate::backend::field::B;

/// Hooks into the prover. The default of each does nothing.
pub trait Adversary {
    /// Whether it may change what the honest prover need not look at: codewords once they are hashed, and what is left of the
    /// opening, which is laid out only for those who do.
    fn meddles(&self) -> bool {
        true
    }

    /// A message of extension elements, before it is sent.
    fn message(&mut self, _label: Label, _message: &mut [QM31]) {}

    /// Codewords (columns of vectors), before the tree over what this leaves is sent.
    fn codewords(&mut self, _label: Label, _words: &mut [Vec<B>]) {}

    /// A folded codeword, before its tree is built; later layers are folded from what this leaves.
    fn word(&mut self, _label: Label, _word: &mut [QM31]) {}

    /// A proof-of-work nonce, before it is sent.
    fn nonce(&mut self, _nonce: &mut u64) {}

    /// A challenge of the verifier, as it is drawn.
    fn challenge(&mut self, _label: Label, _challenge: QM31) {}

    /// What is left of the opening before a word or the final message is sent: the message, the weight on it,
    /// and the claim, which for an honest prover is their inner product. Later rounds use what this leaves.
    fn remaining(&mut self, _label: Label, _message: &mut [QM31], _weight: &[QM31], _claim: QM31) {}

    /// Query positions, before they are answered.
    fn positions(&mut self, _positions: &mut Vec<u32>) {}
}

/// The honest prover.
pub struct Honest;

impl Adversary for Honest {
    fn meddles(&self) -> bool {
        false
    }
}
