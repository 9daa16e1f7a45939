//! What `check --json` says.

use serde::Serialize;

use super::FileReport;

/// All files that were checked (`check --json`; keys are a contract).
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckReport {
    /// Who ran the models.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Files checked.
    pub checked: usize,
    /// Of these, how many are good.
    pub passed: usize,
    /// Each file.
    pub models: Vec<FileReport>,
}
