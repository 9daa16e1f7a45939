//! What a command has to say: blocks that know what they are, laid out only where it is known who
//! reads them.
//!
//! A [`Screen`] becomes lines for a terminal of some width, with colour where the terminal has it
//! ([`Layout`]), the same lines without either for files and pipes, or Markdown. Whatever comes from a
//! file is made [`printable`](crate::printable) here, so that no renderer can forget it.

mod layout;
mod markdown;
mod table;
mod text;

pub use layout::Layout;
pub(crate) use table::shortened;
pub use table::{Column, Table};
pub use text::{Role, Text};

/// Columns that a label takes.
const LABEL_WIDTH: usize = 20;

/// What a command has to say, from top to bottom.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
enum Block {
    Table(Table),
    /// A label and its value; a value without a label goes on with the one above.
    Figure(&'static str, Text),
    /// A line, so far from the left.
    Line(usize, Text),
    /// A line that begins with what it is: `note`, `warning`, `error`.
    Remark(Role, String, Text),
    Blank,
    /// For programs: lines that stay as they are.
    Verbatim(String),
}

impl Screen {
    /// A screen that shows a program's text (JSON, commands of a CI system) as it is.
    pub fn verbatim(text: impl Into<String>) -> Self {
        let mut screen = Self::default();
        screen.add_verbatim(text);
        screen
    }

    /// Adds a program's text, as it is.
    pub fn add_verbatim(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.blocks.push(Block::Verbatim(text));
        }
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Adds a label of at most 19 characters and its value. Without a label the value belongs to the one
    /// above.
    pub fn figure(&mut self, label: &'static str, value: impl Into<Text>) {
        self.blocks.push(Block::Figure(label, value.into()));
    }

    /// Adds a line of text.
    pub fn line(&mut self, text: impl Into<Text>) {
        self.blocks.push(Block::Line(0, text.into()));
    }

    /// Adds an item of a list.
    pub fn item(&mut self, text: impl Into<Text>) {
        self.blocks.push(Block::Line(2, text.into()));
    }

    /// Adds what a user should know.
    pub fn note(&mut self, text: impl Into<Text>) {
        self.remark(Role::Dim, "note", text);
    }

    /// Adds what looks wrong.
    pub fn warning(&mut self, text: impl Into<Text>) {
        self.remark(Role::Warning, "warning", text);
    }

    /// Adds a line that begins with a word for what it is.
    pub fn remark(&mut self, role: Role, kind: &str, text: impl Into<Text>) {
        let kind = kind.to_owned();
        self.blocks.push(Block::Remark(role, kind, text.into()));
    }

    /// Adds an empty line.
    pub fn blank(&mut self) {
        self.blocks.push(Block::Blank);
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl std::fmt::Display for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lay_out(&Layout::PLAIN))
    }
}

#[cfg(test)]
mod tests;
