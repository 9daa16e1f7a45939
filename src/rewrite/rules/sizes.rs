//! What a node does to channels at several sizes of an input that the file leaves free.

use super::{Behaviour, Output, Total};
use crate::rewrite::state::State;

const WHY: &str =
    "treats channels differently at other sizes of the input, which the file leaves free";

impl Behaviour {
    /// What holds of a node where it does this at one size, and `there` at another one.
    ///
    /// # Errors
    /// If channels go other ways at the two.
    pub(crate) fn also_at(mut self, there: Self) -> Result<Self, String> {
        let alike = self.outputs.len() == there.outputs.len()
            && self.parameters == there.parameters
            && self.implied == there.implied;
        if !alike {
            return Err(WHY.to_owned());
        }
        for (output, there) in self.outputs.iter_mut().zip(there.outputs) {
            output.also_at(there)?;
        }
        self.mixing = match (self.mixing, there.mixing) {
            (Some(mut here), Some(there)) => {
                // Padding that one of them has.
                here.border = here.border.or(there.border);
                Some(here)
            }
            (None, None) => None,
            _ => return Err(WHY.to_owned()),
        };
        self.total = match (self.total, there.total) {
            (Some(here), Some(there)) if here.data == there.data => Some(Total {
                copies: here.copies.filter(|_| here.copies == there.copies),
                ..here
            }),
            (None, None) => None,
            _ => return Err(WHY.to_owned()),
        };
        for blocked in there.blocked {
            if !self.blocked.contains(&blocked) {
                self.blocked.push(blocked);
            }
        }
        Ok(self)
    }
}

impl Output {
    fn also_at(&mut self, there: Self) -> Result<(), String> {
        let alike = self.axis == there.axis
            && self.states.len() == there.states.len()
            && self.sources == there.sources;
        if !alike {
            return Err(WHY.to_owned());
        }
        for (state, there) in self.states.iter_mut().zip(there.states) {
            *state = State::merge([*state, there]);
        }
        for pinned in there.pinned {
            if !self.pinned.contains(&pinned) {
                self.pinned.push(pinned);
            }
        }
        Ok(())
    }
}
