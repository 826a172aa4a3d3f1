//! The serial link.

use super::Seed;
use crate::frames;

/// What a host and a device say to each other, and both at once.
pub fn conversation(seeds: &mut Vec<Seed>) {
    let [to_device, to_host] = frames::conversation();
    let line = |bytes: &[u8]| [&[0], bytes].concat();
    seeds.push(("frames", "both".into(), line(&[&to_device[..], &to_host].concat())));
    seeds.push(("frames", "to-device".into(), line(&to_device)));
    seeds.push(("frames", "to-host".into(), line(&to_host)));
}
