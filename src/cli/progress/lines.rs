//! Progress where stderr is no terminal: a line now and then, so that a CI job is not silent.

use std::io::{Write as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::HumanDuration;

use super::pace::Pace;
use crate::printable::printable_line;

/// Time until a phase's first lines; the last one is the time between all others.
const INTERVALS: [Duration; 4] = [
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// How often it is looked whether a line is due.
const LOOKS: Duration = Duration::from_millis(500);

/// Prints how far the present phase is, also while it makes no steps.
pub struct Lines {
    phase: Arc<Mutex<Option<Phase>>>,
    /// Dropped at the end, which ends the thread.
    alive: Option<Sender<()>>,
    printer: Option<JoinHandle<()>>,
}

struct Phase {
    name: String,
    detail: String,
    done: u64,
    total: u64,
    began: Instant,
    /// When the next line is due, since the beginning.
    due: Duration,
    printed: usize,
}

impl Lines {
    pub fn new(pace: &Arc<Pace>) -> Self {
        let phase = Arc::<Mutex<Option<Phase>>>::default();
        let (alive, ended) = channel::<()>();
        let (seen, pace) = (Arc::clone(&phase), Arc::clone(pace));
        let print = move || {
            while ended.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
                if let Some(line) = lock(&seen).as_mut().and_then(|phase| phase.line(&pace)) {
                    // Nobody may read it any more.
                    let _ = writeln!(stderr().lock(), "{line}");
                }
            }
        };
        Self {
            phase,
            alive: Some(alive),
            // Without it there are no lines.
            printer: thread::Builder::new().spawn(print).ok(),
        }
    }

    pub fn begin(&self, name: &str, total: u64) {
        *lock(&self.phase) = Some(Phase {
            name: name.to_owned(),
            detail: String::new(),
            done: 0,
            total,
            began: Instant::now(),
            due: INTERVALS[0],
            printed: 0,
        });
    }

    /// Adds steps; the time since the beginning.
    pub fn advance(&self, done: u64) -> Duration {
        match lock(&self.phase).as_mut() {
            Some(phase) => {
                phase.done += done;
                phase.began.elapsed()
            }
            None => Duration::ZERO,
        }
    }

    pub fn detail(&self, text: &str) {
        if let Some(phase) = lock(&self.phase).as_mut() {
            phase.detail = printable_line(text);
        }
    }

    pub fn end(&self) {
        *lock(&self.phase) = None;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(printer) = self.printer.take() {
            // It prints, and cannot fail otherwise.
            let _ = printer.join();
        }
    }
}

fn lock(phase: &Mutex<Option<Phase>>) -> MutexGuard<'_, Option<Phase>> {
    phase.lock().unwrap_or_else(|e| e.into_inner())
}

impl Phase {
    /// The line, if one is due.
    fn line(&mut self, pace: &Pace) -> Option<String> {
        let elapsed = self.began.elapsed();
        if elapsed < self.due {
            return None;
        }
        self.printed += 1;
        let interval = INTERVALS.get(self.printed).or(INTERVALS.last());
        self.due = elapsed + interval.copied().unwrap_or_default();
        let gone = Duration::from_secs(elapsed.as_secs());
        let mut line = format!("{}: ", self.name);
        if self.total > 0 {
            let share = 100.0 * self.done as f64 / self.total as f64;
            line += &format!("{:.0} %, ", share.min(100.0));
        }
        line += &format!("{:#} gone", HumanDuration(gone));
        if let Some(left) = pace.left([self.done, self.total], elapsed) {
            line += &format!(", {:#} left", HumanDuration(left));
        }
        if !self.detail.is_empty() {
            line += &format!("; {}", self.detail);
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_when_it_is_due_and_then_more_seldom() {
        let mut phase = Phase {
            name: "learning".into(),
            detail: "layer 2/3".into(),
            done: 30,
            total: 120,
            began: Instant::now() - Duration::from_secs(9),
            due: INTERVALS[0],
            printed: 0,
        };
        let pace = Pace::default();
        assert_eq!(phase.line(&pace), None);
        phase.began -= Duration::from_secs(2);
        let line = phase.line(&pace).unwrap();
        assert_eq!(line, "learning: 25 %, 11s gone; layer 2/3");
        assert_eq!(phase.line(&pace), None);
        phase.began -= Duration::from_secs(15);
        assert!(phase.line(&pace).is_some());
        phase.began -= Duration::from_secs(15);
        assert_eq!(phase.line(&pace), None, "30 s by now");
    }
}
