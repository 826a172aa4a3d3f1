//! Independent jobs on several devices at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Does all jobs, each on the first worker that is free, and gives the results in the order of the jobs. A worker, which is
/// whatever holds a device, does one job at a time, on a thread of its own. The first failure ends it all: no more jobs are
/// begun.
///
/// # Errors
/// That of the first job, in their order, of those that have failed.
pub fn on_all<W: Sync, J: Sync, R: Send, E: Send>(
    workers: &[W],
    jobs: &[J],
    work: impl Fn(&W, &J) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    assert!(!workers.is_empty() || jobs.is_empty(), "jobs and nobody to do them");
    let (left, failed) = (Mutex::new(jobs.iter().enumerate()), AtomicBool::new(false));
    let next = || {
        if failed.load(Ordering::Relaxed) {
            return None;
        }
        left.lock().ok()?.next()
    };
    let done: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| {
                while let Some((index, job)) = next() {
                    let result = work(worker, job);
                    if result.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    if let Ok(mut done) = done.lock() {
                        done.push((index, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|_| unreachable!("a worker's panic has gone on"));
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
        let begun = AtomicUsize::new(0);
        let result = on_all(&[(), ()], &(0..100).collect::<Vec<u32>>(), |(), &job| {
            begun.fetch_add(1, Ordering::SeqCst);
            if job == 3 { Err(job) } else { Ok(()) }
        });
        assert_eq!(result, Err(3));
        let result = on_all(&[()], &(0..100).collect::<Vec<u32>>(), |(), &job| {
            begun.fetch_add(1, Ordering::SeqCst);
            if job == 3 { Err(job) } else { Ok(()) }
        });
        assert_eq!(result, Err(3));
        assert!(begun.into_inner() < 104 + 4);
    }
}
