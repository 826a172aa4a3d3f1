//! What a verification took, with the feature `measure`; without it nothing is counted.

use circlet_link::Counters;
use circlet_verifier::{ReadError, Source};

use crate::board;

/// A source that counts the instructions between its answers: those of the verifier, without those of the line and of
/// counting itself.
pub struct Meter<'a> {
    source: &'a mut dyn Source,
    instructions: u64,
    since: u64,
    /// Instructions between two looks at the clock that follow each other.
    look: u64,
}

impl<'a> Meter<'a> {
    /// Counts from now on.
    pub fn start(source: &'a mut dyn Source) -> Self {
        board::memory::mark();
        let (first, second) = (now(), now());
        Self { source, instructions: 0, since: now(), look: second.saturating_sub(first) }
    }

    /// Says what was counted.
    pub fn fill(self, counters: &mut Counters) {
        if cfg!(feature = "measure") {
            counters.instructions = Some(self.instructions + self.since());
            counters.heap = Some(board::memory::heap_peak());
            counters.stack = Some(board::memory::stack_peak());
        }
    }

    /// Instructions since the last answer.
    fn since(&self) -> u64 {
        now().saturating_sub(self.since).saturating_sub(self.look)
    }

    fn outside<T>(&mut self, act: impl FnOnce(&mut dyn Source) -> T) -> T {
        self.instructions += self.since();
        let result = act(self.source);
        self.since = now();
        result
    }
}

impl Source for Meter<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        self.outside(|source| source.read(out))
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        self.outside(|source| source.is_at_end())
    }
}

fn now() -> u64 {
    if cfg!(feature = "measure") { board::instructions() } else { 0 }
}
