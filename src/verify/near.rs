//! Decisions within rounding of their jump: what a tie is made of.

use ndarray::{ArrayD, Zip};

/// Decisions within rounding of their jump.
#[derive(Clone, Debug, PartialEq)]
pub struct Tie {
    /// How many.
    pub count: usize,
    /// What messages call the first node that the two models decide differently; where none does
    /// as it is run here (the runtime's optimiser may round differently), the first close one.
    pub node: String,
    /// How far its input lies from the jump in the reference, at the closest.
    pub margin: f32,
}

impl std::fmt::Display for Tie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (node, margin) = (&self.node, self.margin);
        write!(f, "tie at node '{node}', |margin| = {margin:.1e}")?;
        match self.count {
            1 => Ok(()),
            n => write!(f, "; {n} decisions lie within rounding of their jump"),
        }
    }
}

/// The elements of a decision that lie within rounding of its jump.
pub(super) struct Near {
    /// How many.
    pub count: usize,
    /// Whether the two models decide one of them differently.
    pub flipped: bool,
    /// The smallest distance from the jump: of those decided differently, if there are any.
    pub margin: f32,
}

impl Near {
    /// `margin`, `near` and `flipped` have an entry for each element.
    pub(super) fn of(margin: &ArrayD<f32>, near: &ArrayD<f32>, flipped: &ArrayD<bool>) -> Self {
        let mut found = Self {
            count: 0,
            flipped: false,
            margin: f32::INFINITY,
        };
        Zip::from(margin)
            .and(near)
            .and(flipped)
            .for_each(|&m, &near, &flipped| {
                if near != 1.0 {
                    return;
                }
                found.count += 1;
                if flipped && !found.flipped {
                    (found.flipped, found.margin) = (true, m);
                } else if flipped == found.flipped {
                    found.margin = found.margin.min(m);
                }
            });
        found
    }
}

/// Adds a decision's close elements: the first decision that differs is the one to name.
pub(super) fn add(tie: &mut Option<(Tie, bool)>, node: &str, near: &Near) {
    if near.count == 0 {
        return;
    }
    let count = near.count + tie.as_ref().map_or(0, |(tie, _)| tie.count);
    match tie {
        Some((tie, flipped)) if *flipped || !near.flipped => tie.count = count,
        _ => {
            let node = node.to_owned();
            let margin = near.margin;
            *tie = Some((
                Tie {
                    count,
                    node,
                    margin,
                },
                near.flipped,
            ));
        }
    }
}
