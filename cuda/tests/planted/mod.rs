//! The kernels of `kernels/faults.cu`: faults to be found, and right ones in which nothing may be.

use std::sync::Arc;

use circlet_cuda::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};

static FAMILY: Family = Family { name: "faults", ptx: "" };

/// Threads of a block.
const THREADS: u32 = 256;

/// A kernel that is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    blocks: u32,
    shared: u32,
}

/// One that runs in a block.
const fn one_block(name: &'static str) -> Fault {
    Fault { name, blocks: 1, shared: 0 }
}

/// All faults.
pub const FAULTS: [Fault; 18] = [
    one_block("fault_missing_barrier"),
    one_block("fault_early_return"),
    one_block("fault_two_barriers"),
    one_block("fault_absent_lanes"),
    one_block("fault_foreign_mask"),
    one_block("fault_two_meetings"),
    one_block("fault_deadlock"),
    one_block("fault_trap"),
    one_block("fault_unwritten"),
    one_block("fault_beyond_buffer"),
    Fault { shared: 4 * THREADS, ..one_block("fault_beyond_shared") },
    one_block("fault_beyond_array"),
    one_block("fault_misaligned"),
    one_block("fault_wide_shift"),
    one_block("fault_too_much_shared"),
    Fault { blocks: 2, ..one_block("fault_two_blocks") },
    Fault { blocks: 2, ..one_block("fault_two_blocks_late") },
    one_block("fault_missing_warp_barrier"),
];

/// Launches a kernel of the file.
pub fn launch(
    machine: &Arc<dyn Machine>,
    name: &'static str,
    grid: Grid,
    arguments: &[Argument],
) -> Result<(), Error> {
    // SAFETY: callers pass what the kernel takes; the emulator checks how many, and of what kind.
    unsafe { machine.launch(&Kernel { family: &FAMILY, name }, grid, arguments) }
}

/// A grid along one axis.
pub fn grid(blocks: u32, shared: u32) -> Grid {
    Grid { blocks: [blocks, 1, 1], threads: THREADS, shared }
}

/// The words of a buffer.
pub fn read(buffer: &Buffer) -> Result<Vec<u32>, Error> {
    let mut words = vec![0; buffer.len()];
    buffer.read(0, &mut words)?;
    Ok(words)
}

fn buffer(machine: &Arc<dyn Machine>, words: &[u32]) -> Result<Buffer, Error> {
    let mut buffer = Buffer::new(machine, words.len())?;
    buffer.write(0, words)?;
    Ok(buffer)
}

/// What a fault makes of a block of words, if it comes so far.
pub fn run(machine: &Arc<dyn Machine>, fault: Fault) -> Result<Vec<u32>, Error> {
    let words: Vec<u32> = (0..THREADS).collect();
    let buffer = buffer(machine, &words)?;
    launch(machine, fault.name, grid(fault.blocks, fault.shared), &[buffer.address()])?;
    read(&buffer)
}

/// Runs all that are right, and compares what they find.
pub fn run_correct(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    sums(machine)?;
    votes(machine)?;
    numbers(machine)?;
    last_block(machine)
}

/// Words of every size, but no zeros.
fn words(count: u32) -> Vec<u32> {
    (1..=count).map(|i| (i.wrapping_mul(0x9e37_79b9) >> (i % 31)).max(1)).collect()
}

fn long(words: &[u32]) -> u64 {
    u64::from(words[0]) | u64::from(words[1]) << 32
}

fn sums(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let (blocks, threads) = ([3, 2, 1], 160);
    let words = words(6 * threads);
    let own = buffer(machine, &words)?;
    let (sum, largest) = (buffer(machine, &[5, 0])?, buffer(machine, &[0])?);
    let arguments = [own.address(), sum.address(), largest.address()];
    launch(machine, "correct_sums", Grid { blocks, threads, shared: 4 * threads }, &arguments)?;
    assert_eq!(long(&read(&sum)?), 5 + words.iter().copied().map(u64::from).sum::<u64>());
    assert_eq!(read(&largest)?.first(), words.iter().max());
    let reversed = words.chunks(threads as usize).flat_map(|block| block.iter().rev().copied());
    assert_eq!(read(&own)?, reversed.collect::<Vec<_>>());
    Ok(())
}

fn votes(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    // The first block has no zeros, the second has.
    let mut words = words(2 * 96);
    words[96 + 40] = 0;
    words[96 + 3] = 5;
    let input = buffer(machine, &words)?;
    let (found, zeros) = (Buffer::new(machine, words.len() * 8)?, buffer(machine, &[0])?);
    let arguments = [input.address(), found.address(), zeros.address()];
    launch(machine, "correct_votes", Grid { blocks: [2, 1, 1], threads: 96, shared: 0 }, &arguments)?;
    assert_eq!(read(&zeros)?, [1 << 4]);
    let (found, mut expected) = (read(&found)?, Vec::new());
    for place in 0..words.len() {
        let (lane, block) = (place % 32, &words[place / 96 * 96..][..96]);
        let warp = &words[place - lane..][..32];
        let odd = warp.iter().enumerate().fold(0, |bits, (lane, word)| bits | (word & 1) << lane);
        let flags = u32::from(warp.iter().all(|&word| word != 0))
            | u32::from(warp.contains(&1)) << 1
            | u32::from(block.iter().all(|&word| word != 0)) << 2
            | u32::from(block.contains(&5)) << 3;
        let thirds = block.iter().filter(|&word| word % 3 == 0).count() as u32;
        let up = if lane < 3 { lane } else { lane - 3 };
        let down = if lane % 8 + 5 < 8 { lane + 5 } else { lane };
        // A lane sees those of groups before its own, but none of those behind.
        let other = if lane ^ 9 > lane | 7 { lane } else { lane ^ 9 };
        expected.extend([odd, flags, thirds, warp[lane / 16 * 16 + 3]]);
        expected.extend([warp[up], warp[down], warp[lane ^ 9], warp[other]]);
    }
    assert_eq!(found, expected);
    Ok(())
}

fn numbers(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let mut words = words(300);
    words[..8].copy_from_slice(&[0, 0, u32::MAX, 32, 1, 31, 1 << 31, 1]);
    let pairs = words.len() / 2;
    let (input, found) = (buffer(machine, &words)?, Buffer::new(machine, pairs * 8)?);
    let arguments = [input.address(), found.address(), Argument::Word(pairs as u32)];
    launch(machine, "correct_numbers", Grid { blocks: [2, 1, 1], threads: 100, shared: 0 }, &arguments)?;
    let expected = words.chunks(2).flat_map(|pair| {
        let (x, y) = (pair[0], pair[1]);
        let both = u64::from(y) << 32 | u64::from(x);
        let left = (both << (y % 32) >> 32) as u32;
        let high = ((u64::from(x) * u64::from(y)) >> 32) as u32;
        let right = (both >> (y % 32)) as u32;
        [high, left, right, x.count_ones(), x.leading_zeros(), x.reverse_bits(), x.min(y), x.max(y)]
    });
    assert_eq!(read(&found)?, expected.collect::<Vec<_>>());
    Ok(())
}

fn last_block(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let blocks = 11;
    let (parts, arrived) = (Buffer::new(machine, blocks as usize)?, buffer(machine, &[0])?);
    let total = Buffer::new(machine, 2)?;
    let factors = std::array::from_fn(|k| 1000 + k as u32);
    let (factor, offset) = (3, 1 << 40);
    let arguments = [
        parts.address(),
        arrived.address(),
        total.address(),
        Argument::Words(factors),
        Argument::Word(factor),
        Argument::Long(offset),
    ];
    launch(machine, "correct_last_block", grid(blocks, 0), &arguments)?;
    assert_eq!(read(&arrived)?, [blocks]);
    let sum: u32 = (0..blocks as usize).map(|block| factors[block % 8] * factor).sum();
    assert_eq!(long(&read(&total)?), offset + u64::from(sum));
    Ok(())
}
