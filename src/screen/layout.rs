//! A screen as lines for a terminal, a pipe or a file.

use std::io::{IsTerminal as _, Stderr, Stdout};

use anstream::{AutoStream, ColorChoice};
use terminal_size::terminal_size_of;

use super::text::Role;
use super::{Block, LABEL_WIDTH, Screen};
use crate::printable::printable_lines;

/// Who reads a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Columns that a line may take; `None`: as many as it has.
    pub width: Option<usize>,
    /// Whether there are colours.
    pub colour: bool,
}

/// Nobody reads lines that are shorter.
const LEAST_WIDTH: usize = 40;

impl Layout {
    /// For files and pipes: no colour, lines as long as they are.
    pub const PLAIN: Self = Self {
        width: None,
        colour: false,
    };

    /// Of standard output. A pipe whose messages a terminal shows (`| less`) is as wide as that one.
    pub fn of_stdout(stdout: &Stdout, stderr: &Stderr) -> Self {
        let elsewhere = || terminal_size_of(stderr).filter(|_| !is_file(stdout));
        let size = terminal_size_of(stdout).or_else(elsewhere);
        Self {
            width: size.and_then(|(width, _)| width_of(width.0)),
            colour: AutoStream::choice(stdout) != ColorChoice::Never,
        }
    }

    /// Of standard error.
    pub fn of_stderr(stderr: &Stderr) -> Self {
        let size = terminal_size_of(stderr).filter(|_| stderr.is_terminal());
        Self {
            width: size.and_then(|(width, _)| width_of(width.0)),
            colour: AutoStream::choice(stderr) != ColorChoice::Never,
        }
    }

    /// `text` in lines of the width, the second and later ones so far from the left.
    pub(super) fn wrap(&self, first: &str, indent: usize, text: &str) -> String {
        let Some(width) = self.width else {
            return format!("{first}{text}\n");
        };
        let rest = " ".repeat(indent);
        let options = textwrap::Options::new(width)
            .initial_indent(first)
            .subsequent_indent(&rest)
            // A path or a name stays whole, so that it can be copied.
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .word_separator(textwrap::WordSeparator::AsciiSpace);
        textwrap::wrap(text, options).join("\n") + "\n"
    }

    /// A line of text.
    pub fn line(&self, text: &str) -> String {
        self.wrap("", 2, text)
    }

    /// The line of a message: what it is, and its text.
    pub fn remark(&self, role: Role, kind: &str, text: &str) -> String {
        let kind = role.paint(&format!("{kind}:"), self.colour);
        self.wrap(&format!("{kind} "), 2, text)
    }
}

/// Whether what is printed goes to a file, whose lines may be long.
#[cfg(unix)]
fn is_file(stdout: &Stdout) -> bool {
    use std::os::fd::AsFd as _;
    let file = stdout.as_fd().try_clone_to_owned().map(std::fs::File::from);
    file.and_then(|file| file.metadata())
        .is_ok_and(|m| m.is_file())
}

#[cfg(not(unix))]
fn is_file(_: &Stdout) -> bool {
    false
}

/// The width of a terminal, which may have none.
fn width_of(columns: u16) -> Option<usize> {
    (columns > 0).then(|| usize::from(columns).max(LEAST_WIDTH))
}

impl Screen {
    /// As lines for such a reader.
    pub fn lay_out(&self, layout: &Layout) -> String {
        let mut out = String::new();
        for block in &self.blocks {
            out += &match block {
                Block::Table(table) => {
                    table.lay_out(layout.width.unwrap_or(usize::MAX), layout.colour)
                }
                Block::Figure(label, value) => {
                    let label = format!("{label:<LABEL_WIDTH$}");
                    layout.wrap(&label, LABEL_WIDTH, &value.painted(layout.colour))
                }
                Block::Line(indent, text) => {
                    let first = " ".repeat(*indent);
                    layout.wrap(&first, indent + 2, &text.painted(layout.colour))
                }
                Block::Remark(role, kind, text) => {
                    layout.remark(*role, kind, &text.painted(layout.colour))
                }
                Block::Blank => "\n".to_owned(),
                Block::Verbatim(text) => printable_lines(text),
            };
        }
        out
    }
}
