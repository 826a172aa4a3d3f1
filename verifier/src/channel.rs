//! The proof, read through the transcript.

use alloc::vec;
use alloc::vec::Vec;

use circlet_core::field::{M31, QM31};
use circlet_core::hash::Trees;
use circlet_core::merkle::cap_root;
use circlet_core::pow;
use circlet_core::transcript::{Label, Promise, Transcript};

use crate::Reject;
use crate::source::{Source, elements};

/// Bytes of a proof that are not yet read, and the transcript of those that are.
pub struct Channel<'a, T: Trees> {
    transcript: &'a mut dyn Transcript<Digest = T::Digest>,
    source: &'a mut dyn Source,
}

impl<'a, T: Trees> Channel<'a, T> {
    /// A channel at the start of a proof.
    pub fn new(transcript: &'a mut dyn Transcript<Digest = T::Digest>, source: &'a mut dyn Source) -> Self {
        Self { transcript, source }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Reject> {
        let mut bytes = [0; N];
        self.source.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads field elements that answer queries: they come after the last challenge and are not absorbed.
    pub fn opened(&mut self, out: &mut [M31]) -> Result<(), Reject> {
        elements(self.source, out)
    }

    /// Reads a digest of a Merkle path; not absorbed, like all answers to queries.
    pub fn digest(&mut self) -> Result<T::Digest, Reject> {
        T::digest_from_bytes(&self.take::<32>()?).ok_or(Reject::NonCanonical)
    }

    /// Receives a message of extension elements.
    pub fn receive(&mut self, label: Label, n: usize) -> Result<Vec<QM31>, Reject> {
        let mut message = vec![QM31::ZERO; n];
        self.fill(label, &mut message)?;
        Ok(message)
    }

    /// Receives a message of `N` extension elements.
    pub fn receive_array<const N: usize>(&mut self, label: Label) -> Result<[QM31; N], Reject> {
        let mut message = [QM31::ZERO; N];
        self.fill(label, &mut message)?;
        Ok(message)
    }

    fn fill(&mut self, label: Label, message: &mut [QM31]) -> Result<(), Reject> {
        self.extension(message)?;
        self.transcript.absorb_ext(label, message);
        Ok(())
    }

    /// Receives the digest of a message that comes later.
    pub fn promise(&mut self, label: Label) -> Result<[u8; 32], Reject> {
        let digest = self.take()?;
        self.transcript.absorb_bytes(label, &digest);
        Ok(digest)
    }

    fn extension(&mut self, out: &mut [QM31]) -> Result<(), Reject> {
        let mut coordinates = [[M31::ZERO; 4]; 16];
        for out in out.chunks_mut(coordinates.len()) {
            let coordinates = coordinates.get_mut(..out.len()).unwrap_or_default();
            elements(self.source, coordinates.as_flattened_mut())?;
            for (element, &coordinates) in out.iter_mut().zip(&*coordinates) {
                *element = QM31::from_coordinates(coordinates);
            }
        }
        Ok(())
    }

    /// Receives the next elements of a message that was promised; not absorbed, but hashed.
    pub fn promised(&mut self, promise: &mut Promise, out: &mut [QM31]) -> Result<(), Reject> {
        self.extension(out)?;
        for &element in &*out {
            promise.push(element);
        }
        Ok(())
    }

    /// Receives the cap of a tree; the transcript absorbs the root above it.
    pub fn cap(&mut self, label: Label, log: u32) -> Result<Vec<T::Digest>, Reject> {
        let cap = (0..1u32 << log).map(|_| self.digest()).collect::<Result<Vec<_>, _>>()?;
        self.transcript.absorb_digest(label, &cap_root::<T>(&cap));
        Ok(cap)
    }

    /// Receives a nonce and checks its work; without work to do there is no nonce.
    pub fn work(&mut self, bits: u32) -> Result<(), Reject> {
        if bits == 0 {
            return Ok(());
        }
        let nonce = u64::from_le_bytes(self.take()?);
        if !pow::check(&self.transcript.pow_seed(), bits, nonce) {
            return Err(Reject::Work);
        }
        self.transcript.absorb_nonce(nonce);
        Ok(())
    }

    /// Draws a challenge.
    pub fn challenge(&mut self, label: Label) -> QM31 {
        self.transcript.challenge(label)
    }

    /// Draws challenges.
    pub fn challenges(&mut self, label: Label, n: u32) -> Vec<QM31> {
        self.transcript.challenges(label, n as usize)
    }

    /// Draws a position below `2^bits`.
    pub fn index(&mut self, bits: u32) -> u32 {
        self.transcript.index(Label::QueryIndex, bits)
    }

    /// Accepts only if every byte of the proof was read.
    pub fn finish(self) -> Result<(), Reject> {
        if self.source.is_at_end()? { Ok(()) } else { Err(Reject::TooLong) }
    }
}
