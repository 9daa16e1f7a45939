//! Which classes a model takes for which.

/// Counts of (true class, predicted class).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// By true class, then predicted class.
    counts: Vec<Vec<u64>>,
}

/// Two classes of which one was taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// What the images are.
    pub truth: usize,
    /// What the model said.
    pub predicted: usize,
    /// How many images.
    pub count: u64,
}

impl Confusion {
    /// Counts predictions against labels, of at least `classes` classes.
    pub fn new(labels: &[usize], predictions: &[usize], classes: usize) -> Self {
        let all = labels.iter().chain(predictions);
        let classes = all.fold(classes, |most, &class| most.max(class.saturating_add(1)));
        let mut counts = vec![vec![0u64; classes]; classes];
        for (&truth, &predicted) in labels.iter().zip(predictions) {
            if let Some(count) = counts.get_mut(truth).and_then(|row| row.get_mut(predicted)) {
                *count += 1;
            }
        }
        Self { classes, counts }
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts by true class, then by predicted class.
    pub fn matrix(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Images of a class, and how many of them were recognised.
    pub fn of_class(&self, class: usize) -> (u64, u64) {
        self.counts.get(class).map_or((0, 0), |row| {
            (row.iter().sum(), row.get(class).copied().unwrap_or(0))
        })
    }

    /// The mistakes, most frequent first; of equal ones, the lower classes first.
    pub fn mistakes(&self) -> Vec<Confused> {
        let mut mistakes = Vec::new();
        for (truth, row) in self.counts.iter().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                if truth != predicted && count > 0 {
                    mistakes.push(Confused {
                        truth,
                        predicted,
                        count,
                    });
                }
            }
        }
        mistakes.sort_by_key(|m| std::cmp::Reverse(m.count));
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_counted_and_ordered() {
        let labels = [0, 0, 1, 1, 1, 2];
        let predictions = [0, 3, 2, 2, 1, 0];
        let found = Confusion::new(&labels, &predictions, 3);
        assert_eq!(found.classes(), 4);
        assert_eq!(found.of_class(1), (3, 1));
        assert_eq!(found.of_class(9), (0, 0));
        let mistakes: Vec<_> = found
            .mistakes()
            .iter()
            .map(|m| (m.truth, m.predicted, m.count))
            .collect();
        assert_eq!(mistakes, [(1, 2, 2), (0, 3, 1), (2, 0, 1)]);
        assert_eq!(found.matrix()[1], [0, 1, 2, 0]);
    }
}
