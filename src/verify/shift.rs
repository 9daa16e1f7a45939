//! Is everything that a decision reads shifted by little? No single element shows it, but the mean
//! over some samples does, for each channel.

use super::pairing::Counterpart;
use super::rounding::Taken;

/// How many times the rounding that the reference shows.
const FACTOR: f32 = 3.0;
/// The least share of the theoretical bound that counts.
const LEAST: f32 = 0.03;
/// Elements of a channel that tell a shift from scatter.
const LARGE: usize = 64;

/// Shares of the bound of sums that differences of one decision's input take, by channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    pub all: Taken,
    channels: Vec<Taken>,
}

impl Shares {
    pub(super) fn add(&mut self, all: &Taken, channels: &[Taken]) {
        self.all.add(all);
        self.channels.resize(channels.len(), Taken::default());
        for (sum, one) in self.channels.iter_mut().zip(channels) {
            sum.add(one);
        }
    }

    /// Whether these, of the candidate, are more than rounding, which the reference shows.
    pub(super) fn is_shifted(&self, rounding: &Shares, pair: &Counterpart) -> bool {
        let usual = rounding.all.typical();
        let beyond = |taken: &Taken, shown: f32| {
            // Few elements scatter.
            let few = 1.0 + 2.0 / (taken.count.max(1) as f32).sqrt();
            taken.count >= LARGE && taken.typical() > few * (FACTOR * shown).max(LEAST)
        };
        let of_channel = |c: usize| match &pair.kept {
            Some((1, kept)) => rounding.channels.get(*kept.get(c)?),
            _ => rounding.channels.get(c),
        };
        let mut channels = self.channels.iter().enumerate();
        beyond(&self.all, usual)
            || channels.any(|(c, taken)| {
                let own = of_channel(c).map_or(0.0, Taken::typical);
                beyond(taken, own.max(usual))
            })
    }
}
