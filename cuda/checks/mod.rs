//! Every kernel against the definitions in `circlet-core`, for tests, sanitizers and a GPU.

use std::sync::Arc;

use circlet_core::code::Domain;
use circlet_core::field::{M31, P, QM31};
use circlet_core::hash::blake2s::{self, initial_state};
use circlet_core::hash::{Blake2sTrees, Trees};
use circlet_cuda::encode::Code;
use circlet_cuda::merkle::{self, DIGEST, Rows};
use circlet_cuda::{Buffer, Error, Machine};

/// A check of what a machine computes.
pub type Check = fn(&Arc<dyn Machine>) -> Result<(), Error>;

/// All of them.
pub const CHECKS: [(&str, Check); 2] = [("encode", encode), ("merkle", trees)];

/// Canonical words, edges among them.
fn words(count: usize, seed: u32) -> Vec<u32> {
    let edges = [0, 1, 2, P - 1, P - 2, 1 << 30, (1 << 30) - 1];
    let word = |i: usize| match edges.get(i % 97) {
        Some(&edge) => edge,
        None => M31::reduce(u64::from((i as u32 ^ seed).wrapping_mul(0x9e37_79b9)) * 0x85eb_ca6b).value(),
    };
    (0..count).map(word).collect()
}

fn buffer(machine: &Arc<dyn Machine>, words: &[u32]) -> Result<Buffer, Error> {
    let mut buffer = Buffer::new(machine, words.len())?;
    buffer.write(0, words)?;
    Ok(buffer)
}

fn read(buffer: &Buffer) -> Result<Vec<u32>, Error> {
    let mut words = vec![0; buffer.len()];
    buffer.read(0, &mut words)?;
    Ok(words)
}

/// The coordinates of all pairs in the layers of a message.
fn coordinates(domain: &Domain, log_message: u32, log_codeword: u32) -> Vec<u32> {
    let layer = |layer: u32| {
        let pairs = 1u32 << (log_codeword - 1 - layer);
        (0..pairs).map(move |pair| domain.coordinate(layer, 2 * pair).value())
    };
    (0..log_message).flat_map(layer).collect()
}

/// Codewords at some positions: of one pass, of two over tiles of either size, and of messages that are shorter than a warp.
fn encode(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    for (log, blowup, count) in
        [(1, 0, 1), (4, 1, 3), (9, 2, 2), (10, 3, 1), (13, 1, 1), (15, 1, 2), (16, 0, 1)]
    {
        let (size, all) = (1usize << log, log + blowup);
        let domain = Domain::new(all);
        let code = Code::new(machine, log, all, &coordinates(&domain, log, all))?;
        let messages = words(count * size, log);
        let codewords = read(&code.encode(&buffer(machine, &messages)?, count)?)?;
        for (message, codeword) in messages.chunks(size).zip(codewords.chunks(1 << all)) {
            let message: Vec<QM31> = message.iter().map(|&word| M31::reduce(word.into()).into()).collect();
            for position in (0..1u32 << all).step_by(((1usize << all) / 32).max(1)) {
                let position = position | position >> 7 & 31;
                let expected = domain.evaluate(0, &message, position);
                let found = QM31::from(M31::reduce(codeword[position as usize].into()));
                assert!(codeword[position as usize] < P, "a word that is not canonical");
                assert_eq!(found, expected, "position {position} of a codeword of 2^{all} words");
            }
        }
    }
    Ok(())
}

/// Digests of rows that come at once and a few columns at a time, and the levels above.
fn trees(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    for (columns, rows) in [(1usize, 2usize), (15, 8), (16, 64), (17, 256), (32, 300), (70, 64)] {
        let cells = words(columns * rows, columns as u32);
        let row = |row: usize| -> Vec<M31> {
            (0..columns).map(|column| M31::reduce(cells[column * rows + row].into())).collect()
        };
        let leaves: Vec<[u8; 32]> = (0..rows).map(|r| Blake2sTrees::leaf(&row(r))).collect();
        let mut level = None;
        for step in [columns, 16, 32] {
            let mut hashed = Rows::new(machine, rows, columns, initial_state(blake2s::LEAF))?;
            for part in cells.chunks(step * rows) {
                hashed.absorb(&buffer(machine, part)?, part.len() / rows)?;
            }
            let digests = hashed.digests();
            assert_eq!(bytes(&read(&digests)?), leaves, "{columns} columns, {step} at a time");
            level = Some(digests);
        }
        let Some(level) = level else { continue };
        if rows.is_multiple_of(2) {
            let parents = merkle::parents(machine, &level, initial_state(blake2s::NODE))?;
            let expected: Vec<[u8; 32]> =
                leaves.chunks_exact(2).map(|pair| Blake2sTrees::node(&pair[0], &pair[1])).collect();
            assert_eq!(bytes(&read(&parents)?), expected);
        }
    }
    Ok(())
}

/// Digests of words.
fn bytes(words: &[u32]) -> Vec<[u8; 32]> {
    let digest = |words: &[u32]| blake2s::to_bytes(std::array::from_fn(|k| words[k]));
    words.chunks_exact(DIGEST).map(digest).collect()
}
