//! An inspected model for people: its layers, what they cost, what belongs together.

use std::collections::HashMap;

use super::bits::BitsReport;
use super::inspect::{Inspection, LayerEntry};
use super::text::{bytes, short, shortened};
use crate::screen::{Column, Role, Screen, Table, Text};

/// Longest name in a table; the JSON has all of it.
const LONGEST_NAME: usize = 200;
/// Shortest name in a table.
const NAME_WIDTH: usize = 12;

impl Inspection {
    /// For people.
    pub fn render(&self) -> Screen {
        let mut screen = Screen::default();
        let producer = match self.producer.as_str() {
            "" => String::new(),
            p => format!(", written by {p}"),
        };
        screen.line(format!(
            "{}  (opset {}, exporter: {}{producer})",
            self.model, self.opset, self.dialect
        ));
        screen.blank();
        screen.table(self.layer_table());
        let binary: Vec<_> = self.layers.iter().filter(|l| l.binary).collect();
        let filters: usize = binary.iter().map(|l| l.filters).sum();
        let prunable = binary.iter().filter(|l| l.prunable);
        let prunable: usize = prunable.map(|l| l.filters).sum();
        screen.blank();
        screen.line(format!(
            "{} binary layers with {filters} filters, {prunable} of them prunable.",
            binary.len()
        ));
        screen.blank();
        screen.table(self.cost_table());
        screen.line("(b: bits; a weight of ±s is 1, without its scale)");
        let coupled: Vec<_> = self.groups.iter().filter(|g| g.layers.len() > 1).collect();
        if !coupled.is_empty() {
            screen.blank();
            screen.line("Filters that can only be cut together:");
        }
        for g in coupled {
            let layers = g.layers.join(", ");
            screen.item(format!(
                "group {}: {} channels of {layers}",
                g.id, g.channels
            ));
        }
        let blocked = |l: &LayerEntry| l.reason.as_ref().map(|r| format!("{}: {r}", l.name));
        let blocked: Vec<String> = self.layers.iter().filter_map(blocked).collect();
        if !blocked.is_empty() {
            screen.blank();
            screen.line("Not prunable:");
        }
        blocked.into_iter().for_each(|text| screen.item(text));
        for w in &self.warnings {
            screen.blank();
            screen.warning(w.as_str());
        }
        screen
    }

    fn layer_table(&self) -> Table {
        let mut table = Table::plain([
            Column::text("layer").shrinks_to(NAME_WIDTH),
            Column::text("op").leaves(3),
            Column::number("filters"),
            Column::number("inputs"),
            Column::text("kernel").leaves(6),
            Column::text("weights"),
            Column::text("scale").leaves(2),
            Column::text("binarizer").leaves(5),
            Column::text("0 →").leaves(1),
            Column::number("group").leaves(4),
            Column::text("prunable"),
        ]);
        let mut group: HashMap<&str, String> = HashMap::new();
        for g in &self.groups {
            let layers = g.layers.iter();
            group.extend(layers.map(|layer| (layer.as_str(), g.id.to_string())));
        }
        let count = |n: usize| match n {
            0 => "?".to_owned(),
            n => n.to_string(),
        };
        for l in &self.layers {
            let kernel = l.kernel.iter().map(ToString::to_string).collect::<Vec<_>>();
            let weights = match (l.binary, &l.element) {
                (true, _) => format!("±1, {}", l.weights),
                (false, Some(kind)) if kind != "float" => format!("{} ({kind})", l.weights),
                (false, _) => l.weights.to_owned(),
            };
            let zero = l.zero.map_or(String::new(), |z| format!("{z:+}"));
            table.row([
                shortened(&l.name, LONGEST_NAME).into(),
                l.op.as_str().into(),
                count(l.filters).into(),
                count(l.inputs).into(),
                kernel.join("×").into(),
                weights.into(),
                l.scale.unwrap_or("").into(),
                l.binarizer.unwrap_or("").into(),
                zero.replace("+0", "0").into(),
                group
                    .get(l.name.as_str())
                    .cloned()
                    .unwrap_or_default()
                    .into(),
                match l.prunable {
                    true => Text::of(Role::Good, "yes"),
                    false => Text::of(Role::Dim, "no"),
                },
            ]);
        }
        table
    }

    /// What one sample costs, layer by layer.
    fn cost_table(&self) -> Table {
        let mut table = Table::plain([
            Column::text("costs of one sample").shrinks_to(NAME_WIDTH),
            Column::number("MACs"),
            Column::number("bit operations"),
            Column::number("weights"),
            Column::number("as stored").leaves(0),
            Column::number("reads").leaves(1),
            Column::number("writes").leaves(2),
        ]);
        let mut row = |name: Text, macs: u64, stored: u64, bits: BitsReport| {
            let number = |n: u64| Text::from(short(n) + "b");
            table.row([
                name,
                short(macs).into(),
                short(bits.operations).into(),
                number(bits.weights),
                bytes(stored).into(),
                number(bits.inputs),
                number(bits.outputs),
            ]);
        };
        for l in self.layers.iter().filter(|l| l.weights != "unknown") {
            let name = shortened(&l.name, LONGEST_NAME);
            row(name.into(), l.macs, l.stored_bytes, l.bits);
        }
        let t = &self.totals;
        let total = Text::of(Role::Strong, "total");
        row(total, t.macs, t.stored_bytes, t.bits);
        table
    }
}
