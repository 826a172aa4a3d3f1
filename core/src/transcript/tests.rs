use alloc::vec::Vec;

use super::*;
use crate::hash::poseidon2::permute;

fn elements(n: u32) -> Vec<M31> {
    (0..n).map(|i| M31::reduce(u64::from(i) * 1_000_003 + 1)).collect()
}

/// A script that meets every operation, and everything that came out of it.
fn script<T: Transcript<Digest = [u8; 32]>>() -> (Vec<QM31>, Vec<u32>, [u8; 32]) {
    let mut t = T::new(b"circlet/test");
    t.absorb(Label::Version, &elements(1));
    t.absorb_bytes(Label::Input, b"hello");
    t.absorb_digest(Label::WitnessRoot, &core::array::from_fn(|i| i as u8));
    let mut coins = t.challenges(Label::LookupChallenge, 2);
    t.absorb(Label::LookupRound, &elements(8));
    coins.push(t.challenge(Label::LookupRound));
    t.absorb(Label::LookupLayer, &[]);
    t.absorb_ext(Label::RelationEvals, &coins);
    coins.extend(t.challenges(Label::RelationPoint, 5));
    let seed = t.pow_seed();
    t.absorb_nonce(0x0123_4567_89ab_cdef);
    let indices = (0..13).map(|_| t.index(Label::QueryIndex, 20)).collect();
    coins.push(t.challenge(Label::OpeningBatch));
    (coins, indices, seed)
}

/// Two transcripts diverge if and only if their next challenges do; what was already drawn may agree.
fn next<T: Transcript<Digest = [u8; 32]>>(run: impl FnOnce(&mut T)) -> QM31 {
    let mut t = T::new(b"d");
    run(&mut t);
    t.absorb(Label::Key, &[]);
    t.challenge(Label::RelationPoint)
}

fn all_different<T: Transcript<Digest = [u8; 32]>>() {
    let zero = M31::ZERO;
    let histories: Vec<QM31> = [
        next::<T>(|_| ()),
        next::<T>(|t| t.absorb(Label::Input, &[])),
        next::<T>(|t| t.absorb(Label::Output, &[])),
        next::<T>(|t| t.absorb(Label::Input, &[zero])),
        next::<T>(|t| t.absorb(Label::Input, &[zero; 2])),
        next::<T>(|t| t.absorb(Label::Input, &[zero; 8])),
        next::<T>(|t| t.absorb(Label::Input, &[zero; 9])),
        next::<T>(|t| t.absorb(Label::Input, &[zero; 16])),
        next::<T>(|t| t.absorb(Label::Input, &[zero; 17])),
        next::<T>(|t| t.absorb_digest(Label::Input, &[0; 32])),
        next::<T>(|t| t.absorb_bytes(Label::Input, &[])),
        next::<T>(|t| t.absorb_bytes(Label::Input, &[0])),
        next::<T>(|t| t.absorb_bytes(Label::Input, &[0; 2])),
        next::<T>(|t| t.absorb_bytes(Label::Input, &[0; 32])),
        next::<T>(|t| {
            t.absorb(Label::Input, &[]);
            t.absorb(Label::Input, &[]);
        }),
        next::<T>(|t| {
            t.absorb(Label::Input, &[zero; 8]);
            t.absorb(Label::Input, &[zero; 8]);
        }),
        next::<T>(|t| _ = t.challenge(Label::RelationPoint)),
        next::<T>(|t| _ = t.challenge(Label::RelationBatch)),
        next::<T>(|t| _ = t.challenges(Label::RelationBatch, 2)),
        next::<T>(|t| _ = t.challenges(Label::RelationBatch, 3)),
        next::<T>(|t| (0..3).for_each(|_| _ = t.index(Label::RelationBatch, 5))),
        next::<T>(|t| (0..4).for_each(|_| _ = t.index(Label::RelationBatch, 5))),
        next::<T>(|t| {
            t.challenge(Label::RelationBatch);
            t.challenge(Label::RelationPoint);
        }),
        next::<T>(|t| {
            t.challenge(Label::RelationPoint);
            t.challenge(Label::RelationBatch);
        }),
        next::<T>(|t| {
            t.challenge(Label::RelationPoint);
            t.index(Label::RelationBatch, 3);
        }),
        next::<T>(|t| _ = t.pow_seed()),
        next::<T>(|t| t.absorb_nonce(0)),
        next::<T>(|t| t.absorb_nonce(1)),
        next::<T>(|t| t.absorb_nonce(1 << 63)),
    ]
    .into();
    for (i, a) in histories.iter().enumerate() {
        for (j, b) in histories.iter().enumerate() {
            assert_eq!(a == b, i == j, "histories {i} and {j}");
        }
    }
    assert_ne!(T::new(b"a").challenge(Label::Key), T::new(b"b").challenge(Label::Key));
}

fn every_word_counts<T: Transcript<Digest = [u8; 32]>>() {
    for n in [1u32, 4, 7, 8, 9, 16, 20] {
        let data = elements(n);
        let honest = next::<T>(|t| t.absorb(Label::Input, &data));
        for i in 0..data.len() {
            let mut altered = data.clone();
            altered[i] += M31::ONE;
            assert_ne!(next::<T>(|t| t.absorb(Label::Input, &altered)), honest);
        }
    }
    let honest = next::<T>(|t| t.absorb_digest(Label::Input, &[7; 32]));
    for i in 0..32 {
        let mut altered = [7; 32];
        altered[i] ^= 1;
        assert_ne!(next::<T>(|t| t.absorb_digest(Label::Input, &altered)), honest);
        assert_ne!(
            next::<T>(|t| t.absorb_bytes(Label::Input, &altered[..=i])),
            next::<T>(|t| t.absorb_bytes(Label::Input, &[7; 32][..=i]))
        );
    }
}

fn indices_fit<T: Transcript>() {
    let mut t = T::new(b"indices");
    for bits in 0..=30 {
        for _ in 0..20 {
            assert!(t.index(Label::QueryIndex, bits) < 1 << bits);
        }
    }
    assert!(t.index(Label::QueryIndex, u32::MAX) < 1 << 30);
    let ones: u32 = (0..4000).map(|_| t.index(Label::QueryIndex, 1)).sum();
    assert!((1800..2200).contains(&ones));
}

fn extensions_are_four_elements<T: Transcript<Digest = [u8; 32]>>() {
    let coins = T::new(b"coins").challenges(Label::Key, 5);
    let flat: Vec<M31> = coins.iter().flat_map(|coin| coin.coordinates()).collect();
    assert_eq!(next::<T>(|t| t.absorb_ext(Label::Key, &coins)), next::<T>(|t| t.absorb(Label::Key, &flat)));
}

fn laws<T: Transcript<Digest = [u8; 32]>>() {
    all_different::<T>();
    every_word_counts::<T>();
    indices_fit::<T>();
    extensions_are_four_elements::<T>();
    assert_eq!(script::<T>(), script::<T>());
}

#[test]
fn poseidon2_laws() {
    laws::<Poseidon2Transcript>();
}

#[test]
fn blake2s_laws() {
    laws::<Blake2sTranscript>();
}

#[test]
fn labels_fit_their_lanes() {
    // Three marks of eight bits per lane; the largest label is the last one.
    assert!((Label::QueryIndex as u8) < 0x80);
    assert_eq!(tag(Kind::Seed, Label::PowSeed), 6 << 8 | 64);
}

fn coordinates(coins: &[QM31]) -> Vec<[u32; 4]> {
    coins.iter().map(|coin| coin.coordinates().map(M31::value)).collect()
}

// Computed by a separate implementation from the text of the module documentation.

#[test]
fn poseidon2_known_answers() {
    let (coins, indices, seed) = script::<Poseidon2Transcript>();
    assert_eq!(
        coordinates(&coins[..3]),
        [
            [1_009_471_183, 962_143_849, 989_171_019, 805_501_639],
            [1_297_803_291, 674_987_073, 1_603_921_283, 2_146_851_199],
            [982_477_631, 1_108_431_533, 1_347_170_411, 1_597_610_169]
        ]
    );
    assert_eq!(
        coordinates(&coins[7..]),
        [
            [707_588_930, 951_080_682, 2_115_793_197, 895_310_039],
            [1_018_978_709, 1_990_358_060, 1_526_551_163, 542_694_423]
        ]
    );
    assert_eq!(
        indices,
        [
            113_470, 483_845, 369_763, 90_290, 143_842, 870_782, 190_372, 459_377, 976_820, 589_734, 128_094,
            143_197, 393_425
        ]
    );
    assert_eq!(
        seed,
        [
            0x9f, 0x7f, 0x9e, 0x12, 0x01, 0x50, 0x65, 0x53, 0x81, 0xd9, 0x0e, 0x03, 0x15, 0xf0, 0x9b, 0x43,
            0x16, 0xac, 0x33, 0x11, 0x52, 0x64, 0x20, 0x68, 0x10, 0xca, 0x09, 0x1f, 0x05, 0xbd, 0xe7, 0x71
        ]
    );
}

/// What [`Transcript::rounds`] says is enough to go on, wherever the transcript is.
#[test]
fn rounds_go_on_elsewhere() {
    let (send, draw) = (Label::LookupRound, Label::OpeningChallenge);
    assert_eq!(Blake2sTranscript::new(b"rounds").rounds(send, draw), None);
    for drawn_before in 0..4 {
        let mut t = Poseidon2Transcript::new(b"rounds");
        t.challenges(Label::LookupLambda, drawn_before);
        let Some(Rounds { mut state, absorbed, drawn }) = t.rounds(send, draw) else {
            panic!("it has rounds")
        };
        for message in [0, 1, 2].map(|i| [i, i + 7].map(|k| QM31::from_i64(k - 3))) {
            t.absorb_ext(send, &message);
            let expected = t.challenge(draw);
            let (rate, capacity) = state.split_at_mut(8);
            rate.copy_from_slice(message.map(QM31::coordinates).as_flattened());
            capacity.iter_mut().zip(absorbed).for_each(|(lane, more)| *lane += more);
            permute(&mut state);
            assert_eq!(QM31::from_coordinates([state[0], state[1], state[2], state[3]]), expected);
            state[8..].iter_mut().zip(drawn).for_each(|(lane, more)| *lane += more);
        }
    }
}

#[test]
fn blake2s_known_answers() {
    let (coins, indices, seed) = script::<Blake2sTranscript>();
    assert_eq!(
        coordinates(&coins[..3]),
        [
            [2_018_872_353, 247_834_973, 1_398_473_524, 1_523_062_736],
            [1_733_036_192, 1_453_939_891, 752_813_314, 338_847_379],
            [1_417_651_693, 206_472_245, 740_268_212, 130_282_642]
        ]
    );
    assert_eq!(
        coordinates(&coins[7..]),
        [
            [1_083_364_424, 1_944_870_802, 1_681_829_480, 1_666_649_748],
            [1_551_612_698, 1_059_951_886, 1_845_187_205, 1_388_982_471]
        ]
    );
    assert_eq!(
        indices,
        [
            763_585, 922_933, 108_422, 165_238, 245_174, 126_484, 280_770, 258_446, 964_671, 369_969,
            439_186, 161_175, 888_154
        ]
    );
    assert_eq!(
        seed,
        [
            0xc5, 0xf1, 0x9c, 0xf3, 0x72, 0xa2, 0x26, 0x6b, 0x41, 0xc7, 0x23, 0xde, 0x0c, 0xc6, 0x31, 0x14,
            0x49, 0x68, 0x48, 0x07, 0x39, 0xd1, 0xb9, 0xdb, 0xba, 0xb9, 0x73, 0xd3, 0x98, 0x3b, 0xd7, 0x4c
        ]
    );
}
