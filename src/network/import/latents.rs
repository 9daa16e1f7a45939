//! The latents and scale of a binary layer.

use ndarray::{Array1, ArrayD, Axis};
use ndarray_rand::rand::SeedableRng;
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand_chacha::ChaCha12Rng;

use super::Builder;
use crate::network::binary_weight::{BinaryId, BinaryWeight, LatentOrigin, ScaleMode};
use crate::network::param::Origin;
use crate::ops::ParamKind;
use crate::recognize::{BinaryWeights, LatentScale, Layer};

/// Standard deviation of drawn latents: those of networks trained with latents clipped to [-1, 1]
/// are bell-shaped, and typically 0.1 to 0.3 wide. Of these the narrowest, at which as many weights turn
/// in retraining as on the latents of the same network that survived (docs/method.md).
const DEVIATION: f32 = 0.1;
/// No drawn latent is smaller: a sign must not hang on nothing.
const SMALLEST: f32 = 1e-3;
/// How far mean|W| of the latents may be from the layer's scale to count as its source, relative.
const TOLERANCE: f32 = 1e-4;

impl Builder<'_, '_> {
    /// The binary weight of a layer (which has binary weights), shared by layers that read the
    /// same tensor.
    pub(super) fn binary(&mut self, layer: &Layer) -> BinaryId {
        let key = (layer.weight, layer.filter_axis);
        if let Some(&id) = self.binaries.get(&key) {
            let uses = &mut self.network.binary[id.0].origin.uses;
            uses.push((layer.node, layer.weights_at.weight_input()));
            return id;
        }
        let id = BinaryId(self.network.binary.len());
        let weights = layer.binary_weights.as_ref();
        let survived = weights.and_then(|w| self.survived(layer, w));
        let scales = weights.map_or(Vec::new(), |w| w.scale.clone());
        let (name, latents, latent_origin) = match survived {
            Some((values, origin)) => (origin.initializer.clone(), values, Some(origin)),
            None => (
                format!("{}.latent", layer.name),
                drawn(&layer.values, id.0 as u64),
                None,
            ),
        };
        let latent = self.network.add_param(&name, ParamKind::Latent, latents);
        let scale = if latent_origin.as_ref().is_some_and(|o| o.mean_abs) {
            ScaleMode::MeanAbs { kept_columns: None }
        } else if scales.iter().all(|&s| s == 1.0) {
            // Bits stay bits.
            ScaleMode::One
        } else {
            let name = format!("{}.scale", layer.name);
            let value = Array1::from(scales).into_dyn();
            ScaleMode::Param(self.network.add_param(&name, ParamKind::Scale, value))
        };
        self.network.binary.push(BinaryWeight {
            layer: layer.name.clone(),
            latent,
            filter_axis: layer.filter_axis,
            groups: layer.group,
            on_signs: layer.is_binary()
                && (layer.binarizer.as_ref())
                    .is_some_and(|b| b.scale() * layer.factor.abs() == 1.0),
            // Drawn latents are 0 exactly where the weight is.
            zero: weights
                .and_then(|w| w.latent.as_ref())
                .map_or(0.0, |l| f32::from(l.zero)),
            scale,
            latent_origin,
            origin: Origin {
                initial: layer.values.clone(),
                uses: vec![(layer.node, layer.weights_at.weight_input())],
            },
            imported: ArrayD::zeros(vec![0]),
        });
        let imported = self.network.effective_weight(id);
        self.network.binary[id.0].imported = imported;
        self.binaries.insert(key, id);
        id
    }

    /// The latents in the file, if they explain the layer's weights.
    fn survived(
        &self,
        layer: &Layer,
        weights: &BinaryWeights,
    ) -> Option<(ArrayD<f32>, LatentOrigin)> {
        let found = weights.latent.as_ref()?;
        let held = self.facts.constant(found.tensor)?.as_f32()?;
        let latents = match found.transposed {
            true => held.t().as_standard_layout().into_owned(),
            false => held.clone(),
        };
        let filters = latents.axis_iter(Axis(layer.filter_axis));
        let means = filters.map(|f| {
            let sum: f64 = f.iter().map(|x| f64::from(x.abs())).sum();
            (sum / f.len().max(1) as f64) as f32
        });
        let explained = means
            .zip(&weights.scale)
            .all(|(m, s)| (m - s).abs() <= TOLERANCE * s.abs().max(f32::MIN_POSITIVE));
        let origin = LatentOrigin {
            initializer: self.graph.name(found.initializer).to_owned(),
            mean_abs: found.scale == LatentScale::MeanAbs && explained,
        };
        // Of one size in each filter they are the bits alone (what they are scaled by, in a mean, is not).
        let latents = match !origin.mean_abs && are_bits(&latents, layer.filter_axis) {
            true => drawn(&layer.values, self.network.binary.len() as u64),
            false => latents,
        };
        Some((latents, origin))
    }
}

/// Whether all values of each filter are of one size, as those of weights are that a converter wrote.
fn are_bits(latents: &ArrayD<f32>, filter_axis: usize) -> bool {
    latents.axis_iter(Axis(filter_axis)).all(|filter| {
        let first = filter.first().map_or(0.0, |v| v.abs());
        let same = |v: &f32| (v.abs() - first).abs() <= TOLERANCE * first;
        filter.len() > 1 && first > 0.0 && filter.iter().all(same)
    })
}

/// Latents for weights that come without: their signs, times |N(0, 0.1)| within [0.001, 1].
fn drawn(weights: &ArrayD<f32>, seed: u64) -> ArrayD<f32> {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    weights.mapv(|w| {
        let v: f32 = StandardNormal.sample(&mut rng);
        let size = (DEVIATION * v.abs()).clamp(SMALLEST, 1.0);
        match w {
            w if w > 0.0 => size,
            w if w < 0.0 => -size,
            _ => 0.0,
        }
    })
}
