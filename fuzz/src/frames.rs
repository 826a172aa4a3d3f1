//! The serial link between a host with proofs and a device that verifies them, at both ends and between them.
//!
//! * Anything on the line: the decoder finds what a naive reader finds, and no frame with a wrong checksum.
//! * A device that hears it says frames alone. What it hands to the verifier is data of frames with the right numbers.
//! * A host that hears it comes to an end, and to a verdict only if one was told.
//! * Faults between a host and a device: the verdict is the right one, or there is an error, and there always is an end.
//!
//! The link itself allocates nothing: it is built without `alloc`.

mod faults;
mod line;
mod sides;
// The line of the link's own tests.
#[allow(dead_code, missing_docs, clippy::pedantic)]
#[path = "../../verifier/link/tests/faults/world.rs"]
mod world;

use arbitrary::{Arbitrary, Unstructured};
use circlet_link::Request;
use circlet_verifier::{ReadError, Source};

pub use faults::conversation;
use line::Piece;

/// The most pieces on a line, or faults.
const MOST: usize = 64;

/// The first byte says what the others are: a line, pieces of one, or faults.
pub fn frames(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first % 3 {
        0 => heard(&[Piece::Bytes(rest.to_vec())]),
        1 => heard(&list(&mut Unstructured::new(rest))),
        _ => {
            let mut input = Unstructured::new(rest);
            let Ok(good) = input.arbitrary() else { return };
            faults::between(good, &list(&mut input));
        }
    }
}

fn list<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>) -> Vec<T> {
    input.arbitrary_iter().into_iter().flatten().map_while(Result::ok).take(MOST).collect()
}

fn heard(pieces: &[Piece]) {
    sides::decoder(pieces);
    sides::device(pieces);
    sides::host(pieces);
}

/// Reads everything in pieces of changing length; nothing if the source fails.
fn read(request: Request, source: &mut dyn Source) -> Option<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 700]);
    for step in [1, 32, 5, 700, 4, 255].into_iter().cycle() {
        let left = request.length as usize - all.len();
        if left == 0 {
            break;
        }
        let piece = &mut piece[..step.min(left)];
        if let Err(error) = source.read(piece) {
            assert_eq!(error, ReadError::Failed, "there is more to come");
            assert_eq!(source.read(&mut [0]), Err(ReadError::Failed), "it stays so");
            assert_eq!(source.is_at_end(), Err(ReadError::Failed));
            return None;
        }
        all.extend_from_slice(piece);
    }
    assert_eq!(source.is_at_end(), Ok(true));
    assert_eq!(source.read(&mut [0]), Err(ReadError::End));
    Some(all)
}
