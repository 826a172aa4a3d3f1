//! The verifying keys that were compiled in.

use circlet_core::file::Kind;
use circlet_link::Held;
use circlet_verifier::Key;

/// What follows the header of a key's file.
struct Compiled {
    kind: Kind,
    payload: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/keys.rs"));

/// The key in a place.
pub fn load(place: usize) -> Option<Key> {
    let Compiled { kind, payload } = KEYS.get(place)?;
    Key::from_payload(*kind, payload)
}
