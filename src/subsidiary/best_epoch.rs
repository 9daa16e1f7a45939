//! The best epoch of a retraining phase, kept for the case that the phase ends far worse.
//!
//! In a network whose first or last layer is binary too, without a scale behind it, one weight that turns moves
//! every later sum: the loss may rise at a stroke, and the falling rate then never finds back. Phases that go
//! as they should end at their best epoch or close to it, and are left as they end.

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::param_values::ParamValues;
use super::span::Span;
use super::trainer::Trainer;
use crate::network::{Network, ParamId};

/// An epoch's loss this many times the best one's is no noise.
const FAR_WORSE: f32 = 1.1;

/// Parameters after the epoch of the least mean loss.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct BestEpoch {
    values: ParamValues,
    loss: f32,
    /// Which epoch it was, from 1 on.
    epoch: usize,
}

impl BestEpoch {
    /// Keeps the parameters if the epoch that has ended is the best one so far.
    pub(super) fn note(&mut self, network: &Network, params: &[ParamId], epoch: usize, loss: f32) {
        if self.values.is_empty() || loss < self.loss {
            self.values = ParamValues::of(network, params);
            (self.epoch, self.loss) = (epoch, loss);
        }
    }

    /// Whether these can be values of those parameters.
    pub(super) fn fits(&self, network: &Network, params: &[ParamId]) -> bool {
        self.values.fits(network, params)
    }

    /// Whether an epoch of that loss is far from the best one.
    fn is_far_better_than(&self, loss: f32) -> bool {
        !self.values.is_empty() && loss > FAR_WORSE * self.loss
    }
}

impl Trainer<'_> {
    /// A phase that ended with a loss far above that of its best epoch goes back there, if that is better on training
    /// images as they are, too. The loss of the epoch that holds.
    pub(super) fn go_back_to_best(
        &mut self,
        span: &Span,
        params: &[ParamId],
        best: BestEpoch,
        loss: f32,
    ) -> Result<f32, TrainError> {
        if !best.is_far_better_than(loss) {
            return Ok(loss);
        }
        if !self.take_unless_worse(span, params, best.values)? {
            return Ok(loss);
        }
        self.observer.note(&format!(
            "retraining ended with a loss of {loss:.3}, and is back at that of epoch {}, {:.3}: a smaller --main-lr (of train: --lr) may keep it there",
            best.epoch, best.loss
        ));
        Ok(best.loss)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;
    use crate::graph::{Facts, Graph};
    use crate::progress::Silent;
    use crate::recognize;
    use crate::subsidiary::select::tests::{images, model};
    use crate::subsidiary::state::Training;
    use crate::subsidiary::{Control, Options};

    #[test]
    fn a_phase_goes_back_from_ruins_and_from_nothing_else() {
        let model = model();
        let graph = Graph::new(&model).unwrap();
        let facts = Facts::infer(&graph, 2).unwrap();
        let layers = recognize::layers(&graph, &facts);
        let mut network = Network::import(&graph, &facts, &layers).unwrap();
        let images = images();
        let options = Options::for_images(images.train_indices.len());
        let control = Control {
            observer: &Silent,
            checkpoint: None,
            processes: &crate::distributed::Alone,
        };
        let mut trainer = Trainer::new(&mut network, &images, &options, control).unwrap();
        let span = trainer.whole();
        trainer.retrain(&span, 8, "whole network").unwrap();
        let params = span.params.clone();
        let values = |network: &Network| -> Vec<ArrayD<f32>> {
            let values = params.iter().map(|&p| network.param(p).value.clone());
            values.collect()
        };
        let trained = values(trainer.network);
        let mut best = BestEpoch::default();
        best.note(trainer.network, &params, 1, 0.5);
        best.note(trainer.network, &params, 2, 0.7);
        assert!(best.fits(trainer.network, &params) && !best.fits(trainer.network, &params[1..]));
        // Every weight of one sign, and what else there is far off.
        for &p in &params {
            trainer.network.values_mut(p).mapv_inplace(|v| 3.0 - v);
        }
        let ruined = values(trainer.network);
        assert_ne!(ruined, trained);
        trainer
            .go_back_to_best(&span, &params, best.clone(), 0.52)
            .unwrap();
        assert_eq!(values(trainer.network), ruined);
        trainer
            .go_back_to_best(&span, &params, best.clone(), 0.9)
            .unwrap();
        assert_eq!(values(trainer.network), trained);
        // What was kept is not better than what is there now.
        for &p in &params {
            trainer.network.values_mut(p).mapv_inplace(|v| 3.0 - v);
        }
        let mut worse = BestEpoch::default();
        worse.note(trainer.network, &params, 1, 0.5);
        for (&p, value) in params.iter().zip(&trained) {
            trainer.network.values_mut(p).assign(value);
        }
        trainer.go_back_to_best(&span, &params, worse, 0.9).unwrap();
        assert_eq!(values(trainer.network), trained);
        // A phase that is ruined in the middle ends where it was best before.
        let (mut least, mut then) = (f32::INFINITY, Vec::new());
        let ruin = |trainer: &mut Trainer<'_>, training: &Training| {
            if training.loss < least {
                (least, then) = (training.loss, values(trainer.network));
            }
            if training.epochs == 5 {
                for &p in &params {
                    trainer.network.values_mut(p).mapv_inplace(|v| -40.0 * v);
                }
            }
            Ok(())
        };
        let (_, loss) = trainer.retrain_watched(&span, 6, ruin).unwrap();
        assert_eq!(loss, least);
        assert_eq!(values(trainer.network), then);
    }

    #[test]
    fn noise_is_no_reason_to_go_back() {
        let best = BestEpoch {
            values: ParamValues(vec![ArrayD::zeros(vec![2])]),
            loss: 0.5,
            epoch: 1,
        };
        assert!(!best.is_far_better_than(0.52));
        assert!(best.is_far_better_than(0.6));
        assert!(!BestEpoch::default().is_far_better_than(9.0));
    }
}
