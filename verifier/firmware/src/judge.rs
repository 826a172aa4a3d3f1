//! From a request to a verdict.

use circlet_link::{Outcome, Request, Verdict};
use circlet_verifier::{Source, verify_payload};

use crate::keys;
use crate::measure::Meter;

/// Judges what comes. The verifier decides alone.
pub fn judge(request: Request, source: &mut dyn Source) -> Verdict {
    let Some(key) = keys::load(request.place) else {
        return Verdict::without(
            Outcome::Failed,
            "a key in the firmware is damaged; write the firmware again",
        );
    };
    let mut meter = Meter::start(source);
    let mut verdict = Verdict::of(verify_payload(&key, request.kind, &mut meter));
    meter.fill(&mut verdict.counters);
    verdict
}
