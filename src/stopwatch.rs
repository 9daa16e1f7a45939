//! Where the time of a run goes.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What a part of a run took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Lap {
    /// What was done.
    pub phase: String,
    /// In which stage of learning, counted from 0; absent outside of stages.
    pub stage: Option<usize>,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Takes the time of one part after the other.
#[derive(Debug)]
pub struct Stopwatch {
    since: Instant,
    laps: Vec<Lap>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            laps: Vec::new(),
        }
    }
}

impl Stopwatch {
    /// Ends a part: what was done since the last one ended. Parts of one name count as one.
    pub fn lap(&mut self, phase: &str, stage: Option<usize>) {
        let now = Instant::now();
        let seconds = now.duration_since(self.since).as_secs_f64();
        self.since = now;
        let known = self.laps.iter_mut();
        let mut known = known.filter(|l| l.phase == phase && l.stage == stage);
        match known.next() {
            Some(lap) => lap.seconds += seconds,
            None => self.laps.push(Lap {
                phase: phase.to_owned(),
                stage,
                seconds,
            }),
        }
    }

    /// The parts so far, taken out.
    pub fn take(&mut self) -> Vec<Lap> {
        std::mem::take(&mut self.laps)
    }

    /// Ends a part of which another watch has measured all but the beginning: that is `phase`.
    pub fn lap_before(&mut self, phase: &str, laps: Vec<Lap>) {
        let known: f64 = laps.iter().map(|l| l.seconds).sum();
        self.lap(phase, None);
        if let Some(lap) = self.laps.iter_mut().find(|l| l.phase == phase) {
            lap.seconds = (lap.seconds - known).max(0.0);
        }
        self.laps.extend(laps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_time_that_passed() {
        let begun = Instant::now();
        let mut watch = Stopwatch::default();
        for (phase, stage) in [
            ("mask", Some(0)),
            ("retraining", Some(0)),
            ("mask", Some(0)),
        ] {
            std::thread::sleep(std::time::Duration::from_millis(2));
            watch.lap(phase, stage);
        }
        let laps = watch.take();
        assert_eq!(laps.len(), 2);
        let sum: f64 = laps.iter().map(|l| l.seconds).sum();
        assert!(sum >= 0.006 && sum <= begun.elapsed().as_secs_f64());
        assert!(laps[0].seconds > laps[1].seconds);
    }
}
