//! The time that a phase still takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What comes so soon after the beginning was done before.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Less than this share of a phase says nothing of its pace.
const LEAST_SHARE: u64 = 200;

/// Where the present phase's pace is measured from: what came until its first step was done by an
/// earlier run, or is work of another kind.
#[derive(Default)]
pub(super) struct Pace {
    done: AtomicU64,
    /// In milliseconds; 0 before that step.
    since: AtomicU64,
}

impl Pace {
    pub(super) fn restart(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
    }

    pub(super) fn advance(&self, done: u64, elapsed: Duration) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.done.fetch_add(done, Ordering::Relaxed);
            if elapsed >= AT_ONCE {
                let now = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                self.since.store(now, Ordering::Relaxed);
            }
        }
    }

    /// The time left at the mean pace so far. The pace of late would jump: steps differ, and between
    /// them there is work of other kinds.
    pub(super) fn left(&self, [position, total]: [u64; 2], elapsed: Duration) -> Option<Duration> {
        let since = Some(self.since.load(Ordering::Relaxed)).filter(|&since| since > 0)?;
        let done = position.saturating_sub(self.done.load(Ordering::Relaxed));
        if done == 0 || done < total / LEAST_SHARE {
            return None;
        }
        let gone = elapsed.saturating_sub(Duration::from_millis(since));
        Some(gone.mul_f64(total.saturating_sub(position) as f64 / done as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_by_the_pace_of_what_this_run_has_done() {
        let seconds = Duration::from_secs;
        let pace = Pace::default();
        // Four hundred of a thousand were done before; the first step comes late.
        pace.advance(400, Duration::from_millis(3));
        assert_eq!(pace.left([400, 1000], seconds(1)), None);
        pace.advance(1, seconds(20));
        assert_eq!(pace.left([401, 1000], seconds(20)), None);
        pace.advance(2, seconds(22));
        assert_eq!(pace.left([403, 1000], seconds(22)), None, "too little");
        pace.advance(97, seconds(118));
        assert_eq!(pace.left([500, 1000], seconds(119)), Some(seconds(500)));
        pace.restart();
        assert_eq!(pace.left([1, 1000], seconds(2)), None);
    }
}
