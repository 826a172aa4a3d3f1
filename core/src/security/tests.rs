//! Rows against independent computations: logarithms of exact integers by repeated squaring, or values computed with
//! sixty decimal digits outside this crate and pasted with their formula.

use alloc::format;
use alloc::string::ToString;

use super::*;
use crate::limits;
use crate::profile::{P100_J, P100_J8, P100_U, ProfileId, SEED_96C};

/// `log2` of a positive integer, by squaring a 62-bit fixed-point mantissa; shares nothing with `libm`.
fn log2_exact(value: u128) -> f64 {
    let whole = value.ilog2();
    let mut mantissa = if whole >= 62 { value >> (whole - 62) } else { value << (62 - whole) };
    let mut fraction = 0u64;
    for bit in (0..52).rev() {
        mantissa = (mantissa * mantissa) >> 62;
        if mantissa >> 63 == 1 {
            mantissa >>= 1;
            fraction |= 1 << bit;
        }
    }
    f64::from(whole) + fraction as f64 / (1u64 << 52) as f64
}

/// Bits of a round in which `bad / divisor` of the field's elements are bad.
fn exact_bits(bad: u128, divisor: u128) -> f64 {
    4.0 * log2_exact(0x7fff_ffff) - log2_exact(bad) + log2_exact(divisor)
}

/// The sizes of a 135M model with 32 tokens.
fn small_model() -> Sizes {
    Sizes {
        log_rows: 21,
        columns_log: 8,
        lookups: 26_800_000,
        table_rows: 0,
        tuple_width: 4,
        gkr_log: 25,
        relations: 12,
        relation_point_vars: 30,
        relation_rounds: 17,
        relation_degree: 3,
        evaluations: 300,
        claims: 400,
        wiring_degree: 1 << 20,
        transcript_bits: Sizes::POSEIDON2_BITS,
        merkle_bits: Sizes::BLAKE2S_BITS,
    }
}

fn with_rows(log_rows: u32) -> Sizes {
    Sizes { log_rows, ..small_model() }
}

fn report(profile: &Profile, sizes: &Sizes) -> Report {
    analyse(profile, sizes).unwrap()
}

fn row(report: &Report, name: &str) -> Row {
    *report.rows.iter().find(|row| row.name == name).unwrap()
}

/// Bits of a row without its grinding.
fn unground(report: &Report, name: &str) -> f64 {
    let row = row(report, name);
    row.bits - f64::from(row.grinding_bits)
}

#[track_caller]
fn close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-6, "{actual} is not {expected}");
}

/// Equality with a number that a document gives with `decimals` decimals, rounded either way.
#[track_caller]
fn quoted(actual: f64, expected: f64, decimals: i32) {
    let tolerance = 1.02 * exp10(-decimals);
    assert!((actual - expected).abs() < tolerance, "{actual} is not {expected}");
}

fn exp10(exponent: i32) -> f64 {
    libm::exp10(f64::from(exponent))
}

#[test]
fn field_has_almost_124_bits() {
    close(field_bits(), 4.0 * log2_exact(0x7fff_ffff));
    // 4 log2(2^31 - 1)
    close(field_bits(), 123.999_999_997_312_77);
}

#[test]
fn query_rows() {
    // At a = 16, n = 2^18 the radius is (1-rho)/2 exactly: (5/8)^118 2^-20.
    let at_16 = row(&report(&P100_U, &with_rows(16)), QUERIES);
    close(at_16.bits, 118.0 * (3.0 - log2_exact(5)) + 20.0);
    assert_eq!(at_16.grinding_bits, 20);
    // At a = 21 it is 3/(d n) below: -118 log2(1 - delta) + 20 with d = 3/4 - 1/n, delta = d/2 - 3/(d n).
    let at_21 = row(&report(&P100_U, &with_rows(21)), QUERIES).bits;
    close(at_21, 100.012_338_687);
    quoted(at_21, 100.01, 2);
    // -93 log2(sqrt(rho) 1.1) + 20 with rho = 1/4 + 1/n, and 59 at 1/8 + 1/n.
    let johnson = row(&report(&P100_J, &with_rows(21)), QUERIES).bits;
    close(johnson, 100.212_140_302);
    quoted(johnson, 100.2, 1);
    let eighth = row(&report(&P100_J8, &with_rows(21)), QUERIES).bits;
    close(eighth, 100.387_271_805);
    quoted(eighth, 100.4, 1);
    close(row(&report(&P100_J, &with_rows(12)), QUERIES).bits, 100.195_796_038);
    close(row(&report(&P100_J8, &with_rows(12)), QUERIES).bits, 100.376_902_863);
}

#[test]
fn bits_of_one_query() {
    let one = |regime, log_blowup| Proximity::new(regime, 21, log_blowup).query_bits;
    // -log2((1 + rho)/2)
    for (log_blowup, expected) in [(1, 0.415), (2, 0.678), (3, 0.830)] {
        quoted(one(Regime::UniqueDecoding, log_blowup), expected, 3);
    }
    // -log2(1.1 sqrt(rho))
    for (log_blowup, expected) in [(1, 0.3625), (2, 0.8625), (3, 1.3625)] {
        quoted(one(Regime::Johnson { m: 5 }, log_blowup), expected, 4);
    }
    quoted(random_words_query_bits(1, field_bits()), 0.972, 3);
}

#[test]
fn unique_decoding_combinations() {
    // n = 2^18: n + 2 bad challenges.
    for name in ["stack round", "fold round"] {
        close(row(&report(&P100_U, &with_rows(16)), name).bits, exact_bits((1 << 18) + 2, 1));
    }
    // n = 2^23: delta n + 3 bad challenges, where delta = d/2 - 3/(d n) and d = 3/4 - 1/n; with D = d n,
    let n = 1u128 << 23;
    let distance = (n >> 2) * 3 - 1;
    // D/2 - 3 n/D + 3 = (D^2 - 6 n + 6 D) / (2 D).
    let expected = exact_bits(distance * distance + 6 * distance - 6 * n, 2 * distance);
    let found = report(&P100_U, &small_model());
    close(row(&found, "fold round").bits, expected);
    close(row(&found, "stack round").bits, 102.415_038_185);
    quoted(row(&found, "stack round").bits, 102.4, 1);
    assert_eq!((row(&found, "stack round").rounds, row(&found, "fold round").rounds), (8, 16));
    // a = 25: 98.4 bits in each round, before grinding.
    let large = report(&P100_U, &with_rows(25));
    quoted(row(&large, "fold round").bits, 98.4, 1);
    close(large.bits, 98.415_037_540);
    assert!(!meets_target(&large));
}

#[test]
fn johnson_combinations() {
    // [(2 M^5 + 3 M delta rho) n / (3 rho^1.5) + M/sqrt(rho) + 2 L] / |F|, M = 5.5, L = M/sqrt(rho)
    let quarter = report(&P100_J, &small_model());
    let eighth = report(&P100_J8, &small_model());
    for name in ["stack round", "fold round"] {
        close(unground(&quarter, name), 86.287_539_408);
        close(unground(&eighth, name), 83.787_624_801);
        close(row(&quarter, name).bits, 100.287_539_408);
        close(row(&eighth, name).bits, 100.787_624_801);
        quoted(unground(&quarter, name), 86.3, 1);
        quoted(unground(&eighth, name), 83.8, 1);
    }
    for (log_rows, j, j8) in [(12, 95.288_066_509, 92.788_151_978), (25, 82.287_538_441, 79.787_623_833)] {
        close(unground(&report(&P100_J, &with_rows(log_rows)), "fold round"), j);
        close(unground(&report(&P100_J8, &with_rows(log_rows)), "fold round"), j8);
    }
    // L = 5.5/sqrt(rho)
    close(Proximity::new(Regime::Johnson { m: 5 }, 21, 2).list_size, 10.999_997_377);
    close(Proximity::new(Regime::Johnson { m: 5 }, 21, 3).list_size, 15.556_345_477);
}

#[test]
fn johnson_grinding_lasts_to_21_rows_only() {
    // The same at a = 22: 85.287538893 + 14 and 82.787624285 + 17. One and one more bits of grinding would do.
    for (profile, bits) in [(P100_J, 99.287_538_893), (P100_J8, 99.787_624_285)] {
        assert!(meets_target(&report(&profile, &with_rows(21))));
        let found = report(&profile, &with_rows(22));
        close(found.bits, bits);
        assert!(!meets_target(&found));
        let more = Profile { g_stack: profile.g_stack + 1, g_fold: profile.g_fold + 1, ..profile };
        assert!(meets_target(&report(&more, &with_rows(22))));
    }
}

#[test]
fn weighted_folds_are_reported() {
    // M = 10.5 in place of 5.5 at the same radius.
    let quarter = report(&P100_J, &small_model());
    let eighth = report(&P100_J8, &small_model());
    close(quarter.weighted_fold_bits.unwrap(), 81.623_356_387 + 14.0);
    close(eighth.weighted_fold_bits.unwrap(), 79.123_362_817 + 17.0);
    assert!(quarter.to_string().contains("minimum is 95.62"));
    assert_eq!(report(&P100_U, &small_model()).weighted_fold_bits, None);
}

#[test]
fn default_profile_reaches_its_target_below_24_rows() {
    for log_rows in 1..=28 {
        let found = report(&P100_U, &with_rows(log_rows));
        assert_eq!(meets_target(&found), log_rows < 24, "{log_rows}");
        if log_rows < 24 {
            assert_eq!(found.limited_by, QUERIES);
        }
    }
    // delta n + 3 at n = 2^26.
    close(report(&P100_U, &with_rows(24)).bits, 99.415_037_583);
    // With the grinding that the design gives for a = 25.
    let ground = Profile { g_stack: 6, g_fold: 2, ..P100_U };
    assert!(meets_target(&report(&ground, &with_rows(25))));
}

#[test]
fn lookup_rows() {
    let found = report(&P100_U, &small_model());
    // 26.8e6 lookups of width 4.
    close(unground(&found, "logup"), exact_bits(26_800_000 * 4, 1));
    quoted(unground(&found, "logup"), 97.3, 1);
    close(row(&found, "logup").bits, exact_bits(26_800_000 * 4, 1 << 12));
    let lookups = |lookups, tuple_width| {
        unground(&report(&P100_U, &Sizes { lookups, tuple_width, ..small_model() }), "logup")
    };
    quoted(lookups(26_800_000, 3), 97.7, 1);
    quoted(lookups(26_800_000 * 32 / 30, 4), 97.2, 1);
    quoted(lookups(398_000_000, 4), 93.4, 1);
    quoted(lookups(120_000_000, 4), 95.1, 1);
    // Tables count as lookups do, and the list size multiplies both.
    let tables = Sizes { lookups: 1 << 24, table_rows: 3 << 24, ..small_model() };
    close(unground(&report(&P100_U, &tables), "logup"), exact_bits(1 << 28, 1));
    // 26.8e6 * 4 * 10.999997377 and * 15.556345477
    close(row(&report(&P100_J, &small_model()), "logup").bits, 93.864_839_058 + 12.0);
    close(row(&report(&P100_J8, &small_model()), "logup").bits, 93.364_839_058 + 12.0);
}

#[test]
fn rows_between_lookups_and_opening() {
    let names = [
        "gkr",
        "relation reduction",
        "relation sumcheck",
        "wiring",
        "claim batching",
        "opening sumcheck",
        "u batching",
    ];
    let unique = report(&P100_U, &small_model());
    // 25 * 76 / 2; 30 + 12; 17 * 3; 2^20; 400 + 300; 2 (8 + 21); 8
    for (name, bad) in names.into_iter().zip([950, 42, 51, 1 << 20, 700, 58, 8]) {
        let ground = if name == "wiring" { 12 } else { 0 };
        close(row(&unique, name).bits, exact_bits(bad, 1) + f64::from(ground));
        assert_eq!(row(&unique, name).grinding_bits, ground);
    }
    // The same times L.
    let quarter = [
        110.648_785_019,
        115.148_251_300,
        114.868_143_381,
        112.540_568_723,
        111.089_357_611,
        114.682_587_728,
        117.540_568_723,
    ];
    let eighth = [
        110.148_785_019,
        114.648_251_300,
        114.368_143_381,
        112.040_568_723,
        110.589_357_611,
        114.182_587_728,
        117.040_568_723,
    ];
    for (profile, expected) in [(P100_J, quarter), (P100_J8, eighth)] {
        let found = report(&profile, &small_model());
        for (name, bits) in names.into_iter().zip(expected) {
            close(row(&found, name).bits, bits);
        }
    }
}

#[test]
fn gkr_is_the_sum_over_its_layers() {
    for gkr_log in 1..40u32 {
        // Layer i has i rounds of degree 3, a batching challenge and a merging challenge.
        let bad: u128 = (0..u128::from(gkr_log)).map(|layer| 3 * layer + 2).sum();
        let found = report(&P100_U, &Sizes { gkr_log, ..small_model() });
        close(row(&found, "gkr").bits, exact_bits(bad, 1));
    }
}

#[test]
fn hashes_are_rows() {
    let found = report(&P100_U, &small_model());
    close(row(&found, "transcript hash").bits, 115.0);
    close(row(&found, "tree hash").bits, 128.0);
    assert_eq!(row(&found, "tree hash").regime, None);
    let weak = report(&P100_U, &Sizes { transcript_bits: 62, ..small_model() });
    close(weak.bits, 62.0);
    close(weak.conjectured.random_words, 62.0);
    assert_eq!(weak.limited_by, "transcript hash");
}

#[test]
fn published_parameters() {
    let found = report(&SEED_96C, &small_model());
    close(found.bits, 96.0);
    close(found.conjectured.capacity_toy, 96.0);
    // 70 (1 - log2(1 + (log2 e + 1)/log2 |F|)) + 26
    close(found.conjectured.random_words, 94.029_950_090);
    // -70 log2(1 - delta) + 26, d = 1/2 - 1/n, delta = d/2 - 3/(d n), n = 2^22; at (1-rho)/2 it is 55.0526.
    close(found.unique_decoding_bits, 55.052_416_277);
    // max over m of min(-70 log2(1 - delta) + 26, log2|F| - log2(exceptions + 2 L)), reached at m = 265.
    assert_eq!(found.johnson_m, 265);
    close(found.johnson_bits, 60.809_610_828);
    quoted(found.johnson_bits, 60.8, 1);
    quoted(found.unique_decoding_bits, 55.0, 1);
    quoted(found.conjectured.random_words, 94.0, 1);
    close(found.proven_bits, found.johnson_bits);
    assert!(meets_target(&found));
    // Without grinding its lookup challenges would be what limits it at 128 tokens.
    let long = Sizes { lookups: 120_000_000, gkr_log: 27, ..small_model() };
    assert!(meets_target(&report(&SEED_96C, &long)));
    let unground = report(&Profile { g_lookup: 0, ..SEED_96C }, &long);
    close(unground.bits, exact_bits(480_000_000, 1));
    close(unground.conjectured.capacity_toy, unground.bits);
    assert!(!meets_target(&unground));
}

#[test]
fn every_acceptable_program_reaches_its_target() {
    let parts = limits::PARTS as u32;
    for profile in ProfileId::all().map(ProfileId::profile) {
        let largest = Sizes {
            log_rows: profile.max_log_rows,
            columns_log: 20,
            lookups: limits::LOOKUPS,
            table_rows: 0,
            tuple_width: 4,
            gkr_log: 30,
            relations: parts,
            relation_point_vars: 48,
            relation_rounds: 48,
            relation_degree: 3,
            evaluations: 2 * parts,
            claims: 4 * parts,
            wiring_degree: 1 << limits::LOG_ENTRIES,
            transcript_bits: Sizes::POSEIDON2_BITS,
            merkle_bits: Sizes::BLAKE2S_BITS,
        };
        let found = report(profile, &largest);
        assert!(meets_target(&found), "{found}");
    }
}

#[test]
fn johnson_search_finds_the_best_multiplicity() {
    for profile in ProfileId::all().map(ProfileId::profile) {
        for log_rows in [12, 21, 25] {
            let sizes = with_rows(log_rows);
            let best = (3..2000)
                .map(|m| minimum(&rows_in(profile, &sizes, Regime::Johnson { m })).bits)
                .fold(0.0, f64::max);
            close(report(profile, &sizes).johnson_bits, best);
        }
    }
}

#[test]
fn own_regime_is_one_of_the_regimes() {
    let unique = report(&P100_U, &small_model());
    close(unique.bits, unique.unique_decoding_bits);
    close(unique.bits, unique.proven_bits);
    for profile in [P100_J, P100_J8] {
        let johnson = report(&profile, &small_model());
        assert!(johnson.johnson_bits >= johnson.bits);
        close(johnson.bits, johnson.proven_bits);
    }
    for profile in ProfileId::all().map(ProfileId::profile) {
        let found = report(profile, &small_model());
        let least = found.rows.iter().map(|row| row.bits).fold(f64::INFINITY, f64::min);
        assert_eq!(least.to_bits(), found.bits.to_bits());
        close(row(&found, found.limited_by).bits, found.bits);
    }
}

#[test]
fn more_work_never_means_fewer_bits() {
    for base in ProfileId::all().map(ProfileId::profile) {
        for log_rows in 1..=26 {
            let sizes = with_rows(log_rows);
            let before = report(base, &sizes);
            for better in [
                Profile { queries: base.queries + 1, ..*base },
                Profile { pow_bits: base.pow_bits + 1, ..*base },
                Profile { g_lookup: base.g_lookup + 1, ..*base },
                Profile { g_stack: base.g_stack + 1, ..*base },
                Profile { g_fold: base.g_fold + 1, ..*base },
            ] {
                let after = report(&better, &sizes);
                assert!(after.bits >= before.bits);
                assert!(after.unique_decoding_bits >= before.unique_decoding_bits);
                assert!(after.johnson_bits >= before.johnson_bits);
                assert!(after.conjectured.capacity_toy >= before.conjectured.capacity_toy);
                assert!(after.conjectured.random_words >= before.conjectured.random_words);
                assert!(
                    after.rows.iter().zip(&before.rows).all(|(a, b)| a.name == b.name && a.bits >= b.bits)
                );
            }
        }
    }
}

#[test]
fn larger_programs_never_mean_more_bits() {
    for profile in ProfileId::all().map(ProfileId::profile) {
        let base = small_model();
        let before = report(profile, &base);
        for larger in [
            Sizes { columns_log: base.columns_log + 1, ..base },
            Sizes { lookups: base.lookups + 1, ..base },
            Sizes { table_rows: base.table_rows + 1000, ..base },
            Sizes { tuple_width: base.tuple_width + 1, ..base },
            Sizes { gkr_log: base.gkr_log + 1, ..base },
            Sizes { relations: base.relations + 1, ..base },
            Sizes { relation_point_vars: base.relation_point_vars + 1, ..base },
            Sizes { relation_rounds: base.relation_rounds + 1, ..base },
            Sizes { relation_degree: base.relation_degree + 1, ..base },
            Sizes { evaluations: base.evaluations + 1, ..base },
            Sizes { claims: base.claims + 1, ..base },
            Sizes { wiring_degree: base.wiring_degree + 1, ..base },
        ] {
            let after = report(profile, &larger);
            assert!(after.rows.iter().zip(&before.rows).all(|(a, b)| a.name == b.name && a.bits <= b.bits));
        }
        // Combinations lose with the length of the code, except where unique decoding changes its bound.
        for log_rows in 8..=26 {
            let [short, long] = [log_rows, log_rows + 1].map(|a| report(profile, &with_rows(a)));
            if log_rows + 1 + profile.log_blowup == proximity::LONG_CODE {
                continue;
            }
            assert!(row(&short, "fold round").bits >= row(&long, "fold round").bits);
        }
    }
}

#[test]
fn sizes_without_a_protocol_are_errors() {
    let p = u64::from(P);
    let lookups = |lookups, table_rows| {
        analyse(&P100_U, &Sizes { lookups, table_rows, ..small_model() }).map(|report| report.bits)
    };
    assert!(lookups(p - 1, 0).is_ok());
    assert!(lookups(p - 2, 1).is_ok());
    assert_eq!(lookups(p, 0), Err(SizeError::TooManyLookups { total: p }));
    assert_eq!(lookups(p - 1, 1), Err(SizeError::TooManyLookups { total: p }));
    assert_eq!(lookups(u64::MAX, 1), Err(SizeError::TooManyLookups { total: u64::MAX }));
    assert!(analyse(&P100_U, &with_rows(28)).is_ok());
    assert_eq!(analyse(&P100_U, &with_rows(29)), Err(SizeError::DomainTooLarge { log_domain: 31 }));
    assert_eq!(
        analyse(&P100_U, &with_rows(u32::MAX)),
        Err(SizeError::DomainTooLarge { log_domain: u32::MAX })
    );
}

#[test]
fn degenerate_sizes_have_finite_bits() {
    let nothing = Sizes {
        log_rows: 0,
        columns_log: 0,
        lookups: 0,
        table_rows: 0,
        tuple_width: 0,
        gkr_log: 0,
        relations: 0,
        relation_point_vars: 0,
        relation_rounds: 0,
        relation_degree: 0,
        evaluations: 0,
        claims: 0,
        wiring_degree: 0,
        transcript_bits: 124,
        merkle_bits: 128,
    };
    for profile in ProfileId::all().map(ProfileId::profile) {
        let found = report(profile, &nothing);
        // Nothing is left but queries and hashes.
        assert_eq!(found.rows.len(), 3);
        assert!(found.bits.is_finite() && found.johnson_bits.is_finite());
    }
}

#[test]
fn text_ends_with_the_minimum_and_the_regime() {
    let last = |text: &str| text.lines().last().unwrap().to_string();
    let default = report(&P100_U, &small_model()).to_string();
    assert_eq!(last(&default), "minimum: 100.01 bits (queries), proven, unique-decoding regime");
    let seed = report(&SEED_96C, &small_model()).to_string();
    assert_eq!(last(&seed), "minimum: 96.00 bits (queries), conjectured up to capacity, refuted as stated");
    assert!(seed.contains("proven: 60.80 bits only"));
    assert!(seed.contains(CAPACITY_FLAG));
    let missed = report(&P100_U, &with_rows(25)).to_string();
    assert!(last(&missed).ends_with("BELOW THE TARGET OF THIS PROFILE"));
    // Columns are aligned: every line of the table has its bits at the same place.
    let table = default.lines().filter(|line| line.starts_with("  "));
    let ends = table.map(|line| line.find(" bits").map_or_else(|| line.find('.').unwrap() + 3, |at| at + 5));
    let ends = ends.collect::<Vec<_>>();
    assert_eq!(ends.len(), 14);
    assert!(ends.iter().all(|end| *end == ends[0]), "{default}");
}

#[test]
fn text_never_rounds_up() {
    let mut found = report(&P100_U, &small_model());
    found.bits = 99.999;
    let text = format!("{found}");
    assert!(text.contains("minimum: 99.99 bits"));
    assert!(text.contains("BELOW"));
}
