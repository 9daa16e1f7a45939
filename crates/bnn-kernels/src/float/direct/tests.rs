//! Against the definition, on all instructions.

use proptest::prelude::*;

use super::weight_gradient::backward_weight_with;
use super::*;
use crate::binary::Codes;
use crate::simd::Instructions;
use crate::testing::{geometry, near, numbers, products};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 96 }))]

    #[test]
    fn codes_give_what_their_values_give(g in geometry(), s in any::<u64>()) {
        prop_assume!(usable(&g));
        let x = numbers(g.batch * g.channels * g.height * g.width, s);
        let x: Vec<f32> = x.into_iter().map(|v| (2.0 * v).trunc().clamp(-1.0, 1.0)).collect();
        let grad = numbers(g.batch * g.filters * g.out_plane(), s ^ 3);
        let codes = Codes::pack(&x, [g.batch, g.channels, g.height, g.width]).unwrap();
        let mut found = vec![f32::NAN; g.filters * g.channels * g.kernel[0] * g.kernel[1]];
        let mut expected = found.clone();
        prop_assert!(binary_weight(&g, &codes, &grad, &mut found));
        backward_weight(&g, &x, &grad, &mut expected);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn all_three_are_the_definition(g in geometry(), s in any::<u64>()) {
        prop_assume!(usable(&g));
        let x = numbers(g.batch * g.channels * g.height * g.width, s);
        let w = numbers(g.filters * g.channels * g.kernel[0] * g.kernel[1], s ^ 1);
        let bias = numbers(g.filters, s ^ 2);
        let grad = numbers(g.batch * g.filters * g.out_plane(), s ^ 3);
        let mut y: Vec<f64> = (0..grad.len())
            .map(|i| f64::from(bias[i / g.out_plane() % g.filters]))
            .collect();
        let (mut grad_x, mut grad_w) = (vec![0f64; x.len()], vec![0f64; w.len()]);
        products(&g, |_, out, input, weight| {
            let (a, b, d) = (f64::from(x[input]), f64::from(w[weight]), f64::from(grad[out]));
            y[out] += a * b;
            grad_x[input] += d * b;
            grad_w[weight] += d * a;
        });
        for instructions in Instructions::all() {
            let mut found = vec![f32::NAN; y.len()];
            let weights = OutputWeights::new(&g, &w).unwrap();
            weights.output_with(&g, &x, Some(&bias), &mut found, instructions);
            near(&found, &y, "output")?;
            let mut found = vec![f32::NAN; w.len()];
            backward_weight_with(&g, Activations::Floats(&x), &grad, &mut found, instructions);
            near(&found, &grad_w, "weight")?;
            if let Some(weights) = InputWeights::new(&g, &w) {
                let mut found = vec![f32::NAN; x.len()];
                weights.gradient_with(&g, &grad, &mut found, instructions);
                near(&found, &grad_x, "input")?;
            }
        }
    }
}
