//! The emulator finds what is wrong in kernels and in launches, and nothing in kernels that are right.
#![cfg(feature = "emulate")]

mod planted;

use std::sync::Arc;

use circlet_cuda::emulated::{Emulator, Schedule};
use circlet_cuda::{Argument, Buffer, Error, Grid, Machine};
use planted::{FAULTS, Fault, grid, launch, read, run};

const SCHEDULES: [Schedule; 4] =
    [Schedule::Ascending, Schedule::Descending, Schedule::Shuffled(1), Schedule::Shuffled(2)];

fn emulator(schedule: Schedule) -> Emulator {
    Emulator::new("test", schedule, 1 << 24)
}

fn machine(schedule: Schedule) -> Arc<dyn Machine> {
    Arc::new(emulator(schedule))
}

fn fault(name: &str) -> Fault {
    FAULTS.into_iter().find(|fault| fault.name == name).unwrap()
}

/// Why something has failed.
fn why<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Failed { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// The line of the fault's file that holds something, from its kernel on.
fn line(kernel: &str, text: &str) -> String {
    let file = include_str!("../kernels/faults.cu");
    let mut lines = file.lines().enumerate().skip_while(|(_, line)| !line.contains(&format!(" {kernel}(")));
    let (index, _) = lines.find(|(_, line)| line.contains(text)).unwrap();
    format!("kernels/faults.cu:{}", index + 1)
}

#[test]
fn faults_are_named_with_their_lines() {
    for schedule in SCHEDULES {
        // The name of a kernel, what the message holds, and what the line holds that it names.
        for (name, message, text) in [
            ("fault_early_return", "return", "__syncthreads"),
            ("fault_two_barriers", "threads meet in two barriers", "__syncthreads"),
            ("fault_absent_lanes", "return", "__shfl_down_sync"),
            ("fault_foreign_mask", "is not in the mask 0x00000001", "__ballot_sync"),
            ("fault_two_meetings", "lanes of a warp meet in two places", "__any_sync"),
            ("fault_deadlock", "threads wait for each other", "__syncwarp"),
            ("fault_trap", "thread 7 has trapped", "__trap"),
            ("fault_too_much_shared", "shared arrays have more than 49152 bytes", "SHARED_ARRAY"),
        ] {
            let why = why(run(&machine(schedule), fault(name)));
            let line = line(name, text);
            assert!(why.contains(message) && why.contains(&line), "{name}: {why}; not {message:?}, {line}");
            assert!(why.starts_with("block 0: "), "{why}");
        }
    }
}

#[test]
fn both_lines_are_named_where_threads_part() {
    let two = why(run(&machine(Schedule::Ascending), fault("fault_two_barriers")));
    assert!(two.contains(&line("fault_two_barriers", "    __syncthreads")), "{two}");
    let two = why(run(&machine(Schedule::Ascending), fault("fault_two_meetings")));
    assert!(two.contains(&line("fault_two_meetings", "__all_sync")), "{two}");
    let deadlock = why(run(&machine(Schedule::Ascending), fault("fault_deadlock")));
    assert!(deadlock.contains(&line("fault_deadlock", "__syncthreads")), "{deadlock}");
    assert!(
        deadlock.contains("128 of 256 in") && deadlock.contains("lanes 0x0000ffff of warp 7"),
        "{deadlock}"
    );
}

#[test]
fn a_missing_barrier_shows_in_schedules_that_disagree() {
    let results = SCHEDULES.map(|schedule| run(&machine(schedule), fault("fault_missing_barrier")).unwrap());
    assert_ne!(results[0], results[1]);
    assert_ne!(results[1], results[2]);
    assert_ne!(results[2], results[3]);
    let results = SCHEDULES.map(|schedule| run(&machine(schedule), fault("fault_two_blocks")).unwrap()[0]);
    assert_eq!(results[..2], [1, 0]);
}

#[test]
fn shared_memory_is_not_zero() {
    let words = run(&machine(Schedule::Ascending), fault("fault_unwritten")).unwrap();
    assert!(words[..128].iter().all(|&word| word == 1));
    assert!(words[128..].iter().all(|&word| word == 0xa5a5_a5a5));
}

#[test]
fn nothing_is_found_in_what_is_right() {
    for schedule in SCHEDULES {
        for threads in [1, 2] {
            planted::run_correct(&(Arc::new(emulator(schedule).with_threads(threads)) as _)).unwrap();
        }
    }
}

#[test]
fn a_machine_goes_on_after_a_fault() {
    let machine = machine(Schedule::Shuffled(3));
    // Without a sanitizer, these would end the tests or write to memory of others.
    let unsafe_ones = ["fault_beyond", "fault_misaligned"];
    for fault in
        FAULTS.into_iter().filter(|fault| !unsafe_ones.iter().any(|name| fault.name.starts_with(name)))
    {
        let _ = run(&machine, fault);
        planted::run_correct(&machine).unwrap();
    }
}

#[test]
fn launches_are_checked() {
    let machine = machine(Schedule::Ascending);
    let buffer = Buffer::new(&machine, 256).unwrap();
    let one = [buffer.address()];
    let failed = |name, grid: Grid, arguments: &[Argument]| {
        why(launch(&machine, name, grid, arguments).map(|()| grid))
    };
    let name = "fault_two_blocks";
    assert_eq!(failed("fault_unknown", grid(1, 0), &one), "there is no such kernel");
    assert_eq!(failed(name, grid(1, 0), &[]), "it takes 1 arguments and is given 0");
    assert_eq!(
        failed(name, grid(1, 0), &[Argument::Word(7)]),
        "argument 0 is an address of 8 bytes and is given as a value of 4 bytes"
    );
    assert_eq!(
        failed(name, grid(1, 0), &[Argument::Long(7)]),
        "argument 0 is an address of 8 bytes and is given as a value of 8 bytes"
    );
    assert_eq!(failed(name, grid(1, 0), &[Argument::Address(7)]), "no allocation has argument 0, 0x7");
    for blocks in [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1 << 31, 1, 1], [1, 1 << 16, 1], [1, 1, 1 << 16]] {
        let said = failed(name, Grid { blocks, ..grid(1, 0) }, &one);
        assert!(said.starts_with("there is no grid of "), "{said}");
    }
    for threads in [0, 1025] {
        let said = failed(name, Grid { threads, ..grid(1, 0) }, &one);
        assert_eq!(said, format!("there is no block of {threads} threads"));
    }
    let most = 227 * 1024;
    assert_eq!(failed(name, grid(1, most + 1), &one), "a block has no 232449 bytes of shared memory");
    let said = failed("fault_missing_barrier", grid(1, most), &one);
    assert!(
        said.contains("shared arrays and 232448 bytes of dynamic shared memory are more than 232448"),
        "{said}"
    );
    let said = failed("fault_beyond_shared", grid(1, 0), &one);
    assert!(
        said.contains("no dynamic shared memory") && said.contains(&line("fault_beyond_shared", "DYN")),
        "{said}"
    );
    // At the limits there is nothing to complain about.
    launch(&machine, name, Grid { blocks: [2, 1, 1], threads: 1024, shared: most }, &one).unwrap();
    assert_eq!(read(&buffer).unwrap()[0], 1);

    let little: Arc<dyn Machine> = Arc::new(emulator(Schedule::Ascending).with_shared(48 * 1024));
    let buffer = Buffer::new(&little, 1).unwrap();
    let result = launch(&little, name, grid(1, 48 * 1024 + 4), &[buffer.address()]);
    assert_eq!(why(result), "a block has no 49156 bytes of shared memory");
}

#[test]
fn a_lost_machine_stays_lost() {
    let emulator = Arc::new(emulator(Schedule::Ascending));
    let machine: Arc<dyn Machine> = emulator.clone();
    let buffer = Buffer::new(&machine, 256).unwrap();
    let launch = || launch(&machine, "fault_two_blocks", grid(1, 0), &[buffer.address()]);
    emulator.fail_launch(3);
    launch().unwrap();
    launch().unwrap();
    read(&buffer).unwrap();
    assert!(why(launch()).contains("lost"));
    assert!(why(launch()).contains("lost"));
    assert!(why(read(&buffer)).contains("lost"));
    assert!(why(Buffer::new(&machine, 1)).contains("lost"));
    assert!(why(machine.synchronize()).contains("lost"));
    assert!(why(machine.memory()).contains("lost"));
    emulator.fail_launch(0);
    launch().unwrap();
    read(&buffer).unwrap();
}
