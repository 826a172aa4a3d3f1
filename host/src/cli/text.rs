//! Numbers and tables for people.

use std::fmt::Write;

/// Whether a character could change how what is printed next to it looks.
fn hidden(c: char) -> bool {
    let formatting = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || formatting
}

fn push(out: &mut String, c: char) {
    if hidden(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// A name out of a file that nobody vouches for: on one line, without control characters, not too long.
pub fn name(name: &str) -> String {
    const LONGEST: usize = 100;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => line(&name[..end]) + "...",
        None => line(name),
    }
}

/// A sentence that nobody vouches for, of bounded length: on one line, without control characters.
pub fn line(text: &str) -> String {
    let mut out = String::new();
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// A text that nobody vouches for, safe for a terminal: control characters other than ends of lines are spelled out.
pub fn visible(text: &str) -> String {
    let mut out = String::new();
    text.chars().for_each(|c| if c == '\n' { out.push(c) } else { push(&mut out, c) });
    out
}

/// The same with a mark before every line, so that it cannot pass for what the program says itself.
pub fn quoted(text: &str) -> String {
    visible(text).split('\n').fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "  | {line}");
        out
    })
}

/// A size in bytes.
pub fn bytes(n: u64) -> String {
    let n = n as f64;
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = (0..units.len() - 1).take_while(|&i| n >= 1024f64.powi(i as i32 + 1)).count();
    if step == 0 {
        format!("{n} bytes")
    } else {
        format!("{:.1} {}", n / 1024f64.powi(step as i32), units[step])
    }
}

/// A duration.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 0.001 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.2} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

/// A count with separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Bits of security, rounded down.
pub fn bits(bits: f64) -> String {
    format!("{:.1}", (bits * 10.0).floor() / 10.0)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The first few entries of a list.
pub fn shortened<T>(entries: &[T], show: usize, format: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = entries.iter().take(show).map(format).collect();
    let rest = if entries.len() > show {
        format!(", ... {} in all", count(entries.len() as u64))
    } else {
        String::new()
    };
    format!("[{}{rest}]", shown.join(", "))
}

/// Lines of `name: value` with the values in one column.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields.iter().fold(String::new(), |mut out, (name, value)| {
        let value = value.replace('\n', &format!("\n{:width$}", "", width = width + 4));
        let _ = writeln!(out, "  {name:width$}  {value}");
        out
    })
}

/// A table; the first row is its header, the first `left` columns are aligned to the left.
pub fn table(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().fold(String::new(), |mut out, row| {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, cell)| {
                let w = widths[c];
                if c < left { format!("{cell:<w$}") } else { format!("{cell:>w$}") }
            })
            .collect();
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_pretend() {
        assert_eq!(name("Größe 1"), "Größe 1");
        assert_eq!(name("a\n  key 00\u{1b}[2K\u{202e}"), "a\\u{a}  key 00\\u{1b}[2K\\u{202e}");
        assert_eq!(name(&"x".repeat(101)).len(), 103);
    }

    #[test]
    fn texts_cannot_pretend() {
        assert_eq!(quoted("a\nkey 00\u{1b}[1A\r"), "  | a\n  | key 00\\u{1b}[1A\\u{d}\n");
        assert_eq!(quoted(""), "  | \n");
        assert_eq!(visible("\u{feff}Größe\t1\n"), "\\u{feff}Größe\\u{9}1\n");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!(bits(100.99), "100.9");
        assert_eq!(hex(&[0, 0xab]), "00ab");
        assert_eq!(shortened(&[1, 2, 3], 2, ToString::to_string), "[1, 2, ... 3 in all]");
        assert_eq!(shortened::<u8>(&[], 2, ToString::to_string), "[]");
    }
}
