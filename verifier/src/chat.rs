//! Conversations: a proof for each turn, each going on from the state that the one before has committed to.

use circlet_core::decoder::{Chat, DecoderKey, Reached, Turn};

use crate::source::Source;
use crate::{Reject, State, verify_member};

/// A conversation that has been verified up to here. Only the verifier makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Digest of the key under which it was verified.
    key: [u8; 32],
    reached: Reached,
    /// Keys and values of all positions that it has reached.
    state: State,
}

impl Standing {
    /// How far the conversation is.
    pub fn reached(&self) -> Reached {
        self.reached
    }
}

/// Accepts exactly if `proof` shows that the decoder committed to in `key` says what `turn` claims, after the turns
/// that have been verified before; the result is what the next turn goes on from.
pub fn verify_turn(
    key: &DecoderKey,
    before: Option<&Standing>,
    turn: &Turn,
    mut proof: &[u8],
) -> Result<Standing, Reject> {
    verify_turn_from(key, before, turn, &mut proof)
}

/// [`verify_turn`] for a proof that is read as it comes.
pub fn verify_turn_from(
    key: &DecoderKey,
    before: Option<&Standing>,
    turn: &Turn,
    proof: &mut dyn Source,
) -> Result<Standing, Reject> {
    let digest = key.digest();
    if before.is_some_and(|before| before.key != digest) {
        return Err(Reject::OtherKey);
    }
    let program = key.decoder.turn(before.map(Standing::reached), turn).map_err(Reject::Text)?;
    let instance = key.instance_of(&digest, program.extent);
    let past = before.map(|before| &before.state);
    let state = verify_member(&instance, past, &program.statement, proof)?;
    Ok(Standing { key: digest, reached: program.reached, state })
}

/// Accepts exactly if `proofs`, one for each turn, show that every generated token of `chat` is the greedy choice of
/// the decoder committed to in `key` after all tokens before it, those of earlier turns included.
pub fn verify_chat<P: AsRef<[u8]>>(key: &DecoderKey, chat: &Chat, proofs: &[P]) -> Result<(), Reject> {
    let (turns, given) = (chat.turns.len(), proofs.len());
    if turns != given || turns == 0 {
        return Err(Reject::Turns { turns, proofs: given });
    }
    let mut standing = None;
    for (index, (turn, proof)) in chat.turns.iter().zip(proofs).enumerate() {
        let next = verify_turn(key, standing.as_ref(), turn, proof.as_ref());
        standing = Some(next.map_err(|reason| reason.in_turn(index + 1))?);
    }
    Ok(())
}
