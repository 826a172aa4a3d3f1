//! `--device`, and `circlet devices`.

use std::fmt::Write;

use circlet::backend::device::{self, Device, Info};
use clap::Args;
use serde_json::{Value, json};

use super::failure::{Failure, OrFail};
use super::{Outcome, system, text};

/// Where heavy work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    /// On the processor.
    Cpu,
    /// On a GPU, if there is one.
    Auto,
    /// On these GPUs, at least one, all different.
    Cuda(Vec<usize>),
    /// On all GPUs.
    All,
}

fn parse(text: &str) -> Result<Choice, String> {
    let numbers = |list: &str| {
        let numbers = list.split(',').map(|number| number.parse().ok());
        numbers.collect::<Option<Vec<usize>>>()
    };
    match text {
        "cpu" => Ok(Choice::Cpu),
        "auto" => Ok(Choice::Auto),
        "cuda:all" => Ok(Choice::All),
        _ => {
            let numbers = text.strip_prefix("cuda:").and_then(numbers).ok_or(
                "must be cpu, auto, cuda: and the number of a GPU (circlet devices) or several with commas between \
                 them, or cuda:all",
            )?;
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                Some(pair) => Err(format!("names GPU {} twice", pair[0])),
                None => Ok(Choice::Cuda(numbers)),
            }
        }
    }
}

/// These GPUs share a proof, as many as can.
fn shared(numbers: &[usize]) -> Result<Device, Failure> {
    let device = match numbers {
        [one] => device::open(*one),
        several => device::shared(several),
    };
    let device = device.or_usage(UNUSABLE)?;
    let used = device.machines().len();
    if used < numbers.len() {
        eprintln!("a proof is shared by 2, 4, 8 ... GPUs: of {} the first {used} are used", numbers.len());
    }
    Ok(device)
}

const UNUSABLE: &str = "cannot use this --device";

/// Where a command does its heavy work.
#[derive(Clone, Debug, Args)]
pub struct Where {
    /// Do heavy work on: cpu, cuda:N (a GPU of `circlet devices`), cuda:N,M (these GPUs, which share every proof), auto (a GPU,
    /// if there is one), or cuda:all (all GPUs, which share every proof; in bench each makes proofs of its own). Proofs
    /// are the same
    #[arg(long, value_name = "WHERE", value_parser = parse, default_value = "cpu")]
    device: Choice,
}

impl Where {
    /// What was chosen, and what else does independent proofs, which only a command that makes several can use.
    pub fn open(self, several: bool) -> Result<(Device, Vec<Device>), Failure> {
        let device = match self.device {
            Choice::Cpu => Device::Cpu,
            Choice::Cuda(numbers) => shared(&numbers)?,
            Choice::Auto => device::best().unwrap_or_else(|why| {
                eprintln!("{why}; the processor is used");
                Device::Cpu
            }),
            Choice::All if several => {
                let mut all = device::all().or_usage(UNUSABLE)?;
                let others = all.split_off(1);
                return Ok((all.remove(0), others));
            }
            Choice::All => shared(&device::numbers().or_usage(UNUSABLE)?)?,
        };
        Ok((device, Vec::new()))
    }
}

/// List the processor and all GPUs.
///
/// For each GPU: what it is, its compute capability, multiprocessors, whether it has tensor cores, its memory, and the
/// GPUs whose memory it reaches itself. Those that cannot be used say why.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  circlet devices --json")]
pub struct Arguments {}

fn fields(info: &Info) -> Vec<(&'static str, String)> {
    let (major, minor) = info.capability;
    let (free, all) = info.memory;
    let peers = info.peers.iter().map(|peer| format!("cuda:{peer}")).collect::<Vec<_>>().join(", ");
    let mut fields = vec![
        ("compute capability", format!("{major}.{minor}")),
        ("multiprocessors", format!("{} at {:.2} GHz", info.multiprocessors, f64::from(info.clock) / 1e6)),
        ("tensor cores", if info.tensor_cores() { "yes" } else { "no" }.into()),
        ("memory", format!("{}, {} free", text::bytes(all), text::bytes(free))),
        ("reaches", if peers.is_empty() { "no other".into() } else { peers }),
    ];
    fields.extend(info.unusable().map(|why| ("not used", why)));
    fields
}

fn described(info: &Info) -> Value {
    json!({
        "device": format!("cuda:{}", info.index), "name": info.name,
        "compute_capability": [info.capability.0, info.capability.1],
        "multiprocessors": info.multiprocessors, "clock_khz": info.clock,
        "memory_bytes_per_second": info.bandwidth, "l2_cache_bytes": info.cache,
        "shared_memory_bytes": info.shared, "tensor_cores": info.tensor_cores(),
        "memory_bytes": info.memory.1, "free_memory_bytes": info.memory.0,
        "peers": info.peers, "unusable": info.unusable(),
    })
}

/// Lists them.
pub fn run() -> Outcome {
    let hardware = system::hardware();
    let (gpus, none) = match device::devices() {
        Ok(gpus) => (gpus, None),
        Err(why) => (Vec::new(), Some(why.to_string())),
    };
    let mut text = format!("cpu: {hardware}\n");
    for info in &gpus {
        let _ = write!(text, "cuda:{}: {}\n{}", info.index, info.name, text::fields(&fields(info)));
    }
    if let Some(why) = &none {
        let _ = writeln!(text, "{why}");
    }
    let json =
        json!({ "cpu": hardware, "gpus": gpus.iter().map(described).collect::<Vec<_>>(), "no_gpu": none });
    Outcome { text, json, rejected: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        assert_eq!(parse("cpu"), Ok(Choice::Cpu));
        assert_eq!(parse("auto"), Ok(Choice::Auto));
        assert_eq!(parse("cuda:12"), Ok(Choice::Cuda(vec![12])));
        assert_eq!(parse("cuda:2,0"), Ok(Choice::Cuda(vec![2, 0])));
        assert_eq!(parse("cuda:all"), Ok(Choice::All));
        for wrong in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "cuda:0 ", "cuda:1,", "cuda:1,0,1"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
