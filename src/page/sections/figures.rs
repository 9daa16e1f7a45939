//! The figures that matter, before and after.

use crate::page::cards::{self, Card};
use crate::page::words::{change, count, left, maybe, saving, shares, time};
use crate::page::{PageError, Section};
use crate::report::{Report, bytes, grouped, percent, short};

pub(super) const SECTION: Section<Report> = Section {
    id: "figures",
    title: "At a glance",
    body,
};

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let t = &report.totals;
    let sized = |name, before: u64, after: u64, write: fn(u64) -> String| Card {
        name,
        value: change(before, after, write),
        more: saving(before, after),
        bar: Some(left(before, after)),
    };
    let mut cards = vec![
        Card {
            name: "Binary filters",
            value: change(t.filters as u64, t.kept as u64, grouped),
            more: match t.masked_but_kept {
                0 => format!("{} removed", percent(t.pruned_ratio)),
                n => format!(
                    "{} removed, {} masked but kept",
                    percent(t.pruned_ratio),
                    count(n)
                ),
            },
            bar: Some(left(t.filters as u64, t.kept as u64)),
        },
        sized("Multiply-accumulates", t.macs_before, t.macs_after, short),
        sized("Bytes of weights", t.bytes_before, t.bytes_after, bytes),
    ];
    if let Some(output) = &report.output {
        cards.push(sized("File", report.input.bytes, output.bytes, bytes));
    }
    if let Some(a) = &report.accuracy {
        cards.push(Card {
            name: "Accuracy (top-1)",
            value: shares(a.before, a.after),
            more: format!("{} images", count(a.samples)),
            bar: None,
        });
        if let (Some(before), Some(after)) = (a.top5_before, a.top5_after) {
            cards.push(Card {
                name: "Accuracy (top-5)",
                value: shares(before, after),
                more: "the right class among the first five".to_owned(),
                bar: None,
            });
        }
    }
    if report.agreement.is_some() {
        cards.push(Card {
            name: "Agreement with the original",
            value: maybe(report.agreement),
            more: match report.is_of_random_inputs() {
                true => "the same top-1 class, of random inputs".to_owned(),
                false => "the same top-1 class".to_owned(),
            },
            bar: None,
        });
    }
    if let Some(l) = &report.latency_ms {
        cards.push(Card {
            name: "Latency",
            value: match l.before == l.after {
                true => format!("{:.3} ms", l.before),
                false => format!("{:.3} → {:.3} ms", l.before, l.after),
            },
            more: match l.before == l.after {
                true => "the model is unchanged".to_owned(),
                false => format!("{:.2} times as fast", l.before / l.after),
            },
            bar: None,
        });
    }
    cards.push(Card {
        name: "Time",
        value: time(report.seconds),
        more: report.peak_memory_bytes.map_or(String::new(), |peak| {
            format!("{} MiB of memory at most", grouped(peak >> 20))
        }),
        bar: None,
    });
    cards::shown(cards)
}
