//! Text in which some words stand out.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};

use crate::printable::printable;

/// What words are, which decides how they look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Like the rest.
    #[default]
    Plain,
    /// What one looks for first.
    Strong,
    /// What may be overlooked.
    Dim,
    /// As it should be.
    Good,
    /// What may be wrong.
    Warning,
    /// What is wrong.
    Bad,
}

impl Role {
    fn style(self) -> Style {
        let colour = |c: AnsiColor| Style::new().fg_color(Some(c.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Good => colour(AnsiColor::Green),
            Self::Warning => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red).bold(),
        }
    }

    /// `text` as it looks, if there is colour.
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        match colour && self != Self::Plain {
            true => {
                let style = self.style();
                format!("{style}{text}{style:#}")
            }
            false => text.to_owned(),
        }
    }
}

/// A line's text, word by word or as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    spans: Vec<(Role, String)>,
}

impl Text {
    /// Text of one role.
    pub fn of(role: Role, text: impl Into<String>) -> Self {
        Self::default().and(role, text)
    }

    /// With more text behind it.
    #[must_use]
    pub fn and(mut self, role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.spans.push((role, text));
        }
        self
    }

    /// With more text like the rest behind it.
    #[must_use]
    pub fn and_plain(self, text: impl Into<String>) -> Self {
        self.and(Role::Plain, text)
    }

    /// Its pieces, safe to print.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Role, Cow<'_, str>)> {
        let spans = self.spans.iter();
        spans.map(|(role, text)| (*role, printable(text)))
    }

    /// As it is read, safe to print.
    pub(super) fn plain(&self) -> String {
        self.spans().map(|(_, text)| text).collect()
    }

    /// As it looks.
    pub(super) fn painted(&self, colour: bool) -> String {
        let painted = self.spans().map(|(role, text)| role.paint(&text, colour));
        painted.collect()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::of(Role::Plain, text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::of(Role::Plain, text)
    }
}
