//! The figures of a training run that matter.

use crate::page::cards::{self, Card};
use crate::page::words::{count, shares, time};
use crate::page::{PageError, Section};
use crate::report::{TrainReport, percent};

pub(super) const SECTION: Section<TrainReport> = Section {
    id: "figures",
    title: "At a glance",
    body,
};

fn body(report: &TrainReport) -> Result<Option<String>, PageError> {
    let mut cards = Vec::new();
    if let Some(a) = &report.accuracy {
        cards.push(Card {
            name: "Accuracy (top-1)",
            value: shares(a.before, a.after),
            more: format!(
                "{} images, {} {}",
                count(a.samples),
                report.runtime,
                report.runtime_version
            ),
            ..Card::default()
        });
    }
    if let Some(last) = report.epochs.last() {
        cards.push(Card {
            name: "Epochs",
            value: count(report.epochs.len()),
            more: format!("loss {:.4} in the last", last.loss),
            ..Card::default()
        });
    }
    cards.push(Card {
        name: "Flipped weights",
        value: percent(report.flipped_weights),
        more: "binary weights whose sign changed".to_owned(),
        ..Card::default()
    });
    if let Some(agreement) = report.agreement_with_native {
        cards.push(Card {
            name: "Written as trained",
            value: percent(agreement),
            more: "the same top-1 class in the runtime as in training".to_owned(),
            ..Card::default()
        });
    }
    cards.push(Card {
        name: "Time",
        value: time(report.seconds),
        more: match report.resumed {
            true => "since it went on from its checkpoint".to_owned(),
            false => String::new(),
        },
        ..Card::default()
    });
    cards::shown(cards)
}
