//! The integer at which a binariser's input changes its sign.

use ndarray::ArrayD;

use super::path::Path;
use crate::bisection::{self, Rising};
use crate::graph::Graph;

/// What stands in for everything between a binary layer's integer sum n and its binariser:
/// `direction · n - threshold` has, for every n, the sign of what the binariser reads.
#[derive(Debug)]
pub(super) struct Thresholds {
    /// -1 where a larger sum makes the binariser's input smaller.
    pub direction: Vec<f32>,
    /// Half-integers; integers where the binariser's input is exactly 0 for one n.
    pub threshold: Vec<f32>,
}

/// The layer's own output for sums n: `scale · n + bias`, each with a value per channel.
pub(super) struct Affine<'a> {
    pub scale: &'a [f32],
    pub bias: &'a [f32],
    /// The shape of a channel vector in the layer's output.
    pub shape: &'a [usize],
}

impl Affine<'_> {
    fn at(&self, sums: &[i64]) -> Option<ArrayD<f32>> {
        let each = sums.iter().zip(self.scale).zip(self.bias);
        let values = each.map(|((&n, s), b)| s * n as f32 + b).collect();
        ArrayD::from_shape_vec(self.shape.to_vec(), values).ok()
    }
}

/// Finds the thresholds of a layer whose sums lie in ±`fan_in`, by evaluating the graph's own float
/// expression at neighbouring integers. `None` if that is not monotone as a whole, is not finite,
/// or is 0 for more than one n in front of a binariser that tells 0 from ±1.
pub(super) fn find(
    graph: &Graph<'_>,
    path: &Path,
    affine: &Affine<'_>,
    fan_in: usize,
) -> Option<Thresholds> {
    let channels = affine.scale.len();
    let most = i64::try_from(fan_in).ok().filter(|&k| k < 1 << 23)?;
    let at = |sums: &[i64], to_pool: bool| -> Option<Vec<f32>> {
        let values = path.run(graph, affine.at(sums)?, to_pool)?;
        Some(values.into_iter().collect())
    };
    if path.pools().nth(1).is_some() {
        // Between two of them the direction may change.
        return None;
    }
    if path.pools().next().is_some() {
        // The largest sum must give the largest value where pooling chooses.
        let falling = bisection::falling(|sums| at(sums, true), channels, most)?;
        if falling.contains(&true) {
            return None;
        }
    }
    let rising = Rising::of(channels, most, |sums| at(sums, false))?;
    let (positive, not_negative) = (rising.first(|v| v > 0.0)?, rising.first(|v| v >= 0.0)?);
    let mut threshold = Vec::with_capacity(channels);
    for (&p, &z) in positive.iter().zip(&not_negative) {
        threshold.push(match (path.end.zero, p - z) {
            (_, 0) => p as f32 - 0.5,
            (1.., _) => z as f32 - 0.5,
            (..=-1, _) => p as f32 - 0.5,
            (0, 1) => z as f32,
            _ => return None,
        });
    }
    Some(Thresholds {
        direction: rising.direction.iter().map(|&d| d as f32).collect(),
        threshold,
    })
}
