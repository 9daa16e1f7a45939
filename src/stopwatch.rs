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
        self.lap_at(Instant::now(), phase, stage);
    }

    fn lap_at(&mut self, now: Instant, phase: &str, stage: Option<usize>) {
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn parts_add_up_to_the_time_that_passed() {
        let mut watch = Stopwatch::default();
        let begun = watch.since;
        for (second, phase, stage) in [
            (2, "mask", Some(0)),
            (5, "retraining", Some(0)),
            (9, "mask", Some(0)),
            (10, "mask", Some(1)),
        ] {
            watch.lap_at(begun + Duration::from_secs(second), phase, stage);
        }
        let laps = watch.take();
        let told = laps.iter();
        let told: Vec<_> = told.map(|l| (&*l.phase, l.stage, l.seconds)).collect();
        assert_eq!(
            told,
            [
                ("mask", Some(0), 6.0),
                ("retraining", Some(0), 3.0),
                ("mask", Some(1), 1.0)
            ]
        );
    }
}
