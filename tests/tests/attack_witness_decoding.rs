//! Witnesses of the ops of decoders that violate a single demand, each with a proof in which everything else is
//! honest.

use circlet_core::circuit::Form;
use circlet_core::field::{M31, P};
use circlet_core::program::{Op, Rows, Source};
use circlet_tests::attack::column;
use circlet_tests::programs::{Case, Heads, ProgramBuilder};
use circlet_tests::search::{Search, trust_digits};

/// Distances between limbs.
const BASES: [i64; 7] = [1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 15, 1 << 16, 1 << 20];

/// All general attempts.
fn general(search: &mut Search) {
    search.singles();
    search.neighbours(&BASES);
    search.wrapped();
}

/// The norm of two channels.
fn norm(inputs: [i32; 2]) -> Case {
    let mut b = ProgramBuilder::new("small_norm");
    let x = b.input(1, 2, 8191);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 4, 1);
    let y = b.rms_norm(w, EPSILON as u32, 9, clamp);
    let (program, data, _) = b.finish(&[y]);
    (program, data, vec![inputs.to_vec()])
}

/// The epsilon of [`norm`].
const EPSILON: i64 = 40;

fn squares(search: &Search) -> [i64; 3] {
    let top = search.value("squares.high.low")
        + (search.value("squares.high.high") << 11)
        + (search.value("squares.high.top") << 22);
    [top, search.value("squares0.middle"), search.value("squares0.low")]
}

/// Three limbs of a number.
fn split(name: &'static [&'static str; 3], value: i64) -> [(&'static str, usize, i64); 3] {
    [(name[0], 0, value & 2047), (name[1], 0, value >> 11 & 2047), (name[2], 0, value >> 22)]
}

const REST: [&str; 3] = ["root.rest.low", "root.rest.high", "root.rest.top"];
const SLACK: [&str; 3] = ["root.slack.low", "root.slack.high", "root.slack.top"];

/// Another root `q = 1024 q1 + q0` with `q1 q0 = 2^9 m1 + m0`.
fn root_columns(
    q: [i64; 2],
    m: [i64; 2],
    rest: i64,
    slack: i64,
    carry: i64,
) -> Vec<(&'static str, usize, i64)> {
    let mut columns = vec![
        ("root.low", 0, q[0]),
        ("root.high", 0, q[1]),
        ("root.cross.low", 0, m[0]),
        ("root.cross.high", 0, m[1]),
    ];
    columns.extend(split(&REST, rest));
    columns.extend(split(&SLACK, slack));
    // It follows from the remainder.
    columns.push(("root.carry", 0, carry));
    columns
}

/// A larger root whose low identity has a solution.
fn larger_root(search: &mut Search) {
    let [_, middle, low] = squares(search);
    let root = search.value("root.low") + 1024 * search.value("root.high");
    for q in root + 1..1 << 22 {
        let (q1, q0) = (q >> 10, q & 1023);
        let (m1, m0) = ((q1 * q0) >> 9, (q1 * q0) & 511);
        let partial = q0 * q0 + (m0 << 11) - (middle << 11) - low - EPSILON;
        let rest = (-partial).rem_euclid(1 << 20);
        if rest <= 2 * q {
            let carry = (partial + rest) >> 20;
            search.forced(&root_columns([q0, q1], [m0, m1], rest, 2 * q - rest, carry));
            return;
        }
    }
}

/// A root whose high limb is a square root in the field, out of all range.
fn root_in_the_field(search: &mut Search) {
    let [top, middle, low] = squares(search);
    let reduce = |v: i64| i64::from(M31::from_i64(v).value());
    for sum in -4..(1 << 15) + 124 {
        // q1^2 + m1 + carry = top
        let square = M31::from_i64(top - sum);
        let base = square.pow(1 << 29);
        if base * base != square {
            continue;
        }
        for (q1, q0) in [base, -base].into_iter().flat_map(|q1| (0..1024).map(move |q0| (q1, q0))) {
            let q = reduce(1024 * i64::from(q1.value()) + q0);
            let cross = i64::from((q1 * M31::from_i64(q0)).value());
            let (m1, m0) = (cross >> 9, cross & 511);
            let carry = sum - m1;
            if q == 0 || q >= 1 << 24 || m1 >= 1 << 15 || !(-4..124).contains(&carry) {
                continue;
            }
            let rest = (carry << 20) - q0 * q0 - (m0 << 11) + (middle << 11) + low + EPSILON;
            let slack = 2 * q - rest;
            if !(0..1 << 25).contains(&rest) || !(0..1 << 25).contains(&slack) {
                continue;
            }
            let high = i64::from(q1.signed());
            if (0..1 << 14).contains(&high) {
                continue;
            }
            let mut columns = root_columns([q0, high], [m0, m1], rest, slack, carry);
            columns.extend(inverse_columns(search, q));
            search.forced(&columns);
            return;
        }
    }
}

/// The columns of the inverse of a root.
fn inverse_columns(search: &Search, root: i64) -> Vec<(&'static str, usize, i64)> {
    const PARTS: [&str; 5] = ["inverse.0", "inverse.1", "inverse.2", "inverse.3", "inverse.4"];
    const CARRIES: [[&str; 2]; 4] = [
        ["inverse.carry0.low", "inverse.carry0.high"],
        ["inverse.carry1.low", "inverse.carry1.high"],
        ["inverse.carry2.low", "inverse.carry2.high"],
        ["inverse.carry3.low", "inverse.carry3.high"],
    ];
    let Op::RmsNorm { params, .. } = search.case.0.ops[1] else { panic!("no norm") };
    let numerator = i64::from(params.numerator);
    let (inverse, rest) = (numerator / root, numerator % root);
    let two = |[low, high]: [&'static str; 2], value: i64| [(low, 0, value & 2047), (high, 0, value >> 11)];
    let mut columns = Vec::new();
    columns.extend(two(["inverse.rest.low", "inverse.rest.high"], rest));
    columns.extend(two(["inverse.slack.low", "inverse.slack.high"], root - 1 - rest));
    let mut carry = rest;
    for (k, name) in PARTS.into_iter().enumerate() {
        let part = inverse >> (6 * k) & 63;
        columns.push((name, 0, part));
        if k < 4 {
            carry = (part * root + carry - (numerator >> (6 * k) & 63)) / 64;
            columns.extend(two(CARRIES[k], carry));
        }
    }
    columns
}

/// The right side of the lower identity of a root, but for the remainder and the carry.
fn lower([_, middle, low]: [i64; 3], [q0, m0]: [i64; 2]) -> i64 {
    (middle << 11) + low + EPSILON - q0 * q0 - (m0 << 11)
}

/// The root with another lower limb of `q1 q0`, which the remainder makes good.
fn other_cross(search: &mut Search) {
    let q = [search.value("root.low"), search.value("root.high")];
    let m = [search.value("root.cross.low"), search.value("root.cross.high")];
    let limbs = |names: [&str; 3]| names.map(|name| search.value(name));
    let number = |[low, high, top]: [i64; 3]| low + (high << 11) + (top << 22);
    let (rest, slack) = (number(limbs(REST)), number(limbs(SLACK)));
    let carry = search.value("root.carry");
    for sign in [1, -1] {
        let (rest, slack) = (rest - sign * 2048, slack + sign * 2048);
        if rest >= 0 && slack >= 0 {
            search.forced(&root_columns(q, [m[0] + sign, m[1]], rest, slack, carry));
        }
    }
}

/// A root whose carry is out of range and fits in the field.
fn carry_in_the_field(search: &mut Search) {
    let squares = squares(search);
    let top = squares[0];
    let root = search.value("root.low") + 1024 * search.value("root.high");
    for q in root + 1..1 << 24 {
        let (q1, q0) = (q >> 10, q & 1023);
        let (m1, m0) = ((q1 * q0) >> 9, (q1 * q0) & 511);
        let carry = top - m1 - q1 * q1;
        let rest = ((carry << 20) + lower(squares, [q0, m0])).rem_euclid(i64::from(P));
        if (-4..124).contains(&carry) || rest > 2 * q || rest >= 1 << 25 || 2 * q - rest >= 1 << 25 {
            continue;
        }
        search.forced(&root_columns([q0, q1], [m0, m1], rest, 2 * q - rest, carry));
        return;
    }
}

/// A root whose product of limbs has another lower limb and, in the field, an upper one out of range.
fn cross_in_the_field(search: &mut Search) {
    let squares = squares(search);
    let top = squares[0];
    let modulus = i64::from(P);
    for (q1, q0) in (0..1i64 << 14).flat_map(|q1| (0..1024).map(move |q0| (q1, q0))) {
        // q1 q0 = 2^9 m1 + m0 and carry + m1 + q1^2 = top.
        let mut both = (q1 * q0 - 512 * (top - q1 * q1)).rem_euclid(modulus);
        both -= if both > modulus / 2 { modulus } else { 0 };
        let (carry, m0) = (-(both >> 9), both & 511);
        let m1 = (top - q1 * q1 - carry).rem_euclid(modulus);
        let q = 1024 * q1 + q0;
        let rest = (carry << 20) + lower(squares, [q0, m0]);
        if !(-4..124).contains(&carry) || m1 < 1 << 15 || rest < 0 || rest > 2 * q {
            continue;
        }
        if rest >= 1 << 25 || 2 * q - rest >= 1 << 25 {
            continue;
        }
        search.forced(&root_columns([q0, q1], [m0, m1], rest, 2 * q - rest, carry));
        return;
    }
}

/// Limbs `1024 (h + 2^21 k) + l - k`, the same number in the field, with squares that fit them.
fn other_limbs(search: &mut Search) {
    let honest = search.replay(&[]);
    let cells =
        |name: &str| [0, 1].map(|c| i64::from(honest.columns[column(&search.circuit, name).0 as usize][c]));
    let (high, low) = (cells("Widen.0.high0"), cells("Widen.0.low0"));
    let reduce = |v: i128| i64::from(M31::from_i64((v % i128::from(P)) as i64).signed());
    for (k0, k1) in (0..=low[0].min(60)).flat_map(|k0| (0..=low[1].min(60)).map(move |k1| (k0, k1))).skip(1) {
        let l = [low[0] - k0, low[1] - k1];
        let h = [high[0] + (k0 << 21), high[1] + (k1 << 21)].map(|h| reduce(h.into()));
        let dot = |x: [i64; 2], y: [i64; 2]| -> i128 {
            x.iter().zip(y).map(|(&x, y)| i128::from(x) * i128::from(y)).sum()
        };
        let lows = dot(l, l) as i64;
        let (d, carry) = (lows & 2047, lows >> 11);
        let middle = reduce(dot(h, l) + i128::from(carry));
        let (b, up) = (middle & 511, middle >> 9);
        let top = reduce(dot(h, h) + i128::from(up));
        if !(-(1 << 21)..1 << 21).contains(&up) || !(0..1 << 28).contains(&top) {
            continue;
        }
        let up = up + (1 << 21);
        let mut columns = Vec::new();
        for cell in 0..2 {
            columns.push(("Widen.0.high0", cell, h[cell]));
            columns.push(("Widen.0.low0", cell, l[cell]));
        }
        columns.extend([("squares0.low", 0, d), ("squares0.middle", 0, b)]);
        columns.push(("squares0.carry.low", 0, carry));
        columns.extend([("squares0.up.low", 0, up & 2047), ("squares0.up.high", 0, up >> 11)]);
        columns.extend(split(&["squares.high.low", "squares.high.high", "squares.high.top"], top));
        // The operand is the same number in the field, the root another.
        let Op::RmsNorm { params, .. } = &search.case.0.ops[1] else { panic!("a norm") };
        let root = ((top << 20) + (b << 11) + d + EPSILON).isqrt();
        let (inverse, shift) = (i64::from(params.numerator) / root, params.requantize.shift);
        for cell in 0..2 {
            let product = (1024 * high[cell] + low[cell]) * inverse + (1 << (shift - 1));
            columns.push(("RmsNorm.1.quotient", cell, product >> shift));
            columns.push(("RmsNorm.1.requantize.remainder", cell, product & ((1 << shift) - 1)));
        }
        search.forced(&columns);
        return;
    }
}

/// Each limb of the inverse by one, with nothing else told; and the last limb by a half in the field.
fn other_inverses(search: &mut Search) {
    let own = |search: &Search, prefix: &str| -> Vec<(String, usize, i64)> {
        let all = search.circuit.columns.iter().map(|c| c.name.clone());
        let own = all.filter(|name| name.starts_with("RmsNorm.1.inverse") && name.starts_with(prefix));
        own.map(|name| (name.clone(), 0, search.value(&name))).collect()
    };
    let kept = own(search, "");
    let force = |search: &mut Search, changes: &[(&str, i64)]| {
        let mut values: Vec<(&str, usize, i64)> = kept.iter().map(|(n, c, v)| (n.as_str(), *c, *v)).collect();
        for value in &mut values {
            value.2 += changes.iter().find(|(name, _)| value.0.ends_with(name)).map_or(0, |c| c.1);
        }
        search.forced(&values);
    };
    for limb in ["inverse.0", "inverse.1", "inverse.2", "inverse.3", "inverse.4"] {
        for delta in [1, -1] {
            force(search, &[(limb, delta)]);
        }
    }
    let root = search.value("root.low") + 1024 * search.value("root.high");
    if root % 2 == 0 {
        let three = search.value("inverse.3");
        let up = i64::from(three & 32 == 0);
        let sign = 2 * up - 1;
        let carry = search.value("inverse.carry3.low") + (search.value("inverse.carry3.high") << 11);
        let other = carry + sign * root / 2;
        force(
            search,
            &[
                ("inverse.3", 32 * sign),
                ("inverse.4", (1 << 30) - up),
                ("inverse.carry3.low", (other & 2047) - (carry & 2047)),
                ("inverse.carry3.high", (other >> 11) - (carry >> 11)),
            ],
        );
    }
}

#[test]
fn no_demand_of_rms_norm_is_idle() {
    let all = Search::new(norm([3, 5]), &[]);
    assert_eq!((all.circuit.lookups.len(), all.circuit.relations.len()), (42, 16));
    let mut rest = all.missing();
    for inputs in [[3, 5], [0, 0], [-700, 30], [8191, -8191], [1, 2048]] {
        let mut search = Search::new(norm(inputs), &[]);
        general(&mut search);
        let id = |name: &str| column(&search.circuit, name);
        let top = Form::default()
            .plus(1, id("squares.high.low"))
            .plus(1 << 11, id("squares.high.high"))
            .plus(1 << 22, id("squares.high.top"));
        let digits = top.times(1 << 20).plus(1 << 11, id("squares0.middle")).plus(1, id("squares0.low"));
        trust_digits(&mut search.steps, "RmsNorm", &digits);
        general(&mut search);
        // 2^31 = 1: what a digit loses, the last limb of its carry gains.
        search.named(&[("squares0.low", -1), ("squares0.carry.low", 1 << 20)]);
        search.named(&[("squares0.low", 2048), ("squares0.carry.low", -1)]);
        search.named(&[("squares0.middle", -1), ("squares0.up.high", 1 << 11)]);
        search.named(&[("squares0.middle", 512), ("squares0.up.low", -1)]);
        search.named(&[("squares0.middle", -512), ("squares0.up.low", 1)]);
        search.named(&[("root.low", 1024), ("root.high", -1)]);
        search.named(&[("root.low", -1024), ("root.high", 1)]);
        search.named(&[("root.cross.low", 512), ("root.cross.high", -1)]);
        search.named(&[("root.cross.low", -512), ("root.cross.high", 1)]);
        for k in 0..4 {
            let (low, high) = (format!("inverse.{k}"), format!("inverse.{}", k + 1));
            search.named(&[(&low, 64), (&high, -1)]);
            search.named(&[(&low, -64), (&high, 1)]);
        }
        other_inverses(&mut search);
        larger_root(&mut search);
        root_in_the_field(&mut search);
        cross_in_the_field(&mut search);
        carry_in_the_field(&mut search);
        other_cross(&mut search);
        other_limbs(&mut search);
        let missing = search.missing();
        search.keep(|demand, _| rest.contains(demand));
        rest.retain(|demand| missing.contains(demand));
        search.prove();
    }
    let rest: Vec<String> = rest.iter().map(|demand| demand.name(&all.circuit)).collect();
    // A summand is the difference of two sums in range; one bit that is rounded away leaves no room to wrap. This
    // numerator is so small that the last limb of the inverse is zero, which leaves no room to the one before it.
    assert_eq!(rest, ["Widen.0.summand in range20", "RmsNorm.1.inverse.3 in range6"]);
}

/// A summand is the difference of two sums of twenty bits: where few bits are rounded away, nothing wraps, and
/// its own range check says nothing new. Where many are, it does.
#[test]
fn no_demand_of_a_sum_is_idle() {
    for (shift, idle) in [
        (5, &["MatMulAdd.1.summand in range20", "Widen.0.summand in range20"][..]),
        (14, &["Widen.0.summand in range20"]),
    ] {
        let mut b = ProgramBuilder::new("small_sum");
        let x = b.input(1, 2, 8191);
        let clamp = b.clamp(16, 8191);
        let v = b.widen(None, x, 4, 1);
        let w = b.linear_add(Some(v), x, (2, 3000), Some(70_000), shift);
        // Whose limbs are read by a sum alone.
        let w = b.widen(Some(w), x, 1, 0);
        let y = b.rms_norm(w, 40, 9, clamp);
        let mut search = Search::new(b.finish(&[y]), &[]);
        general(&mut search);
        let own =
            |op: &str| search.idle().into_iter().filter(|name| name.starts_with(op)).collect::<Vec<_>>();
        assert_eq!([own("MatMulAdd"), own("Widen.0")].concat(), idle, "shift {shift}");
        search.keep(|_, name| name.starts_with("MatMulAdd") || name.starts_with("Widen.0"));
        search.prove();
    }
}

/// The maximum is one of the scores, and the sum one of weights: their ranges follow, and rule U wants them. The
/// summand is that of any sum. (Norms of heads are those of [`no_demand_of_rms_norm_is_idle`].)
#[test]
fn no_demand_of_attention_is_idle() {
    let mut b = ProgramBuilder::new("small_attention");
    let x = b.input(2, 2, 127);
    let clamp = b.clamp(16, 8191);
    let heads = Heads { norms: false, bits: 14, most: 100, ..Heads::new(1, 1, 2) };
    let w = b.attention(None, x, &heads);
    let w = b.widen(Some(w), x, 1, 0);
    let y = b.rms_norm(w, 40, 9, clamp);
    let (program, mut data, inputs) = b.finish(&[y]);
    // The output does not read channel zero.
    let Op::Attention { params, .. } = &program.ops[0] else { panic!("no attention") };
    for row in data.constants[params.output.0 as usize].chunks_mut(2) {
        row[0] = 0;
    }
    let mut search = Search::new((program, data, inputs), &[]);
    general(&mut search);
    let (sum, mean, rest) = (search.value("sum0"), search.value("mean0"), search.value("mean.remainder0"));
    search.named(&[("mean0", 1), ("mean.remainder0", -2 * sum)]);
    search.named(&[("mean0", -1), ("mean.remainder0", 2 * sum)]);
    let inverse = M31::from_i64(2 * sum).pow(P - 2);
    for delta in [1, -1] {
        let moved = M31::from_i64(mean) - M31::from_i64(delta) * inverse;
        search.forced(&[("mean0", 0, moved.signed().into()), ("mean.remainder0", 0, rest + delta)]);
    }
    let own: Vec<String> = search.idle().into_iter().filter(|name| name.starts_with("Attention")).collect();
    assert_eq!(
        own,
        ["Attention.0.maximum0 in range15", "Attention.0.sum0 in range9", "Attention.0.summand in range20"]
    );
    search.keep(|_, name| name.starts_with("Attention"));
    search.prove();
}

#[test]
fn no_demand_of_the_best_channel_is_idle() {
    let mut b = ProgramBuilder::new("small_best");
    let x = b.input(2, 2, 127);
    let weights = [[3, 1], [-2, 7], [3, 1], [1, 1], [0, 0]];
    let weight = b.constant_of(5, 2, weights.concat());
    let list = b.list(2, 5);
    b.program.ops.push(Op::ArgMax { x, weight, list });
    let (program, data, _) = b.finish(&[]);
    let mut search = Search::new((program, data, vec![vec![100, 20, -5, 90]]), &[vec![]]);
    general(&mut search);
    let claims = [[1, 1], [2, 1], [3, 1], [0, 0], [4, 1]];
    for claim in claims {
        for delta in [0, 1, -1, 5] {
            search.claimed(&[claim.to_vec()], &[("maximum.low", delta)]);
        }
    }
    // A difference that the list does not name.
    let other =
        i64::from(search.replay(&[]).columns[column(&search.circuit, "difference0.low").0 as usize][1]);
    search.forced(&[("difference0.low", 1, other - 1)]);
    assert_eq!(search.idle(), [""; 0]);
    search.prove();
}

#[test]
fn no_demand_of_a_gather_is_idle() {
    let mut b = ProgramBuilder::new("small_gather");
    let x = b.input(3, 3, 127);
    let embedding = b.constant(5, 3, 127);
    let list = b.list(3, 5);
    let e = b.gather(Source::Constant(embedding), Rows::Listed(list));
    let clamp = b.clamp(10, 254);
    let y = b.add((x, 0), (e, 0), 0, clamp);
    let z = b.gather(Source::Tensor(y), Rows::Given(vec![2, 0]));
    let w = b.widen(None, z, 3, 0);
    let w = b.gather(Source::Tensor(w), Rows::Given(vec![1, 0]));
    let n = b.rms_norm(w, 40, 5, clamp);
    let mut search = Search::new(b.finish(&[y, z, n]), &[vec![4, 0, 4]]);
    general(&mut search);
    let own = |search: &Search| -> Vec<String> {
        let of_op = |name: &String| !name.starts_with("RmsNorm") && !name.starts_with("Widen");
        search.idle().into_iter().filter(of_op).collect()
    };
    // Rows of a wide tensor are in range where the tensor is.
    let wide = ["high0", "low0", "high2", "low2"].map(|limb| format!("Gather.4.{limb} in range10"));
    assert_eq!(own(&search), wide);
    search.keep(|_, name| !name.starts_with("RmsNorm") && !name.starts_with("Widen"));
    search.prove();
}
