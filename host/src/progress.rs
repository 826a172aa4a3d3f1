//! Stages of a run, seen through `tracing` spans: how long each took, and a bar while they last.
//!
//! A stage is a span of this crate. The bar moves by the time that a stage was estimated to take and is shown
//! only where someone watches (standard error is a terminal) and the wait is long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::span;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Work that is estimated to take less is not worth a bar.
const WORTH_A_BAR: f64 = 2.0;
const TICK: Duration = Duration::from_millis(100);

/// A stage and its seconds.
pub type Stage = (&'static str, f64);

#[derive(Default)]
struct State {
    /// Finished stages.
    finished: Vec<Stage>,
    current: Option<(&'static str, Instant)>,
    /// What is expected to come.
    plan: Vec<Stage>,
    /// Planned seconds of all.
    total: f64,
    /// Planned seconds of stages that are over.
    passed: f64,
    /// How much of the current stage is known to be done.
    done: Option<f64>,
    bar: Option<ProgressBar>,
}

impl State {
    fn planned(&self, stage: &str) -> f64 {
        self.plan.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, seconds)| *seconds)
    }

    /// Moves the bar to where the plan says that the work is.
    fn tick(&self) -> bool {
        let Some(bar) = &self.bar else { return false };
        let total: f64 = self.total;
        let (within, left) = self.current.map_or((0.0, 0.0), |(name, since)| {
            let (elapsed, planned) = (since.elapsed().as_secs_f64(), self.planned(name));
            match self.done {
                Some(done) if done > 0.0 => (planned * done, elapsed * (1.0 - done) / done),
                // A stage that takes longer than planned waits near its end.
                _ => (elapsed.min(0.98 * planned), (planned - elapsed).max(0.0)),
            }
        });
        let after = self.current.map_or(0.0, |(name, _)| self.planned(name));
        let left = left + (total - self.passed - after).max(0.0);
        bar.set_position(((self.passed + within) * 1000.0) as u64);
        bar.set_prefix(crate::cli::text::seconds(left.ceil()));
        bar.tick();
        true
    }
}

/// Watches the stages.
#[derive(Clone, Default)]
pub struct Monitor {
    state: Arc<Mutex<State>>,
    visible: bool,
}

impl Monitor {
    /// A monitor, which may show a bar.
    pub fn new(visible: bool) -> Self {
        Self { state: Arc::default(), visible }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces stages with their estimated seconds, all to be run `times` over; the bar lasts as long as the
    /// result.
    #[must_use]
    pub fn plan(&self, stages: &[Stage], times: u32) -> Shown {
        let total = stages.iter().map(|(_, seconds)| seconds).sum::<f64>() * f64::from(times);
        let mut state = self.state();
        state.plan = stages.to_vec();
        (state.passed, state.total) = (0.0, total);
        if self.visible && total >= WORTH_A_BAR {
            let bar = ProgressBar::new((total * 1000.0) as u64);
            let template = "{spinner} {msg:<10} [{bar:32}] about {prefix} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(crate::cli::text::seconds(total.ceil()));
            state.bar = Some(bar);
            let watched = self.clone();
            std::thread::spawn(move || {
                while watched.state().tick() {
                    std::thread::sleep(TICK);
                }
            });
        }
        Shown(self.clone())
    }

    /// Says how much of the current stage is done, from 0 to 1.
    pub fn advance(&self, done: f64) {
        self.state().done = Some(done);
    }

    /// A bar for so many bytes that go somewhere; a hidden one where nobody watches.
    pub fn bytes(&self, total: u64) -> ProgressBar {
        if !self.visible {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total);
        let template = "{spinner} sending [{bar:32}] {bytes} of {total_bytes}, about {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        bar
    }

    /// The stages finished since the last call; stages of the same name are added up.
    pub fn take(&self) -> Vec<Stage> {
        let mut sums: Vec<Stage> = Vec::new();
        for (name, seconds) in std::mem::take(&mut self.state().finished) {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += seconds,
                None => sums.push((name, seconds)),
            }
        }
        sums
    }
}

/// Takes the bar away when dropped.
pub struct Shown(Monitor);

impl Drop for Shown {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.plan.clear();
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Monitor {
    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(name) = stage(id, &context) {
            let mut state = self.state();
            state.current = Some((name, Instant::now()));
            state.done = None;
            if let Some(bar) = &state.bar {
                bar.set_message(name);
            }
        }
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        let Some(name) = stage(id, &context) else { return };
        let mut state = self.state();
        if let Some((current, since)) = state.current.take_if(|(current, _)| *current == name) {
            state.finished.push((current, since.elapsed().as_secs_f64()));
            state.passed += state.planned(current);
        }
    }
}

/// The name of a span of this crate.
fn stage<S>(id: &span::Id, context: &Context<'_, S>) -> Option<&'static str>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let metadata = context.metadata(id)?;
    metadata.target().starts_with("circlet").then(|| metadata.name())
}
