use onnx_bnnprune::autograd::kernels::*;
use onnx_bnnprune::autograd::kernels::tables::*;
use std::time::Instant;
fn main() {
    let only: Option<String> = std::env::args().nth(1);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    for (name, c, h, o, k, batch) in [("5x5 96>192@16", 96, 16, 192, 5, 8), ("1x1 160>96@32", 160, 32, 96, 1, 4), ("1x1 192>192@16", 192, 16, 192, 1, 8), ("3x3 192>192@8", 192, 8, 192, 3, 16), ("3x3 64>64@32", 64, 32, 64, 3, 4), ("3x3 512@4", 512, 4, 512, 3, 128),("3x3 512@2", 512, 2, 512, 3, 32)] {
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) { continue }
        let g = ConvGeometry { batch, channels: c, height: h, width: h, filters: o, out_height: h, out_width: h, kernel: [k, k], stride: [1, 1], dilation: [1, 1], pad: [k / 2, k / 2], groups: 1 };
        let w: Vec<f32> = (0..o * c * k * k).map(|i| if (i * 7919 / 13) % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let x: Vec<f32> = (0..batch * c * h * h).map(|i| if (i * 7919 / 17) % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let grad: Vec<f32> = (0..batch * o * h * h).map(|i| (i % 1001) as f32 / 500.0 - 1.0).collect();
        let scale = vec![1.0; o];
        let mut gx = vec![0.0; x.len()];
        let mut gw = vec![0.0; w.len()];
        let which = std::env::args().nth(2).unwrap_or("abef".into());
        let macs = (batch * c * h * h * o * k * k) as f64;
        let s = InputSigns::<f32>::new(&g, &w).unwrap();
        let d = InputWeights::new(&g, &w).unwrap();
        let codes = packed::Codes::pack(&x, [batch, c, h, h]).unwrap();
        let time = |f: &mut dyn FnMut()| { let mut best = f64::MAX; for _ in 0..std::env::args().nth(3).map_or(15, |r| r.parse().unwrap()) { let t = Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); } macs / best * 1e-9 };
        let a = if which.contains("a") { time(&mut || s.single(&g, &grad, &scale, &mut gx)) } else { 0.0 };
        let b = if which.contains("b") { time(&mut || d.gradient(&g, &grad, &mut gx)) } else { 0.0 };
        let e = if which.contains("e") { time(&mut || { binary_weight(&g, &codes, &grad, &mut gw); }) } else { 0.0 };
        let f = if which.contains("f") { time(&mut || conv_backward_weight(&g, &x, &grad, &mut gw)) } else { 0.0 };
        println!("{name}: input {a:.0} (fma {b:.0}) weight {e:.0} (fma {f:.0})");
    }
}
