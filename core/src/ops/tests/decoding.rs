//! The ops of decoders: what they take, and that nothing else gets through.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::circuit::tests::{mutations, spelled};
use crate::circuit::{Check, Circuit, CircuitError, Columns, Kind, Relation};
use crate::program::{
    Attention, Constant, ConstantId, Factor, HeadNorm, List, ListId, Memory, Op, Prefix, Program, Projection,
    Requantize, RmsNorm, Rotation, Rows, Source, Table, TableId, Tensor, TensorId, Visible, WIDE,
};

const ROUND: Requantize = Requantize { shift: 10, table: TableId(0) };
const NORM: RmsNorm = RmsNorm { epsilon: 5, numerator: 1 << 22, requantize: ROUND };

fn tensor(rows: u32, cols: u32, bound: i64) -> Tensor {
    Tensor { name: "t".to_owned(), rows, cols, bound, fraction_bits: 0 }
}

fn list(len: u32, limit: u32) -> List {
    List { name: "l".to_owned(), len, limit }
}

fn params() -> Attention {
    let projection =
        |weight: u32| Projection { weight: ConstantId(weight), bias: None, requantize: ROUND, norm: None };
    let norm = Some(HeadNorm { norm: NORM, gain: ConstantId(5), requantize: ROUND });
    Attention {
        heads: 6,
        groups: 3,
        channels: 4,
        query: Projection { bias: Some(ConstantId(2)), norm, ..projection(1) },
        key: Projection { norm, ..projection(3) },
        value: projection(4),
        rotation: Some(Rotation {
            pair: 1,
            cos: ConstantId(6),
            sin: ConstantId(7),
            query: ROUND,
            key: ROUND,
        }),
        prefix: Some(Prefix { key: ConstantId(8), value: ConstantId(9) }),
        score: Requantize { shift: 10, table: TableId(1) },
        exp: TableId(2),
        visible: Visible::Causal,
        output: ConstantId(10),
        output_shift: 10,
    }
}

/// Four tokens of eleven: gathered, widened, normalized, attended to, multiplied; of two rows the best token.
fn program() -> Program {
    let (t, c) = (TensorId, ConstantId);
    let constant = |rows: u32, cols: u32, bound: i64| Constant {
        name: "c".to_owned(),
        rows,
        cols,
        bound,
        row_l1: bound * i64::from(cols),
    };
    let table = |bits, bound| Table { name: "f".to_owned(), bits, bound };
    Program {
        name: "p".to_owned(),
        tensors: vec![
            tensor(4, 12, 100),
            tensor(4, 12, WIDE),
            tensor(4, 12, 2047),
            tensor(4, 12, WIDE),
            tensor(4, 12, WIDE),
            tensor(2, 12, WIDE),
            tensor(2, 12, 2047),
        ],
        constants: vec![
            constant(11, 12, 100),
            constant(24, 12, 30),
            constant(24, 1, 1000),
            constant(12, 12, 30),
            constant(12, 12, 30),
            constant(1, 4, 500),
            constant(8, 4, 1 << 10),
            constant(8, 4, 1 << 10),
            constant(3, 4, 2047),
            constant(3, 4, 2047),
            constant(12, 24, 30),
            constant(12, 12, 30),
            constant(1, 12, 1000),
            constant(11, 12, 30),
        ],
        tables: vec![table(14, 2047), table(14, 4000), table(10, 1000)],
        ops: vec![
            Op::Gather { source: Source::Constant(c(0)), rows: Rows::Listed(ListId(0)), y: t(0) },
            Op::Widen { base: None, x: t(0), left: 4, right: 1, y: t(1) },
            Op::RmsNorm { x: t(1), params: NORM, y: t(2) },
            Op::Attention { base: Some(t(1)), x: t(2), params: Box::new(params()), y: t(3) },
            Op::MatMulAdd { base: Some(t(3)), x: t(2), weight: c(11), bias: Some(c(12)), shift: 8, y: t(4) },
            Op::Gather { source: Source::Tensor(t(4)), rows: Rows::Given(vec![1, 3]), y: t(5) },
            Op::RmsNorm { x: t(5), params: NORM, y: t(6) },
            Op::ArgMax { x: t(6), weight: c(13), list: ListId(1) },
        ],
        inputs: vec![],
        outputs: vec![],
        lists: vec![list(4, 11), list(2, 11)],
    }
}

fn change(f: impl FnOnce(&mut Program)) -> Result<Circuit, CircuitError> {
    let mut changed = program();
    f(&mut changed);
    spelled(&changed)
}

/// The same for the parameters of attention.
fn attention(f: impl FnOnce(&mut Attention)) -> Result<Circuit, CircuitError> {
    change(|p| {
        let Op::Attention { params, .. } = &mut p.ops[3] else { panic!("no attention") };
        f(params);
    })
}

/// The reason of the op with this name.
#[track_caller]
fn refused(result: Result<Circuit, CircuitError>, by: &str) -> String {
    match result {
        Err(CircuitError::Refused { op, reason }) if op == by => reason,
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[track_caller]
fn malformed(result: Result<Circuit, CircuitError>) {
    assert!(matches!(result, Err(CircuitError::Malformed(_))), "{:?}", result.map(|_| ()));
}

#[track_caller]
fn may_wrap(result: Result<Circuit, CircuitError>, name: &str) {
    match result {
        Err(CircuitError::MayWrap { relation, .. }) => assert!(relation.contains(name), "{relation}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn the_program_that_all_others_change_is_accepted() {
    let circuit = change(|_| {}).unwrap();
    assert_eq!(circuit.check(), Ok(()));
    assert_eq!((circuit.lists.len(), circuit.picks.len()), (2, 1));
    // Twelve channels are two blocks: of tokens and of both limbs of the last rows. Angles are one.
    assert_eq!(circuit.gathers.len(), 2 + 4 + 2);
}

#[test]
fn gathers_take_rows_that_exist() {
    let gather = |index: usize, f: fn(&mut Source, &mut Rows)| {
        change(move |p| {
            let Op::Gather { source, rows, .. } = &mut p.ops[index] else { panic!("no gather") };
            f(source, rows);
        })
    };
    for rows in [&[1u32, 4][..], &[1], &[1, 2, 3], &[], &[u32::MAX, 0]] {
        let result = change(|p| {
            let y = TensorId(5);
            p.ops[5] =
                Op::Gather { source: Source::Tensor(TensorId(4)), rows: Rows::Given(rows.to_vec()), y };
        });
        assert!(refused(result, "Gather.5").contains("one existing row"), "{rows:?}");
    }
    refused(gather(5, |_, rows| *rows = Rows::Listed(ListId(0))), "Gather.5");
    refused(gather(0, |_, rows| *rows = Rows::Listed(ListId(1))), "Gather.0");
    assert_eq!(refused(gather(0, |_, rows| *rows = Rows::Listed(ListId(2))), "Gather.0"), "unknown list");
    refused(gather(0, |source, _| *source = Source::Constant(ConstantId(99))), "Gather.0");
    refused(gather(0, |source, _| *source = Source::Tensor(TensorId(99))), "Gather.0");
    refused(gather(0, |source, _| *source = Source::Constant(ConstantId(5))), "Gather.0");
    assert!(
        refused(gather(0, |source, _| *source = Source::Tensor(TensorId(4))), "Gather.0")
            .contains("the columns and the bound")
    );
    // Lists whose entries may name rows that do not exist, or none at all.
    refused(change(|p| p.lists[0].limit = 12), "Gather.0");
    refused(change(|p| p.lists[0].len = 3), "Gather.0");
    assert!(change(|p| p.lists[0].limit = 3).is_ok());
    // A wide source has a wide result.
    refused(change(|p| p.tensors[5].bound = WIDE + 1), "Gather.5");
    refused(change(|p| p.tensors[0].bound = 99), "Gather.0");
    assert!(change(|p| p.tensors[0].bound = 101).is_ok());
}

#[test]
fn lists_are_checked() {
    for len in [0, (1 << 24) + 1, u32::MAX] {
        malformed(change(|p| p.lists[0].len = len));
    }
    for limit in [(1 << 24) + 1, u32::MAX] {
        malformed(change(|p| p.lists[1].limit = limit));
    }
    let result = change(|p| p.lists.resize(crate::limits::PARTS + 1, list(1, 1)));
    assert!(matches!(result, Err(CircuitError::TooLarge("lists", _))));
    // All entries are weighed by a verifier.
    let result = change(|p| p.lists.push(list((1 << 22) - 5, 1)));
    assert!(matches!(result, Err(CircuitError::TooLarge("entries of lists", _))));
}

#[test]
fn wide_tensors_are_twenty_bits_and_only_of_ops_that_say_so() {
    for bound in [WIDE - 1, WIDE + 1, 0, 127] {
        for (index, by) in [(1, "Widen.1"), (3, "Attention.3"), (4, "MatMulAdd.4")] {
            let reason = refused(change(|p| p.tensors[index].bound = bound), by);
            assert!(reason.contains("a wide tensor has the bound"), "{reason}");
        }
    }
    let (t, c) = (TensorId, ConstantId);
    // As outputs.
    for index in [1, 3, 4, 5] {
        assert!(change(|p| p.outputs = vec![t(index)]).is_err());
    }
    assert!(change(|p| p.outputs = vec![t(0), t(2), t(6)]).is_ok());
    // As inputs: an input with that bound is an ordinary tensor.
    let result = change(|p| {
        p.inputs = vec![t(1)];
        p.ops.remove(1);
    });
    assert!(refused(result, "RmsNorm.1").contains("only a wide tensor"));
    // As operands of the others.
    let narrow = |op: Op, name: &str| {
        let reason = refused(
            change(|p| {
                p.tensors.push(tensor(4, 12, WIDE));
                p.ops.push(op);
            }),
            name,
        );
        assert!(reason.contains("no wide tensor"), "{reason}");
    };
    let y = t(7);
    narrow(Op::Map { x: t(1), table: TableId(0), y }, "Map.8");
    narrow(Op::Add { a: t(2), a_shift: 0, b: t(1), b_shift: 0, requantize: ROUND, y }, "Add.8");
    narrow(Op::Mul { a: t(1), b: t(2), requantize: ROUND, y }, "Mul.8");
    narrow(Op::Affine { x: t(4), scale: c(12), offset: c(12), requantize: ROUND, y }, "Affine.8");
    let factor = Factor::Weight(c(11));
    narrow(Op::MatMul { x: t(3), factor, bias: None, requantize: ROUND, y }, "MatMul.8");
    narrow(Op::Widen { base: None, x: t(1), left: 0, right: 0, y }, "Widen.8");
    narrow(Op::MatMulAdd { base: None, x: t(1), weight: c(11), bias: None, shift: 0, y }, "MatMulAdd.8");
    narrow(Op::Rewire { x: t(1), dims: vec![4, 12], permutation: vec![0, 1], y }, "Rewire.8");
    narrow(Op::Attention { base: None, x: t(1), params: Box::new(params()), y }, "Attention.8");
    narrow(Op::ArgMax { x: t(5), weight: c(13), list: ListId(1) }, "ArgMax.8");
    // And narrow ones where wide ones belong.
    for (index, by) in [(1, "Widen.1"), (3, "Attention.3"), (4, "MatMulAdd.4")] {
        let result = change(|p| match &mut p.ops[index] {
            Op::Widen { base, .. } | Op::Attention { base, .. } | Op::MatMulAdd { base, .. } => {
                *base = Some(t(0));
            }
            _ => panic!("no sum"),
        });
        assert!(refused(result, by).contains("only a wide tensor"));
    }
    refused(change(|p| p.ops[2] = Op::RmsNorm { x: t(0), params: NORM, y: t(2) }), "RmsNorm.2");
}

#[test]
fn sums_have_the_shape_of_their_summands() {
    for index in [0, 1, 2, 3, 4, 5, 6] {
        assert!(matches!(change(|p| p.tensors[index].cols += 1), Err(CircuitError::Refused { .. })));
        assert!(matches!(change(|p| p.tensors[index].rows *= 2), Err(CircuitError::Refused { .. })));
    }
    for constant in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13] {
        let result = change(|p| p.constants[constant].cols += 1);
        assert!(matches!(result, Err(CircuitError::Refused { .. })), "constant {constant}");
    }
    for constant in [1, 2, 3, 4, 5, 8, 9, 10, 11, 12] {
        let result = change(|p| p.constants[constant].rows += 1);
        assert!(matches!(result, Err(CircuitError::Refused { .. })), "constant {constant}");
    }
    refused(change(|p| p.constants[6].rows = 3), "Attention.3");
    let widen = |left, right| {
        change(|p| p.ops[1] = Op::Widen { base: None, x: TensorId(0), left, right, y: TensorId(1) })
    };
    assert!(widen(20, 0).is_ok() && widen(0, 24).is_ok());
    for (left, right) in [(21, 0), (255, 0), (0, 25), (0, 255)] {
        refused(widen(left, right), "Widen.1");
    }
    let shifted = |shift| {
        change(|p| {
            let Op::MatMulAdd { shift: own, .. } = &mut p.ops[4] else { panic!("no product") };
            *own = shift;
        })
    };
    assert!(shifted(0).is_ok() && shifted(24).is_ok());
    refused(shifted(25), "MatMulAdd.4");
    refused(shifted(255), "MatMulAdd.4");
    may_wrap(
        change(|p| (p.constants[11].bound, p.constants[11].row_l1) = (1 << 21, 1 << 21)),
        "MatMulAdd.4.round",
    );
    may_wrap(
        change(|p| {
            // A bias of thirty bits fits beside a small product; beside a large one it does not.
            p.constants[12].bound = (1 << 30) - 1;
            (p.constants[11].bound, p.constants[11].row_l1) = (1 << 19, 1 << 19);
        }),
        "MatMulAdd.4.round",
    );
    // A sum is not its own summand.
    refused(
        change(|p| {
            p.ops[1] =
                Op::Widen { base: Some(TensorId(1)), x: TensorId(0), left: 4, right: 1, y: TensorId(1) };
        }),
        "Widen.1",
    );
}

#[test]
fn attention_takes_heads_that_fit() {
    let by = "Attention.3";
    for (heads, groups) in [(0, 3), (6, 0), (6, 4), (6, 6), (6, 2), (3, 3), (u32::MAX, 3), (6, u32::MAX)] {
        refused(attention(|a| (a.heads, a.groups) = (heads, groups)), by);
    }
    for channels in [0, 1, 2, 3, 8, 1 << 31, u32::MAX] {
        refused(attention(|a| a.channels = channels), by);
    }
    refused(attention(|a| (a.heads, a.channels) = (3, 1 << 31)), by);
    for rows in [3, 5, 6, 12] {
        let result = change(|p| {
            for tensor in &mut p.tensors[..5] {
                tensor.rows = rows;
            }
            p.lists[0].len = rows;
        });
        assert!(refused(result, by).contains("power of two of rows"));
    }
    // Each for a reason of its own: the result's rows, channels, heads, and all of them together.
    let result = change(|p| {
        let y = p.ops[3].result().unwrap().0 as usize;
        p.tensors[y].rows *= 2;
    });
    let shape = "attention takes a power of two";
    assert!(refused(result, by).contains(shape));
    assert!(refused(attention(|a| a.channels = 12), by).contains(shape));
    for heads in [1025, 2048, 4096] {
        let result = attention(|a| (a.heads, a.groups) = (heads, heads));
        assert!(refused(result, by).contains("a multiple of the number of groups"), "{heads}");
    }
    let most = crate::limits::EXTENT / 1024;
    let many = |rows: u32, channels: u32| {
        let result = change(|p| {
            for tensor in &mut p.tensors[..5] {
                tensor.rows = rows;
            }
            p.lists[0].len = rows;
            let Op::Attention { params, .. } = &mut p.ops[3] else { panic!("no attention") };
            (params.heads, params.groups, params.channels) = (1024, 1024, channels);
        });
        refused(result, by).contains("too many positions or channels")
    };
    assert_eq!([many(4, most), many(4, 2 * most), many(4, 4 * most)], [false, true, true]);
    assert_eq!([many(most, 4), many(2 * most, 4), many(4 * most, 4)], [false, true, true]);
    // More positions than angles.
    let result = change(|p| {
        for tensor in &mut p.tensors[..5] {
            tensor.rows = 16;
        }
        p.lists[0].len = 16;
    });
    assert!(refused(result, by).contains("positions"));
    // A channel's partner is a channel.
    for pair in [2, 3, 31, 32, 64, 255] {
        let result = attention(|a| a.rotation.as_mut().unwrap().pair = pair);
        assert!(result.is_err(), "{pair}");
    }
    for pair in [0, 1] {
        assert!(attention(|a| a.rotation.as_mut().unwrap().pair = pair).is_ok());
    }
    // Everything optional may be missing.
    for rest in 0..16 {
        let result = attention(|a| {
            if rest & 1 == 0 {
                a.rotation = None;
            }
            if rest & 2 == 0 {
                a.prefix = None;
            }
            if rest & 4 == 0 {
                (a.query.norm, a.key.norm) = (None, None);
            }
            a.visible = [Visible::All, Visible::Causal][rest >> 3];
        });
        assert!(result.is_ok(), "{rest}");
    }
    for len in 1..=4 {
        assert!(attention(|a| a.visible = Visible::First(len)).is_ok());
    }
    for len in [0, 5, u32::MAX] {
        refused(attention(|a| a.visible = Visible::First(len)), by);
    }
    // Positions that are handed on: at least one, at most all rows, and there are angles for them.
    let handed = |past, new| attention(|a| a.visible = Visible::Continued(Memory { past, new }));
    for (past, new) in [(0, 1), (0, 4), (3, 4), (4, 4), (1, 1), (7, 1)] {
        assert!(handed(past, new).is_ok(), "{past} {new}");
    }
    for (past, new) in
        [(0, 0), (3, 0), (0, 5), (u32::MAX, 1), (u32::MAX, u32::MAX), (1 << 23, 2), (1 << 31, 1)]
    {
        assert!(refused(handed(past, new), by).contains("handed on"), "{past} {new}");
    }
    let many = change(|p| {
        // With larger weights their sum would be refused.
        p.tables[2].bound = 1;
        let Op::Attention { params, .. } = &mut p.ops[3] else { panic!("no attention") };
        params.rotation = None;
        params.visible = Visible::Continued(Memory { past: 1 << 20, new: 1 });
    });
    assert!(matches!(many, Err(CircuitError::TooLarge("entries of lists", _))), "{:?}", many.map(|_| ()));
    for (past, new) in [(5, 4), (8, 1), (1000, 3)] {
        assert!(refused(handed(past, new), by).contains("positions"), "{past} {new}");
    }
    for id in [ConstantId(99), ConstantId(u32::MAX)] {
        refused(attention(|a| a.query.weight = id), by);
        refused(attention(|a| a.key.bias = Some(id)), by);
        refused(attention(|a| a.output = id), by);
        refused(attention(|a| a.prefix.as_mut().unwrap().value = id), by);
        refused(attention(|a| a.rotation.as_mut().unwrap().sin = id), by);
        refused(attention(|a| a.query.norm.as_mut().unwrap().gain = id), by);
    }
    refused(attention(|a| a.exp = TableId(3)), by);
    refused(attention(|a| a.score.table = TableId(u32::MAX)), by);
}

#[test]
fn scores_and_exponentials_are_bounded() {
    let by = "Attention.3";
    assert!(change(|p| p.tables[1].bound = 15_871).is_ok());
    for clamp in [15_872, 1 << 15, (1 << 30) - 1] {
        assert!(refused(change(|p| p.tables[1].bound = clamp), by).contains("clamp"));
    }
    for bits in [1, 9, 11, 16, 20] {
        assert!(refused(change(|p| p.tables[2].bits = bits), by).contains("10 bits"));
    }
    // `4 (T + 1) max(e) (max|v| + 1)` reaches the field's size.
    assert!(change(|p| p.tables[2].bound = 50_000).is_ok());
    may_wrap(change(|p| p.tables[2].bound = 60_000), "mean0");
    may_wrap(change(|p| (p.constants[1].bound, p.constants[1].row_l1) = (1 << 21, 1 << 21)), "requantize");
    for shift in [25, 255] {
        refused(attention(|a| a.score.shift = shift), by);
        refused(attention(|a| a.query.requantize.shift = shift), by);
        refused(attention(|a| a.output_shift = shift), by);
    }
    may_wrap(change(|p| (p.constants[10].bound, p.constants[10].row_l1) = (1 << 21, 1 << 21)), "round");
    // Sums of weights beyond all tables.
    assert!(refused(change(|p| p.tables[2].bound = (1 << 30) - 1), by).contains("29 bits"));
}

#[test]
fn values_that_are_compared_are_bounded() {
    // Eleven channels are padded: 28 bits.
    let with = |row_l1, rows| {
        change(|p| {
            p.constants[13].row_l1 = row_l1;
            p.constants[13].rows = rows;
            (p.lists[1].limit, p.tensors[6].bound) = (rows, 1 << 11);
        })
    };
    assert!(with((1 << 17) - 1, 11).is_ok());
    assert!(refused(with(1 << 17, 11), "ArgMax.7").contains("too large to compare"));
    assert!(with((1 << 18) - 1, 16).is_ok());
    assert!(refused(with(1 << 18, 16), "ArgMax.7").contains("too large to compare"));
    assert!(with((1 << 18) - 1, 12).is_ok(), "in blocks of 8 and 4");
    refused(with(i64::MAX, 16), "ArgMax.7");
    refused(change(|p| p.lists[1].limit = 12), "ArgMax.7");
    refused(change(|p| p.lists[1].len = 3), "ArgMax.7");
    let (x, weight) = (TensorId(6), ConstantId(13));
    assert_eq!(
        refused(change(|p| p.ops[7] = Op::ArgMax { x, weight, list: ListId(2) }), "ArgMax.7"),
        "unknown list"
    );
    refused(change(|p| p.ops[7] = Op::ArgMax { x, weight: ConstantId(5), list: ListId(1) }), "ArgMax.7");
    // Without a best channel there is nothing public that is proven.
    malformed(change(|p| {
        p.ops.pop();
    }));
}

/// RMSNorm of `cols` channels.
fn rms_norm(cols: u32, params: RmsNorm) -> Result<Circuit, CircuitError> {
    let (t, y) = (TensorId, TensorId(2));
    spelled(&Program {
        name: "norm".to_owned(),
        tensors: vec![tensor(3, 1, 127), tensor(3, cols, WIDE), tensor(3, cols, 127)],
        constants: vec![Constant { name: "c".to_owned(), rows: cols, cols: 1, bound: 31, row_l1: 31 }],
        tables: vec![Table { name: "clamp".to_owned(), bits: 13, bound: 127 }],
        ops: vec![
            Op::MatMulAdd { base: None, x: t(0), weight: ConstantId(0), bias: None, shift: 0, y: t(1) },
            Op::RmsNorm { x: t(1), params, y },
        ],
        inputs: vec![t(0)],
        outputs: vec![y],
        lists: vec![],
    })
}

/// All gadgets keep rule U up to the very limits of what is accepted.
#[test]
fn rms_norm_is_accepted_up_to_its_limits() {
    let lasts = [0, 1, 62, 63, 64, 4095, 1 << 22, 0x3fff_ffc0, (1 << 30) - 1];
    for cols in [1, 2, 3, 13, 64, 576, 1023, 1024, 1025, 1536, 2047, 5120, 8191] {
        for epsilon in [1, (1 << 20) - 1, 1 << 20, (1 << 30) - 1] {
            for numerator in lasts {
                let params = RmsNorm { epsilon, numerator, requantize: Requantize { shift: 17, ..ROUND } };
                let result = rms_norm(cols, params);
                assert!(result.is_ok(), "{cols} {params:?}: {:?}", result.map(|_| ()));
            }
        }
    }
}

#[test]
fn rms_norm_is_refused_beyond_its_limits() {
    for params in [
        RmsNorm { epsilon: 0, ..NORM },
        RmsNorm { epsilon: 1 << 30, ..NORM },
        RmsNorm { epsilon: u32::MAX, ..NORM },
        RmsNorm { numerator: 1 << 30, ..NORM },
        RmsNorm { numerator: u32::MAX, ..NORM },
        RmsNorm { requantize: Requantize { shift: 25, ..ROUND }, ..NORM },
        RmsNorm { requantize: Requantize { table: TableId(1), ..ROUND }, ..NORM },
    ] {
        refused(rms_norm(64, params), "RmsNorm.1");
    }
    refused(rms_norm(8192, NORM), "RmsNorm.1");
}

/// No group has more than 1024 channels, and each but the first has a remainder of its own.
#[test]
fn rms_norm_sums_squares_in_groups() {
    for (cols, groups) in [(1, 1), (576, 1), (1024, 1), (1025, 2), (1536, 2), (2048, 2), (2560, 3), (8191, 8)]
    {
        let circuit = rms_norm(cols, NORM).unwrap();
        let sums: Vec<&Relation> = circuit
            .relations
            .iter()
            .filter(|r| r.name.starts_with("RmsNorm.1.squares") && r.name.rsplit('.').next() == Some("low"))
            .collect();
        assert_eq!(sums.len(), groups, "{cols}");
        let channels = sums.iter().map(|sum| {
            let blocks = sum.value.products.iter().filter(|p| p.kind == Kind::RowDot);
            blocks.map(|p| p.a_shape.cols).sum::<u32>()
        });
        let channels: Vec<u32> = channels.collect();
        assert!(channels.iter().all(|&len| len <= 1024), "{channels:?}");
        assert_eq!(channels.iter().sum::<u32>(), cols);
    }
}

/// What holds modulo `P` only: two relations of every norm.
#[test]
fn few_relations_may_wrap() {
    let circuit = rms_norm(5120, NORM).unwrap();
    let modular = circuit.relations.iter().filter(|r| r.modular).map(|r| r.name.as_str());
    assert_eq!(modular.collect::<Vec<_>>(), ["RmsNorm.1.root", "RmsNorm.1.inverse"]);
    let mut strict = circuit.clone();
    for relation in &mut strict.relations {
        relation.modular = false;
    }
    let declared = strict.declared(Columns::default());
    let mut check = Check::default();
    for relation in &strict.relations {
        check.take_relation(&declared, relation);
    }
    assert!(matches!(check.finish(&declared).map_err(|error| *error), Err(CircuitError::MayWrap { .. })));
}

/// Extents that no machine could hold are refused before anything of their size exists.
#[test]
fn hostile_extents_cost_nothing() {
    let big = 1 << 24;
    // Products of extents that do not fit 32 bits.
    for (heads, channels) in [(257, 1 << 24), (1024, 1 << 22), (512, 1 << 31), (1024, 1 << 31)] {
        let result = change(|p| {
            p.constants[3].rows = big;
            p.constants[1].rows = big;
            let Op::Attention { params, .. } = &mut p.ops[3] else { panic!("no attention") };
            (params.heads, params.groups, params.channels) = (heads, 1, channels);
        });
        assert!(result.is_err());
    }
    // As many positions as a tensor may have, for many heads.
    let many = |rows: u32, heads: u32, repeated: u32| {
        let mut p = program();
        for tensor in &mut p.tensors[..5] {
            (tensor.rows, tensor.cols) = (rows, 1);
        }
        for constant in &mut p.constants {
            (constant.rows, constant.cols) = (heads, 1);
        }
        (p.constants[0].rows, p.lists[0].len) = (11, rows);
        p.constants[10] = Constant { name: "o".to_owned(), rows: 1, cols: heads, bound: 1, row_l1: 1 };
        let Op::Attention { params, .. } = &mut p.ops[3] else { panic!("no attention") };
        (params.heads, params.groups, params.channels) = (heads, heads, 1);
        (params.query.norm, params.key.norm, params.query.bias) = (None, None, None);
        params.rotation =
            Some(Rotation { pair: 0, cos: ConstantId(6), sin: ConstantId(7), query: ROUND, key: ROUND });
        let own = p.ops[3].clone();
        p.ops.truncate(4);
        for k in 0..repeated {
            // Each with angles of its own.
            let angles = p.constants.len() as u32;
            let angle = Constant { rows, ..p.constants[6].clone() };
            p.constants.extend([angle.clone(), angle]);
            p.tensors.push(tensor(rows, 1, WIDE));
            let mut op = own.clone();
            let Op::Attention { params, y, .. } = &mut op else { panic!("no attention") };
            let rotation = params.rotation.as_mut().unwrap();
            (rotation.cos, rotation.sin) = (ConstantId(angles), ConstantId(angles + 1));
            *y = TensorId(7 + k);
            p.ops.push(op);
        }
        p.constants[6].rows = rows;
        p.constants[7].rows = rows;
        spelled(&p)
    };
    for (rows, heads) in [(1 << 24, 256), (1 << 24, 1024), (1 << 23, 512), (1 << 24, 1), (1 << 16, 2)] {
        malformed_or_refused(many(rows, heads, 0));
    }
    malformed_or_refused(many(1 << 24, 1, 3000));
    malformed_or_refused(many(1 << 13, 64, 200));
    // A list as long as a tensor may be.
    let result = change(|p| {
        p.lists[0].len = big;
        (p.tensors[0].rows, p.tensors[1].rows) = (big, big);
    });
    assert!(result.is_err());
    // Many gathers by one list: a verifier weighs its entries for each of them.
    let result = change(|p| {
        let rows = 1 << 12;
        p.lists[0].len = rows;
        p.ops.truncate(1);
        (p.tensors[0].rows, p.constants[0].cols, p.tensors[0].cols) = (rows, 1, 1);
        for k in 0..2000 {
            p.tensors.push(Tensor { rows, ..p.tensors[0].clone() });
            p.ops.push(Op::Gather {
                source: Source::Constant(ConstantId(0)),
                rows: Rows::Listed(ListId(0)),
                y: TensorId(7 + k),
            });
        }
        p.outputs = vec![TensorId(0)];
    });
    assert!(matches!(result, Err(CircuitError::TooLarge("entries of lists", _))), "{:?}", result.map(|_| ()));
}

#[track_caller]
fn malformed_or_refused(result: Result<Circuit, CircuitError>) {
    let refused = matches!(
        result,
        Err(CircuitError::Malformed(_) | CircuitError::Refused { .. } | CircuitError::TooLarge(..))
    );
    assert!(refused, "{:?}", result.map(|_| ()));
}

/// Mutated encodings are errors or programs that are accepted or refused, quickly and in little memory.
#[test]
fn mutated_programs_do_no_harm() {
    let (mut decoded, mut accepted) = (0, 0);
    mutations(&postcard::to_allocvec(&program()).unwrap(), 20_000, |mutated| {
        let Ok(program) = postcard::from_bytes::<Program>(mutated) else { return };
        decoded += 1;
        let Ok(circuit) = spelled(&program) else { return };
        accepted += 1;
        assert!(circuit.columns.len() < 1000);
        let lists: Vec<usize> = circuit.gathers.iter().map(|gather| gather.rows.list(&[]).len()).collect();
        assert!(lists.iter().sum::<usize>() <= 1 << 22);
        assert_eq!(circuit.check(), Ok(()));
    });
    assert!(decoded > 1000 && accepted > 100, "{decoded} decoded, {accepted} accepted");
}
