//! Witnesses that are not the program's, each with a proof in which everything else is honest.

use std::collections::BTreeSet;

use circlet_core::circuit::{Circuit, Form};
use circlet_core::field::{M31, P};
use circlet_core::program::Op;
use circlet_tests::attack::column;
use circlet_tests::programs::{self, Case, ProgramBuilder};
use circlet_tests::search::{self, Demand, Search, demands};

/// Every lookup, relation and wiring carries weight: there is a witness that only it stands against. The proof
/// of that witness is rejected, and would be accepted if the demand were missing.
#[test]
fn no_demand_is_idle() {
    for (case, count) in [
        (programs::matmul(), 3),
        (programs::product(), 6),
        (programs::add(), 6),
        (programs::mul(), 6),
        (programs::affine(), 6),
        (programs::map(), 8),
        (programs::rewire(), 3),
        (programs::no_shift(), 8),
    ] {
        let mut search = Search::new(case, &[]);
        assert_eq!(demands(&search.circuit).len(), count, "{}", search.case.0.name);
        let singles = search.singles();
        search.pairs(&singles);
        assert_eq!(search.missing(), [], "{}", search.case.0.name);
        search.prove();
    }
}

/// Replaces the sum of squared deviations, wherever a step reads it, by what its digits say.
fn trust_digits(circuit: &mut Circuit) {
    let id = |name: &str| column(circuit, name);
    let high = Form::default().plus(1, id("energy.high.low")).plus(2048, id("energy.high.high"));
    let digits = high.times(65536).plus(256, id("energy.c1")).plus(1, id("energy.c0"));
    search::trust_digits(circuit, "", &digits);
}

/// The smallest LayerNorm, with an inverse root of three limbs and one channel whose scale is zero.
fn small_layernorm(inputs: [i32; 2]) -> Case {
    let mut b = ProgramBuilder::new("small_layernorm");
    let x = b.input(1, 2, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 40, 12, clamp);
    let (program, mut data, _) = b.finish(&[y]);
    data.constants[0][0] = 0;
    (program, data, vec![inputs.to_vec()])
}

/// Half a multiple of the root in the field: an inverse far out of range, for a row without deviation.
/// Then another third limb, and nothing told to the identities below it.
fn other_inverses(search: &mut Search) {
    let kept = ["inverse.0", "inverse.rest.low", "inverse.rest.high", "inverse.slack.low"]
        .into_iter()
        .chain(["inverse.slack.high", "inverse.carry0.low", "inverse.carry0.high"])
        .map(|name| (name, 0, search.value(name)))
        .collect::<Vec<_>>();
    let root = search.value("root.low") + 256 * search.value("root.high");
    let (one, two) = (search.value("inverse.1"), search.value("inverse.2"));
    let up = i64::from(one & 256 == 0);
    let carry = search.value("inverse.carry1.low") + 2048 * search.value("inverse.carry1.high");
    let carry = carry + (2 * up - 1) * root / 2;
    let mut values = vec![("inverse.1", 0, one ^ 256), ("inverse.2", 0, two + (1 << 30) - up)];
    values.extend(&kept);
    values.extend([("inverse.carry1.low", 0, carry & 2047), ("inverse.carry1.high", 0, carry >> 11)]);
    search.forced(&values);
    for two in [two + 1, two - 1] {
        let mut values = vec![("inverse.2", 0, two)];
        values.extend(&kept);
        search.forced(&values);
    }
}

/// The epsilon of [`small_layernorm`].
const EPSILON: i64 = 40;

/// The columns of another root `q = 256 q1 + q0`.
fn root_columns(q1: i64, q0: i64, rest: i64, slack: i64, carry: i64) -> Vec<(&'static str, usize, i64)> {
    let carry = carry + 4;
    vec![
        ("root.low", 0, q0),
        ("root.high", 0, q1),
        ("root.rest.low", 0, rest & 2047),
        ("root.rest.high", 0, rest >> 11),
        ("root.slack.low", 0, slack & 2047),
        ("root.slack.high", 0, slack >> 11),
        ("root.carry.low", 0, carry & 2047),
        ("root.carry.high", 0, carry >> 11),
    ]
}

/// A larger root whose low identity has a solution.
fn larger_root(search: &mut Search) {
    let (c1, c0) = (search.value("energy.c1"), search.value("energy.c0"));
    let root = search.value("root.low") + 256 * search.value("root.high");
    for q in root + 1..1 << 18 {
        let (q1, q0) = (q >> 8, q & 255);
        let partial = q0 * q0 + 512 * q1 * q0 - 256 * c1 - c0 - EPSILON;
        let rest = (-partial).rem_euclid(65536);
        if rest <= 2 * q {
            search.forced(&root_columns(q1, q0, rest, 2 * q - rest, (partial + rest) / 65536));
            return;
        }
    }
}

/// A root whose high digit is a square root in the field, out of all range, with an inverse that fits it.
fn root_in_the_field(search: &mut Search) {
    let (c1, c0) = (search.value("energy.c1"), search.value("energy.c0"));
    let high = search.value("energy.high.low") + 2048 * search.value("energy.high.high");
    let Op::LayerNorm { params, .. } = search.case.0.ops[0] else { panic!("no LayerNorm") };
    let numerator = i64::from(params.numerator);
    let reduce = |v: i64| i64::from(M31::from_i64(v).value());
    for carry in -4..(1 << 14) - 4 {
        let square = M31::from_i64(high - carry);
        let base = square.pow(1 << 29);
        if base * base != square {
            continue;
        }
        for (q1, q0) in [base, -base].into_iter().flat_map(|q1| (0..256).map(move |q0| (q1, q0))) {
            let q = reduce(256 * i64::from(q1.value()) + q0);
            let product = i64::from((q1 * M31::from_i64(512 * q0)).value());
            let rest = reduce(65536 * carry + 256 * c1 + c0 + EPSILON - q0 * q0 - product);
            let slack = 2 * q - rest;
            let inverse = numerator / q.max(1);
            if q == 0 || q >= 1 << 20 || rest >= 1 << 22 || !(0..1 << 22).contains(&slack) || inverse > 511 {
                continue;
            }
            let mut columns = root_columns(i64::from(q1.signed()), q0, rest, slack, carry);
            let rest = numerator - inverse * q;
            let slack = q - 1 - rest;
            let (carry0, carry1) = (numerator >> 9, numerator >> 18);
            for (name, value) in [("inverse.0", inverse), ("inverse.1", 0), ("inverse.2", 0)] {
                columns.push((name, 0, value));
            }
            for (low, high, value) in [
                ("inverse.rest.low", "inverse.rest.high", rest),
                ("inverse.slack.low", "inverse.slack.high", slack),
                ("inverse.carry0.low", "inverse.carry0.high", carry0),
                ("inverse.carry1.low", "inverse.carry1.high", carry1),
            ] {
                columns.extend([(low, 0, value & 2047), (high, 0, value >> 11)]);
            }
            search.forced(&columns);
            return;
        }
    }
}

/// Deviations with other digits, `256 h + l = 256 (h + 2^23 k) + l - k` in the field.
fn other_digits(search: &mut Search) {
    let cells = |name: &str| {
        let trace = search.replay(&[]);
        let column = column(&search.circuit, name).0 as usize;
        [0, 1].map(|cell| i64::from(trace.columns[column][cell]))
    };
    let (high, low) = (cells("deviation0.high"), cells("deviation0.remainder"));
    let reduce = |v: i128| i64::from(M31::from_i64((v % i128::from(P)) as i64).signed());
    for (k0, k1) in (0..=low[0]).flat_map(|k0| (0..=low[1]).map(move |k1| (k0, k1))).skip(1) {
        let l = [low[0] - k0, low[1] - k1];
        let h = [high[0] + (k0 << 23), high[1] + (k1 << 23)].map(|h| reduce(h.into()));
        let dot = |x: [i64; 2], y: [i64; 2]| -> i128 {
            x.iter().zip(y).map(|(&x, y)| i128::from(x) * i128::from(y)).sum()
        };
        let lows = dot(l, l) as i64;
        let (c0, k0) = (lows & 255, lows >> 8);
        let middle = reduce(2 * dot(h, l) + i128::from(k0));
        let (c1, k1) = (middle & 255, middle >> 8);
        let top = reduce(dot(h, h) + i128::from(k1));
        if !(-(1 << 20)..1 << 20).contains(&k1) || !(0..1 << 24).contains(&top) {
            continue;
        }
        let k1 = k1 + (1 << 20);
        let mut columns = Vec::new();
        for cell in 0..2 {
            columns.push(("deviation0.high", cell, h[cell]));
            columns.push(("deviation0.remainder", cell, l[cell]));
        }
        columns.extend([("energy.c0", 0, c0), ("energy.c1", 0, c1)]);
        columns.extend([("energy.k0.low", 0, k0 & 2047), ("energy.k0.high", 0, k0 >> 11)]);
        columns.extend([("energy.k1.low", 0, k1 & 2047), ("energy.k1.high", 0, k1 >> 11)]);
        columns.extend([("energy.high.low", 0, top & 2047), ("energy.high.high", 0, top >> 11)]);
        search.forced(&columns);
        return;
    }
}

/// The same for LayerNorm, whose digits and carries need changes that compensate.
#[test]
fn no_demand_of_layernorm_is_idle() {
    let mut idle: Option<BTreeSet<Demand>> = None;
    for inputs in [[3, 5], [3, 3], [100, -57], [8191, -8191]] {
        let mut search = Search::new(small_layernorm(inputs), &[]);
        search.singles();
        let limbs = ["energy.k0", "energy.k1", "energy.high", "root.rest", "root.slack", "root.carry"]
            .into_iter()
            .chain(["inverse.rest", "inverse.slack", "inverse.carry0", "inverse.carry1"])
            .map(|name| (format!("{name}.low"), format!("{name}.high")));
        for (low, high) in limbs {
            search.poked(&[(&low, 2048), (&high, -1)]);
            search.poked(&[(&low, -2048), (&high, 1)]);
            search.poked(&[(&low, -1), (&high, 1 << 20)]);
        }
        search.named(&[("normalized", 1 << 21), ("normalize.remainder", (1 << 31) - 1)]);
        trust_digits(&mut search.steps);
        search.singles();
        // 2^31 = 1: the high limbs of the carries wrap.
        search.named(&[("energy.c0", -1), ("energy.k0.high", 4096)]);
        search.named(&[("energy.c1", -1), ("energy.k1.high", 4096)]);
        for (low, high, base) in [
            ("energy.c0", "energy.k0.low", 256),
            ("energy.c1", "energy.k1.low", 256),
            ("root.low", "root.high", 256),
            ("inverse.0", "inverse.1", 512),
            ("inverse.1", "inverse.2", 512),
        ] {
            search.named(&[(low, base), (high, -1)]);
            search.named(&[(low, -base), (high, 1)]);
        }
        other_inverses(&mut search);
        larger_root(&mut search);
        root_in_the_field(&mut search);
        other_digits(&mut search);
        let missing: BTreeSet<Demand> = search.missing().into_iter().collect();
        idle = Some(idle.map_or(missing.clone(), |idle| idle.intersection(&missing).cloned().collect()));
        search.prove();
    }
    let circuit = Circuit::new(&small_layernorm([0, 0]).0).unwrap();
    assert_eq!((circuit.lookups.len(), circuit.relations.len()), (36, 14));
    let idle: Vec<String> = idle.unwrap_or_default().iter().map(|demand| demand.name(&circuit)).collect();
    // The range of the mean follows from those of the deviations; rule U wants it for itself, from either end.
    assert_eq!(idle, ["LayerNorm.0.mean in range14"; 2]);
}
