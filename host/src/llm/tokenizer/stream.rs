//! Text as it is generated.

/// Decodes bytes as they come and holds back characters that are not complete.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pending: Vec<u8>,
}

impl Stream {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bytes of a token; gives the text that is now certain. What is not UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let incomplete = match self.pending.utf8_chunks().last() {
            // A chunk that only lacks its end is the last one and fails when its error is said to reach the end.
            Some(chunk) if !chunk.invalid().is_empty() => match str::from_utf8(chunk.invalid()) {
                Err(e) if e.error_len().is_none() => chunk.invalid().len(),
                _ => 0,
            },
            _ => 0,
        };
        let held = self.pending.split_off(self.pending.len() - incomplete);
        let text = super::lossy(&self.pending);
        self.pending = held;
        text
    }

    /// The end: what was held back will not be completed.
    pub fn finish(&mut self) -> String {
        super::lossy(&std::mem::take(&mut self.pending))
    }
}
