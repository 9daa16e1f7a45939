//! Tables that take the width there is.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, presets};

use textwrap::core::display_width;

use super::text::{Role, Text};

/// A column: its heading, and how it gives way where there is no room.
#[derive(Clone, Debug)]
pub struct Column {
    pub(super) heading: &'static str,
    pub(super) right: bool,
    /// The fewest characters to which its texts may be shortened.
    least: Option<usize>,
    /// Columns are left out in this order.
    leaves: Option<u8>,
}

impl Column {
    /// A column of text.
    pub fn text(heading: &'static str) -> Self {
        Self {
            heading,
            right: false,
            least: None,
            leaves: None,
        }
    }

    /// A column of numbers, to the right.
    pub fn number(heading: &'static str) -> Self {
        Self {
            right: true,
            ..Self::text(heading)
        }
    }

    /// A column whose texts may be shortened in their middle, to no less than so many characters.
    #[must_use]
    pub fn shrinks_to(mut self, least: usize) -> Self {
        self.least = Some(least);
        self
    }

    /// A column that may be left out, those of lower numbers first.
    #[must_use]
    pub fn leaves(mut self, order: u8) -> Self {
        self.leaves = Some(order);
        self
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Text>>,
    ruled: bool,
}

impl Table {
    /// A table with a rule above, below, and under the headings.
    pub fn ruled(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
            ruled: true,
        }
    }

    /// A table without rules.
    pub fn plain(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            ruled: false,
            ..Self::ruled(columns)
        }
    }

    /// Adds a row, a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Text>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As lines of at most `width` columns, if its columns can give way so far.
    pub(super) fn lay_out(&self, width: usize, colour: bool) -> String {
        let mut leaving: Vec<usize> = (0..self.columns.len()).collect();
        leaving.retain(|&c| self.columns.get(c).is_some_and(|c| c.leaves.is_some()));
        leaving.sort_by_key(|&c| self.columns.get(c).and_then(|c| c.leaves));
        let mut left_out: Vec<usize> = Vec::new();
        loop {
            let shown: Vec<usize> = (0..self.columns.len())
                .filter(|c| !left_out.contains(c))
                .collect();
            let natural = self.drawn(&shown, None);
            let excess = natural.width.saturating_sub(width);
            let drawn = match excess {
                0 => Some(natural),
                _ => self.shrunk(&shown, excess),
            };
            match (drawn, leaving.get(left_out.len())) {
                (Some(drawn), _) => return self.painted(&drawn, &left_out, colour),
                (None, Some(&next)) => left_out.push(next),
                // It is wider than there is room.
                (None, None) => {
                    let least = self.shrunk(&shown, usize::MAX);
                    let drawn = least.unwrap_or_else(|| self.drawn(&shown, None));
                    return self.painted(&drawn, &left_out, colour);
                }
            }
        }
    }

    /// With the column that may be shortened shorter by `excess`; `None` if that is too much.
    fn shrunk(&self, shown: &[usize], excess: usize) -> Option<Drawn> {
        let shrinking = |&&c: &&usize| self.columns.get(c).is_some_and(|c| c.least.is_some());
        let column = *shown.iter().find(shrinking)?;
        let least = self.columns.get(column)?.least?;
        let lengths = self.rows.iter().filter_map(|row| row.get(column));
        let longest = lengths.map(|cell| display_width(&cell.plain())).max()?;
        let to = longest.checked_sub(excess).filter(|&to| to >= least);
        let to = match excess {
            usize::MAX => least,
            _ => to?,
        };
        Some(self.drawn(shown, Some((column, to))))
    }

    /// The lines with these columns, texts of one of them shortened.
    fn drawn(&self, shown: &[usize], shortened_to: Option<(usize, usize)>) -> Drawn {
        let mut table = comfy_table::Table::new();
        let style = match self.ruled {
            true => presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()),
            false => presets::NOTHING,
        };
        table
            .load_style(style)
            .set_content_arrangement(ContentArrangement::Disabled);
        let columns = shown.iter().filter_map(|&c| self.columns.get(c));
        table.set_header(columns.clone().map(|c| c.heading));
        let mut rows = Vec::new();
        for row in &self.rows {
            let cells = shown.iter().map(|&c| {
                let cell = row.get(c).cloned().unwrap_or_default();
                match shortened_to {
                    Some((column, to)) if column == c => shorter(cell, to),
                    _ => cell,
                }
            });
            let cells: Vec<Text> = cells.collect();
            table.add_row(cells.iter().map(Text::plain));
            rows.push(cells);
        }
        for (place, column) in columns.enumerate() {
            if let Some(c) = table.column_mut(place).filter(|_| column.right) {
                c.set_cell_alignment(CellAlignment::Right);
            }
        }
        let lines: Vec<String> = table.lines().collect();
        let ends = lines.iter().map(|line| display_width(line.trim_end()));
        Drawn {
            // Spaces behind the last column may stick out.
            width: ends.max().unwrap_or(0),
            lines,
            rows,
        }
    }

    /// The lines with their colours, and a word on what was left out.
    fn painted(&self, drawn: &Drawn, left_out: &[usize], colour: bool) -> String {
        let mut out = String::new();
        let mut rows = drawn.rows.iter();
        let heading = usize::from(self.ruled);
        for (place, line) in drawn.lines.iter().enumerate() {
            let rule = line.starts_with(['─', '═']);
            // Rules are as long as what is between them.
            let line = match rule {
                true => line.chars().take(drawn.width).collect(),
                false => line.trim_end().to_owned(),
            };
            let line = line.as_str();
            out += &match (rule, place == heading) {
                (true, _) => Role::Dim.paint(line, colour),
                (_, true) => Role::Strong.paint(line, colour),
                _ => match rows.next() {
                    Some(cells) => paint_cells(line, cells, colour),
                    None => line.to_owned(),
                },
            };
            out.push('\n');
        }
        let mut left_out = left_out.to_vec();
        left_out.sort_unstable();
        let names = left_out.iter().filter_map(|&c| self.columns.get(c));
        let names: Vec<&str> = names.map(|c| c.heading).collect();
        if !names.is_empty() {
            let text = format!(" (no room for: {})", names.join(", "));
            out += &Role::Dim.paint(&text, colour);
            out.push('\n');
        }
        out
    }
}

/// Lines of a table without colour.
struct Drawn {
    lines: Vec<String>,
    /// What stands in them, row by row.
    rows: Vec<Vec<Text>>,
    width: usize,
}

/// A row's line with its cells' colours: they stand in it one behind the other.
fn paint_cells(line: &str, cells: &[Text], colour: bool) -> String {
    if !colour {
        return line.to_owned();
    }
    let mut out = String::new();
    let mut rest = line;
    for (role, span) in cells.iter().flat_map(Text::spans) {
        if let Some((before, after)) = rest.split_once(&*span) {
            out += before;
            out += &role.paint(&span, colour);
            rest = after;
        }
    }
    out + rest
}

fn shorter(cell: Text, to: usize) -> Text {
    let plain = cell.plain();
    match display_width(&plain) > to {
        true => shortened(&plain, to).into(),
        false => cell,
    }
}

/// `text` cut to `width` columns in the middle: both ends of a node's name tell it apart.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if display_width(text) <= width || width < 3 {
        return text.to_owned();
    }
    let head = (width - 1) / 2;
    let start = within(text.chars(), head);
    let end = within(text.chars().rev(), width - 1 - head);
    format!("{start}…{}", end.chars().rev().collect::<String>())
}

/// As many of the characters as take no more than so many columns.
fn within(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut taken = String::new();
    for c in characters {
        let mut longer = taken.clone();
        longer.push(c);
        if display_width(&longer) > columns {
            break;
        }
        taken = longer;
    }
    taken
}
