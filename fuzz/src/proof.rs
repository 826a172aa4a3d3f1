//! Bytes as proofs under fixed small keys.

use circlet_core::file::Kind;
use circlet_verifier::{
    Proven, Refusal, Reject, verify_file, verify_files, verify_payload, verify_registration_file,
};

use crate::fixtures::{Fixture, file, proofs, registration};

/// The first byte chooses the key and whether its digest is put before the others, which are the payload.
///
/// Nothing is accepted but the honest proof: it takes 2^100 tries to find another.
pub fn proof(data: &[u8]) {
    let _ = verify_files(data, data);
    let Some((&first, rest)) = data.split_first() else { return };
    let (all, choice) = (proofs(), usize::from(first & 0x7f));
    let fixture = all.get(choice % (all.len() + 1)).unwrap_or_else(|| registration());
    let digest = fixture.key.digest();
    let prefix = if first & 0x80 == 0 { digest.as_slice() } else { &[] };
    let payload = [prefix, rest].concat();
    let honest = payload == fixture.payload;

    if fixture.kind == Kind::Registration {
        let verdict = verify_registration_file(&fixture.key, &file(fixture.kind, &payload));
        assert_eq!(verdict.is_ok(), honest, "{verdict:?}");
        return;
    }
    let verdict = judge(fixture, &payload);
    assert_eq!(verdict.is_ok(), honest, "{verdict:?}");
    // Another kind of file is one of another payload.
    for kind in Kind::ALL.into_iter().filter(|&kind| kind != fixture.kind) {
        assert!(verify_payload(&fixture.key, kind, &mut payload.as_slice()).is_err(), "as {kind}");
    }
}

/// The verdict on a payload, alone and as a file.
fn judge(fixture: &Fixture, payload: &[u8]) -> Result<Proven, Reject> {
    let verdict = verify_payload(&fixture.key, fixture.kind, &mut &*payload);
    let mut bytes = file(fixture.kind, payload);
    assert_eq!(verify_file(&fixture.key, &bytes), verdict.clone().map_err(Refusal::Reject));
    // A wrong digest is never accepted.
    bytes[20] ^= 1;
    assert!(verify_file(&fixture.key, &bytes).is_err());
    verdict
}
