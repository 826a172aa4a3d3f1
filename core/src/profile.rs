//! Security profiles: the named parameter sets that a verifying key can choose between.
//!
//! A profile fixes everything about the commitment scheme that is not a size: rate, queries, grinding and
//! folding schedule, and under which assumption its bits are claimed. Nothing in a proof can change it. What a
//! profile is worth for given sizes is computed by [`crate::security`].

use core::fmt;

/// The assumption under which a number of bits holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// Proven: every committed word is decoded to at most one codeword.
    UniqueDecoding,
    /// Proven: list decoding below the Johnson bound, at `1 - sqrt(rate) (1 + 1/(2m))`.
    Johnson {
        /// The multiplicity of the Guruswami-Sudan decoder, at least 3.
        m: u32,
    },
    /// Not proven: proximity gaps up to the capacity of the code, refuted as stated.
    Conjectured,
}

impl Regime {
    /// Whether bits in this regime rest on theorems (and the random oracle model) alone.
    pub const fn is_proven(self) -> bool {
        !matches!(self, Self::Conjectured)
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UniqueDecoding => f.write_str("proven, unique-decoding regime"),
            Self::Johnson { m } => write!(f, "proven, Johnson regime (m = {m})"),
            Self::Conjectured => f.write_str("conjectured up to capacity, refuted as stated"),
        }
    }
}

/// The name of a profile in a verifying key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum ProfileId {
    /// [`P100_U`], the default.
    P100U = 0,
    /// [`P100_J`].
    P100J = 1,
    /// [`P100_J8`].
    P100J8 = 2,
    /// [`SEED_96C`].
    Seed96C = 3,
}

impl ProfileId {
    /// Every profile, the default first.
    pub const fn all() -> [Self; 4] {
        [Self::P100U, Self::P100J, Self::P100J8, Self::Seed96C]
    }

    /// The profile with this code, if there is one.
    pub const fn from_u8(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::P100U),
            1 => Some(Self::P100J),
            2 => Some(Self::P100J8),
            3 => Some(Self::Seed96C),
            _ => None,
        }
    }

    /// The profile with this exact name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|id| id.profile().name == name)
    }

    /// The code of this profile; the inverse of [`Self::from_u8`].
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The parameters behind the name.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::P100U => &P100_U,
            Self::P100J => &P100_J,
            Self::P100J8 => &P100_J8,
            Self::Seed96C => &SEED_96C,
        }
    }
}

/// A parameter set of the commitment scheme and of the grinding around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which one it is.
    pub id: ProfileId,
    /// Its name on the command line.
    pub name: &'static str,
    /// The code has rate `2^-log_blowup`.
    pub log_blowup: u32,
    /// Query positions, drawn with replacement.
    pub queries: u32,
    /// Grinding before the query positions.
    pub pow_bits: u32,
    /// Grinding before the lookup challenges, which are drawn together.
    pub g_lookup: u32,
    /// Grinding before the challenge of wirings and public tensors.
    pub g_wiring: u32,
    /// Grinding before each stack challenge.
    pub g_stack: u32,
    /// Grinding before each fold challenge.
    pub g_fold: u32,
    /// The regime in which `target_bits` is claimed.
    pub regime: Regime,
    /// Merkle caps have `2^cap_height` digests.
    pub cap_height: u32,
    /// Matrices have at most `2^max_log_rows` rows: beyond that a round of the opening misses the target.
    pub max_log_rows: u32,
    /// What the name promises, **in the regime of the profile**: proven bits for the `p` sets, bits under a
    /// refuted conjecture for [`SEED_96C`]. The limits of [`crate::limits`] keep every acceptable program within it.
    pub target_bits: u32,
}

const COMMON: Profile = Profile {
    id: ProfileId::P100U,
    name: "",
    log_blowup: 2,
    queries: 0,
    pow_bits: 20,
    g_lookup: 12,
    g_wiring: 12,
    g_stack: 0,
    g_fold: 0,
    regime: Regime::UniqueDecoding,
    cap_height: 6,
    max_log_rows: 22,
    target_bits: 100,
};

/// The default: 100 proven bits without list decoding.
pub const P100_U: Profile = Profile { id: ProfileId::P100U, name: "p100-u", queries: 118, ..COMMON };

/// 100 proven bits in the Johnson regime at the same rate: fewer queries, more grinding.
pub const P100_J: Profile = Profile {
    id: ProfileId::P100J,
    name: "p100-j",
    queries: 93,
    g_stack: 14,
    g_fold: 14,
    max_log_rows: 21,
    regime: Regime::Johnson { m: 5 },
    ..COMMON
};

/// 100 proven bits in the Johnson regime at rate 1/8: the smallest proof.
pub const P100_J8: Profile = Profile {
    id: ProfileId::P100J8,
    name: "p100-j8",
    log_blowup: 3,
    queries: 59,
    g_stack: 17,
    g_fold: 17,
    max_log_rows: 21,
    regime: Regime::Johnson { m: 5 },
    ..COMMON
};

/// The parameters of the published system, for comparison only: its 96 bits are conjectured, and about 61 are
/// proven.
pub const SEED_96C: Profile = Profile {
    id: ProfileId::Seed96C,
    name: "seed-96c",
    log_blowup: 1,
    queries: 70,
    pow_bits: 26,
    g_lookup: 8,
    g_wiring: 8,
    regime: Regime::Conjectured,
    target_bits: 96,
    ..COMMON
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_round_trip() {
        for (index, id) in ProfileId::all().into_iter().enumerate() {
            assert_eq!(usize::from(id.as_u8()), index);
            assert_eq!(ProfileId::from_u8(id.as_u8()), Some(id));
            assert_eq!(id.profile().id, id);
            assert_eq!(ProfileId::from_name(id.profile().name), Some(id));
        }
        assert_eq!(ProfileId::from_u8(4), None);
        assert_eq!(ProfileId::from_u8(255), None);
        for name in ["", "p100", "P100-U", "p100-u "] {
            assert_eq!(ProfileId::from_name(name), None);
        }
    }
}
