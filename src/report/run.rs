//! Which run it was: when, where, by which command.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// What tells a run from another one with the same result. It stands in reports alone: models and
/// masks are the same bytes whenever and wherever they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RunReport {
    /// The command line, the program's name first; empty where a program called the library.
    pub command: Vec<String>,
    /// When it began: UTC, RFC 3339.
    pub started: String,
    /// The processor's name, as the system gives it; the architecture where it gives none.
    pub processor: String,
    /// Threads that the processor runs at a time, as far as the process may use them.
    pub cores: usize,
    /// Operating system and architecture.
    pub system: String,
}

impl RunReport {
    /// Of a run that begins now.
    pub fn beginning() -> Self {
        let now: DateTime<Utc> = SystemTime::now().into();
        let what = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        let system = System::new_with_specifics(what);
        let brand = system
            .cpus()
            .first()
            .map(|cpu| cpu.brand().trim().to_owned());
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        Self {
            command: Vec::new(),
            started: now.to_rfc3339_opts(SecondsFormat::Secs, true),
            processor: brand
                .filter(|brand| !brand.is_empty())
                .unwrap_or_else(|| arch.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{os} {arch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_time_and_a_machine() {
        let run = RunReport::beginning();
        assert!(
            DateTime::parse_from_rfc3339(&run.started).is_ok(),
            "{run:?}"
        );
        assert!(run.cores > 0 && !run.processor.is_empty() && !run.system.is_empty());
    }
}
