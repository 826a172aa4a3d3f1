use alloc::borrow::ToOwned;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::circuit::Circuit;
use crate::circuit::tests::mutations;

const ROUND: Requantize = Requantize { shift: 10, table: TableId(0) };
const NORM: RmsNorm = RmsNorm { epsilon: 5, numerator: 1 << 22, requantize: ROUND };

/// Eleven tokens, twelve channels, two blocks; six heads in three groups, with every option.
fn decoder() -> Decoder {
    let matrix = |cols: i64| Matrix { bound: 30, row_l1: 30 * cols };
    let linear = |bias| Linear { matrix: matrix(12), bias, requantize: ROUND };
    let scale = Some(HeadScale { norm: NORM, gain: 500, requantize: ROUND });
    let layer = Layer {
        attention_norm: NORM,
        query: linear(Some(1000)),
        query_norm: scale,
        query_rotated: ROUND,
        key: linear(None),
        key_norm: scale,
        key_rotated: ROUND,
        value: linear(None),
        score: Requantize { shift: 10, table: TableId(1) },
        output: matrix(24),
        output_shift: 10,
        ffn_norm: NORM,
        gate: linear(None),
        up: linear(Some(7)),
        product: ROUND,
        down: matrix(20),
        down_shift: 10,
    };
    let table = |bits, bound| Table { name: "f".to_owned(), bits, bound };
    Decoder {
        name: "d".to_owned(),
        vocab: 11,
        width: 12,
        ffn: 20,
        heads: 6,
        groups: 3,
        channels: 4,
        positions: 12,
        pair: 1,
        angle: 1 << 10,
        prefix: Some(3),
        pad: 0,
        embedding: Matrix { bound: 100, row_l1: 1200 },
        embedding_align: (4, 1),
        layers: vec![layer; 2],
        final_norm: NORM,
        final_gain: Some((500, ROUND)),
        head: Some(matrix(12)),
        tables: vec![table(14, 2047), table(14, 4000), table(10, 1000), table(10, 500)],
        exponentials: vec![(4, TableId(2)), (64, TableId(3))],
    }
}

fn text(tokens: &[u32], prompt: u32) -> Text {
    Text { tokens: tokens.to_vec(), prompt }
}

#[test]
fn texts_have_the_extent_of_their_tokens() {
    let mut d = decoder();
    let extent = |d: &Decoder, len: usize, prompt: u32| d.extent(&text(&vec![3; len], prompt));
    let of = |rows, first, generated| Ok(Extent { rows, first, generated, past: None });
    // With a constant first token: it has no row.
    assert_eq!(extent(&d, 3, 2), of(1, 0, 1));
    assert_eq!(extent(&d, 4, 2), of(2, 0, 2));
    assert_eq!(extent(&d, 6, 3), of(4, 1, 3));
    assert_eq!(extent(&d, 9, 8), of(8, 6, 1));
    for (len, prompt) in [(1, 1), (2, 1), (2, 2), (3, 0), (3, 1), (3, 3), (3, 4), (3, u32::MAX)] {
        assert_eq!(extent(&d, len, prompt), Err(TextError::Empty), "{len} {prompt}");
    }
    assert_eq!(extent(&d, 0, 0), Err(TextError::Prefix(3)));
    assert_eq!(d.extent(&text(&[4, 3, 3], 2)), Err(TextError::Prefix(3)));
    assert_eq!(d.extent(&text(&[3, 1, 11], 2)), Err(TextError::Token(11)));
    assert_eq!(d.extent(&text(&[3, u32::MAX, 1], 2)), Err(TextError::Token(u32::MAX)));
    // Nine rows are padded to sixteen, and there are twelve positions.
    assert_eq!(extent(&d, 11, 2), Err(TextError::TooLong { got: 9, limit: 12 }));
    d.exponentials.pop();
    assert_eq!(extent(&d, 7, 2), Err(TextError::TooLong { got: 5, limit: 12 }));
    d.exponentials.clear();
    assert!(matches!(extent(&d, 3, 2), Err(TextError::TooLong { .. })));
    // Without.
    let d = Decoder { prefix: None, ..decoder() };
    assert_eq!(extent(&d, 2, 1), of(1, 0, 1));
    assert_eq!(extent(&d, 6, 2), of(8, 1, 4));
    assert_eq!(extent(&d, 0, 0), Err(TextError::Empty));
    assert_eq!(extent(&d, 2, 0), Err(TextError::Empty));
}

/// A turn begins with the last token of the one before, and its rows are those of its new tokens alone.
#[test]
fn turns_follow_each_other() {
    let d = Decoder { pad: 9, positions: 20, ..decoder() };
    let turn =
        |given: &[u32], generated: &[u32]| Turn { given: given.to_vec(), generated: generated.to_vec() };
    let first = d.turn(None, &turn(&[3, 5, 6, 7], &[8, 10])).unwrap();
    assert_eq!(first.extent, Extent { rows: 4, first: 2, generated: 2, past: Some(0) });
    assert_eq!(first.statement.lists, [vec![5, 6, 7, 8], vec![8, 10]]);
    assert_eq!(first.reached, Reached { positions: 4, last: 10 });
    let second = d.turn(Some(first.reached), &turn(&[1, 2], &[4, 5, 6])).unwrap();
    assert_eq!(second.extent, Extent { rows: 8, first: 2, generated: 3, past: Some(4) });
    assert_eq!(second.extent.memory(), Some(Memory { past: 4, new: 5 }));
    assert_eq!(second.statement.lists, [vec![10, 1, 2, 4, 5, 9, 9, 9], vec![4, 5, 6]]);
    assert_eq!(second.reached, Reached { positions: 9, last: 6 });
    let third = d.turn(Some(second.reached), &turn(&[], &[7])).unwrap();
    assert_eq!(third.extent, Extent { rows: 1, first: 0, generated: 1, past: Some(9) });
    assert_eq!(third.statement.lists, [vec![6], vec![7]]);
    for program in [first, second, third] {
        assert!(Circuit::new(&d.program(program.extent)).is_ok());
    }
    let late = |positions| Some(Reached { positions, last: 1 });
    assert!(d.turn(late(18), &turn(&[2], &[1])).is_ok());
    for (positions, given) in [(19, 1), (18, 2), (0, 20), (u32::MAX, 0)] {
        let got = (positions as usize).saturating_add(1 + given);
        let result = d.turn(late(positions), &turn(&vec![2; given], &[1]));
        assert_eq!(result, Err(TextError::TooLong { got, limit: 20 }));
    }
    for before in [None, late(5)] {
        assert_eq!(d.turn(before, &turn(&[3, 1], &[])), Err(TextError::Empty));
        assert_eq!(d.turn(before, &turn(&[3, 1], &[11])), Err(TextError::Token(11)));
    }
    assert_eq!(d.turn(None, &turn(&[3], &[1])), Err(TextError::Empty));
    assert_eq!(d.turn(None, &turn(&[1, 1], &[1])), Err(TextError::Prefix(3)));
    // The tables of exponentials are those of all positions.
    let d = Decoder { exponentials: vec![(4, TableId(2)), (8, TableId(3))], ..d };
    assert!(d.turn(late(6), &turn(&[2], &[1])).is_ok());
    assert!(matches!(d.turn(late(7), &turn(&[2], &[1])), Err(TextError::TooLong { got: 9, .. })));
}

#[test]
fn statements_name_every_token() {
    let d = Decoder { pad: 9, ..decoder() };
    let statement = d.statement(&text(&[3, 5, 6, 7, 8, 10, 1], 4)).unwrap();
    assert_eq!(statement.lists, [vec![5, 6, 7, 8, 10, 9, 9, 9], vec![8, 10, 1]]);
    assert!(statement.inputs.is_empty() && statement.outputs.is_empty());
    // Another boundary of the prompt is another statement.
    let moved = d.statement(&text(&[3, 5, 6, 7, 8, 10, 1], 5)).unwrap();
    assert_eq!(moved.lists, [vec![5, 6, 7, 8, 10, 9, 9, 9], vec![10, 1]]);
    assert!(d.statement(&text(&[3, 5, 6, 7], 4)).is_err());
}

/// The fixed columns of all extents are the same, in the same order: one commitment serves them all.
#[test]
fn extents_share_their_fixed_columns() {
    for d in [decoder(), Decoder { prefix: None, head: None, final_gain: None, ..decoder() }] {
        let fixed = |rows, first, generated| -> Vec<_> {
            let circuit = Circuit::new(&d.program(Extent { rows, first, generated, past: None })).unwrap();
            let fixed = circuit.columns.into_iter().filter(|c| c.tree() == crate::circuit::Tree::Fixed);
            fixed.map(|c| (c.name, c.shape, c.content)).collect()
        };
        let one = fixed(1, 0, 1);
        for (rows, first, generated) in [(2, 0, 2), (2, 1, 1), (4, 0, 3), (8, 2, 5), (8, 0, 1)] {
            assert_eq!(fixed(rows, first, generated), one, "{rows} {first} {generated}");
        }
        for (past, rows) in [(0, 2), (5, 2), (5, 1), (8, 4)] {
            let extent = Extent { rows, first: 0, generated: rows, past: Some(past) };
            let circuit = Circuit::new(&d.program(extent)).unwrap();
            let fixed = circuit.columns.into_iter().filter(|c| c.tree() == crate::circuit::Tree::Fixed);
            assert!(fixed.map(|c| (c.name, c.shape, c.content)).eq(one.iter().cloned()), "{past} {rows}");
        }
    }
}

/// Extents that no text has are programs without a circuit, whatever their size.
#[test]
fn hostile_extents_have_no_circuit() {
    let d = decoder();
    let huge = [0, 3, 5, 12, 13, 1 << 24, (1 << 24) + 1, 1 << 31, u32::MAX];
    for rows in huge {
        assert!(
            Circuit::new(&d.program(Extent { rows, first: 0, generated: 1, past: None })).is_err(),
            "{rows}"
        );
    }
    for rows in [16, 32, 64] {
        assert!(
            Circuit::new(&d.program(Extent { rows, first: 0, generated: 1, past: None })).is_err(),
            "{rows}"
        );
    }
    for (first, generated) in [
        (0, 0),
        (0, 5),
        (4, 1),
        (3, 2),
        (u32::MAX, 1),
        (u32::MAX, u32::MAX),
        (0, u32::MAX),
        (1, u32::MAX),
        (1 << 31, 1 << 31),
    ] {
        let program = d.program(Extent { rows: 4, first, generated, past: None });
        assert!(Circuit::new(&program).is_err(), "{first} {generated}");
    }
    let program = d.program(Extent { rows: u32::MAX, first: 0, generated: u32::MAX, past: None });
    assert!(Circuit::new(&program).is_err());
}

#[test]
fn hostile_fields_have_no_circuit() {
    let extent = Extent { rows: 4, first: 0, generated: 2, past: None };
    let with = |edit: &dyn Fn(&mut Decoder)| {
        let mut d = decoder();
        edit(&mut d);
        Circuit::new(&d.program(extent))
    };
    assert!(with(&|_| {}).is_ok());
    let extremes = [0u32, 1 << 24, 1 << 31, u32::MAX];
    for n in extremes {
        let edits: [&dyn Fn(&mut Decoder); 7] = [
            &|d| d.vocab = n,
            &|d| d.width = n,
            &|d| d.ffn = n,
            &|d| d.heads = n,
            &|d| d.groups = n,
            &|d| d.channels = n,
            &|d| d.positions = n,
        ];
        for (index, edit) in edits.iter().enumerate() {
            // Sizes are those of a tensor; what they cost is nothing before they are refused.
            let result = with(edit);
            assert!(result.is_err() || n == 1 << 24 && matches!(index, 0 | 6), "{index} {n}");
        }
        assert!(with(&|d| (d.heads, d.groups, d.channels) = (n, n, n)).is_err());
        assert!(with(&|d| (d.heads, d.groups, d.channels) = (1024, 1024, n)).is_err());
    }
    for bound in [-1, i64::MIN, i64::MAX, 1 << 30] {
        assert!(with(&|d| d.angle = bound).is_err(), "{bound}");
        assert!(with(&|d| d.embedding.bound = bound).is_err(), "{bound}");
        assert!(with(&|d| d.layers[1].down.bound = bound).is_err(), "{bound}");
        assert!(with(&|d| d.layers[0].query.bias = Some(bound)).is_err(), "{bound}");
        assert!(with(&|d| d.final_gain = Some((bound, ROUND))).is_err(), "{bound}");
        assert!(with(&|d| d.layers[1].key_norm.as_mut().unwrap().gain = bound).is_err(), "{bound}");
        assert!(with(&|d| d.tables[0].bound = bound).is_err(), "{bound}");
    }
    for row_l1 in [-1, i64::MIN, i64::MAX] {
        assert!(with(&|d| d.layers[1].down = Matrix { bound: 1 << 25, row_l1 }).is_err());
        assert!(with(&|d| d.head = Some(Matrix { bound: 1, row_l1 })).is_err());
    }
    for shift in [25, 255] {
        assert!(with(&|d| d.layers[0].gate.requantize.shift = shift).is_err());
        assert!(with(&|d| d.layers[0].output_shift = shift).is_err());
        assert!(with(&|d| d.embedding_align = (shift, 0)).is_err());
        assert!(with(&|d| d.embedding_align = (0, shift)).is_err());
    }
    for pair in [2, 31, 32, 255] {
        assert!(with(&|d| d.pair = pair).is_err());
    }
    for table in [4, u32::MAX] {
        assert!(with(&|d| d.exponentials[0].1 = TableId(table)).is_err());
        assert!(with(&|d| d.layers[1].score.table = TableId(table)).is_err());
        assert!(with(&|d| d.final_norm.requantize.table = TableId(table)).is_err());
    }
    assert!(with(&|d| d.tables.clear()).is_err());
    assert!(with(&|d| d.exponentials.clear()).is_err());
    assert!(with(&|d| d.layers = vec![d.layers[0].clone(); 3000]).is_err());
    assert!(with(&|d| d.layers.clear()).is_ok());
}

#[test]
fn keys_are_canonical() {
    let key = DecoderKey {
        decoder: decoder(),
        profile: ProfileId::P100U,
        suite: 1,
        log_rows: 12,
        fixed_cap: vec![[7; 32]; 2],
        pin: None,
    };
    let bytes = key.to_bytes();
    assert_eq!(DecoderKey::from_bytes(&bytes), Some(key.clone()));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(DecoderKey::from_bytes(&longer), None);
    assert_eq!(DecoderKey::from_bytes(&bytes[..bytes.len() - 1]), None);
    let instance = key.instance(Extent { rows: 4, first: 0, generated: 1, past: None });
    assert_eq!(instance.program, key.decoder.program(Extent { rows: 4, first: 0, generated: 1, past: None }));
    assert_eq!((instance.log_rows, instance.suite, instance.fixed_cap), (12, 1, key.fixed_cap));
}

/// Transcripts tell instances apart by what their programs follow from, whatever that is.
#[test]
fn instances_have_digests_of_their_own() {
    let key = |log_rows, gain: i64| {
        let mut decoder = decoder();
        decoder.final_gain = decoder.final_gain.map(|(bound, requantize)| (bound + gain, requantize));
        decoder.pad += gain as u32;
        DecoderKey {
            decoder,
            profile: ProfileId::P100U,
            suite: 1,
            log_rows,
            fixed_cap: vec![[7; 32]; 2],
            pin: None,
        }
    };
    let of = |rows, first, generated, past| Extent { rows, first, generated, past };
    let extents = [
        of(4, 0, 1, None),
        of(8, 0, 1, None),
        of(4, 1, 1, None),
        of(4, 0, 2, None),
        of(4, 0, 1, Some(0)),
        of(4, 0, 1, Some(1)),
        of(4, 0, 1, Some(u32::MAX)),
    ];
    let mut digests = Vec::new();
    for key in [key(12, 0), key(13, 0), key(12, 1)] {
        digests.push(key.digest());
        digests.extend(extents.map(|extent| key.instance(extent).digest()));
        assert_eq!(key.instance(extents[0]), key.instance_of(&key.digest(), extents[0]));
    }
    // And from keys of programs, which are all that a file holds.
    let instance = key(12, 0).instance(extents[0]);
    let alone = VerifyingKey::from_bytes(&instance.to_bytes()).unwrap();
    assert_eq!(alone.member, None);
    digests.push(alone.digest());
    let all: alloc::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(all.len(), digests.len());
}

/// Mutated encodings of decoders are errors or decoders with programs that are accepted or refused, quickly and
/// in little memory.
#[test]
fn mutated_decoders_do_no_harm() {
    let (mut decoded, mut accepted) = (0, 0);
    let d = Decoder { layers: vec![decoder().layers[0].clone()], ..decoder() };
    mutations(&postcard::to_allocvec(&d).unwrap(), 12_000, |mutated| {
        let Ok(d) = postcard::from_bytes::<Decoder>(mutated) else { return };
        decoded += 1;
        let Ok(extent) = d.extent(&text(&[3, 1, 2, 5], 2)) else { return };
        assert!(d.statement(&text(&[3, 1, 2, 5], 2)).is_ok());
        let Ok(circuit) = Circuit::new(&d.program(extent)) else { return };
        accepted += 1;
        assert_eq!(circuit.check(), Ok(()));
    });
    assert!(decoded > 1000 && accepted > 100, "{decoded} decoded, {accepted} accepted");
}
