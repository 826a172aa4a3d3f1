//! False roots and inverses. The norms prove a root and a quotient by two congruences each; here are numbers that
//! satisfy only one of the two, or both but for the range of a limb.

// Columns are those of a row, a group or a division, also where it takes no number of theirs to name them.
#![allow(clippy::unused_self)]

use circlet_core::field::{M31, P};

use crate::attack::column;
use crate::search::Search;

/// Numbers for the first cells of named columns, in the order in which steps fill them.
pub type Columns = Vec<(String, i64)>;

/// The residue of a number.
fn residue(v: i128) -> i64 {
    v.rem_euclid(i128::from(P)) as i64
}

/// The residue of a quotient.
fn ratio(v: i128, divisor: i64) -> i64 {
    i64::from((M31::from_i64(residue(v)) * M31::from_i64(divisor).pow(P - 2)).value())
}

fn limbs(name: &str, value: i64) -> [(String, i64); 2] {
    [(format!("{name}.low"), value & 4095), (format!("{name}.high"), value >> 12)]
}

/// Limbs of a residue, of which the upper one may be out of range.
fn residues(name: &str, value: i64) -> [(String, i64); 2] {
    [(format!("{name}.low"), 0), (format!("{name}.high"), ratio(value.into(), 4096))]
}

/// Sets the first cells of columns, then others.
fn force(search: &mut Search, columns: &Columns, others: &[(&str, usize, i64)]) {
    let first = columns.iter().map(|(name, v)| (name.as_str(), 0, *v));
    search.forced(&first.chain(others.iter().copied()).collect::<Vec<_>>());
}

/// `floor(numerator / q)` with `q = 2^low_bits high + low` and a quotient of `15 + high_bits` bits.
#[derive(Clone, Copy, Debug)]
struct Division {
    numerator: i64,
    /// Limbs of the divisor.
    low: i64,
    high: i64,
    /// Bits of its lower limb, and of the upper limb of the quotient.
    low_bits: u32,
    high_bits: u32,
}

/// What a prover says of a quotient `2^15 high + low`.
#[derive(Clone, Copy, Debug)]
struct Quotient {
    low: i64,
    high: i64,
    rest: i64,
    middle: i64,
    carry: i64,
}

impl Division {
    fn divisor(self) -> i64 {
        residue((i128::from(self.high) << self.low_bits) + i128::from(self.low))
    }

    /// Bits of the divisor.
    fn bits(self) -> u32 {
        self.low_bits + 12
    }

    /// The numerator modulo a power of two.
    fn own(self) -> i64 {
        self.numerator & ((1 << self.bits()) - 1)
    }

    /// What counts of `2^low_bits` times the middle products.
    fn cross(self, low: i64, high: i64) -> i128 {
        (i128::from(high) << (15 - self.low_bits)) * i128::from(self.low)
            + i128::from(low) * i128::from(self.high)
    }

    /// Bits of the quotient of the middle products, and the least one.
    fn ups(self) -> (u32, i64) {
        let most = (1i64 << (self.high_bits + 3)) + (1 << 15);
        let bits = (most as u64).next_power_of_two().trailing_zeros();
        (bits, (most - (1 << bits)) / 2)
    }

    /// The columns of a quotient, but for what the middle products have above twelve bits.
    fn columns(self, quotient: Quotient, up: [(String, i64); 2]) -> Columns {
        let Quotient { low, high, rest, middle, carry } = quotient;
        let mut columns = vec![("inverse.low".into(), low), ("inverse.high".into(), high)];
        columns.extend(limbs("inverse.rest", rest));
        columns.extend(limbs("inverse.slack", self.divisor() - 1 - rest));
        columns.push(("inverse.middle".into(), middle));
        columns.extend(up);
        columns.push(("inverse.carry".into(), carry));
        columns
    }

    /// The upper part of the middle products as they are.
    fn up(self, low: i64, high: i64) -> [(String, i64); 2] {
        limbs("inverse.up", (self.cross(low, high) >> 12) as i64 - self.ups().1)
    }

    /// The lower identity of a quotient, without its carry.
    fn lower(self, quotient: Quotient) -> i64 {
        quotient.low * self.low + quotient.rest + (quotient.middle << self.low_bits) - self.own()
    }

    fn limbs(self, quotient: i64, rest: i64) -> Quotient {
        let (low, high) = (quotient & 0x7fff, quotient >> 15);
        Quotient { low, high, rest, middle: (self.cross(low, high) & 4095) as i64, carry: 0 }
    }

    /// A quotient modulo the power of two only.
    fn modulo_power(self) -> Option<Quotient> {
        let (q, true_one) = (self.divisor(), self.numerator / self.divisor());
        let quotients = (0..1i64 << (15 + self.high_bits).min(26)).filter(|&r| r != true_one);
        let rest = |r: i64| (self.numerator - r * q) & ((1 << self.bits()) - 1);
        let quotient = quotients.map(|r| self.limbs(r, rest(r))).find(|one| one.rest < q)?;
        let carry = self.lower(quotient) >> self.bits();
        Some(Quotient { carry, ..quotient })
    }

    /// Quotients modulo `P` only.
    fn modulo_p(self) -> impl Iterator<Item = Quotient> {
        let q = self.divisor();
        let multiples = (1i64..).map(move |k| self.numerator + k * i64::from(P));
        let quotients = multiples.map(move |v| (v / q, v % q));
        let quotients = quotients.take_while(move |&(r, _)| r < 1 << (15 + self.high_bits));
        quotients.map(move |(r, rest)| self.limbs(r, rest))
    }

    /// The same where the lower identity has a solution, with another middle limb.
    fn other_middle(self) -> Option<Quotient> {
        self.modulo_p().find_map(|quotient| {
            let lower = self.lower(Quotient { middle: 0, ..quotient });
            let fits = lower & ((1 << self.low_bits) - 1) == 0;
            let middle = -(lower >> self.low_bits) & 4095;
            let other = Quotient { middle, ..quotient };
            let carry = self.lower(other) >> self.bits();
            (fits && middle != quotient.middle).then_some(Quotient { carry, ..other })
        })
    }

    /// A quotient whose upper limb is out of range in the field, with the upper part of the middle products.
    fn high_in_the_field(self) -> Option<(Quotient, i64)> {
        let (q, size) = (self.divisor(), 1i64 << self.low_bits);
        let (up_bits, least) = self.ups();
        (0..1i64 << 15).find_map(|low| {
            let first = (self.own() - low * self.low).rem_euclid(size);
            (first..q).step_by(size as usize).find_map(|rest| {
                let quotient = ratio((self.numerator - rest).into(), q);
                let high = ratio((quotient - low).into(), 1 << 15);
                let above = residue(self.cross(low, high) - i128::from(least << 12));
                let (middle, up) = (above & 4095, above >> 12);
                let quotient = Quotient { low, high, rest, middle, carry: 0 };
                let lower = self.lower(quotient);
                let fits =
                    high >= 1 << self.high_bits && up < 1 << up_bits && lower & ((1 << self.bits()) - 1) == 0;
                let carry = lower >> self.bits();
                fits.then_some((Quotient { carry, ..quotient }, up))
            })
        })
    }
}

/// Inverses that are not the root's. What is multiplied by one of them in the field `follows`: cells by their names.
pub fn false_inverses(
    search: &mut Search,
    numerator: u32,
    [low_bits, high_bits]: [u32; 2],
    follows: impl Fn(&Search, i64) -> Vec<(&'static str, usize, i64)>,
) {
    let (low, high) = (search.value("root.low"), search.value("root.high"));
    let division = Division { numerator: numerator.into(), low, high, low_bits, high_bits };
    // The same quotient in other limbs, and its neighbours, whose remainder or what it lacks is negative.
    search.named(&[("inverse.low", 1 << 15), ("inverse.high", -1)]);
    search.named(&[("inverse.low", 1), ("inverse.rest.low", -4096), ("inverse.rest.high", 1)]);
    search.named(&[("inverse.low", -1), ("inverse.slack.low", -4096), ("inverse.slack.high", 1)]);
    let slack = ["inverse.slack.low", "inverse.slack.high"].map(|name| (name.to_owned(), search.value(name)));
    for delta in [1, -1] {
        let mut columns = vec![("inverse.low".to_owned(), search.value("inverse.low") + delta)];
        columns.extend(slack.clone());
        force(search, &columns, &[]);
        search.named(&[("inverse.low", delta)]);
    }
    for (low, high) in [(-1, 0), (4095, -1)] {
        search.named(&[("inverse.middle", 4096), ("inverse.up.low", low), ("inverse.up.high", high)]);
    }
    for sign in [1, -1] {
        search.named(&[("inverse.up.low", sign << 12), ("inverse.up.high", -sign)]);
    }
    let mut claim = |quotient: Quotient, up: [(String, i64); 2]| {
        let inverse = residue(i128::from(quotient.low) + (i128::from(quotient.high) << 15));
        let follows = follows(search, inverse);
        force(search, &division.columns(quotient, up), &follows);
    };
    if let Some(one) = division.modulo_power() {
        claim(one, division.up(one.low, one.high));
    }
    let mut larger = division.modulo_p();
    if let Some(one) = larger.find(|&one| division.lower(one) & ((1 << division.bits()) - 1) != 0) {
        claim(one, division.up(one.low, one.high));
        let carry = ratio(division.lower(one).into(), 1 << division.bits());
        claim(Quotient { carry, ..one }, division.up(one.low, one.high));
    }
    if let Some(one) = division.other_middle() {
        claim(one, division.up(one.low, one.high));
        let up = ratio(division.cross(one.low, one.high) - i128::from(one.middle), 4096) - division.ups().1;
        claim(one, residues("inverse.up", up));
    }
    if let Some((one, up)) = division.high_in_the_field() {
        claim(one, limbs("inverse.up", up));
    }
}

/// What the limbs of a group of channels of a wide tensor sum up to.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// `sum h l`.
    cross: i64,
    /// `sum l^2`.
    lows: i64,
}

/// A row of a wide tensor whose norm is taken.
#[derive(Clone, Debug)]
pub struct Row {
    epsilon: i64,
    numerator: i64,
    /// `sum x^2 + epsilon`.
    total: i64,
    groups: Vec<Group>,
    /// The limbs of the first block.
    limbs: Vec<[i64; 2]>,
}

/// A root `4096 high + low`, its remainder, and what the first group says.
#[derive(Clone, Copy, Debug)]
struct Root {
    low: i64,
    high: i64,
    rest: i64,
    middle: i64,
    carry: i64,
}

/// Bits of the lower congruence of a root.
const BITS: u32 = 20;
/// Its modulus.
const SIZE: i64 = 1 << BITS;
/// Carries of a sum of squares.
const CARRIES: std::ops::RangeInclusive<i64> = -64..=1983;

impl Row {
    /// The first row of the tensor that a `Widen` makes, whose blocks have these offsets in each group.
    pub fn of(search: &Search, groups: &[&[u32]], epsilon: u32, numerator: u32) -> Self {
        let trace = search.replay(&[]);
        let cells = |name: String| {
            let id = column(&search.circuit, &name);
            let cols = search.circuit.column(id).shape.cols as usize;
            trace.columns[id.0 as usize][..cols].iter().map(|&v| i64::from(v)).collect::<Vec<_>>()
        };
        let block = |at: &u32| -> Vec<[i64; 2]> {
            let (high, low) = (cells(format!("Widen.0.high{at}")), cells(format!("Widen.0.low{at}")));
            high.into_iter().zip(low).map(|(high, low)| [high, low]).collect()
        };
        let blocks: Vec<Vec<[i64; 2]>> =
            groups.iter().map(|group| group.iter().flat_map(block).collect()).collect();
        let (epsilon, numerator) = (i64::from(epsilon), i64::from(numerator));
        let squares = blocks.iter().flatten().map(|[h, l]| (1024 * h + l).pow(2));
        Self {
            epsilon,
            numerator,
            total: squares.sum::<i64>() + epsilon,
            groups: blocks.iter().map(|limbs| Group::of(limbs)).collect(),
            limbs: blocks.into_iter().next().unwrap_or_default(),
        }
    }

    /// What all groups but the first have below `2^20`.
    fn below(&self) -> i64 {
        (self.epsilon & (SIZE - 1))
            + self.groups[1..].iter().map(|group| group.rest(group.middle())).sum::<i64>()
    }

    /// What the middle limb of the first group is taken from.
    fn cross(&self, group: Group, low: i64, high: i64) -> i128 {
        i128::from(group.cross) - 4 * i128::from(high) * i128::from(low)
    }

    /// The lower identity, without its carry.
    fn lower(&self, group: Group, root: Root) -> i64 {
        self.below() + 2048 * root.middle - root.rest + group.lows - root.low * root.low
    }

    fn root(&self, q: i64, rest: i64) -> Root {
        let (low, high) = (q & 4095, q >> 12);
        let middle = self.cross(self.groups[0], low, high).rem_euclid(512) as i64;
        let root = Root { low, high, rest, middle, carry: 0 };
        Root { carry: self.lower(self.groups[0], root) >> BITS, ..root }
    }

    /// The upper part of the middle products as they are.
    fn up(&self, root: Root) -> [(String, i64); 2] {
        let cross = self.cross(self.groups[0], root.low, root.high);
        limbs("squares0.up", (cross >> 9) as i64 + (1 << 21))
    }

    /// The columns of a root, but for what the middle products have above nine bits.
    fn columns(&self, root: Root, up: [(String, i64); 2]) -> Columns {
        let slack =
            residue(2 * (4096 * i128::from(root.high) + i128::from(root.low)) - i128::from(root.rest));
        let mut columns = vec![("root.low".into(), root.low), ("root.high".into(), root.high)];
        columns.extend(limbs("root.rest", root.rest));
        columns.extend(limbs("root.slack", slack));
        columns.push(("squares0.middle".into(), root.middle));
        columns.extend(up);
        columns.push(("squares0.carry".into(), root.carry));
        columns
    }

    /// Larger roots modulo `P` only.
    fn modulo_p(&self) -> impl Iterator<Item = Root> {
        let rest = |q: i64| (self.total - q * q).rem_euclid(P.into());
        let roots = (self.total.isqrt() + 1..1 << 24).filter(move |&q| rest(q) <= 2 * q);
        let roots = roots.map(move |q| self.root(q, rest(q)));
        roots.filter(|&root| self.lower(self.groups[0], root) & (SIZE - 1) != 0)
    }

    /// A larger root modulo the power of two only.
    fn modulo_power(&self) -> Option<Columns> {
        let rest = |q: i64| (self.total - q * q).rem_euclid(SIZE);
        let root = (self.total.isqrt() + 1..1 << 24).find(|&q| rest(q) <= 2 * q)?;
        let root = self.root(root, rest(root));
        Some(self.columns(root, self.up(root)))
    }

    /// A root whose upper limb is out of range in the field, so large that the inverse is zero.
    fn high_in_the_field(&self) -> Option<Columns> {
        let rest = |q: i64| (self.total - q * q).rem_euclid(P.into());
        let fits = |&q: &i64| {
            let slack = 2 * q - rest(q);
            rest(q) < 1 << 25 && (0..1 << 25).contains(&slack) && q - self.numerator <= 1 << 24
        };
        (self.numerator + 1..1 << 25).filter(fits).find_map(|q| {
            (0..4096).find_map(|low| {
                let high = ratio((q - low).into(), 4096);
                let root = Root { low, high, rest: rest(q), middle: 0, carry: 0 };
                if high < 4096 || self.lower(self.groups[0], root) & 2047 != 0 {
                    return None;
                }
                let above = residue(self.cross(self.groups[0], low, high) + (1 << 30));
                let root = Root { middle: above & 511, ..root };
                let lower = self.lower(self.groups[0], root);
                if lower & (SIZE - 1) != 0 {
                    return None;
                }
                let root = Root { carry: lower >> BITS, ..root };
                let mut columns = self.columns(root, limbs("squares0.up", above >> 9));
                let numerator = self.numerator;
                let division = Division { numerator, low, high, low_bits: 12, high_bits: 15 };
                let zero = Quotient { low: 0, high: 0, rest: numerator, middle: 0, carry: 0 };
                columns.extend(division.columns(zero, division.up(0, 0)));
                Some(columns)
            })
        })
    }

    /// Limbs `1024 (h + 2^21 k) + l - k` of the first two channels, the same numbers in the field, with a root modulo `P`:
    /// its columns, the limbs, and the root.
    pub fn other_limbs(&self) -> Option<(Columns, [[i64; 2]; 2], i64)> {
        let [first, second] = self.limbs[..] else { panic!("two channels") };
        let own = self.total.isqrt();
        let honest = self.root(own, self.total - own * own);
        [honest].into_iter().chain(self.modulo_p().take(1000)).find_map(|root| {
            let pairs = (0..=first[1]).flat_map(|k| (0..=second[1]).map(move |l| [k, l])).skip(1);
            pairs.take(1 << 16).find_map(|[k, l]| {
                let moved = |[high, low]: [i64; 2], k: i64| [high + (k << 21), low - k];
                let other = [moved(first, k), moved(second, l)];
                let lows = other.iter().map(|[_, low]| low * low).sum();
                let root = Root { middle: 0, ..root };
                if self.lower(Group { cross: 0, lows }, root) & 2047 != 0 {
                    return None;
                }
                let cross = other.iter().map(|&[high, low]| i128::from(high) * i128::from(low)).sum();
                let group = Group { cross: residue(cross), lows };
                let above = residue(self.cross(group, root.low, root.high) + (1 << 30));
                let root = Root { middle: above & 511, ..root };
                let lower = self.lower(group, root);
                let carry = lower >> BITS;
                if lower & (SIZE - 1) != 0 || !CARRIES.contains(&carry) {
                    return None;
                }
                let columns = self.columns(Root { carry, ..root }, limbs("squares0.up", above >> 9));
                Some((columns, other, 4096 * root.high + root.low))
            })
        })
    }
}

impl Group {
    fn of(limbs: &[[i64; 2]]) -> Self {
        let cross = limbs.iter().map(|[h, l]| h * l).sum();
        Self { cross, lows: limbs.iter().map(|[_, l]| l * l).sum() }
    }

    fn middle(self) -> i64 {
        self.cross.rem_euclid(512)
    }

    /// The lower part of the sum of squares, with a middle limb.
    fn rest(self, middle: i64) -> i64 {
        (self.lows + 2048 * middle) & (SIZE - 1)
    }

    /// The columns of a group that is not the first.
    fn columns(self, k: usize, middle: i64, up: [(String, i64); 2], rest: i64, carry: i64) -> Columns {
        let mut columns = vec![(format!("squares{k}.middle"), middle)];
        columns.extend(up);
        columns.extend(limbs(&format!("squares{k}.rest"), rest));
        columns.push((format!("squares{k}.carry"), carry));
        columns
    }
}

/// Roots that are not the row's.
pub fn false_roots(search: &mut Search, row: &Row) {
    // The same root in other limbs, and its neighbours, whose remainder or what it lacks is negative.
    search.named(&[("root.low", 4096), ("root.high", -1)]);
    search.named(&[("root.low", 1), ("root.rest.low", -4096), ("root.rest.high", 1)]);
    search.named(&[("root.low", -1), ("root.slack.low", -4096), ("root.slack.high", 1)]);
    let slack = ["root.slack.low", "root.slack.high"].map(|name| (name.to_owned(), search.value(name)));
    for delta in [1, -1] {
        let mut columns = vec![("root.low".to_owned(), search.value("root.low") + delta)];
        columns.extend(slack.clone());
        force(search, &columns, &[]);
        search.named(&[("root.low", delta)]);
    }
    // Other limbs of the same sums.
    for k in 0..row.groups.len() {
        let name = |what: &str| format!("squares{k}.{what}");
        let [middle, low, high] = ["middle", "up.low", "up.high"].map(name);
        for sign in [1, -1] {
            for (a, b) in [(-sign, 0), (4095 * sign, -sign)] {
                search.named(&[(&middle, sign << 9), (&low, a), (&high, b)]);
            }
            search.named(&[(&low, sign << 12), (&high, -sign)]);
            if k > 0 {
                let [low, high, carry] = ["rest.low", "rest.high", "carry"].map(name);
                search.named(&[(&low, sign << 12), (&high, -sign)]);
                search.named(&[(&high, sign << 8), (&carry, -sign)]);
            }
        }
    }
    if let Some(columns) = row.modulo_power() {
        force(search, &columns, &[]);
    }
    for root in row.modulo_p().take(2) {
        let up = row.up(root);
        force(search, &row.columns(Root { carry: 0, ..root }, up.clone()), &[]);
        let lower = row.lower(row.groups[0], root);
        let carry = ratio(lower.into(), SIZE);
        force(search, &row.columns(Root { carry, ..root }, up.clone()), &[]);
        // What another group has below makes it good.
        for (k, group) in row.groups.iter().enumerate().skip(1) {
            let rest = (group.rest(group.middle()) - lower) & (SIZE - 1);
            let carry = (lower - group.rest(group.middle()) + rest) >> BITS;
            let middle = group.middle();
            let sum = group.lows + 2048 * middle;
            let own = || limbs(&format!("squares{k}.up"), (group.cross >> 9) + (1 << 21));
            for other in [sum >> BITS, ratio((sum - rest).into(), SIZE)] {
                let mut columns = group.columns(k, middle, own(), rest, other);
                columns.extend(row.columns(Root { carry, ..root }, up.clone()));
                force(search, &columns, &[]);
            }
        }
    }
    // Another middle limb makes it good.
    if let Some(root) = row.modulo_p().find(|&root| row.lower(row.groups[0], root) % 2048 == 0) {
        let lower = row.lower(row.groups[0], root);
        let middle = (root.middle - (lower >> 11)) & 511;
        let other = Root { middle, ..root };
        let other = Root { carry: row.lower(row.groups[0], other) >> BITS, ..other };
        let up = |cross: i128, middle: i64| ratio(cross - i128::from(middle), 512) + (1 << 21);
        force(search, &row.columns(other, row.up(root)), &[]);
        let solved = residues("squares0.up", up(row.cross(row.groups[0], root.low, root.high), middle));
        force(search, &row.columns(other, solved), &[]);
        for (k, group) in row.groups.iter().enumerate().skip(1) {
            let middle = (group.middle() - (lower >> 11)) & 511;
            let (own, rest) = (group.rest(group.middle()), group.rest(middle));
            let carry = (lower - own + rest) >> BITS;
            let name = format!("squares{k}.up");
            for above in [
                limbs(&name, (group.cross >> 9) + (1 << 21)),
                residues(&name, up(group.cross.into(), middle)),
            ] {
                let mut columns = group.columns(k, middle, above, rest, (group.lows + 2048 * middle) >> BITS);
                columns.extend(row.columns(Root { carry, ..root }, row.up(root)));
                force(search, &columns, &[]);
            }
        }
    }
    if let Some(columns) = row.high_in_the_field() {
        force(search, &columns, &[]);
    }
}
