//! Gradients with respect to parameters: which are wanted, with which numbers, and what was found.

use std::collections::BTreeMap;

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::arrays::update;
use crate::network::{BinaryId, Network, ParamId};

/// With which numbers binary layers compute gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// In single precision: the reference.
    #[default]
    F32,
    /// The gradient of a layer's output is rounded to 8 bits, by chance up or down so that it is
    /// right on average, and what follows from it is computed on integers. Layers with groups, or few
    /// channels or filters, stay in single precision.
    Int8,
}

/// A loss of some samples, and its gradient.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Its mean over the samples.
    pub value: f32,
    /// With respect to the logits `[N, K]`.
    pub grad: ArrayD<f32>,
}

/// A set of parameters whose gradients are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    params: Vec<bool>,
}

impl Wanted {
    /// These parameters of a network.
    pub fn of(network: &Network, params: impl IntoIterator<Item = ParamId>) -> Self {
        let mut set = vec![false; network.params().len()];
        for p in params {
            if let Some(w) = set.get_mut(p.0) {
                *w = true;
            }
        }
        Self { params: set }
    }

    /// Whether a parameter's gradient is wanted.
    pub fn contains(&self, p: ParamId) -> bool {
        self.params.get(p.0).copied().unwrap_or(false)
    }
}

/// Gradients with respect to parameters, and to the network's input.
#[derive(Debug, Default)]
pub struct Gradients {
    by_param: BTreeMap<ParamId, ArrayD<f32>>,
    input: Option<ArrayD<f32>>,
}

impl Gradients {
    /// The gradient of a parameter; `None` if it was not wanted or nothing leads to it.
    pub fn get(&self, p: ParamId) -> Option<&ArrayD<f32>> {
        self.by_param.get(&p)
    }

    /// The gradient of the network's input; `None` if it was not wanted or nothing leads to it.
    pub fn input(&self) -> Option<&ArrayD<f32>> {
        self.input.as_ref()
    }

    pub(super) fn set_input(&mut self, grad: Option<ArrayD<f32>>) {
        self.input = grad;
    }

    /// All gradients of parameters, by ascending parameter.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &ArrayD<f32>)> {
        self.by_param.iter().map(|(p, g)| (*p, g))
    }

    /// Adds to the gradient of a parameter; both have its shape.
    pub fn add(&mut self, p: ParamId, grad: ArrayD<f32>) {
        add_to(&mut self.by_param, p, grad);
    }
}

/// What a backward pass finds a gradient of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A parameter.
    Param(ParamId),
    /// An effective weight.
    Binary(BinaryId),
}

/// Gradients on some samples, before those of effective weights become those of latents and scales.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub by_target: BTreeMap<Target, ArrayD<f32>>,
}

impl Found {
    /// Adds to a gradient; both have one shape.
    pub fn add(&mut self, target: Target, grad: ArrayD<f32>) {
        add_to(&mut self.by_target, target, grad);
    }

    /// With those of the samples that follow.
    pub fn and(mut self, others: Self) -> Self {
        for (target, grad) in others.by_target {
            self.add(target, grad);
        }
        self
    }
}

fn add_to<K: Ord>(sums: &mut BTreeMap<K, ArrayD<f32>>, key: K, grad: ArrayD<f32>) {
    match sums.get_mut(&key) {
        Some(sum) => update(sum, &grad, |a, b| a + b),
        None => {
            sums.insert(key, grad);
        }
    }
}
