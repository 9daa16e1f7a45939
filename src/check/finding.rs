//! What is wrong with a file.

use std::fmt;

use serde::Serialize;

use crate::printable::{printable, printable_line};

/// Findings that are kept of one file: a hostile one could have millions.
const MOST: usize = 50;

/// Whether a finding makes the file bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// How bad it is.
    #[serde(skip)]
    pub severity: Severity,
    /// What was checked: one stable word for each rule.
    #[serde(rename = "check")]
    pub rule: &'static str,
    /// The node concerned, if it is one.
    pub node: Option<String>,
    /// What is wrong and what to do about it: one line.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "node '{node}': {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The findings of one file, in the order of discovery.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    left_out: usize,
}

impl Findings {
    /// Adds an error.
    pub(super) fn error(&mut self, rule: &'static str, message: impl Into<String>) {
        self.add(Severity::Error, rule, None, message.into());
    }

    /// Adds an error at a node.
    pub(super) fn error_at(&mut self, rule: &'static str, node: &str, message: impl Into<String>) {
        self.add(Severity::Error, rule, Some(node.to_owned()), message.into());
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, rule: &'static str, message: impl Into<String>) {
        self.add(Severity::Warning, rule, None, message.into());
    }

    /// Adds a warning at a node.
    pub(super) fn warning_at(
        &mut self,
        rule: &'static str,
        node: &str,
        message: impl Into<String>,
    ) {
        let node = Some(node.to_owned());
        self.add(Severity::Warning, rule, node, message.into());
    }

    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        node: Option<String>,
        message: String,
    ) {
        // Errors always find a place: it is they that decide.
        let first_error = severity == Severity::Error && !self.bad();
        if self.list.len() >= MOST && !first_error {
            self.left_out += 1;
            return;
        }
        self.list.push(Finding {
            severity,
            rule,
            node: node.map(|n| printable(&n).into_owned()),
            message: printable_line(&message),
        });
    }

    /// Whether an error is among them.
    pub(super) fn bad(&self) -> bool {
        self.list.iter().any(|f| f.severity == Severity::Error)
    }

    /// All of them.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        if self.left_out > 0 {
            let message = format!("{} further findings are not listed", self.left_out);
            self.list.push(Finding {
                severity: Severity::Warning,
                rule: "more",
                node: None,
                message,
            });
        }
        self.list
    }
}
