//! The security calculator: one row for each source of soundness error, in the regime of the profile, and what the
//! other regimes would give.
//!
//! Errors are round-by-round: the security of the non-interactive proof is the *minimum* over the rounds, and
//! grinding before a challenge multiplies the error of that round alone by `2^-g`. Write `F` for the challenge
//! field, `p^4` elements; `n` for the length of the code; `L` for the list size (1 in unique decoding), which
//! multiplies every error after the commitment, since a committed word may stand for `L` codewords.
//!
//! | round | error |
//! |---|---|
//! | queries | `(1 - delta)^q 2^-pow` |
//! | each stack round | `(eps n + 2 L) / F  2^-g_stack`, a random combination and a degree-2 sumcheck round |
//! | u batching | `c L / F`: a combination lands in the FFT space though its parts do not |
//! | each fold round | as a stack round, with `g_fold`; all of them at the length of the whole code, since a row is checked at one position of an opened coset and agreement is weighted |
//! | logup | `(N_q + N_t) w L / F  2^-g_lookup` |
//! | GKR | `d (3 d + 1) / 2  L / F` |
//! | relation reduction | `(variables + relations) L / F` |
//! | relation sumcheck | `rounds degree L / F` |
//! | wiring | `degree L / F` |
//! | claim batching | `(claims + evaluations) L / F` |
//! | opening sumcheck | `2 (c + a) L / F` |
//! | hashes | what the transcript and the trees are worth |
//!
//! Rows of several rounds that are not ground (GKR, the sumchecks) give the sum over their rounds, which is below
//! what round-by-round accounting would allow.

mod proximity;
mod report;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use libm::log2;

use self::proximity::{Proximity, random_words_query_bits};
use crate::field::P;
use crate::profile::{Profile, Regime};
use crate::stacking::FoldSchedule;

/// Domains of the circle code have at most this many points, as a power of two.
pub const MAX_LOG_DOMAIN: u32 = 30;

/// Why the conjectured numbers are not to be relied on.
pub const CAPACITY_FLAG: &str = "refuted as stated: there are counterexamples near capacity \
     (ePrint 2025/2046, 2025/2010; over prime fields arXiv 2604.09724)";

/// The sizes of a program that its soundness depends on. All of them follow from the verifying key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// `a`: each column has `2^a` rows.
    pub log_rows: u32,
    /// `c`: stack rounds, one more than the logarithm of the larger number of columns of the two trees.
    pub columns_log: u32,
    /// `N_q`: lookups, for the longest input that the key allows.
    pub lookups: u64,
    /// `N_t`: rows of all tables.
    pub table_rows: u64,
    /// `w`: the width of the widest looked-up tuple, its tag included.
    pub tuple_width: u32,
    /// `d`: the fraction tree has `2^d` leaves.
    pub gkr_log: u32,
    /// Identities batched with powers of one challenge.
    pub relations: u32,
    /// Coordinates of the random point at which the identities are taken.
    pub relation_point_vars: u32,
    /// Rounds of the sumcheck for all products.
    pub relation_rounds: u32,
    /// Its degree.
    pub relation_degree: u32,
    /// Evaluations that the prover sends after it.
    pub evaluations: u32,
    /// Linear claims on the stacked vector, batched with powers of one challenge.
    pub claims: u32,
    /// The highest power of the challenge that wiring claims are built from.
    pub wiring_degree: u64,
    /// What the hash of the transcript is worth.
    pub transcript_bits: u32,
    /// What the hash of the trees is worth.
    pub merkle_bits: u32,
}

impl Sizes {
    /// What the Poseidon2 transcript is worth: half of its capacity of eight field elements, less what the
    /// adversary may choose of it by labels and lengths (see [`crate::transcript::Poseidon2Transcript`]).
    pub const POSEIDON2_BITS: u32 = 115;
    /// What a Blake2s tree is worth.
    pub const BLAKE2S_BITS: u32 = 128;

    fn check(&self, profile: &Profile) -> Result<(), SizeError> {
        let total = self.lookups.saturating_add(self.table_rows);
        if total >= u64::from(P) {
            return Err(SizeError::TooManyLookups { total });
        }
        let log_domain = self.log_rows.saturating_add(profile.log_blowup);
        if log_domain > MAX_LOG_DOMAIN {
            return Err(SizeError::DomainTooLarge { log_domain });
        }
        Ok(())
    }
}

/// Sizes for which there is no sound protocol, whatever the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Multiplicities are field elements and could wrap.
    #[error("{total} lookups and table rows: there must be fewer than 2^31 - 1")]
    TooManyLookups {
        /// `N_q + N_t`.
        total: u64,
    },
    /// The code does not fit the circle group.
    #[error("a code of 2^{log_domain} points: domains have at most 2^30")]
    DomainTooLarge {
        /// Logarithm of the length of the code.
        log_domain: u32,
    },
}

/// One source of soundness error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// How many rounds have exactly this error, each for itself.
    pub rounds: u32,
    /// The error.
    pub formula: &'static str,
    /// Where the formula comes from.
    pub reference: &'static str,
    /// The regime that it depends on, if it does.
    pub regime: Option<Regime>,
    /// `-log2` of the error of one round, grinding included.
    pub bits: f64,
    /// How many of these bits are grinding.
    pub grinding_bits: u32,
}

/// Bits of the whole protocol, outside query arithmetic, under two unproven assumptions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conjectured {
    /// Proximity up to capacity, the "toy" formula; see [`CAPACITY_FLAG`].
    pub capacity_toy: f64,
    /// Adversarial words behave like random ones.
    pub random_words: f64,
}

/// What a profile is worth for some sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The profile.
    pub profile: Profile,
    /// The sizes.
    pub sizes: Sizes,
    /// Every source of error, in the profile's own regime.
    pub rows: Vec<Row>,
    /// The minimum of `rows`: proven or conjectured, as the profile's regime says.
    pub bits: f64,
    /// The row that has the minimum.
    pub limited_by: &'static str,
    /// What is proven: `bits` if the regime of the profile is, or else the better of the two proven regimes.
    pub proven_bits: f64,
    /// Bits under unique decoding.
    pub unique_decoding_bits: f64,
    /// Bits in the Johnson regime with the best multiplicity.
    pub johnson_bits: f64,
    /// That multiplicity.
    pub johnson_m: u32,
    /// For Johnson profiles: bits if the fold rounds, whose agreement is weighted, need the multiplicity
    /// `sqrt(rate)/eta` of Theorem 4.2 of 2025/2055 in place of `sqrt(rate)/(2 eta)` of Theorem 1.5.
    pub weighted_fold_bits: Option<f64>,
    /// Bits under assumptions that are not proven.
    pub conjectured: Conjectured,
}

/// Computes every row and the summary over all regimes.
pub fn analyse(profile: &Profile, sizes: &Sizes) -> Result<Report, SizeError> {
    sizes.check(profile)?;
    let own = rows_in(profile, sizes, profile.regime);
    let least = minimum(&own);
    let unique_decoding_bits = minimum(&rows_in(profile, sizes, Regime::UniqueDecoding)).bits;
    let (johnson_m, johnson_bits) = best_johnson(profile, sizes);
    let proven_bits =
        if profile.regime.is_proven() { least.bits } else { unique_decoding_bits.max(johnson_bits) };
    let weighted_fold_bits = match profile.regime {
        Regime::Johnson { m } => Some(weighted_fold(profile, sizes, m).min(least.bits)),
        Regime::UniqueDecoding | Regime::Conjectured => None,
    };
    Ok(Report {
        profile: *profile,
        sizes: *sizes,
        bits: least.bits,
        limited_by: least.name,
        rows: own,
        proven_bits,
        unique_decoding_bits,
        johnson_bits,
        johnson_m,
        weighted_fold_bits,
        conjectured: conjectured(profile, sizes),
    })
}

/// Whether the profile keeps its promise for these sizes. A program for which it does not is refused.
pub fn meets_target(report: &Report) -> bool {
    report.bits >= f64::from(report.profile.target_bits)
}

/// `log2` of the number of challenges, `4 log2(2^31 - 1)`.
pub fn field_bits() -> f64 {
    4.0 * log2(f64::from(P))
}

/// Collects rows whose error is a number of bad challenges over the size of the field.
struct Rows {
    regime: Regime,
    field_bits: f64,
    collected: Vec<Row>,
}

impl Rows {
    /// Adds a row, unless nothing can go wrong in it.
    fn push(
        &mut self,
        name: &'static str,
        rounds: u32,
        bad_challenges: f64,
        grinding_bits: u32,
        formula: &'static str,
        reference: &'static str,
    ) {
        if rounds == 0 || bad_challenges <= 0.0 {
            return;
        }
        let bits = self.field_bits - log2(bad_challenges) + f64::from(grinding_bits);
        self.collected.push(Row {
            name,
            rounds,
            formula,
            reference,
            regime: Some(self.regime),
            bits,
            grinding_bits,
        });
    }
}

const QUERIES: &str = "queries";

/// Every source of error, in any regime.
fn rows_in(profile: &Profile, sizes: &Sizes, regime: Regime) -> Vec<Row> {
    let code = Proximity::new(regime, sizes.log_rows, profile.log_blowup);
    let list = code.list_size;
    let (a, c, d) = (f64::from(sizes.log_rows), f64::from(sizes.columns_log), f64::from(sizes.gkr_log));
    let mut rows = Rows { regime, field_bits: field_bits(), collected: Vec::with_capacity(13) };

    rows.collected.push(Row {
        name: QUERIES,
        rounds: 1,
        formula: "(1-delta)^q 2^-pow",
        reference: "q draws with replacement",
        regime: Some(regime),
        bits: f64::from(profile.queries) * code.query_bits + f64::from(profile.pow_bits),
        grinding_bits: profile.pow_bits,
    });
    let combination = code.exceptions + 2.0 * list;
    rows.push(
        "stack round",
        sizes.columns_log,
        combination,
        profile.g_stack,
        "(eps_ca(n) + 2L/|F|) 2^-g_stack",
        code.reference,
    );
    rows.push("u batching", 1, c * list, 0, "c L/|F|", "FFT space in RS, 2024/278");
    rows.push(
        "fold round",
        FoldSchedule::new(sizes.log_rows).layers * FoldSchedule::ARITY_LOG,
        combination,
        profile.g_fold,
        "(eps_ca(n) + 2L/|F|) 2^-g_fold",
        match regime {
            Regime::Johnson { .. } => "2025/2055, 2024/1571",
            Regime::UniqueDecoding | Regime::Conjectured => code.reference,
        },
    );
    rows.push(
        "logup",
        1,
        (sizes.lookups as f64 + sizes.table_rows as f64) * f64::from(sizes.tuple_width.max(1)) * list,
        profile.g_lookup,
        "(N_q+N_t) w L/|F| 2^-g_lookup",
        "2022/1530, 2023/1284",
    );
    rows.push("gkr", 1, d * (3.0 * d + 1.0) / 2.0 * list, 0, "d(3d+1)/2 L/|F|", "2023/1284");
    rows.push(
        "relation reduction",
        1,
        (f64::from(sizes.relation_point_vars) + f64::from(sizes.relations)) * list,
        0,
        "(vars+relations) L/|F|",
        "Schwartz-Zippel",
    );
    rows.push(
        "relation sumcheck",
        1,
        f64::from(sizes.relation_rounds) * f64::from(sizes.relation_degree) * list,
        0,
        "rounds deg L/|F|",
        "sumcheck",
    );
    rows.push(
        "wiring",
        1,
        sizes.wiring_degree as f64 * list,
        profile.g_wiring,
        "deg L/|F| 2^-g_wiring",
        "Schwartz-Zippel",
    );
    rows.push(
        "claim batching",
        1,
        (f64::from(sizes.claims) + f64::from(sizes.evaluations)) * list,
        0,
        "(claims+evaluations) L/|F|",
        "Schwartz-Zippel",
    );
    rows.push("opening sumcheck", 1, 2.0 * (c + a) * list, 0, "2(c+a) L/|F|", "sumcheck");
    for (name, bits, reference) in [
        ("transcript hash", sizes.transcript_bits, "half the capacity less framing"),
        ("tree hash", sizes.merkle_bits, "half the digest"),
    ] {
        let bits = f64::from(bits);
        rows.collected.push(Row {
            name,
            rounds: 1,
            formula: "collision",
            reference,
            regime: None,
            bits,
            grinding_bits: 0,
        });
    }
    rows.collected
}

/// The row with the fewest bits. There are always rows; if there were none, there would be no bits.
fn minimum(rows: &[Row]) -> Row {
    const NONE: Row =
        Row { name: "", rounds: 0, formula: "", reference: "", regime: None, bits: 0.0, grinding_bits: 0 };
    rows.iter().copied().reduce(|least, row| if row.bits < least.bits { row } else { least }).unwrap_or(NONE)
}

/// The multiplicity that gives the most bits, and these bits.
///
/// More multiplicity is more bits for a query and fewer in every other row, so the best is where the two meet.
fn best_johnson(profile: &Profile, sizes: &Sizes) -> (u32, f64) {
    let at = |m| rows_in(profile, sizes, Regime::Johnson { m });
    let (mut low, mut high) = (3, 1 << 16);
    while low < high {
        let middle = u32::midpoint(low, high);
        if minimum(&at(middle)).name == QUERIES {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (below, above) = (low.max(4) - 1, low);
    let (bits_below, bits_above) = (minimum(&at(below)).bits, minimum(&at(above)).bits);
    if bits_below > bits_above { (below, bits_below) } else { (above, bits_above) }
}

/// Bits of a fold round in the Johnson regime with the multiplicity of the many-word theorem.
fn weighted_fold(profile: &Profile, sizes: &Sizes, m: u32) -> f64 {
    let list = Proximity::new(profile.regime, sizes.log_rows, profile.log_blowup).list_size;
    let bad = Proximity::exceptions_doubled(sizes.log_rows, profile.log_blowup, m) + 2.0 * list;
    field_bits() - log2(bad) + f64::from(profile.g_fold)
}

fn conjectured(profile: &Profile, sizes: &Sizes) -> Conjectured {
    let rows = rows_in(profile, sizes, Regime::Conjectured);
    let random = f64::from(profile.queries) * random_words_query_bits(profile.log_blowup, field_bits())
        + f64::from(profile.pow_bits);
    Conjectured {
        capacity_toy: minimum(&rows).bits,
        random_words: rows
            .iter()
            .filter(|row| row.name != QUERIES)
            .fold(random, |least, row| least.min(row.bits)),
    }
}
