//! Weights of one bit, packed: the same numbers come back, whatever their shape.

use std::collections::BTreeMap;

use crate::common::{fixture, max_abs_diff, runtime};
use crate::graphs::{Attr, Builder};
use ndarray::{ArrayD, Axis, IxDyn};
use onnx_bnnprune::forms::{
    Bits, Computed, FormError, LEAST_WEIGHTS, computed_weights, is_packed, pack, unpack,
};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, Tensor, to_bytes};
use onnx_bnnprune::qonnx;
use onnx_bnnprune::recognize;
use onnx_bnnprune::rewrite::check_deterministic;
use onnx_bnnprune::verify::{BatchedSession, Optimization, Runtime as _, Samples, SessionOptions};
use proptest::prelude::*;

/// Random ±1, times a scale for each slice along an axis: 0 none, 1 one for all, 2 one for each.
fn weights(shape: &[usize], axis: usize, scales: u8, seed: u64) -> ArrayD<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32
    };
    let mut w =
        ArrayD::from_shape_simple_fn(IxDyn(shape), || if next() & 1 == 1 { 1.0 } else { -1.0f32 });
    for mut slice in w.axis_iter_mut(Axis(axis)) {
        let own = f32::from_bits(0x3c00_0000 + (next() & 0x3ff_ffff));
        let s = [1.0, 0.3, own][usize::from(scales)];
        slice.mapv_inplace(|v| v * s);
    }
    w
}

fn rebuilt(bits: &Bits) -> ArrayD<f32> {
    let signs = (0..bits.count()).map(|k| match (bits.bytes[k / 8] >> (k % 8)) & 1 {
        1 => 1.0,
        _ => -1.0f32,
    });
    let signs = ArrayD::from_shape_vec(IxDyn(&bits.shape), signs.collect()).unwrap();
    match &bits.scale {
        Some(scale) => signs * scale,
        None => signs,
    }
}

/// A layer of these weights.
fn model_of(w: &ArrayD<f32>, transposed: bool) -> (ModelProto, String) {
    let shape: Vec<i64> = w.shape().iter().map(|&d| d as i64).collect();
    let dense = w.ndim() == 2;
    let (depth, axis) = (shape[1], usize::from(!transposed));
    let mut b = match (dense, transposed) {
        (true, _) => Builder::new(&[shape[1 - axis]]),
        (false, _) => Builder::new(&[vec![depth], vec![8; w.ndim() - 2]].concat()),
    };
    let name = b.weight(w.shape(), w.iter().copied().collect());
    let at = b.node("Sign", &["x"], vec![]);
    let y = match dense {
        true => b.node(
            "Gemm",
            &[&at, &name],
            vec![("transB", Attr::Int(i64::from(transposed)))],
        ),
        false => b.node("Conv", &[&at, &name], vec![]),
    };
    (b.model(&[&y]), name)
}

fn constant(model: &ModelProto, name: &str) -> ArrayD<f32> {
    let graph = Graph::new(model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let value = facts.constant(graph.find(name).unwrap()).unwrap();
    value.as_f32().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_binary_weights_come_back(
        shape in prop::collection::vec(1usize..24, 2..6), axis in 0usize..6, scales in 0u8..3, seed: u64,
    ) {
        let axis = axis % shape.len();
        let w = weights(&shape, axis, scales, seed);
        prop_assume!(w.len() >= LEAST_WEIGHTS);
        // Whichever axis is tried first.
        for first in [axis, 0, 9] {
            let bits = Bits::of(&w, first).unwrap();
            prop_assert_eq!(bits.bytes.len(), w.len().div_ceil(8));
            prop_assert_eq!(&rebuilt(&bits), &w);
            prop_assert!(scales != 0 || bits.scale.is_none());
        }
    }

    #[test]
    fn any_layer_comes_back(
        filters in 1usize..40, inputs in 1usize..40, kernel in prop::collection::vec(1usize..4, 0..4),
        transposed: bool, scales in 0u8..3, seed: u64,
    ) {
        let shape = [vec![filters, inputs], kernel].concat();
        let axis = usize::from(shape.len() == 2 && !transposed);
        let w = weights(&shape, axis, scales, seed);
        let mixed = w.iter().any(|&v| v > 0.0) && w.iter().any(|&v| v < 0.0);
        prop_assume!(w.len() >= LEAST_WEIGHTS && mixed);
        let (model, name) = model_of(&w, transposed);
        let shaped = pack(&model, &Computed::new()).unwrap();
        prop_assert_eq!(&constant(&shaped.model, &name), &w);
        let again = pack(&shaped.model, &Computed::new()).unwrap();
        prop_assert_eq!(&again.model, &shaped.model);
        let back = unpack(&shaped.model).unwrap();
        prop_assert_eq!(&*back, &model);
    }
}

#[test]
fn what_one_bit_does_not_say_is_left_with_its_reason() {
    let whole = weights(&[16, 32], 0, 2, 3);
    let why = |w: &ArrayD<f32>| Bits::of(w, 0).unwrap_err();
    let mut zero = whole.clone();
    zero[[3, 4]] = 0.0;
    assert!(why(&zero).contains('0'));
    let mut third = whole.clone();
    third[[3, 4]] *= 1.000_001;
    assert!(why(&third).contains("one scale"));
    let mut infinite = whole.clone();
    infinite[[3, 4]] = f32::INFINITY;
    assert!(why(&infinite).contains("finite"));
    assert!(why(&weights(&[5, 5], 0, 1, 3)).contains("few"));
    assert!(Bits::of(&ArrayD::zeros(IxDyn(&[16, 32])), 0).is_err());
    // A filter that is 0 as a whole has a scale of 0.
    let mut dead = whole.clone();
    dead.index_axis_mut(Axis(0), 5).fill(0.0);
    assert_eq!(rebuilt(&Bits::of(&dead, 0).unwrap()), dead);
    let (model, _) = model_of(&zero, true);
    assert!(matches!(
        pack(&model, &Computed::new()),
        Err(FormError::Nothing { .. })
    ));
}

#[test]
fn shared_weights_are_packed_once() {
    let mut b = Builder::new(&[16, 6, 6]);
    let w = weights(&[16, 16, 1, 1], 0, 2, 5);
    let name = b.weight(w.shape(), w.iter().copied().collect());
    let mut at = "x".to_owned();
    for _ in 0..2 {
        at = b.node("Sign", &[&at], vec![]);
        at = b.node("Conv", &[&at, &name], vec![]);
    }
    let model = b.model(&[&at]);
    let shaped = pack(&model, &Computed::new()).unwrap();
    assert_eq!(shaped.changed.len(), 2);
    let gathers = shaped.model.graph.as_ref().unwrap().node.iter();
    assert_eq!(gathers.filter(|n| n.op_type() == "Gather").count(), 1);
    assert_eq!(&*unpack(&shaped.model).unwrap(), &model);
}

/// The weights that a model computes, as ONNX Runtime computes them.
fn computed(model: &ModelProto) -> Computed {
    let Some(apart) = computed_weights(model) else {
        return BTreeMap::new();
    };
    let session = runtime().load(&to_bytes(&apart), &SessionOptions::default());
    session.unwrap().run(&[]).unwrap().into_iter().collect()
}

#[test]
fn every_dialect_packs_or_says_why_and_computes_the_same_at_all_levels() {
    let mut files: Vec<_> = std::fs::read_dir(fixture("dialects"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    let (mut packed, mut seen) = (0, 0);
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let model = Model::load(&path).unwrap().proto;
        seen += 1;
        let shaped = match pack(&model, &computed(&model)) {
            Ok(shaped) => shaped,
            Err(e) => {
                let graph = Graph::new(&model).unwrap();
                let facts = Facts::infer(&graph, 1).unwrap();
                let large = recognize::layers(&graph, &facts);
                let mut large = large.iter().filter(|l| l.values.len() >= LEAST_WEIGHTS);
                let whole = large.find(|l| l.binary_weights.as_ref().is_some_and(|b| !b.has_zero));
                let exact = whole.filter(|l| Bits::of(&l.values, l.filter_axis).is_ok());
                assert!(exact.is_none() || graph.opset() < 11, "{name}: {e}");
                continue;
            }
        };
        packed += 1;
        // Dropout in training mode gives other numbers in each run.
        let graph = Graph::new(&model).unwrap();
        if check_deterministic(&graph, &Facts::infer(&graph, 1).unwrap()).is_err() {
            continue;
        }
        // A runtime loads no QONNX; of a lowered copy it may fuse other nodes, as more is to be folded.
        let float = match qonnx::is_qonnx(&model) {
            true => unpack(&shaped.model).unwrap().into_owned(),
            false => model.clone(),
        };
        for optimization in [Optimization::Off, Optimization::Basic, Optimization::All] {
            let options = SessionOptions {
                optimization,
                ..SessionOptions::default()
            };
            let run = |m: &ModelProto| {
                let session = runtime().load(&to_bytes(m), &options).unwrap();
                let mut session = BatchedSession::new(session);
                let samples = Samples::Random { seed: 1, count: 4 };
                let inputs = samples.batch(session.inputs(), 0..4).unwrap();
                session.run(&inputs).unwrap()
            };
            let (float, small) = (run(&float), run(&shaped.model));
            // With nothing folded, a Gemm whose weights are computed adds up in another order than one
            // whose weights were prepared.
            if optimization != Optimization::Off {
                assert_eq!(float, small, "{name} {optimization:?}");
            }
            for ((_, a), (_, b)) in float.iter().zip(&small) {
                assert!(max_abs_diff(a, b) < 1e-5, "{name} {optimization:?}");
            }
        }
    }
    assert!(packed * 2 > seen, "{packed} of {seen}");
}

#[test]
fn the_table_is_what_the_bits_say() {
    let (model, name) = model_of(&weights(&[16, 32], 0, 0, 9), true);
    let shaped = pack(&model, &Computed::new()).unwrap();
    let table = constant(&shaped.model, "bits_of_byte");
    assert_eq!(table.shape(), [256, 8]);
    assert_eq!(table[[5, 0]], 1.0);
    assert_eq!(table[[5, 1]], -1.0);
    let held = shaped.model.graph.as_ref().unwrap().initializer.iter();
    let mut held = held.filter(|t| t.name() == format!("{name}.bits"));
    let bytes = Tensor::from_proto(held.next().unwrap()).unwrap();
    assert!(matches!(bytes, Tensor::U8(ref b) if b.len() == 64));
}

/// A layer whose weights a table gives by bytes.
fn looked_up(table: &[f32], index: impl Fn(usize) -> u8) -> ModelProto {
    let mut b = Builder::new(&[32, 4, 4]);
    let bytes = (0..1024).map(index).collect();
    let bytes = b.constant(&Tensor::U8(
        ArrayD::from_shape_vec(IxDyn(&[1024]), bytes).unwrap(),
    ));
    let table = b.weight(&[table.len()], table.to_vec());
    let indices = b.node("Cast", &[&bytes], vec![("to", Attr::Int(7))]);
    let flat = b.node("Gather", &[&table, &indices], vec![]);
    let shape = b.ints(&[32, 32, 1, 1]);
    let weight = b.node("Reshape", &[&flat, &shape], vec![]);
    let at = b.node("Sign", &["x"], vec![]);
    let y = b.node("Conv", &[&at, &weight], vec![]);
    b.model(&[&y])
}

#[test]
fn only_what_one_bit_says_counts_as_packed() {
    let signs = looked_up(&[-0.5, 0.5], |k| (k * k % 7 < 3).into());
    assert!(is_packed(&signs));
    assert_ne!(&*unpack(&signs).unwrap(), &signs);
    let ternary = looked_up(&[-0.5, 0.0, 0.5], |k| ((k * k + k / 7) % 3) as u8);
    let levels: Vec<f32> = (0..16).map(|k| k as f32 * 0.1 - 0.7).collect();
    let levels = looked_up(&levels, |k| ((k * k + k / 7) % 16) as u8);
    for other in [ternary, levels] {
        assert!(!is_packed(&other));
        assert_eq!(&*unpack(&other).unwrap(), &other);
        let packed = pack(&other, &Computed::new());
        assert!(matches!(packed, Err(FormError::Nothing { .. })));
    }
}
