//! Steps run as one give the bits of the steps run one by one, forward and back.

use proptest::prelude::*;

use super::{import, mask, node, run, start};
use crate::engine::{Gradients, Mode, Plan, Wanted};
use crate::network::testing::ModelBuilder;
use crate::network::{Network, ParamId, StepId};
use crate::onnx::proto::ModelProto;
use crate::ops::testing::random;
use crate::training::loss::cross_entropy;

/// Runs of what can be fused: in front of and behind the BatchNormalization, without one, with a
/// second one, and cut short by a second reader. Loops are made for the second layer's if it has a
/// Relu.
fn model(filters: usize, size: i64, activation: &str) -> ModelProto {
    let f = filters;
    ModelBuilder::new(&[0, 2, size, size])
        .constant("stem.w", random(&[f, 2, 3, 3], 1))
        .node("stem", "Conv", &["x", "stem.w"], &[("pads", &[1, 1, 1, 1])])
        .node("relu", "Relu", &["stem"], &[])
        .batch_norm("bn0", "relu", f)
        .constant("slope", random(&[f, 1, 1], 8))
        .node("prelu", "PRelu", &["bn0", "slope"], &[])
        .binary_conv("c1", "prelu", f + 1, f)
        .batch_norm("bn1", "c1", f + 1)
        .batch_norm("bn2", "bn1", f + 1)
        .node("relu2", activation, &["bn2"], &[])
        .batch_norm("bn2b", "relu2", f + 1)
        .binary_conv("c2", "bn2b", f, f + 1)
        .constant("low", ndarray::arr0(-0.4).into_dyn())
        .constant("high", ndarray::arr0(0.9).into_dyn())
        .node("clip", "Clip", &["c2", "low", "high"], &[])
        .node("relu3", "Relu", &["clip"], &[])
        .batch_norm("bn3", "relu3", f)
        .node("relu4", "Relu", &["bn3"], &[])
        .node("sum", "Add", &["relu4", "bn3"], &[])
        .node("gap", "GlobalAveragePool", &["sum"], &[])
        .node("flat", "Flatten", &["gap"], &[])
        .constant("fc.w", random(&[3, f], 3))
        .node("fc", "Gemm", &["flat", "fc.w"], &[("transB", &[1])])
        .build()
}

type Bits = Vec<u32>;

/// How a plan is made.
type Make = fn(&Network, std::ops::Range<StepId>, Mode) -> Plan;

fn result(
    n: &Network,
    wanted: &Wanted,
    from: Option<StepId>,
    (make, size): (Make, usize),
) -> (Bits, Gradients) {
    let shape = [&[3], n.input_shape()].concat();
    let mode = Mode {
        batch_statistics_from: from,
        wanted: wanted.clone(),
        ..Mode::default()
    };
    let plan = make(n, n.all(), mode);
    let trace = run(n, &plan, &start(n, random(&shape, size as u64)));
    let logits = trace.value(n.logits()).unwrap();
    let loss = cross_entropy(logits, &[0, 1, 2]);
    let bits = logits.iter().map(|v| v.to_bits()).collect();
    (bits, plan.backward(n, trace, loss.grad).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn the_same_bits(
        filters in 1usize..9,
        size in 4i64..8,
        masked: bool,
        loops: bool,
        from in 0usize..30,
        chosen in prop::collection::vec(any::<bool>(), 40),
    ) {
        let m = model(filters, size, if loops { "Relu" } else { "LeakyRelu" });
        let mut n = import(&m);
        if masked {
            let spec = mask(&mut n, filters + 1);
            n.insert_mask(node(&m, "c2"), 0, spec).unwrap();
        }
        let params = (0..n.params().len()).filter(|i| chosen[i % chosen.len()]).map(ParamId);
        let wanted = Wanted::of(&n, params);
        let from = (from < n.end().0).then_some(StepId(from));
        let (logits, fused) = result(&n, &wanted, from, (Plan::new, filters));
        let (one_by_one, each) = result(&n, &wanted, from, (Plan::step_by_step, filters));
        prop_assert_eq!(logits, one_by_one);
        for p in (0..n.params().len()).map(ParamId) {
            prop_assert_eq!(fused.get(p), each.get(p), "gradient of {}", n.param(p).name);
        }
    }
}

/// Steps of each chain.
fn lengths(n: &Network, wanted: &Wanted) -> Vec<usize> {
    let mode = Mode {
        wanted: wanted.clone(),
        ..Mode::default()
    };
    Plan::new(n, n.all(), mode).chains()
}

#[test]
fn the_runs_are_as_long_as_they_can_be() {
    let m = model(4, 6, "Relu");
    let mut n = import(&m);
    // Relu, BatchNormalization, PRelu, Sign; BatchNormalization by itself, as it reads sums;
    // BatchNormalization, Relu; BatchNormalization, Sign; Clip, Relu, BatchNormalization.
    assert_eq!(lengths(&n, &Wanted::of(&n, [])), [4, 1, 2, 2, 3]);
    // A mask belongs to one, learned or not.
    let spec = mask(&mut n, 5);
    let param = spec.param;
    n.insert_mask(node(&m, "c2"), 0, spec).unwrap();
    assert_eq!(lengths(&n, &Wanted::of(&n, [])), [4, 1, 2, 3, 3]);
    assert_eq!(lengths(&n, &Wanted::of(&n, [param])), [4, 1, 2, 3, 3]);
}
