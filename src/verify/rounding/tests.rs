//! Every operator that channels pass has a bound, or its row says why it has none.

use super::super::testing::Build;
use super::*;
use crate::operators::testing::Plain;
use crate::operators::{Slope, operator};
use crate::rewrite::operators_with_a_rule;

#[test]
fn every_operator_that_channels_pass_is_bounded_or_says_why_not() {
    for name in operators_with_a_rule() {
        let row = operator(name).unwrap_or_else(|| panic!("{name} has no row"));
        let bounded = match row.kind {
            Kind::Other => false,
            _ if row.decides => true,
            Kind::Unary(f) => !matches!((f.slope)(&Plain), Slope::Unbounded),
            _ => true,
        };
        assert!(bounded != row.unbounded.is_some(), "{name}");
    }
    for row in crate::operators::all() {
        let without = matches!(row.kind, Kind::Other);
        assert_eq!(without, row.unbounded.is_some(), "{}", row.name);
    }
}

/// Errors of 1e-3 in front of an operator, and what its rule makes of them, against what the
/// operator makes of data moved by as much.
fn moved(build: impl Fn(Build) -> Build, run: impl Fn(&ArrayD<f32>) -> ArrayD<f32>) {
    let shape = [1usize, 3, 4];
    let model = build(Build::default().input("x", &[-1, 3, 4]))
        .output("y")
        .model();
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let x = ArrayD::from_shape_fn(IxDyn(&shape), |i| (i[1] * 4 + i[2]) as f32 * 0.17 - 0.9);
    let y = run(&x);
    let values: Values = [("x".to_owned(), x.clone()), ("y".to_owned(), y.clone())].into();
    let mut bounds = Bounds::compute(&graph, &facts, &values, &[]);
    let error = 1e-3;
    let given = Bound {
        sums: ArrayD::from_elem(x.raw_dim(), error),
        single: ArrayD::zeros(x.raw_dim()),
    };
    bounds.of.insert(graph.find("x").unwrap(), given);
    let output = graph.find("y").unwrap();
    let bound = bounds.rule(graph.order()[0], 0, output).unwrap();
    let total = bound.total(1.0);
    for pattern in 0..64u32 {
        let sign = |i: usize| {
            if pattern >> (i % 6) & 1 == 0 {
                error
            } else {
                -error
            }
        };
        let mut other = x.clone();
        other
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v += sign(i));
        let other = run(&other);
        for ((a, b), &most) in y.iter().zip(&other).zip(&total) {
            assert!((a - b).abs() <= most * 1.001, "{a} {b} {most}");
        }
    }
    // And it is a bound of this, not of anything: within a factor of what can happen.
    let largest = total.iter().fold(0.0f32, |most, &t| most.max(t));
    assert!(largest < 0.2, "{largest}");
}

fn double(x: &ArrayD<f32>) -> ArrayD<f64> {
    x.mapv(f64::from)
}

#[test]
fn what_reductions_and_divisions_do_stays_within_their_bounds() {
    let reduce = |op: &'static str| move |b: Build| b.node_with(op, &["x"], "y", &[("axes", &[2])]);
    let along = |x: &ArrayD<f32>, f: fn(Vec<f64>) -> f64| {
        let folded = double(x).map_axis(Axis(2), |v| f(v.to_vec()));
        folded.insert_axis(Axis(2)).mapv(|v| v as f32)
    };
    moved(reduce("ReduceProd"), |x| along(x, |v| v.iter().product()));
    moved(reduce("ReduceL1"), |x| {
        along(x, |v| v.iter().map(|v| v.abs()).sum())
    });
    moved(reduce("ReduceL2"), |x| {
        along(x, |v| v.iter().map(|v| v * v).sum::<f64>().sqrt())
    });
    moved(reduce("ReduceSumSquare"), |x| {
        along(x, |v| v.iter().map(|v| v * v).sum())
    });
    moved(reduce("ReduceLogSumExp"), |x| {
        along(x, |v| v.iter().map(|v| v.exp()).sum::<f64>().ln())
    });
    moved(reduce("ReduceMax"), |x| {
        along(x, |v| v.iter().fold(-9.0, |a, b| a.max(*b)))
    });
    moved(
        |b| b.node("LpNormalization", &["x"], "y"),
        |x| {
            let norms = along(x, |v| v.iter().map(|v| v * v).sum::<f64>().sqrt());
            x / &norms
        },
    );
}

/// The largest bound of ±1 times the weight `w`, which `build` computes of the constant `latent`.
fn bound_of_weights(build: impl Fn(Build) -> Build) -> f32 {
    let latent = [0.25, -0.25, 0.25, 0.25, -0.25, 0.25, 0.25, -0.25];
    let model = Build::default()
        .input("x", &[-1, 4])
        .weight("latent", &[4, 2], &latent)
        .weight("scale", &[2], &[0.25, 0.25])
        .node("Sign", &["latent"], "sign");
    let model = build(model).node("MatMul", &["x", "w"], "y").output("y");
    let model = model.model();
    let graph = Graph::new(&model).unwrap();
    let facts = Facts::infer(&graph, 1).unwrap();
    let x = ArrayD::from_shape_fn(IxDyn(&[1, 4]), |i| if i[1] == 2 { -1.0 } else { 1.0 });
    let y = ArrayD::from_elem(IxDyn(&[1, 2]), 0.5);
    let values: Values = [("x".to_owned(), x), ("y".to_owned(), y)].into();
    let bounds = Bounds::compute(&graph, &facts, &values, &[]);
    let bound = &bounds.of[&graph.find("y").unwrap()];
    largest_of(bound.total(1.0))
}

fn largest_of(values: ArrayD<f32>) -> f32 {
    values.iter().fold(0.0, |most, &v| f32::max(most, v))
}

#[test]
fn sums_are_exact_only_with_weights_that_every_runtime_computes_alike() {
    let exact = bound_of_weights(|b| b.node("Mul", &["sign", "scale"], "w"));
    assert_eq!(exact, 0.0);
    let exact = bound_of_weights(|b| {
        let mean = b.node("ReduceMean", &["latent"], "mean");
        let centred = mean.node("Sub", &["latent", "mean"], "centred");
        centred.node("Sign", &["centred"], "w")
    });
    assert_eq!(exact, 0.0);
    // The mean of |W| is 0.25 here, and may be another number elsewhere.
    let scaled_by_a_mean = bound_of_weights(|b| {
        let size = b.node("Abs", &["latent"], "size");
        let mean = size.node("ReduceMean", &["size"], "mean");
        mean.node("Mul", &["sign", "mean"], "w")
    });
    assert!(scaled_by_a_mean > 0.0);
    let cast_mean = bound_of_weights(|b| {
        let size = b.node("Abs", &["latent"], "size");
        let mean = size.node("ReduceMean", &["size"], "mean");
        let cast = mean.cast("mean", "cast");
        cast.node("Mul", &["sign", "cast"], "w")
    });
    assert!(cast_mean > 0.0);
    let divided_twice = bound_of_weights(|b| {
        let once = b.node("Div", &["sign", "scale"], "once");
        once.node("Div", &["once", "scale"], "w")
    });
    assert!(divided_twice > 0.0);
}
