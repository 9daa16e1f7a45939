//! Is a difference a tie, or a fault?
//!
//! Sign and its like jump. Where their input lies within rounding of the jump, two correct
//! models may decide differently, and one flipped sign changes a logit. To tell that from a
//! fault, the candidate is run again with every decision taken from the reference, so that a
//! flip upstream cannot excuse anything downstream. A tie is claimed only if then
//!
//! - the input of every decision agrees with the reference's within a rounding bound
//!   ([`super::rounding`]),
//! - wherever the candidate itself would have decided otherwise, the reference's input lies
//!   within that bound of the jump,
//! - the outputs agree as the pass rule asks, and
//! - some input does lie within the bound of a jump.

use ndarray::{ArrayD, IxDyn, Zip};

use super::batched::BatchedSession;
use super::channel_map::ChannelMap;
use super::compare::difference;
use super::probe::{self, Decision};
use super::rounding::{Bounds, Values};
use super::runtime::{NamedTensors, Optimization, Runtime, RuntimeError, SessionOptions};
use crate::graph::{Facts, Graph};
use crate::onnx::proto::ModelProto;

/// Why a sample differs by more than the tolerance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// Decisions within rounding of their jump, this many.
    Tie(usize),
    /// Anything else, in one line.
    Fault(String),
}

/// Two models, ready to have their differences explained.
pub struct TieExplainer<'m> {
    reference: Graph<'m>,
    facts: Facts,
    map: &'m ChannelMap,
    decisions: Vec<Decision>,
    candidate_decisions: Vec<Decision>,
    exposed: BatchedSession,
    forced: BatchedSession,
    /// Constant operands of the candidate's decisions: thresholds.
    constants: Values,
    outputs: Vec<String>,
}

impl<'m> TieExplainer<'m> {
    /// Loads both models with their decisions laid open.
    ///
    /// # Errors
    /// If a graph can't be indexed or the runtime refuses a model.
    pub fn new(
        runtime: &dyn Runtime,
        reference: &'m ModelProto,
        candidate: &'m ModelProto,
        map: &'m ChannelMap,
    ) -> Result<Self, RuntimeError> {
        let index = |model: &'m ModelProto| -> Result<(Graph<'m>, Facts), RuntimeError> {
            let unusable = |e: &dyn std::fmt::Display| RuntimeError::Interface(e.to_string());
            let graph = Graph::new(model).map_err(|e| unusable(&e))?;
            let facts = Facts::infer(&graph, 1).map_err(|e| unusable(&e))?;
            Ok((graph, facts))
        };
        // As written: an optimiser that fuses differently here and there would round differently.
        let load = |model: &[u8]| {
            let options = SessionOptions {
                optimization: Optimization::Off,
                threads: 1,
            };
            runtime.load(model, &options).map(BatchedSession::new)
        };
        let (graph, facts) = index(reference)?;
        let data = graph
            .tensors()
            .filter(|&t| facts.is_data(t) && graph.producer(t).is_some());
        let tensors: Vec<String> = data.map(|t| graph.name(t).to_owned()).collect();
        let exposed = load(&probe::expose(reference, &tensors))?;
        let (other, other_facts) = index(candidate)?;
        let candidate_decisions = probe::decisions(&other, &other_facts);
        let read: Vec<String> = candidate_decisions
            .iter()
            .flat_map(|decision| &decision.inputs)
            .filter(|name| {
                let id = other.find(name);
                id.is_some_and(|t| other_facts.is_data(t) && other.producer(t).is_some())
            })
            .cloned()
            .collect();
        let constants = candidate_decisions
            .iter()
            .flat_map(|decision| &decision.inputs)
            .filter_map(|name| {
                let value = other_facts.constant(other.find(name)?)?.as_f32()?;
                Some((name.clone(), value.clone()))
            })
            .collect();
        let forced = load(&probe::force(candidate, &candidate_decisions, &read))?;
        Ok(TieExplainer {
            outputs: graph
                .outputs()
                .iter()
                .map(|&t| graph.name(t).to_owned())
                .collect(),
            decisions: probe::decisions(&graph, &facts),
            reference: graph,
            facts,
            map,
            candidate_decisions,
            exposed,
            forced,
            constants,
        })
    }

    /// Explains the difference on one sample, given as a batch of one.
    ///
    /// # Errors
    /// If a model can't be run.
    pub fn explain(
        &mut self,
        inputs: &[(String, ArrayD<f32>)],
    ) -> Result<Explanation, RuntimeError> {
        let mut values: Values = self.exposed.run(inputs)?.into_iter().collect();
        values.extend(inputs.iter().cloned());
        let mut fed: NamedTensors = inputs.to_vec();
        for decision in &self.candidate_decisions {
            let Some(decided) = values
                .get(&decision.output)
                .and_then(|value| self.map.restrict(&decision.output, value))
            else {
                return Ok(fault(decision, "has no counterpart in the reference"));
            };
            fed.push((probe::forced_input(&decision.output), decided));
        }
        let actual: Values = self.forced.run(&fed)?.into_iter().collect();
        let exact: Vec<String> = self.decisions.iter().map(|d| d.output.clone()).collect();
        let bounds = Bounds::compute(&self.reference, &self.facts, &values, &exact);
        let mut ties = 0;
        for decision in &self.candidate_decisions {
            match self.check(decision, &values, &actual, &bounds) {
                Ok(near) => ties += near,
                Err(why) => return Ok(fault(decision, &why)),
            }
        }
        for name in &self.outputs {
            let agree = match (values.get(name), actual.get(name)) {
                (Some(a), Some(b)) if a.shape() == b.shape() => {
                    difference(a.view(), b.view()).passes()
                }
                _ => false,
            };
            if !agree {
                return Ok(Explanation::Fault(format!(
                    "output `{name}` differs although every decision is the same"
                )));
            }
        }
        Ok(match ties {
            0 => Explanation::Fault("no decision lies within rounding of its jump".into()),
            ties => Explanation::Tie(ties),
        })
    }

    /// Checks one decision; returns how many of its elements lie within rounding of the jump.
    fn check(
        &self,
        decision: &Decision,
        values: &Values,
        actual: &Values,
        bounds: &Bounds<'_>,
    ) -> Result<usize, String> {
        let counterpart = self
            .decisions
            .iter()
            .find(|other| other.output == decision.output && other.op == decision.op)
            .ok_or("has no counterpart in the reference")?;
        let expected = values.get(&decision.output).ok_or("was not computed")?;
        let restrict = |value: &ArrayD<f32>| {
            let restricted = self.map.restrict(&decision.output, value);
            restricted.ok_or("has another number of channels than the channel map says")
        };
        let shape = expected.shape();
        let mut bound = ArrayD::<f32>::zeros(IxDyn(shape));
        let mut operands = Vec::new();
        for (name, own) in counterpart.inputs.iter().zip(&decision.inputs) {
            let of_input = bounds
                .elementwise(name, shape)
                .ok_or("lies behind an operator whose rounding has no bound")?;
            bound += &of_input;
            let value = self.operand(name, values, shape)?;
            if let Some(actual) = actual.get(own).or(self.constants.get(own)) {
                let (want, limit) = (restrict(&value)?, restrict(&of_input)?);
                let actual = actual.broadcast(want.shape()).ok_or("has another shape")?;
                let agree = Zip::from(&want)
                    .and(&actual)
                    .and(&limit)
                    .all(|&a, &b, &limit| {
                        a == b || (f64::from(a) - f64::from(b)).abs() <= f64::from(limit)
                    });
                if !agree {
                    return Err(format!(
                        "reads `{own}`, which differs by more than rounding"
                    ));
                }
            }
            operands.push(value);
        }
        let margin = margin(&decision.op, &operands).ok_or("has operands that do not fit")?;
        let near = Zip::from(&margin).and(&bound).map_collect(|m, b| m <= b);
        let near = near.mapv(|near| f32::from(u8::from(near)));
        let (near, expected) = (restrict(&near)?, restrict(expected)?);
        let own = actual
            .get(&probe::own_decision(&decision.output))
            .filter(|own| own.shape() == expected.shape())
            .ok_or("has another shape")?;
        let explained = Zip::from(&expected)
            .and(own)
            .and(&near)
            .all(|a, b, &near| a == b || (a.is_nan() && b.is_nan()) || near == 1.0);
        if !explained {
            return Err("decides differently far from its jump".into());
        }
        Ok(near.iter().filter(|&&near| near == 1.0).count())
    }

    /// An operand of a decision in the reference, broadcast to the decision's shape.
    fn operand(
        &self,
        name: &str,
        values: &Values,
        shape: &[usize],
    ) -> Result<ArrayD<f32>, &'static str> {
        let measured = values.get(name).map(|value| value.view());
        let constant = || {
            let id = self.reference.find(name)?;
            Some(self.facts.constant(id)?.as_f32()?.view())
        };
        measured
            .or_else(constant)
            .and_then(|value| Some(value.broadcast(shape)?.to_owned()))
            .ok_or("has an operand whose value is unknown")
    }
}

fn fault(decision: &Decision, why: &str) -> Explanation {
    Explanation::Fault(format!("{} `{}` {why}", decision.op, decision.node))
}

/// How far each element's operands lie from the point where the decision jumps.
fn margin(op: &str, operands: &[ArrayD<f32>]) -> Option<ArrayD<f32>> {
    let first = operands.first()?;
    // To the nearest integer: where Floor, Ceil and truncation jump.
    let to_integer = |x: f32| (x - x.round()).abs();
    Some(match op {
        "Sign" => first.mapv(f32::abs),
        "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" => {
            let second = operands.get(1)?;
            Zip::from(first)
                .and(second)
                .map_collect(|a, b| (a - b).abs())
        }
        // Round jumps half way between integers.
        "Round" => first.mapv(|x| 0.5 - to_integer(x)),
        "Floor" | "Ceil" | "Cast" => first.mapv(to_integer),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::super::{OrtRuntime, Samples, SessionOptions, Verification, verify};
    use super::*;
    use ndarray::{Array2, Axis};
    use ndarray_rand::RandomExt;
    use ndarray_rand::rand::SeedableRng;
    use ndarray_rand::rand::rngs::StdRng;
    use ndarray_rand::rand_distr::StandardNormal;

    /// Filters of the hidden layers, and how many of the first one's are masked.
    const WIDE: usize = 64;
    const MASKED: usize = 24;

    /// Weights of x·w0 → Sign → ·w1 + b1 → binariser → ·w2.
    #[derive(Clone)]
    struct Weights {
        w0: Array2<f32>,
        w1: Array2<f32>,
        b1: Array2<f32>,
        w2: Array2<f32>,
        threshold: f32,
    }

    impl Weights {
        fn random(bias: f32) -> Self {
            let mut rng = StdRng::seed_from_u64(3);
            let mut normal = |shape| Array2::random_using(shape, StandardNormal, &mut rng);
            let w0 = normal((16, WIDE));
            // Scales that no sum of ±s represents exactly: sums that should be 0 are not.
            let mut w1: Array2<f32> = normal((WIDE, WIDE)).mapv(|w: f32| w.signum() * 0.1);
            w1.slice_mut(ndarray::s![..MASKED, ..]).fill(0.0);
            Weights {
                w0,
                w1,
                b1: normal((1, WIDE)) * bias,
                w2: normal((WIDE, 10)),
                threshold: 0.0,
            }
        }

        /// Without the masked filters, the others in reverse: another order of summation.
        fn pruned(&self) -> (Self, ChannelMap) {
            let kept: Vec<usize> = (MASKED..WIDE).rev().collect();
            let mut map = ChannelMap::default();
            for tensor in ["a0", "s0"] {
                map.insert(tensor, 1, kept.clone());
            }
            let pruned = Weights {
                w0: self.w0.select(Axis(1), &kept),
                w1: self.w1.select(Axis(0), &kept),
                ..self.clone()
            };
            (pruned, map)
        }

        fn model(&self, compare: bool) -> ModelProto {
            let weight = |build: Build, name: &str, w: &Array2<f32>| {
                let shape = [w.nrows() as i64, w.ncols() as i64];
                build.weight(name, &shape, w.as_standard_layout().as_slice().unwrap())
            };
            let mut build = Build::default().input("x", &[-1, 16]);
            for (name, w) in [
                ("w0", &self.w0),
                ("w1", &self.w1),
                ("b1", &self.b1),
                ("w2", &self.w2),
            ] {
                build = weight(build, name, w);
            }
            build = build
                .node("MatMul", &["x", "w0"], "a0")
                .node("Sign", &["a0"], "s0")
                .node("MatMul", &["s0", "w1"], "m1")
                .node("Add", &["m1", "b1"], "a1");
            build = if compare {
                build
                    .weight("t", &[], &[self.threshold])
                    .weight("one", &[], &[1.0])
                    .weight("minus", &[], &[-1.0])
                    .node("GreaterOrEqual", &["a1", "t"], "c1")
                    .node("Where", &["c1", "one", "minus"], "s1")
            } else {
                build.node("Sign", &["a1"], "s1")
            };
            build.node("MatMul", &["s1", "w2"], "y").output("y").model()
        }
    }

    fn check(reference: &ModelProto, candidate: &ModelProto, map: &ChannelMap) -> Verification {
        let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
        let samples = Samples::Random { seed: 9, count: 64 };
        let options = SessionOptions {
            threads: 1,
            ..SessionOptions::default()
        };
        verify(&runtime, reference, candidate, map, &samples, 16, &options).unwrap()
    }

    #[test]
    fn rounding_at_a_jump_is_a_tie() {
        for compare in [false, true] {
            let weights = Weights::random(0.0);
            let (pruned, map) = weights.pruned();
            let found = check(&weights.model(compare), &pruned.model(compare), &map);
            assert!(found.ties > 0, "{found:?}");
            assert!(found.passed, "{found:?}");
            assert!(found.max_abs_diff > 0.1, "{found:?}");
        }
    }

    #[test]
    fn equal_models_pass_without_ties() {
        let weights = Weights::random(0.03);
        let model = weights.model(false);
        let found = check(&model, &model, &ChannelMap::default());
        assert!(found.passed && found.ties == 0, "{found:?}");
        assert_eq!((found.max_abs_diff, found.top1_agreement), (0.0, Some(1.0)));
    }

    /// What is wrong, and how to make it so.
    type Fault<'a> = (&'a str, &'a dyn Fn(&mut Weights));

    /// Every fault is found although ties abound.
    #[test]
    fn a_fault_is_never_a_tie() {
        for bias in [0.0, 0.03] {
            let weights = Weights::random(bias);
            let (good, map) = weights.pruned();
            let faults: [Fault<'_>; 7] = [
                ("scale of the last layer", &|w| w.w2 *= 1.001),
                ("one weight of the last layer", &|w| w.w2[[5, 3]] *= 1.01),
                ("one sign", &|w| w.w1[[7, 11]] *= -1.0),
                ("wrong channel", &|w| {
                    let moved = weights.w0.column(0).to_owned();
                    w.w0.column_mut(9).assign(&moved);
                }),
                ("two channels exchanged", &|w| {
                    let (a, b) = (w.w1.row(3).to_owned(), w.w1.row(4).to_owned());
                    w.w1.row_mut(3).assign(&b);
                    w.w1.row_mut(4).assign(&a);
                }),
                ("a bias too many", &|w| w.b1[[0, 2]] += 0.3),
                ("a filter missing", &|w| w.w1.column_mut(2).fill(0.0)),
            ];
            for (what, fault) in faults {
                let mut bad = good.clone();
                fault(&mut bad);
                let found = check(&weights.model(false), &bad.model(false), &map);
                assert!(!found.passed, "{what}, bias {bias}: {found:?}");
                assert!(found.failures.iter().all(|line| !line.contains('\n')));
            }
        }
    }

    #[test]
    fn faults_before_a_sign_are_found() {
        let weights = Weights::random(0.5);
        let (good, map) = weights.pruned();
        let faults: [Fault<'_>; 2] = [
            ("scale off by a thousandth", &|w| w.w1 *= 1.001),
            ("a bias dropped", &|w| w.b1[[0, 5]] = 0.0),
        ];
        for (what, fault) in faults {
            let mut bad = good.clone();
            fault(&mut bad);
            let (reference, candidate) = (weights.model(false), bad.model(false));
            let runtime = OrtRuntime::new(None).expect("ONNX Runtime for the tests");
            let mut explainer = TieExplainer::new(&runtime, &reference, &candidate, &map).unwrap();
            let info = [super::super::TensorInfo {
                name: "x".into(),
                float: true,
                shape: vec![None, Some(16)],
            }];
            let inputs = Samples::Random { seed: 1, count: 1 }
                .batch(&info, 0..1)
                .unwrap();
            let explanation = explainer.explain(&inputs).unwrap();
            assert!(
                matches!(explanation, Explanation::Fault(_)),
                "{what}: {explanation:?}"
            );
        }
    }

    #[test]
    fn another_threshold_is_a_fault() {
        let weights = Weights::random(0.0);
        let (mut bad, map) = weights.pruned();
        bad.threshold = 0.05;
        let found = check(&weights.model(true), &bad.model(true), &map);
        assert!(!found.passed, "{found:?}");
        assert!(
            found.failures[1].contains("differs by more than rounding"),
            "{found:?}"
        );
    }

    #[test]
    fn a_wrong_channel_map_is_a_fault() {
        let weights = Weights::random(0.0);
        let (pruned, _) = weights.pruned();
        let (reference, candidate) = (weights.model(false), pruned.model(false));
        assert!(!check(&reference, &candidate, &ChannelMap::default()).passed);
        let mut shifted = ChannelMap::default();
        shifted.insert("s0", 1, (0..WIDE - MASKED).collect());
        assert!(!check(&reference, &candidate, &shifted).passed);
    }
}
