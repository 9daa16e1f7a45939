//! Grouped convolutions need as many channels of each of their groups as of the others. What they read or
//! write is chosen so, as a filter that is masked beyond that could not leave the file.

use std::collections::BTreeMap;

use ndarray::{ArrayD, Axis, Ix1};

use super::{mask, rules};
use crate::rewrite::{Analysis, Group};

/// Which channels of a mask group are counted together: equally many stay of each row, and of each column.
/// A convolution in groups makes rows, another one that reads the same channels in another order columns.
/// Without such convolutions there is one row and one column of all channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvenParts {
    rows: Partition,
    columns: Partition,
}

/// Parts of equal size, never none, for each channel which one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    part_of: Vec<usize>,
    count: usize,
}

impl Partition {
    /// The coarsest one whose parts lie within those of all `partitions`, each of which says for every channel
    /// in which part it is; `None` if parts differ in size.
    fn within(partitions: &[&Vec<usize>], channels: usize) -> Option<Self> {
        let mut numbers: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        let mut part_of = Vec::with_capacity(channels);
        for channel in 0..channels {
            let place = partitions.iter().map(|p| p.get(channel).copied());
            let place: Vec<usize> = place.collect::<Option<_>>()?;
            let next = numbers.len();
            part_of.push(*numbers.entry(place).or_insert(next));
        }
        let count = numbers.len().max(1);
        let mut sizes = vec![0; count];
        part_of.iter().for_each(|&part| sizes[part] += 1);
        let equal = sizes.iter().all(|size| Some(size) == sizes.first());
        equal.then_some(Self { part_of, count })
    }

    /// Each channel for itself.
    fn single(channels: usize) -> Self {
        Self {
            part_of: (0..channels).collect(),
            count: channels.max(1),
        }
    }

    /// One part of all channels.
    fn whole(channels: usize) -> Self {
        Self {
            part_of: vec![0; channels],
            count: 1,
        }
    }

    fn parts(&self) -> Vec<Vec<usize>> {
        let mut parts = vec![Vec::new(); self.count];
        let all = self.part_of.iter().enumerate();
        all.for_each(|(channel, &part)| parts[part].push(channel));
        parts
    }

    fn kept_of_each(&self, keep: &[bool]) -> Vec<usize> {
        let mut counts = vec![0; self.count];
        let all = self.part_of.iter().zip(keep);
        all.for_each(|(&part, &keep)| counts[part] += usize::from(keep));
        counts
    }
}

impl EvenParts {
    /// All of so many channels together.
    pub fn one(channels: usize) -> Self {
        Self {
            rows: Partition::whole(channels),
            columns: Partition::whole(channels),
        }
    }

    /// `keep` channels at random, as many of each part.
    pub fn random(&self, keep: usize, seed: u64) -> Vec<bool> {
        let places = rules::shuffled(self.rows.part_of.len(), seed);
        let scores: Vec<f64> = places.into_iter().map(|place| -(place as f64)).collect();
        self.largest(&scores, keep)
    }

    /// Those of a group. Of three ways and more in which convolutions part its channels, one makes rows and all
    /// others columns; where no such choice has parts of equal size, nothing but all channels is even.
    pub(super) fn of(analysis: &Analysis, group: &Group) -> Self {
        Self::new(&analysis.even_partitions(group), group.channels)
    }

    fn new(partitions: &[Vec<usize>], channels: usize) -> Self {
        let ways = (0..partitions.len()).filter_map(|first| {
            let [own, others]: [Vec<&Vec<usize>>; 2] = [true, false].map(|own| {
                let all = partitions.iter().enumerate();
                let chosen = all.filter(|(i, _)| (*i == first) == own);
                chosen.map(|(_, partition)| partition).collect()
            });
            let (a, b) = (
                Partition::within(&own, channels)?,
                Partition::within(&others, channels)?,
            );
            // Exchanges go between columns: the fewer, the sooner they are found.
            let (rows, columns) = match a.count >= b.count {
                true => (a, b),
                false => (b, a),
            };
            Some(Self { rows, columns })
        });
        let best = ways.min_by_key(|way| way.multiple(1));
        best.unwrap_or_else(|| match partitions.is_empty() {
            true => Self::one(channels),
            false => Self {
                rows: Partition::single(channels),
                columns: Partition::whole(channels),
            },
        })
    }

    /// How many channels are kept is a multiple of this: of `round_to`, and the same of each part.
    pub fn multiple(&self, round_to: usize) -> usize {
        let both = common_multiple(self.rows.count, self.columns.count);
        common_multiple(both, round_to.max(1))
    }

    /// The `keep` channels with the largest scores in all, as many of each part (`keep` is a multiple of how
    /// many parts there are, or rounded up); ties go to the lower index.
    pub fn largest(&self, scores: &[f64], keep: usize) -> Vec<bool> {
        // What exchanges cost is finite, and all else still counts beside it.
        let sizes = scores.iter().filter(|s| s.is_finite()).map(|s| s.abs());
        let bound = 4.0 * sizes.fold(1.0, f64::max);
        let finite = |score: &f64| match score.is_nan() {
            true => -bound,
            false => score.clamp(-bound, bound),
        };
        let scores: Vec<f64> = scores.iter().map(finite).collect();
        let mut kept = vec![false; scores.len()];
        for row in self.rows.parts() {
            let of_row: Vec<f64> = row.iter().map(|&c| scores[c]).collect();
            let stay = rules::largest(&of_row, keep.div_ceil(self.rows.count));
            row.iter().zip(stay).for_each(|(&c, stay)| kept[c] = stay);
        }
        let of_each = keep.div_ceil(self.columns.count);
        // Each brings one channel from where there are too many to where there are too few.
        for _ in 0..kept.len() {
            let Some(path) = self.cheapest_exchange(&scores, &kept, of_each) else {
                break;
            };
            for (gone, comes) in path {
                (kept[gone], kept[comes]) = (false, true);
            }
        }
        kept
    }

    /// Exchanges within rows that take a channel from a column of which more than `of_each` are kept to one of
    /// which fewer are, by way of others perhaps, and cost least: (goes, comes). `None` if there are no such
    /// columns. As in any flow of least cost, shortest paths keep the whole optimal.
    fn cheapest_exchange(
        &self,
        scores: &[f64],
        kept: &[bool],
        of_each: usize,
    ) -> Option<Vec<(usize, usize)>> {
        let counts = self.columns.kept_of_each(kept);
        let columns = self.columns.count;
        // From each column to each other the cheapest single exchange.
        let mut cheapest: Vec<Option<(f64, usize, usize)>> = vec![None; columns * columns];
        for row in self.rows.parts().iter().filter(|_| columns > 1) {
            for &gone in row.iter().filter(|&&c| kept[c]) {
                for &comes in row.iter().filter(|&&c| !kept[c]) {
                    let (from, to) = (self.columns.part_of[gone], self.columns.part_of[comes]);
                    let cost = scores[gone] - scores[comes];
                    let slot = &mut cheapest[from * columns + to];
                    if slot.is_none_or(|(least, ..)| cost < least) {
                        *slot = Some((cost, gone, comes));
                    }
                }
            }
        }
        // Ways that are as long but for rounding are none to go on by, or they end in a circle.
        let rounding = 1e-9 * scores.iter().fold(0.0, |most: f64, s| most.max(s.abs()));
        // Shortest paths from all columns with too many (Bellman, Ford).
        let mut far: Vec<Option<f64>> = counts
            .iter()
            .map(|&count| (count > of_each).then_some(0.0))
            .collect();
        let mut before: Vec<Option<(usize, usize, usize)>> = vec![None; columns];
        for _ in 0..columns {
            let mut shorter = false;
            for from in 0..columns {
                for to in 0..columns {
                    let (Some(way), Some((cost, gone, comes))) =
                        (far[from], cheapest[from * columns + to])
                    else {
                        continue;
                    };
                    if far[to].is_none_or(|known| way + cost < known - rounding) {
                        far[to] = Some(way + cost);
                        before[to] = Some((from, gone, comes));
                        shorter = true;
                    }
                }
            }
            if !shorter {
                break;
            }
        }
        let short = (0..columns).filter(|&c| counts[c] < of_each);
        let near = short.filter_map(|c| Some((far[c]?, c)));
        let (_, end) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut path = Vec::new();
        let mut at = end;
        while let Some((from, gone, comes)) = before[at].filter(|_| path.len() < columns) {
            path.push((gone, comes));
            at = from;
        }
        Some(path)
    }

    /// Whether as many channels of each part are kept.
    pub fn are_even(&self, keep: &[bool]) -> bool {
        [&self.rows, &self.columns].into_iter().all(|partition| {
            let counts = partition.kept_of_each(keep);
            counts.iter().all(|&count| count == counts[0])
        })
    }

    /// Shifts the M of each row so that its largest elements are kept, `keep` in all (see [`mask::centre`]).
    /// Columns may differ while a mask is trained.
    pub fn centre(&self, m: &mut ArrayD<f32>, keep: usize) {
        let Ok(mut m) = m.view_mut().into_dimensionality::<Ix1>() else {
            return;
        };
        for row in self.rows.parts() {
            let mut of_row = m.select(Axis(0), &row);
            mask::centre(&mut of_row, keep.div_ceil(self.rows.count));
            row.iter().zip(of_row).for_each(|(&c, new)| m[c] = new);
        }
    }
}

fn common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor.max(1)).saturating_mul(b)
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;
    use proptest::prelude::*;

    use super::*;

    /// `groups` groups of channels in their order, and read again behind a shuffle by so many.
    fn shuffled(groups: usize, again: usize, channels: usize) -> EvenParts {
        let first = (0..channels).map(|c| c / (channels / groups));
        let second = (0..channels).map(|c| c % again);
        EvenParts::new(&[first.collect(), second.collect()], channels)
    }

    #[test]
    fn without_groups_the_largest_stay() {
        let scores = [0.3, -0.1, 0.9, 0.9, 0.2, 0.8];
        let one = EvenParts::one(6);
        assert_eq!(one.largest(&scores, 3), rules::largest(&scores, 3));
        assert_eq!((one.multiple(1), one.multiple(4)), (1, 4));
        assert!(one.are_even(&[true, false, false, false, false, false]));
        assert_eq!(EvenParts::new(&[], 6), one);
    }

    #[test]
    fn as_many_of_each_group_stay_and_are_the_largest() {
        let groups = EvenParts::new(&[vec![0, 0, 0, 1, 1, 1]], 6);
        let kept = groups.largest(&[0.9, 0.8, 0.7, 0.1, 0.3, 0.2], 4);
        assert_eq!(kept, [true, true, false, false, true, true]);
        assert_eq!((groups.multiple(1), groups.multiple(4)), (2, 4));
        assert!(groups.are_even(&kept));
        assert!(!groups.are_even(&[true, true, false, false, false, false]));
    }

    #[test]
    fn a_mask_is_centred_group_by_group() {
        let groups = EvenParts::new(&[vec![0, 0, 0, 1, 1, 1]], 6);
        let mut m = Array1::from(vec![0.9f32, 0.8, 0.7, -0.3, -0.1, -0.2]).into_dyn();
        groups.centre(&mut m, 4);
        assert_eq!(mask::kept(&m), [true, true, false, false, true, true]);
    }

    /// The largest sum of scores of all choices that are even.
    fn best(parts: &EvenParts, scores: &[f64], keep: usize) -> f64 {
        let choices = (0u32..1 << scores.len()).filter(|c| c.count_ones() as usize == keep);
        let sums = choices.filter_map(|choice| {
            let kept: Vec<bool> = (0..scores.len()).map(|c| choice >> c & 1 == 1).collect();
            parts.are_even(&kept).then(|| sum(scores, &kept))
        });
        sums.fold(f64::NEG_INFINITY, f64::max)
    }

    fn sum(scores: &[f64], kept: &[bool]) -> f64 {
        let both = scores.iter().zip(kept).filter(|(_, k)| **k);
        both.map(|(s, _)| s).sum()
    }

    #[test]
    fn of_three_ways_of_parting_two_may_be_looked_at_as_one() {
        let parted = |size: usize, count: usize| (0..16).map(|c| c / size % count).collect();
        let [four, again, two]: [Vec<usize>; 3] = [parted(4, 4), parted(1, 4), parted(8, 2)];
        // Halves of sixteen lie within its quarters.
        let three = EvenParts::new(&[two, four, again.clone()], 16);
        let mask = three.random(8, 3);
        assert!(three.multiple(1) == 4 && three.are_even(&mask));
        assert!(mask.iter().filter(|&&k| k).count() == 8 && mask != three.random(8, 4));
        assert_eq!(EvenParts::one(9).random(4, 3), rules::random(9, 4, 3));
        // Of thirds and quarters in turn only all channels of twelve are as many of each.
        let ways = [2, 3, 4].map(|count| (0..12).map(|c| c * count / 12).collect());
        assert_eq!(EvenParts::new(&ways, 12).multiple(1), 12);
    }

    #[test]
    fn scores_without_a_limit_count_as_the_largest() {
        let groups = shuffled(2, 2, 4);
        let (most, least) = (f64::INFINITY, f64::NEG_INFINITY);
        let kept = groups.largest(&[most, 0.1, 0.2, 0.0], 2);
        assert_eq!(kept, [true, false, false, true]);
        let kept = groups.largest(&[0.3, 0.1, least, 0.0], 2);
        assert_eq!(kept, [true, false, false, true]);
        let kept = groups.largest(&[f64::NAN, 0.1, 0.2, f64::NAN], 2);
        assert_eq!(kept, [false, true, true, false]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// Scores in tenths, whose sums are not exact, and many of which are equal.
        #[test]
        fn rows_and_columns_are_even_and_nothing_better_is(
            (groups, again, channels) in prop::sample::select(vec![
                (2, 2, 12), (2, 3, 12), (3, 2, 12), (2, 4, 12), (3, 3, 12), (1, 3, 12), (4, 4, 16), (2, 6, 12),
            ]),
            scores in prop::collection::vec(0i32..10, 16),
            part in 1usize..16,
        ) {
            let parts = shuffled(groups, again, channels);
            let keep = mask::rounded(part, channels, parts.multiple(1));
            let scores = scores.into_iter().take(channels);
            let scores: Vec<f64> = scores.map(|s| f64::from(s) / 10.0).collect();
            let kept = parts.largest(&scores, keep);
            prop_assert_eq!(kept.iter().filter(|&&k| k).count(), keep);
            prop_assert!(parts.are_even(&kept), "{:?}", kept);
            prop_assert!((sum(&scores, &kept) - best(&parts, &scores, keep)).abs() < 1e-6);
        }

        /// What is too large to try all choices of.
        #[test]
        fn masks_of_any_size_are_even(
            (groups, again) in prop::sample::select(vec![(4, 4), (8, 8), (2, 32), (64, 2)]),
            scores in prop::collection::vec(0i32..100, 128),
            part in 1usize..128,
        ) {
            let parts = shuffled(groups, again, 128);
            let keep = mask::rounded(part, 128, parts.multiple(1));
            let scores: Vec<f64> = scores.into_iter().map(|s| f64::from(s) / 100.0).collect();
            let kept = parts.largest(&scores, keep);
            prop_assert_eq!(kept.iter().filter(|&&k| k).count(), keep);
            prop_assert!(parts.are_even(&kept), "{:?}", kept);
        }
    }
}
