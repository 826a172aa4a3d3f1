//! Byte-level vocabularies are written in visible characters: printable Latin-1 stands for itself, the other 68 bytes, in
//! order, for U+0100 and up.

/// The byte that a character of a vocabulary stands for.
pub(super) fn byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The bytes that an entry of a vocabulary stands for; an entry outside the alphabet stands for its own text.
pub(super) fn bytes(token: &str) -> Vec<u8> {
    token.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}
