//! The report as text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use libm::floor;

use super::proximity::Proximity;
use super::{CAPACITY_FLAG, Report, meets_target};

/// Two decimals, rounded down: a report must never show bits that are not there.
fn bits(value: f64) -> String {
    // The tolerance is for sums such as 70 + 26 that are whole but for the last bit of a float.
    format!("{:.2}", floor(value * 100.0 + 1e-7) / 100.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_header(f)?;
        self.write_rows(f)?;
        self.write_summary(f)
    }
}

impl Report {
    fn write_header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (profile, sizes) = (&self.profile, &self.sizes);
        let code = Proximity::new(profile.regime, sizes.log_rows, profile.log_blowup);
        writeln!(
            f,
            "profile {}: rate 1/{}, q = {}, pow = {}, g_lookup/g_stack/g_fold = {}/{}/{}, target {} bits",
            profile.name,
            1u64 << profile.log_blowup,
            profile.queries,
            profile.pow_bits,
            profile.g_lookup,
            profile.g_stack,
            profile.g_fold,
            profile.target_bits
        )?;
        writeln!(
            f,
            "sizes: a = {}, n = 2^{}, c = {}, N_q = {}, N_t = {}, w = {}, d = {}",
            sizes.log_rows,
            sizes.log_rows + profile.log_blowup,
            sizes.columns_log,
            sizes.lookups,
            sizes.table_rows,
            sizes.tuple_width,
            sizes.gkr_log
        )?;
        writeln!(
            f,
            "regime: {}; delta = {:.6}, L = {:.2}, |F| = (2^31-1)^4",
            profile.regime, code.delta, code.list_size
        )
    }

    fn write_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["error source", "rounds", "bits", "ground", "error of one round", "reference"];
        let mut table: Vec<[String; 6]> = Vec::with_capacity(self.rows.len() + 1);
        table.push(header.map(String::from));
        table.extend(self.rows.iter().map(|row| {
            [
                row.name.into(),
                format!("{}", row.rounds),
                bits(row.bits),
                format!("{}", row.grinding_bits),
                row.formula.into(),
                row.reference.into(),
            ]
        }));
        let mut widths = [0; 6];
        for cells in &table {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.len().max(*width);
            }
        }
        let [name, rounds, value, ground, formula, _] = widths;
        for [a, b, c, d, e, g] in &table {
            writeln!(f, "  {a:name$}  {b:>rounds$}  {c:>value$}  {d:>ground$}  {e:formula$}  {g}")?;
        }
        Ok(())
    }

    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "other regimes: unique decoding {}; Johnson {} (best m = {}); conjectured: capacity {} [{}], random words {}",
            bits(self.unique_decoding_bits),
            bits(self.johnson_bits),
            self.johnson_m,
            bits(self.conjectured.capacity_toy),
            CAPACITY_FLAG,
            bits(self.conjectured.random_words)
        )?;
        if let Some(weighted) = self.weighted_fold_bits {
            writeln!(
                f,
                "note: agreement in fold rounds is weighted; with the multiplicity of Thm 4.2 of 2025/2055 there, \
                 the minimum is {}",
                bits(weighted)
            )?;
        }
        if !self.profile.regime.is_proven() {
            writeln!(f, "proven: {} bits only", bits(self.proven_bits))?;
        }
        write!(
            f,
            "minimum: {} bits ({}), {}{}",
            bits(self.bits),
            self.limited_by,
            self.profile.regime,
            if meets_target(self) { "" } else { "; BELOW THE TARGET OF THIS PROFILE" }
        )
    }
}
