//! Are the classes of data in another order than the model's?

use std::collections::{BTreeMap, BTreeSet};

/// Outputs that a message lists.
const LISTED: usize = 10;

/// Another order of classes, and what it does on images that it was not fitted on.
#[derive(Debug, PartialEq)]
pub(super) struct Permutation {
    /// The label that each output stands for, as far as the images show.
    pub(super) label_of: BTreeMap<usize, usize>,
    /// Accuracy on the scored images with the classes as listed.
    pub(super) as_listed: f64,
    /// Accuracy on the scored images with the classes in this order.
    pub(super) permuted: f64,
}

impl Permutation {
    /// The first few outputs with the class that each stands for.
    pub(super) fn described(&self, names: &[String]) -> String {
        let one = |(output, &label): (&usize, &usize)| match names.get(label) {
            Some(name) => format!("output {output} is '{name}'"),
            None => format!("output {output} is {label}"),
        };
        let listed: Vec<String> = self.label_of.iter().take(LISTED).map(one).collect();
        let more = if self.label_of.len() > LISTED {
            ", …"
        } else {
            ""
        };
        listed.join(", ") + more
    }
}

/// The order of classes in which every output stands for the label it goes with most often (a
/// one-to-one assignment, largest counts first). Fitted on every second image of each class and
/// scored on the others: on the images it was fitted on, any order looks better than it is.
/// `None` if no class has a second image.
pub(super) fn best_permutation(predicted: &[usize], truth: &[usize]) -> Option<Permutation> {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut scored = Vec::new();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (&p, &t) in predicted.iter().zip(truth) {
        let nth = seen.entry(t).or_default();
        match nth.is_multiple_of(2) {
            true => *counts.entry((p, t)).or_default() += 1,
            false => scored.push((p, t)),
        }
        *nth += 1;
    }
    if scored.is_empty() {
        return None;
    }
    let mut cells: Vec<((usize, usize), usize)> = counts.into_iter().collect();
    cells.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut label_of = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for ((p, t), _) in cells {
        if !label_of.contains_key(&p) && taken.insert(t) {
            label_of.insert(p, t);
        }
    }
    let share = |right: &dyn Fn(usize, usize) -> bool| {
        let count = scored.iter().filter(|&&(p, t)| right(p, t)).count();
        count as f64 / scored.len() as f64
    };
    Some(Permutation {
        as_listed: share(&|p, t| p == t),
        permuted: share(&|p, t| label_of.get(&p) == Some(&t)),
        label_of,
    })
}
