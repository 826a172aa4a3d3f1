use alloc::borrow::ToOwned;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::circuit::Circuit;
use crate::circuit::tests::mutations;

const ROUND: Requantize = Requantize { shift: 10, table: TableId(0) };

/// Eleven tokens, twelve channels in three heads, two blocks.
fn encoder() -> Encoder {
    let matrix = |cols: i64| Matrix { bound: 30, row_l1: 30 * cols };
    let linear = |cols| Linear { matrix: matrix(cols), bias: Some(1000), requantize: ROUND };
    let norm = |offset| Norm {
        offset,
        norm: RmsNorm { epsilon: 1, numerator: 1 << 22, requantize: ROUND },
        gain: 500,
        bias: 9000,
        requantize: ROUND,
    };
    let layer = Layer {
        query: linear(12),
        key: linear(12),
        value: linear(12),
        score: Requantize { shift: 10, table: TableId(1) },
        output: matrix(12),
        output_shift: 10,
        attention_align: (3, 0),
        attention_norm: norm(Some(4000)),
        up: linear(12),
        down: matrix(20),
        down_bias: Some(100),
        down_shift: 10,
        output_align: (2, 1),
        output_norm: norm(None),
    };
    let table = |bits, bound| Table { name: "f".to_owned(), bits, bound };
    Encoder {
        name: "e".to_owned(),
        vocab: 11,
        width: 12,
        ffn: 20,
        heads: 3,
        channels: 4,
        positions: 12,
        pad: 0,
        words: Matrix { bound: 100, row_l1: 1200 },
        words_align: (4, 1),
        places: Matrix { bound: 50, row_l1: 600 },
        places_align: (0, 0),
        embedding_norm: norm(None),
        layers: vec![layer; 2],
        tables: vec![table(14, 2047), table(14, 4000), table(10, 1000), table(10, 500)],
        exponentials: vec![(4, TableId(2)), (64, TableId(3))],
    }
}

fn key() -> EncoderKey {
    EncoderKey {
        encoder: encoder(),
        profile: ProfileId::P100U,
        suite: 1,
        log_rows: 12,
        fixed_cap: vec![[7; 32]; 64],
        pin: None,
    }
}

#[test]
fn sentences_have_a_length() {
    let mut e = encoder();
    for len in 1..=8 {
        assert_eq!(e.length(&vec![3; len]), Ok(len as u32));
    }
    // Nine rows are padded to sixteen, and there are twelve positions.
    assert_eq!(e.length(&[3; 9]), Err(EncodingError::TooLong { got: 9, limit: 12 }));
    assert_eq!(e.length(&[]), Err(EncodingError::Empty));
    assert_eq!(e.length(&[3, 11]), Err(EncodingError::Token(11)));
    e.exponentials.pop();
    assert_eq!(e.length(&[3; 5]), Err(EncodingError::TooLong { got: 5, limit: 12 }));
    e.exponentials.clear();
    assert!(e.length(&[3]).is_err());
}

#[test]
fn statements_fill_up_the_rows() {
    let e = encoder();
    let encoding = Encoding { tokens: vec![5, 1, 4], embedding: vec![-3, 9] };
    let statement = e.statement(&encoding).unwrap();
    assert_eq!(statement.lists, [[5, 1, 4, 0]]);
    assert_eq!(statement.outputs, [[-3, 9]]);
    assert!(statement.inputs.is_empty());
}

#[test]
fn programs_of_a_family_share_their_constants() {
    let e = encoder();
    let one = e.program(1);
    let fixed = |program: &Program| -> Vec<_> {
        let circuit = Circuit::new(program).unwrap();
        let fixed = circuit.columns.into_iter().filter(|column| column.tree() == crate::circuit::Tree::Fixed);
        fixed.collect()
    };
    for length in 2..=8 {
        let program = e.program(length);
        assert_eq!(program.constants, one.constants);
        assert_eq!(fixed(&program), fixed(&one), "{length}");
    }
    for length in [0, 9, 1 << 24, u32::MAX] {
        assert!(Circuit::new(&e.program(length)).is_err(), "{length}");
    }
}

#[test]
fn keys_have_one_encoding() {
    let key = key();
    let bytes = key.to_bytes();
    assert_eq!(EncoderKey::from_bytes(&bytes), Some(key.clone()));
    assert_eq!(EncoderKey::from_bytes(&[bytes.clone(), vec![0]].concat()), None);
    assert_eq!(key.instance(3).program, key.encoder.program(3));
    let mut other = key.clone();
    other.encoder.layers[1].attention_norm.gain += 1;
    assert_ne!(other.digest(), key.digest());
    let digests = [key.instance(3), key.instance(4), other.instance(3)].map(|instance| instance.digest());
    assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[0] != key.digest());
}

/// Whatever a key's bytes say, there is an answer.
#[test]
fn no_key_makes_a_panic() {
    let (mut decoded, mut accepted) = (0, 0);
    let encoding = Encoding { tokens: vec![1, 2, 3], embedding: vec![0; 12] };
    mutations(&postcard::to_allocvec(&encoder()).unwrap(), 4_000, |mutated| {
        let Ok(encoder) = postcard::from_bytes::<Encoder>(mutated) else { return };
        decoded += 1;
        let Ok(length) = encoder.length(&encoding.tokens) else { return };
        assert!(encoder.statement(&encoding).is_ok());
        let Ok(circuit) = Circuit::new(&encoder.program(length)) else { return };
        accepted += 1;
        assert_eq!(circuit.check(), Ok(()));
    });
    assert!(decoded > 300 && accepted > 30, "{decoded} decoded, {accepted} accepted");
}
