//! The prover's side of the transcript: everything sent is absorbed and written.

use circlet_core::field::{M31, QM31};
use circlet_core::hash::HashSuite;
use circlet_core::merkle::cap_root;
use circlet_core::transcript::{Label, Promise, Rounds, Transcript};

use super::adversary::Adversary;
use crate::backend::device::{Device, Error};
use crate::backend::grind::Grinder;

/// The transcript and the proof so far.
pub struct Channel<'a, S: HashSuite> {
    transcript: S::Transcript,
    proof: Vec<u8>,
    /// What was promised and is still to be sent.
    promised: Vec<QM31>,
    grinder: Grinder<'a>,
    /// May change what is sent.
    pub adversary: &'a mut dyn Adversary,
}

impl<'a, S: HashSuite> Channel<'a, S> {
    /// A channel with an empty proof, whose work a device does.
    pub fn new(transcript: S::Transcript, device: &'a Device, adversary: &'a mut dyn Adversary) -> Self {
        let grinder = Grinder::new(device);
        Self { transcript, proof: Vec::new(), promised: Vec::new(), grinder, adversary }
    }

    /// Sends a message; returns what was sent.
    pub fn send<const N: usize>(&mut self, label: Label, message: [QM31; N]) -> [QM31; N] {
        let mut message = message;
        self.send_slice(label, &mut message);
        message
    }

    /// Sends a message of any length.
    pub fn send_slice(&mut self, label: Label, message: &mut [QM31]) {
        self.adversary.message(label, message);
        self.transcript.absorb_ext(label, message);
        let words: Vec<M31> = message.iter().flat_map(|x| x.coordinates()).collect();
        self.open(&words);
    }

    /// Sends the digest of a message, which [`Self::keep_promise`] sends itself; returns the message.
    pub fn promise(&mut self, label: Label, mut message: Vec<QM31>) -> Vec<QM31> {
        self.adversary.message(label, &mut message);
        let mut promise = Promise::default();
        for &element in &message {
            promise.push(element);
        }
        let digest = promise.digest();
        self.transcript.absorb_bytes(label, &digest);
        self.proof.extend(digest);
        self.promised.clone_from(&message);
        message
    }

    /// Sends what was promised.
    pub fn keep_promise(&mut self) {
        let message = std::mem::take(&mut self.promised);
        let words: Vec<M31> = message.iter().flat_map(|x| x.coordinates()).collect();
        self.open(&words);
    }

    /// Sends the cap of a tree.
    pub fn cap(&mut self, label: Label, cap: &[S::Digest]) {
        for digest in cap {
            self.digest(digest);
        }
        self.transcript.absorb_digest(label, &cap_root::<S>(cap));
    }

    /// Writes elements that answer queries.
    pub fn open(&mut self, words: &[M31]) {
        self.proof.extend(words.iter().flat_map(|w| w.value().to_le_bytes()));
    }

    /// Writes a digest that answers a query.
    pub fn digest(&mut self, digest: &S::Digest) {
        self.proof.extend(&S::digest_to_bytes(digest)[..S::DIGEST_BYTES]);
    }

    /// Does the work and sends its nonce; where there is none to do, sends nothing.
    pub fn work(&mut self, bits: u32) -> Result<(), Error> {
        if bits == 0 {
            return Ok(());
        }
        let mut nonce = self.grinder.grind(&self.transcript.pow_seed(), bits)?;
        self.adversary.nonce(&mut nonce);
        self.proof.extend(nonce.to_le_bytes());
        self.transcript.absorb_nonce(nonce);
        Ok(())
    }

    /// Draws a challenge.
    pub fn challenge(&mut self, label: Label) -> QM31 {
        let challenge = self.transcript.challenge(label);
        self.adversary.challenge(label, challenge);
        challenge
    }

    /// What a GPU needs to go on with the transcript by itself, with rounds that each send two elements and draw one; none if
    /// the transcript is of a kind that it does not know, or what it sends may be changed.
    pub fn rounds(&self, send: Label, draw: Label) -> Option<Rounds> {
        self.transcript.rounds(send, draw).filter(|_| !self.adversary.meddles())
    }

    /// Draws challenges.
    pub fn challenges(&mut self, label: Label, n: u32) -> Vec<QM31> {
        (0..n).map(|_| self.challenge(label)).collect()
    }

    /// Draws a position below `2^bits`.
    pub fn index(&mut self, bits: u32) -> u32 {
        self.transcript.index(Label::QueryIndex, bits)
    }

    /// The proof.
    pub fn finish(self) -> Vec<u8> {
        self.proof
    }
}
