//! Two pins that show the last verdict.
//!
//! "Accepted" is high from an accepting verdict to the next request, and at no other time: neither before the first one,
//! nor while a proof is judged, nor after a failure. "Failed" is high after every other verdict.

use circlet_link::Outcome;
use embedded_hal::digital::OutputPin;

/// The pins.
pub struct Status<A, F> {
    accepted: A,
    failed: F,
}

impl<A: OutputPin, F: OutputPin> Status<A, F> {
    /// Two pins, both low.
    pub fn new(accepted: A, failed: F) -> Self {
        let mut status = Self { accepted, failed };
        status.working();
        status
    }

    /// Nothing is known yet.
    pub fn working(&mut self) {
        self.set(false, false);
    }

    /// There is a verdict.
    pub fn show(&mut self, outcome: Outcome) {
        let accepted = outcome == Outcome::Accepted;
        self.set(accepted, !accepted);
    }

    fn set(&mut self, accepted: bool, failed: bool) {
        // Low goes first. A pin that cannot be set is no reason to keep the verdict from the line.
        if !accepted {
            let _ = self.accepted.set_low();
        }
        let _ = self.failed.set_state(failed.into());
        if accepted {
            let _ = self.accepted.set_high();
        }
    }
}
