//! Independent jobs on several devices at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Ends the queue where a worker panics.
struct Guard<'a>(&'a AtomicBool);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Does all jobs, each on the first worker that is free, and gives the results in the order of the jobs. A worker, which is
/// whatever holds a device, does one job at a time, on a thread of its own. The first failure or panic ends it all: no more
/// jobs are begun.
///
/// # Errors
/// That of the first job, in their order, of those that have failed.
pub fn on_all<W: Sync, J: Sync, R: Send, E: Send>(
    workers: &[W],
    jobs: &[J],
    work: impl Fn(&W, &J) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    assert!(!workers.is_empty() || jobs.is_empty(), "jobs and nobody to do them");
    let (left, ended) = (Mutex::new(jobs.iter().enumerate()), AtomicBool::new(false));
    let next = || {
        if ended.load(Ordering::Relaxed) {
            return None;
        }
        left.lock().unwrap_or_else(PoisonError::into_inner).next()
    };
    let done: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| {
                let _guard = Guard(&ended);
                while let Some((index, job)) = next() {
                    let result = work(worker, job);
                    if result.is_err() {
                        ended.store(true, Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn all_jobs_are_done_once_and_at_the_same_time() {
        for workers in 1..4usize {
            let (all, begun) = (Barrier::new(workers), AtomicUsize::new(0));
            let workers: Vec<usize> = (0..workers).collect();
            let results = on_all(&workers, &(0..20).collect::<Vec<u32>>(), |&worker, &job| {
                // Nobody goes on before each has a job.
                if begun.fetch_add(1, Ordering::SeqCst) < workers.len() {
                    all.wait();
                }
                Ok::<_, ()>((worker, 2 * job))
            });
            let results = results.unwrap();
            assert!(results.iter().map(|r| r.1).eq((0..20).map(|job| 2 * job)));
            assert!(workers.iter().all(|worker| results.iter().any(|r| r.0 == *worker)));
        }
        assert_eq!(on_all(&[(); 0], &[(); 0], |(), ()| Err::<(), ()>(())), Ok(Vec::new()));
    }

    #[test]
    fn a_failure_ends_it() {
        let jobs: Vec<u32> = (0..100).collect();
        let fails = |begun: &AtomicUsize, job: u32| {
            begun.fetch_add(1, Ordering::SeqCst);
            if job == 3 { Err(job) } else { Ok(()) }
        };
        for workers in 1..4 {
            let begun = AtomicUsize::new(0);
            assert_eq!(on_all(&vec![(); workers], &jobs, |(), &job| fails(&begun, job)), Err(3));
            assert!(workers > 1 || begun.into_inner() == 4);
        }
    }

    #[test]
    fn a_panic_ends_it() {
        let (both, begun) = (Barrier::new(2), AtomicUsize::new(0));
        let run = || {
            on_all(&[(), ()], &(0..1000).collect::<Vec<u32>>(), |(), &job| {
                begun.fetch_add(1, Ordering::SeqCst);
                if job < 2 {
                    both.wait();
                }
                assert!(job != 0, "meant");
                thread::sleep(std::time::Duration::from_millis(1));
                Ok::<_, ()>(())
            })
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert!(begun.into_inner() < 1000);
    }
}
