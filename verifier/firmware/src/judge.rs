//! From a request to a verdict.

use circlet_core::file::Kind;
use circlet_link::{Outcome, Request, Verdict};
use circlet_verifier::{ProofKey, Source, verify_payload};

use crate::keys;
use crate::measure::Meter;

/// Judges what comes. The verifier decides alone.
pub fn judge(request: Request, source: &mut dyn Source) -> Verdict {
    match keys::JUDGES.get(request.place) {
        Some(judge) => judge(request.kind, source),
        None => Verdict::without(Outcome::Failed, "there is no such key"),
    }
}

/// Judges under a key that was compiled in.
pub fn under<K: ProofKey>(key: Option<K>, kind: Kind, source: &mut dyn Source) -> Verdict {
    let Some(key) = key else {
        return Verdict::without(
            Outcome::Failed,
            "a key in the firmware is damaged; write the firmware again",
        );
    };
    let mut meter = Meter::start(source);
    let mut verdict = Verdict::of(verify_payload(&key, kind, &mut meter));
    meter.fill(&mut verdict.counters);
    verdict
}
