//! Against the definition, on all instructions.

use proptest::prelude::*;

use super::Codes;
use super::input_gradient::InputSigns;
use super::weight_gradient::{UnscaledGradient, gradient_with};
use crate::ConvGeometry;
use crate::simd::Instructions;
use crate::testing::{geometry, near, numbers, products};

/// Some zeros, if they are wanted, else whole channels of them in one image of four.
fn activations(g: &ConvGeometry, zeros: bool, seed: u64) -> Vec<f32> {
    let plane = g.height * g.width;
    let x = numbers(g.batch * g.channels * plane, seed);
    let values = x.into_iter().enumerate().map(|(i, v)| {
        let channel = i / plane % g.channels;
        match (zeros, v) {
            (true, v) if v.abs() < 0.2 => 0.0,
            (false, _) if channel % 3 == 1 => 0.0,
            _ => v.signum(),
        }
    });
    values.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 192 }))]

    #[test]
    fn single_precision_is_the_definition(g in geometry(), zeros: bool, s in any::<u64>()) {
        let area = g.kernel[0] * g.kernel[1];
        let x = activations(&g, zeros, s);
        let signs: Vec<f32> = numbers(g.filters * g.channels * area, s ^ 1)
            .into_iter()
            .map(f32::signum)
            .collect();
        let scale = numbers(g.filters, s ^ 2);
        let grad = numbers(g.batch * g.filters * g.out_plane(), s ^ 3);
        let (mut grad_x, mut grad_w) = (vec![0f64; x.len()], vec![0f64; signs.len()]);
        products(&g, |o, out, input, weight| {
            let d = f64::from(grad[out]);
            grad_x[input] += d * f64::from(signs[weight] * scale[o]);
            grad_w[weight] += d * f64::from(x[input]);
        });
        let codes = Codes::pack(&x, [g.batch, g.channels, g.height, g.width]).unwrap();
        for instructions in Instructions::all() {
            if let Some(signs) = InputSigns::<f32>::of(&g, &signs) {
                let mut found = vec![f32::NAN; x.len()];
                signs.with(instructions).gradient(&g, &grad, &scale, &mut found);
                near(&found, &grad_x, "input")?;
            }
            let mut found = vec![f32::NAN; signs.len()];
            if gradient_with(&g, &codes, &UnscaledGradient::new(&g, &grad), &mut found, instructions) {
                near(&found, &grad_w, "weight")?;
            }
        }
    }
}
