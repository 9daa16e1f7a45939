//! Trained parameters back in the model.

use super::*;

#[test]
fn write_back_changes_nothing_untrained_and_the_trained_model_computes_the_same() {
    let original = model();
    let mut n = import(&original);
    let mut out = original.clone();
    write_back(&n, &mut out).unwrap();
    assert_eq!(out, original);
    for p in (0..n.params().len()).map(ParamId) {
        n.values_mut(p).mapv_inplace(|v| 0.9 * v + 0.01);
    }
    write_back(&n, &mut out).unwrap();
    // Latents went into their initializers: the chains are still there.
    assert_eq!(
        out.graph.as_ref().unwrap().node,
        original.graph.as_ref().unwrap().node
    );
    let again = infer(&import(&out), x(4)).unwrap();
    assert_eq!(again, infer(&n, x(4)).unwrap());
    // With dropped columns the chain would compute another mean: the weight becomes a constant.
    let b = n.binary_of(node(&original, "c2")).unwrap();
    n.binary_mut(b).scale = ScaleMode::MeanAbs {
        kept_columns: Some(vec![true, true, true, true, true, false]),
    };
    let mut cut = original.clone();
    write_back(&n, &mut cut).unwrap();
    assert!(cut.graph.as_ref().unwrap().node.len() < original.graph.as_ref().unwrap().node.len());
    let difference = &infer(&import(&cut), x(4)).unwrap() - &infer(&n, x(4)).unwrap();
    assert!(difference.iter().all(|d| d.abs() < 1e-5));
}

#[test]
fn shared_initializers_get_copies_where_their_values_part() {
    let mut original = model();
    let graph = original.graph.as_mut().unwrap();
    // One tensor is γ of bn1, and γ and running variance of bn2.
    let bn2 = graph.node.iter_mut().find(|n| n.name() == "bn2").unwrap();
    bn2.input[1] = "bn1.g".into();
    bn2.input[4] = "bn1.g".into();
    let mut n = import(&original);
    let gammas: Vec<usize> = (0..n.params().len())
        .filter(|&p| n.params()[p].name == "bn1.g")
        .collect();
    assert_eq!(gammas.len(), 2, "γ is tied, the variance is its own");
    for (i, p) in gammas.into_iter().enumerate() {
        n.values_mut(ParamId(p))
            .mapv_inplace(|v| v + 0.5 + i as f32);
    }
    let mut out = original.clone();
    write_back(&n, &mut out).unwrap();
    let difference = &infer(&import(&out), x(4)).unwrap() - &infer(&n, x(4)).unwrap();
    assert!(difference.iter().all(|d| d.abs() < 1e-6));
}

/// What a converter writes in front of a Sign are bits, of one size in each filter: how sure they are is lost as it is
/// of weights without a Sign, and drawn.
#[test]
fn latents_of_one_size_are_bits() {
    let varied = random(&[5, 2, 3, 3], 43);
    for (w, survives) in [
        (varied.clone(), true),
        (varied.mapv(|v| 0.05 * v.signum()), false),
    ] {
        let original = ModelBuilder::new(&[0, 2, 6, 6])
            .node("s", "Sign", &["x"], &[])
            .constant("w", w.clone())
            .node("bits", "Sign", &["w"], &[])
            .node("c", "Conv", &["s", "bits"], &[])
            .build();
        let n = import(&original);
        let b = n.binary_of(node(&original, "c")).unwrap();
        let latents = &n.param(n.binary(b).latent).value;
        assert_eq!(latents == w, survives);
        assert_eq!(latents.mapv(f32::signum), w.mapv(f32::signum));
        let mut out = original.clone();
        write_back(&n, &mut out).unwrap();
        assert_eq!(out, original);
    }
}

/// A layer with a folded BatchNormalization: constant ±s weights and a bias.
fn folded_model() -> ModelProto {
    let signs = random(&[5, 2, 3, 3], 41).mapv(f32::signum);
    let scale = random(&[5], 42)
        .mapv(f32::abs)
        .into_shape_with_order(vec![5, 1, 1, 1])
        .unwrap();
    ModelBuilder::new(&[0, 2, 6, 6])
        .node("s", "Sign", &["x"], &[])
        .constant("w", &signs * &scale)
        .constant("b", random(&[5], 43))
        .node("c", "Conv", &["s", "w", "b"], &[("pads", &[1, 1, 1, 1])])
        .node("out", "GlobalAveragePool", &["c"], &[])
        .build()
}

#[test]
fn a_folded_batch_norm_is_put_back_and_folded_again() {
    let original = folded_model();
    let mut n = import(&original);
    let before = infer(&n, x(6)).unwrap();
    let batch = start(&n, x(6));
    let layers = restore_norms(&mut n, [batch.clone()]).unwrap();
    assert_eq!(layers, [node(&original, "c")]);
    assert!(n.hidden_norms().is_empty());
    let after = infer(&n, x(6)).unwrap();
    assert!((&after - &before).iter().all(|d| d.abs() < 1e-5));
    // Its statistics are those of the data: batch statistics change next to nothing.
    let mode = Mode {
        batch_statistics_from: Some(StepId(0)),
        ..Mode::default()
    };
    let trace = forward(&n, &batch, n.end(), mode);
    let trained = trace.value(n.logits()).unwrap();
    assert!((trained - &before).iter().all(|d| d.abs() < 1e-2));
    assert_eq!(trace.batch_statistics().count(), 1);
    let mut out = original.clone();
    write_back(&n, &mut out).unwrap();
    assert_eq!(out, original, "untrained, the file's own numbers stay");
    for p in (0..n.params().len()).map(ParamId) {
        n.values_mut(p).mapv_inplace(|v| 0.8 * v - 0.05);
    }
    write_back(&n, &mut out).unwrap();
    assert_ne!(out, original);
    let again = infer(&import(&out), x(6)).unwrap();
    let difference = &again - &infer(&n, x(6)).unwrap();
    assert!(difference.iter().all(|d| d.abs() < 1e-5));
}
