//! A screen as Markdown, to be pasted into an issue.

use super::table::Table;
use super::{Block, Screen};

impl Screen {
    /// As Markdown: tables with pipes, figures as a list. All columns and names are whole.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for block in &self.blocks {
            match block {
                Block::Table(table) => {
                    separate(&mut out);
                    out += &of_table(table);
                    out.push('\n');
                }
                Block::Figure("", value) => out += &format!("  - {}\n", escaped(&value.plain())),
                Block::Figure(label, value) => {
                    out += &format!("- {label}: {}\n", escaped(&value.plain()));
                }
                Block::Line(0, text) => {
                    separate(&mut out);
                    out += &format!("{}\n", escaped(&text.plain()));
                }
                Block::Line(_, text) => out += &format!("- {}\n", escaped(&text.plain())),
                Block::Remark(_, kind, text) => {
                    separate(&mut out);
                    out += &format!("**{kind}:** {}\n", escaped(&text.plain()));
                }
                Block::Blank => separate(&mut out),
                Block::Verbatim(text) => {
                    separate(&mut out);
                    out += &crate::printable::printable_lines(text);
                }
            }
        }
        out
    }
}

/// Ends a paragraph.
fn separate(out: &mut String) {
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
}

fn of_table(table: &Table) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let columns = &table.columns;
    let mut out = line(&mut columns.iter().map(|c| c.heading.to_owned()));
    let rule = |right: bool| if right { "---:" } else { "---" }.to_owned();
    out += &line(&mut columns.iter().map(|c| rule(c.right)));
    for row in &table.rows {
        out += &line(&mut row.iter().map(|cell| escaped(&cell.plain())));
    }
    out
}

/// Text in which nothing is markup: names come from strangers' files.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\`*_{}[]<>#|~&@$:".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    // An address becomes a link without any markup.
    out.replace("www.", r"www\.")
}
