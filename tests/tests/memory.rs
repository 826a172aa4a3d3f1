//! Verifying takes no more memory than the key says before anything is read, and not much less.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use circlet_core::profile::{P100_J8, P100_U, Profile};
use circlet_tests::cheat::Bench;
use circlet_tests::programs::{self, Case, ProgramBuilder};
use circlet_verifier::verify;

/// Counts the bytes that are asked for. There is one test in this file, so nobody else asks.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A program of many ops.
fn deep(layers: u32) -> Case {
    let mut p = ProgramBuilder::new("deep");
    let table = p.clamp(14, 8191);
    let mut x = p.input(8, 48, 100);
    for _ in 0..layers {
        let y = p.linear(x, 48, 20, 6, table);
        let z = p.layernorm(y, 3, 8, table);
        x = p.mul(y, z, 9, table);
    }
    p.finish(&[x])
}

#[test]
fn verifying_stays_within_the_plan() {
    let cases: [(Case, Profile); 4] =
        [(programs::matmul(), P100_U), (deep(3), P100_U), (deep(40), P100_U), (deep(20), P100_J8)];
    for (case, profile) in cases {
        let bench = Bench::new(case, profile);
        let (key, proof) = (&bench.key.verifying, bench.proof());
        let plan = key.memory_plan(size_of::<usize>() as u64).unwrap();
        let before = LIVE.load(SeqCst);
        PEAK.store(before, SeqCst);
        assert_eq!(verify(key, &bench.statement, &proof), Ok(()));
        let taken = (PEAK.load(SeqCst) - before) as u64;
        assert!(taken <= plan.total(), "{taken} bytes: {plan:?}");
        assert!(plan.total() < 3 * taken + (64 << 10), "{taken} bytes: {plan:?}");
        // A rejected proof takes no more, wherever it is cut.
        for length in [0, 1, proof.len() / 3, proof.len() - 1] {
            PEAK.store(before, SeqCst);
            assert!(verify(key, &bench.statement, &proof[..length]).is_err());
            assert!((PEAK.load(SeqCst) - before) as u64 <= plan.total());
        }
    }
}
