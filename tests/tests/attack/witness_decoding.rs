//! Witnesses of the ops of decoders that violate a single demand, each with a proof in which everything else is
//! honest.

use circlet_core::field::{M31, P};
use circlet_core::program::{Op, RmsNorm, Rows, Source};
use circlet_tests::attack::column;
use circlet_tests::norms::{Row, false_inverses, false_roots};
use circlet_tests::programs::{Case, Heads, ProgramBuilder};
use circlet_tests::search::{Search, demands};

/// Distances between limbs.
const BASES: [i64; 6] = [1 << 9, 1 << 10, 1 << 12, 1 << 15, 1 << 16, 1 << 20];

/// All general attempts.
fn general(search: &mut Search) {
    search.singles();
    search.neighbours(&BASES);
    search.wrapped();
}

/// The norm of some channels.
fn norm(inputs: &[i32], epsilon: u32) -> Case {
    let mut b = ProgramBuilder::new("small_norm");
    let x = b.input(1, inputs.len() as u32, 8191);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 4, 1);
    let y = b.rms_norm(w, epsilon, 9, clamp);
    let (program, data, _) = b.finish(&[y]);
    (program, data, vec![inputs.to_vec()])
}

/// The parameters of the norm.
fn params(search: &Search) -> RmsNorm {
    let Op::RmsNorm { params, .. } = search.case.0.ops[1] else { panic!("no norm") };
    params
}

/// Limbs of the operand that are the same numbers in the field, with a root that fits them.
fn other_limbs(search: &mut Search, row: &Row) {
    let Some((root, limbs, q)) = row.other_limbs() else { return };
    let RmsNorm { numerator, requantize, .. } = params(search);
    let honest = search.replay(&[]);
    let cells =
        |name: &str| [0, 1].map(|c| i64::from(honest.columns[column(&search.circuit, name).0 as usize][c]));
    let (high, low) = (cells("Widen.0.high0"), cells("Widen.0.low0"));
    let signed = |v: i64| i64::from(M31::from_i64(v).signed());
    let mut columns: Vec<(&str, usize, i64)> = Vec::new();
    for (cell, &[high, low]) in limbs.iter().enumerate() {
        columns.push(("Widen.0.high0", cell, signed(high)));
        columns.push(("Widen.0.low0", cell, low));
    }
    columns.extend(root.iter().map(|(name, value)| (name.as_str(), 0, *value)));
    let (inverse, shift) = (i64::from(numerator) / q, requantize.shift);
    for cell in 0..2 {
        let product = (1024 * high[cell] + low[cell]) * inverse + (1 << (shift - 1));
        columns.push(("RmsNorm.1.quotient", cell, product >> shift));
        columns.push(("RmsNorm.1.requantize.remainder", cell, product & ((1 << shift) - 1)));
    }
    search.forced(&columns);
}

#[test]
fn no_demand_of_rms_norm_is_idle() {
    let all = Search::new(norm(&[3, 5], 40), &[]);
    assert_eq!((all.circuit.lookups.len(), all.circuit.relations.len()), (26, 11));
    let mut rest = all.missing();
    for (inputs, epsilon) in [
        ([3, 5], 40),
        ([0, 0], 40),
        ([-700, 30], 40),
        ([8191, -8191], 40),
        ([1, 2048], 40),
        // A root of two limbs, in a row of zeros; then one whose lower limb is zero.
        ([0, 0], (1 << 30) - 1),
        ([0, 0], 28_672 * 28_672),
    ] {
        let mut search = Search::new(norm(&inputs, epsilon), &[]);
        general(&mut search);
        let row = Row::of(&search, &[&[0]], epsilon, params(&search).numerator);
        false_roots(&mut search, &row);
        other_limbs(&mut search, &row);
        if inputs == [0, 0] {
            let numerator = params(&search).numerator;
            false_inverses(&mut search, numerator, [12, 15], |_, _| vec![]);
        }
        let missing = search.missing();
        search.keep(|demand, _| rest.contains(demand));
        rest.retain(|demand| missing.contains(demand));
        search.prove();
    }
    let rest: Vec<String> = rest.iter().map(|demand| demand.name(&all.circuit)).collect();
    // A summand is the difference of two sums in range; one bit that is rounded away leaves no room to wrap.
    assert_eq!(rest, ["Widen.0.summand in range20"]);
}

/// A row of more than 1024 channels is summed in groups.
#[test]
fn no_demand_of_groups_is_idle() {
    let inputs: Vec<i32> = (0..1025).map(|i| i * 37 % 7 - 3).collect();
    let mut search = Search::new(norm(&inputs, 40), &[]);
    let row = Row::of(&search, &[&[0], &[1024]], 40, params(&search).numerator);
    false_roots(&mut search, &row);
    let own = |name: &str| name.contains("squares");
    let all = demands(&search.circuit).into_iter().filter(|demand| own(&demand.name(&search.circuit)));
    assert_eq!(all.count(), 14);
    let idle: Vec<String> = search.idle().into_iter().filter(|name| own(name)).collect();
    assert_eq!(idle, [""; 0]);
    search.keep(|_, name| own(name));
    search.prove();
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
