//! What one sample costs, by layer, as `inspect` prints it.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::bits::BitsReport;
use super::inspect::{Inspection, LONGEST_NAME};
use super::text::{bytes, short, shortened};
use crate::printable::printable;

/// What one sample costs, as a table.
pub(super) fn table(of: &Inspection) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "costs of one sample",
            "MACs",
            "bit operations",
            "weights",
            "as stored",
            "reads",
            "writes",
        ]);
    let row = |name: String, macs: u64, stored: u64, bits: BitsReport| {
        let number = |n: u64| short(n) + "b";
        [
            name,
            short(macs),
            short(bits.operations),
            number(bits.weights),
            bytes(stored),
            number(bits.inputs),
            number(bits.outputs),
        ]
    };
    for l in of.layers.iter().filter(|l| l.weights != "unknown") {
        let name = shortened(&printable(&l.name), LONGEST_NAME);
        table.add_row(row(name, l.macs, l.stored_bytes, l.bits));
    }
    let t = &of.totals;
    table.add_row(row("total".to_owned(), t.macs, t.stored_bytes, t.bits));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{table}\n(b: bits; a weight of ±s is 1, without its scale)\n")
}
