//! Values of `--method`: the paper's, none, and those of the table of rules; and of `--mask-start`: rules.

use std::sync::LazyLock;

use crate::subsidiary::{RULES, Rule};
use clap::ValueEnum;
use clap::builder::PossibleValue;

/// How filters are chosen.
#[derive(Debug, Clone, Copy, Default)]
pub enum Method {
    /// By masks that are learned layer by layer.
    #[default]
    Subsidiary,
    /// By a rule.
    Rule(&'static dyn Rule),
    /// Not at all.
    None,
}

static ALL: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let rules = RULES.iter().map(|rule| Method::Rule(*rule));
    let others = [Method::Subsidiary].into_iter().chain(rules);
    others.chain([Method::None]).collect()
});

impl ValueEnum for Method {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Subsidiary => (
                "subsidiary",
                "Learn masks layer by layer (the paper's method)",
            ),
            Self::Rule(rule) => (rule.name(), rule.about()),
            Self::None => ("none", "Learn nothing: lossless elimination only"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct RuleName(pub &'static dyn Rule);

static ALL_RULES: LazyLock<Vec<RuleName>> =
    LazyLock::new(|| RULES.iter().copied().map(RuleName).collect());

impl ValueEnum for RuleName {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL_RULES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
}
