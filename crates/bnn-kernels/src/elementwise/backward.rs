//! The backward pass of a chain, on one channel.

use super::chain::ElementwiseChain;
use super::compiled::{Backward, CompiledChain, Dot, Gate, Through};
use super::element::Affine;
use super::source::Plane;
use crate::parallel::plane_sums;
use crate::simd::wide;

/// One channel on its way back. `inputs` holds those of the maps in front, of the normalisation, and
/// of the maps behind it, of one plane.
pub(super) struct Channel<'c, 'a> {
    pub chain: &'c ElementwiseChain<'a>,
    pub compiled: Option<CompiledChain>,
    pub number: usize,
    pub affine: Option<Affine>,
}

impl Channel<'_, '_> {
    /// Brings the gradient all the way, where nothing depends on the batch and no sums are wanted;
    /// false, and nothing done, if no loop is made for that.
    pub fn backward_in_registers(&self, x: Plane<'_>, grad: &mut [f32]) -> bool {
        let Some(compiled) = self.compiled else {
            return false;
        };
        let norm = self.affine.unwrap_or(Affine::IDENTITY);
        compiled.visit(x, Backward { norm, grad });
        true
    }

    /// Σ grad · x, where x is the input of the last map, a mask, and the gradient that of its output.
    pub fn dot(&self, x: Plane<'_>, inputs: &mut [Vec<f32>], grad: &[f32]) -> f64 {
        if let Some(compiled) = self.compiled.and_then(CompiledChain::unmasked) {
            let norm = self.affine.unwrap_or(Affine::IDENTITY);
            return compiled.visit(x, Dot { norm, grad });
        }
        let input = &mut inputs[0];
        let unmasked = self.chain.maps().saturating_sub(1);
        self.chain
            .apply(self.number, self.affine, unmasked, x, input);
        let [dot] = plane_sums(grad, input, |g, x| [g * x]);
        dot
    }

    /// The inputs up to the normalisation's.
    fn inputs_before(&self, x: Plane<'_>, inputs: &mut [Vec<f32>]) {
        x.load(&mut inputs[0]);
        for (k, map) in self.chain.before.iter().enumerate() {
            next_stage(inputs, k, |x| map.forward(self.number, x));
        }
    }

    /// Brings the gradient to the normalisation's output, and sums it there, by itself and times the
    /// normalised input, if those are wanted.
    pub fn to_normalization(
        &self,
        x: Plane<'_>,
        inputs: &mut [Vec<f32>],
        grad: &mut [f32],
        sums: bool,
    ) -> [f64; 2] {
        if let (Some(norm), Some(compiled)) = (self.affine, self.compiled) {
            return compiled.visit(x, Gate { norm, grad });
        }
        let Some(a) = self.affine else {
            return [0.0; 2];
        };
        self.inputs_before(x, inputs);
        let at = self.chain.before.len();
        if let Some((_, others)) = self.chain.after.split_last() {
            next_stage(inputs, at, |x| a.apply(x));
            for (k, map) in others.iter().enumerate() {
                next_stage(inputs, at + 1 + k, |x| map.forward(self.number, x));
            }
        }
        let behind = self.chain.after.iter().zip(&inputs[at + 1..]);
        for (map, x) in behind.rev() {
            map.backward(self.number, x, grad);
        }
        match sums {
            false => [0.0; 2],
            true => plane_sums(grad, &inputs[at], |g, u| {
                [g, g * ((u - a.mean) * a.inverse)]
            }),
        }
    }

    /// Brings the gradient from the normalisation's output to the chain's input. `means`: of the
    /// gradient over the batch, and of it times the normalised input; 0 where the statistics do not
    /// depend on the batch.
    pub fn through_normalization(
        &self,
        x: Plane<'_>,
        inputs: &mut [Vec<f32>],
        grad: &mut [f32],
        means: [f32; 2],
    ) {
        if let (Some(norm), Some(compiled)) = (self.affine, self.compiled) {
            return compiled.visit(x, Through { norm, means, grad });
        }
        self.inputs_before(x, inputs);
        if let Some(a) = self.affine {
            let slope = means[1] * a.inverse;
            let pairs = grad.iter_mut().zip(&inputs[self.chain.before.len()]);
            wide(|| {
                pairs.for_each(|(g, u)| *g = a.factor * (*g - means[0] - (u - a.mean) * slope));
            });
        }
        for (map, x) in self.chain.before.iter().zip(inputs).rev() {
            map.backward(self.number, x, grad);
        }
    }
}

/// The input of the next stage from that of stage `k`.
fn next_stage(inputs: &mut [Vec<f32>], k: usize, f: impl FnOnce(&mut [f32])) {
    let (done, next) = inputs.split_at_mut(k + 1);
    if let (Some(from), Some(to)) = (done.last(), next.first_mut()) {
        to.copy_from_slice(from);
        f(to);
    }
}
