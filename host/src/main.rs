//! The circlet command line.
fn main() {}
