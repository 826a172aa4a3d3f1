//! Witnesses that are not the program's, each with a proof in which everything else is honest.

use std::collections::BTreeSet;

use circlet_core::circuit::{Circuit, Form};
use circlet_core::field::{M31, P};
use circlet_core::program::{LayerNorm, Op};
use circlet_tests::attack::column;
use circlet_tests::norms::false_inverses;
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
    let high = Form::default().plus(1, id("energy.high.low")).plus(4096, id("energy.high.high"));
    let digits = high.times(65536).plus(256, id("energy.c1")).plus(1, id("energy.c0"));
    search::trust_digits(circuit, &digits);
}

/// The smallest LayerNorm, with one channel whose scale is zero.
fn small_layernorm(inputs: [i32; 2], epsilon: u32, fraction: u8) -> Case {
    let mut b = ProgramBuilder::new("small_layernorm");
    let x = b.input(1, 2, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, epsilon, fraction, clamp);
    let (program, mut data, _) = b.finish(&[y]);
    data.constants[0][0] = 0;
    (program, data, vec![inputs.to_vec()])
}

/// The parameters of the LayerNorm.
fn params(search: &Search) -> LayerNorm {
    let Op::LayerNorm { params, .. } = search.case.0.ops[0] else { panic!("no LayerNorm") };
    params
}

/// The columns of another root `q = 256 q1 + q0`.
fn root_columns(q1: i64, q0: i64, rest: i64, slack: i64, carry: i64) -> Vec<(&'static str, usize, i64)> {
    let carry = carry + 4;
    vec![
        ("root.low", 0, q0),
        ("root.high", 0, q1),
        ("root.rest.low", 0, rest & 4095),
        ("root.rest.high", 0, rest >> 12),
        ("root.slack.low", 0, slack & 4095),
        ("root.slack.high", 0, slack >> 12),
        ("root.carry.low", 0, carry),
    ]
}

/// The normalized numbers that an inverse gives in the field.
fn normalized(search: &Search, inverse: i64) -> Vec<(&'static str, usize, i64)> {
    let trace = search.replay(&[]);
    let cells = |name: &str| trace.columns[column(&search.circuit, name).0 as usize].clone();
    let deviations = cells("deviation0.high").into_iter().zip(cells("deviation0.remainder"));
    let shift = params(search).shift;
    let both = deviations.take(2).enumerate().flat_map(|(cell, (high, low))| {
        let deviation = 256 * i64::from(high) + i64::from(low);
        let product = M31::from_i64(deviation) * M31::from_i64(inverse) + M31::from_i64((1 << shift) / 2);
        let product = i64::from(product.signed());
        let remainder = product & ((1 << shift) - 1);
        [("normalized", cell, product >> shift), ("normalize.remainder", cell, remainder)]
    });
    both.collect()
}

/// A larger root whose low identity has a solution.
fn larger_root(search: &mut Search) {
    let (c1, c0) = (search.value("energy.c1"), search.value("energy.c0"));
    let root = search.value("root.low") + 256 * search.value("root.high");
    let epsilon = i64::from(params(search).epsilon & 0xffff);
    for q in root + 1..1 << 18 {
        let (q1, q0) = (q >> 8, q & 255);
        let partial = q0 * q0 + 512 * q1 * q0 - 256 * c1 - c0 - epsilon;
        let rest = (-partial).rem_euclid(65536);
        if rest <= 2 * q {
            search.forced(&root_columns(q1, q0, rest, 2 * q - rest, (partial + rest) / 65536));
            return;
        }
    }
}

/// A larger root whose carry is out of range and fits in the field.
fn carry_in_the_field(search: &mut Search) {
    let (c1, c0) = (search.value("energy.c1"), search.value("energy.c0"));
    let high = search.value("energy.high.low") + 4096 * search.value("energy.high.high");
    let root = search.value("root.low") + 256 * search.value("root.high");
    let epsilon = i64::from(params(search).epsilon);
    for q in root + 1..1 << 20 {
        let (q1, q0) = (q >> 8, q & 255);
        let carry = high + (epsilon >> 16) - q1 * q1;
        let lower = 65536 * carry + 256 * c1 + c0 + (epsilon & 0xffff);
        let rest = (lower - q0 * q0 - 512 * q1 * q0).rem_euclid(i64::from(P));
        if !(-4..(1 << 14) - 4).contains(&carry) && rest <= 2 * q {
            search.forced(&root_columns(q1, q0, rest, 2 * q - rest, carry));
            return;
        }
    }
}

/// A root whose high digit is a square root in the field, out of all range, and so large that its inverse is zero.
fn root_in_the_field(search: &mut Search) {
    let (c1, c0) = (search.value("energy.c1"), search.value("energy.c0"));
    let high = search.value("energy.high.low") + 4096 * search.value("energy.high.high");
    let LayerNorm { epsilon, numerator, .. } = params(search);
    let (epsilon, numerator) = (i64::from(epsilon), i64::from(numerator));
    let reduce = |v: i64| i64::from(M31::from_i64(v).value());
    for carry in -4..(1 << 14) - 4 {
        let square = M31::from_i64(high + (epsilon >> 16) - carry);
        let base = square.pow(1 << 29);
        if base * base != square {
            continue;
        }
        for (q1, q0) in [base, -base].into_iter().flat_map(|q1| (0..256).map(move |q0| (q1, q0))) {
            let q = reduce(256 * i64::from(q1.value()) + q0);
            let product = i64::from((q1 * M31::from_i64(512 * q0)).value());
            let lower = 65536 * carry + 256 * c1 + c0 + (epsilon & 0xffff);
            let rest = reduce(lower - q0 * q0 - product);
            let slack = 2 * q - rest;
            if q <= numerator || q >= 1 << 20 || rest >= 1 << 22 || !(0..1 << 22).contains(&slack) {
                continue;
            }
            let mut columns = root_columns(i64::from(q1.signed()), q0, rest, slack, carry);
            let slack = q - 1 - numerator;
            columns.extend([("inverse.low", 0, 0), ("inverse.high", 0, 0), ("inverse.middle", 0, 0)]);
            columns.extend([
                ("inverse.rest.low", 0, numerator & 4095),
                ("inverse.rest.high", 0, numerator >> 12),
            ]);
            columns.extend([("inverse.slack.low", 0, slack & 4095), ("inverse.slack.high", 0, slack >> 12)]);
            columns.extend([("inverse.up.low", 0, 0), ("inverse.up.high", 0, 0), ("inverse.carry", 0, 0)]);
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
        columns.extend([("energy.k0.low", 0, k0 & 4095), ("energy.k0.high", 0, k0 >> 12)]);
        columns.extend([("energy.k1.low", 0, k1 & 4095), ("energy.k1.high", 0, k1 >> 12)]);
        columns.extend([("energy.high.low", 0, top & 4095), ("energy.high.high", 0, top >> 12)]);
        search.forced(&columns);
        return;
    }
}

/// The same for LayerNorm, whose digits and carries need changes that compensate.
#[test]
fn no_demand_of_layernorm_is_idle() {
    let mut idle: Option<BTreeSet<Demand>> = None;
    for (inputs, epsilon, fraction) in [
        ([3, 5], 40, 12),
        ([3, 3], 40, 12),
        ([100, -57], 40, 8),
        ([8191, -8191], 40, 12),
        // A root of two digits: in a row without deviation, and in one whose deviation times a false inverse of 27 bits
        // is small in the field.
        ([3, 3], (1 << 24) - 1, 12),
        ([257, -257], (1 << 24) - 1, 12),
    ] {
        let mut search = Search::new(small_layernorm(inputs, epsilon, fraction), &[]);
        search.singles();
        let limbs = ["energy.k0", "energy.k1", "energy.high", "root.rest", "root.slack"]
            .into_iter()
            .chain(["inverse.rest", "inverse.slack", "inverse.up"])
            .map(|name| (format!("{name}.low"), format!("{name}.high")));
        for (low, high) in limbs {
            search.poked(&[(&low, 4096), (&high, -1)]);
            search.poked(&[(&low, -4096), (&high, 1)]);
            search.poked(&[(&low, -1), (&high, 1 << 19)]);
        }
        search.named(&[("normalized", 1 << 21), ("normalize.remainder", (1 << 31) - 1)]);
        trust_digits(&mut search.steps);
        search.singles();
        // 2^31 = 1: the high limbs of the carries wrap.
        search.named(&[("energy.c0", -1), ("energy.k0.high", 2048)]);
        search.named(&[("energy.c1", -1), ("energy.k1.high", 2048)]);
        for (low, high) in
            [("energy.c0", "energy.k0.low"), ("energy.c1", "energy.k1.low"), ("root.low", "root.high")]
        {
            search.named(&[(low, 256), (high, -1)]);
            search.named(&[(low, -256), (high, 1)]);
        }
        if inputs[0] == inputs[1] || epsilon > 40 {
            let numerator = params(&search).numerator;
            false_inverses(&mut search, numerator, [8, 12], normalized);
        }
        larger_root(&mut search);
        carry_in_the_field(&mut search);
        root_in_the_field(&mut search);
        other_digits(&mut search);
        let missing: BTreeSet<Demand> = search.missing().into_iter().collect();
        search.keep(|demand, _| idle.as_ref().is_none_or(|idle| idle.contains(demand)));
        idle = Some(idle.map_or(missing.clone(), |idle| idle.intersection(&missing).cloned().collect()));
        search.prove();
    }
    let circuit = Circuit::new(&small_layernorm([0, 0], 40, 12).0).unwrap();
    assert_eq!((circuit.lookups.len(), circuit.relations.len()), (34, 14));
    let idle: Vec<String> = idle.unwrap_or_default().iter().map(|demand| demand.name(&circuit)).collect();
    // The range of the mean follows from those of the deviations; rule U wants it for itself, from either end.
    assert_eq!(idle, ["LayerNorm.0.mean in range14"; 2]);
}
