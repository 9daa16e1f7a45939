//! A large network, for what time and memory elimination takes.

use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::FilterMasks;
use onnx_bnnprune::subsidiary::rules;

use super::{Attr, Builder};

/// Twelve 3×3 convolutions of `width` channels with BatchNormalization and Relu, and masks of a
/// random 40 % of each layer's filters. At a width of 480: 100 MB of weights, as in a ResNet-50.
pub fn large(width: usize) -> (ModelProto, FilterMasks) {
    let mut b = Builder::new(&[width as i64, 7, 7]);
    let mut x = "x".to_owned();
    let mut masks = FilterMasks::default();
    for layer in 0..12u64 {
        let n = width * width * 9;
        let w = b.weight(
            &[width, width, 3, 3],
            (0..n).map(|i| (i % 17) as f32 - 8.0).collect(),
        );
        let pads = vec![("pads", Attr::Ints(vec![1; 4]))];
        x = b.node("Conv", &[&x, &w], pads);
        let keep = rules::random(width, width * 6 / 10, layer);
        masks.prune(&x, width, (0..width).filter(|&f| !keep[f]));
        let parameters = [1.0, 0.5, 0.0, 1.0].map(|v| b.weight(&[width], vec![v; width]));
        let [scale, shift, mean, var] = &parameters;
        x = b.node("BatchNormalization", &[&x, scale, shift, mean, var], vec![]);
        x = b.node("Relu", &[&x], vec![]);
    }
    let w = b.weight(&[10, width, 1, 1], vec![0.5; 10 * width]);
    let y = b.node("Conv", &[&x, &w], vec![]);
    (b.model(&[&y]), masks)
}
