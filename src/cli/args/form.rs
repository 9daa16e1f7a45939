//! Values of `--to`: the table of output forms.

use std::sync::LazyLock;

use crate::forms::{FORMS, OutputForm};
use clap::ValueEnum;
use clap::builder::PossibleValue;

/// An output form.
#[derive(Debug, Clone, Copy)]
pub struct FormName(pub &'static dyn OutputForm);

static ALL: LazyLock<Vec<FormName>> = LazyLock::new(|| FORMS.into_iter().map(FormName).collect());

impl ValueEnum for FormName {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
}
