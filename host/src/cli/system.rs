//! What the operating system knows about this process and its machine.

use std::fs;

/// What the user says of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// As much as it takes.
    Any,
}

/// Reads a size such as `8G`.
pub fn parse_memory(text: &str) -> Result<Limit, String> {
    if text == "any" {
        return Ok(Limit::Any);
    }
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let upper = text.to_ascii_uppercase();
    let unit = units.iter().find(|(unit, _)| upper.ends_with(*unit));
    let (digits, shift) = unit.map_or((upper.as_str(), 0), |(_, shift)| (&upper[..upper.len() - 1], *shift));
    let number: Option<u64> = digits.parse().ok().filter(|n| *n <= u64::MAX >> shift);
    number
        .map(|n| Limit::Bytes(n << shift))
        .ok_or_else(|| "must be a number of bytes, or one with K, M, G or T after it, or \"any\"".to_owned())
}

/// Memory that a new program can have without swapping, where the system tells (Linux).
pub fn available_memory() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemAvailable")
}

fn status(field: &str) -> Option<u64> {
    kibibytes("/proc/self/status", field)
}

/// A line of a file, in bytes.
fn kibibytes(file: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// The most memory that this process has had, where the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    status("VmHWM")
}

/// Starts a new peak at what is in use now; whether that worked.
pub fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Processor seconds of all threads so far, where the system tells (Linux).
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the command, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    // Linux counts in hundredths of a second here on every platform.
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Processor model, number of processors and threads in use.
pub fn hardware() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} processors, {}", std::env::consts::ARCH)
}
