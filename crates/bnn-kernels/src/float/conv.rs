//! Two-dimensional convolution: by [`direct`] where that has the geometry, else im2col and matrix
//! products over fixed chunks of the batch.

use rayon::prelude::*;

use super::im2col::{col2im, im2col};
use super::{Matrix, Product, direct, gemm};
use crate::ConvGeometry;
use crate::buffers::Scratch;

/// Parts of the batch that the weight gradient is summed over separately. Each costs one buffer of
/// the weight's size, and so many threads can work at once.
const WEIGHT_PARTS: usize = 16;

impl ConvGeometry {
    /// Images that one task takes at a time: several where the planes are small, so that the
    /// products are not narrow. A function of the sizes alone.
    fn chunk(&self) -> usize {
        (512 / self.out_plane().max(1)).clamp(1, 16)
    }

    /// Whether the column matrix of one image is the image itself.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && (self.out_height, self.out_width) == (self.height, self.width)
    }

    fn is_empty(&self) -> bool {
        self.batch == 0 || self.out_image() == 0 || self.image() == 0
    }

    fn check(&self, x: usize, weight: usize, y: usize) {
        assert_eq!(x, self.batch * self.image(), "input size of a convolution");
        assert_eq!(weight, self.filters * self.patch(), "weight size");
        assert_eq!(y, self.batch * self.out_image(), "output size");
    }

    /// Weights of one group, `[O/g, C/g·kH·kW]`.
    fn weight<'a>(&self, weight: &'a [f32], group: usize) -> Matrix<'a> {
        let (o, k) = (self.filters_per_group(), self.patch());
        Matrix::new(&weight[group * o * k..(group + 1) * o * k], o, k)
    }

    /// The column matrix of `count` images: unfolded into `buffer`, or the image itself.
    fn columns<'a>(
        &self,
        x: &'a [f32],
        count: usize,
        group: usize,
        buffer: &'a mut Scratch,
    ) -> Matrix<'a> {
        let (k, p) = (self.patch(), self.out_plane());
        if count == 1 && self.is_pointwise() {
            return Matrix::new(&x[group * k * p..(group + 1) * k * p], k, p);
        }
        let columns = buffer.of(k * count * p);
        im2col(self, x, count, group, columns);
        Matrix::new(columns, k, count * p)
    }

    /// `[count, O, P]` of one group as `[O/g, count·P]`.
    fn gathered<'a>(
        &self,
        y: &'a [f32],
        count: usize,
        group: usize,
        buffer: &'a mut Scratch,
    ) -> Matrix<'a> {
        let (o, p) = (self.filters_per_group(), self.out_plane());
        if count == 1 {
            return Matrix::new(&y[group * o * p..(group + 1) * o * p], o, p);
        }
        let lines = buffer.of(o * count * p);
        for (f, line) in (group * o..).zip(lines.chunks_exact_mut(count * p)) {
            let images = y.chunks_exact(self.out_image());
            for (image, to) in images.zip(line.chunks_exact_mut(p)) {
                to.copy_from_slice(&image[f * p..(f + 1) * p]);
            }
        }
        Matrix::new(lines, o, count * p)
    }
}

/// The output of a convolution, `y = x ⊛ weight + bias`: x `[N, C, H, W]`, weight `[O, C/g, kH, kW]`, bias
/// `[O]`, y `[N, O, OH, OW]`.
///
/// # Panics
/// If a slice has another size than the geometry says.
pub fn conv_forward(
    g: &ConvGeometry,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    g.check(x.len(), weight.len(), y.len());
    assert!(bias.is_none_or(|b| b.len() == g.filters), "bias size");
    if g.is_empty() {
        let bias = |o: usize| bias.map_or(0.0, |b| b[o]);
        let p = g.out_plane().max(1);
        y.chunks_mut(p)
            .enumerate()
            .for_each(|(i, y)| y.fill(bias(i % g.filters)));
        return;
    }
    if let Some(weights) = direct::OutputWeights::new(g, weight) {
        return weights.output(g, x, bias, y);
    }
    let (o, p, chunk) = (g.filters_per_group(), g.out_plane(), g.chunk());
    y.par_chunks_mut(chunk * g.out_image())
        .zip(x.par_chunks(chunk * g.image()))
        .for_each_init(
            || (Scratch::default(), Scratch::default()),
            |(columns, product), (y, x)| {
                let count = x.len() / g.image();
                for group in 0..g.groups {
                    let columns = g.columns(x, count, group, columns);
                    let weight = g.weight(weight, group);
                    if count == 1 {
                        let y = &mut y[group * o * p..(group + 1) * o * p];
                        gemm(y, weight, columns, 1.0, Product::Written);
                        continue;
                    }
                    let product = product.of(o * count * p);
                    gemm(product, weight, columns, 1.0, Product::Written);
                    for (f, line) in product.chunks_exact(count * p).enumerate() {
                        let to = (group * o + f) * p;
                        for (b, line) in line.chunks_exact(p).enumerate() {
                            let to = b * g.out_image() + to;
                            y[to..to + p].copy_from_slice(line);
                        }
                    }
                }
                if let Some(bias) = bias {
                    for (i, y) in y.chunks_exact_mut(p).enumerate() {
                        let b = bias[i % g.filters];
                        y.iter_mut().for_each(|y| *y += b);
                    }
                }
            },
        );
}

/// The gradient of a convolution with respect to its input, `[N, C, H, W]`, from that of its output, `[N, O,
/// OH, OW]`.
///
/// # Panics
/// If a slice has another size than the geometry says.
pub fn conv_backward_input(g: &ConvGeometry, grad: &[f32], weight: &[f32], grad_x: &mut [f32]) {
    g.check(grad_x.len(), weight.len(), grad.len());
    if let Some(weights) = direct::InputWeights::new(g, weight) {
        return weights.gradient(g, grad, grad_x);
    }
    grad_x.fill(0.0);
    if g.is_empty() {
        return;
    }
    let (k, p, chunk) = (g.patch(), g.out_plane(), g.chunk());
    grad_x
        .par_chunks_mut(chunk * g.image())
        .zip(grad.par_chunks(chunk * g.out_image()))
        .for_each_init(
            || (Scratch::default(), Scratch::default()),
            |(columns, lines), (grad_x, grad)| {
                let count = grad.len() / g.out_image();
                for group in 0..g.groups {
                    let grad = g.gathered(grad, count, group, lines);
                    let weight = g.weight(weight, group).t();
                    if count == 1 && g.is_pointwise() {
                        let out = &mut grad_x[group * k * p..(group + 1) * k * p];
                        gemm(out, weight, grad, 1.0, Product::Written);
                        continue;
                    }
                    let columns = columns.of(k * count * p);
                    gemm(columns, weight, grad, 1.0, Product::Written);
                    col2im(g, columns, count, group, grad_x);
                }
            },
        );
}

/// The gradient of a convolution with respect to its weight, `[O, C/g, kH, kW]`, from its input, `[N, C, H,
/// W]`, and the gradient of its output, `[N, O, OH, OW]`.
///
/// # Panics
/// If a slice has another size than the geometry says.
pub fn conv_backward_weight(g: &ConvGeometry, x: &[f32], grad: &[f32], grad_weight: &mut [f32]) {
    g.check(x.len(), grad_weight.len(), grad.len());
    if g.is_empty() || grad_weight.is_empty() {
        grad_weight.fill(0.0);
        return;
    }
    if direct::usable(g) {
        return direct::backward_weight(g, x, grad, grad_weight);
    }
    let part = g.batch.div_ceil(WEIGHT_PARTS);
    let chunk = g.chunk().min(part);
    let size = g.filters_per_group() * g.patch();
    let partial: Vec<Vec<f32>> = x
        .par_chunks(part * g.image())
        .zip(grad.par_chunks(part * g.out_image()))
        .map(|(x, grad)| {
            let mut sum = vec![0.0; grad_weight.len()];
            let (mut columns, mut lines) = (Scratch::default(), Scratch::default());
            for (x, grad) in x
                .chunks(chunk * g.image())
                .zip(grad.chunks(chunk * g.out_image()))
            {
                let count = x.len() / g.image();
                for (group, sum) in sum.chunks_exact_mut(size).enumerate() {
                    let columns = g.columns(x, count, group, &mut columns);
                    let grad = g.gathered(grad, count, group, &mut lines);
                    // As [C/g·kH·kW, O/g]: so the wide operand is packed along its rows.
                    gemm(sum, columns, grad.t(), 1.0, Product::Added);
                }
            }
            sum
        })
        .collect();
    let mut total = vec![0.0; grad_weight.len()];
    for sum in &partial {
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += *s);
    }
    let (filters, patch) = (g.filters_per_group(), g.patch());
    let groups = total.chunks_exact(size);
    for (total, out) in groups.zip(grad_weight.chunks_exact_mut(size)) {
        for (f, out) in out.chunks_exact_mut(patch).enumerate() {
            let column = total[f..].iter().step_by(filters);
            out.iter_mut().zip(column).for_each(|(o, t)| *o = *t);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{grouped_geometry, near, numbers, products};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 96 }))]

        #[test]
        fn all_three_are_the_definition(g in grouped_geometry(), s in any::<u64>()) {
            let x = numbers(g.batch * g.image(), s);
            let w = numbers(g.filters * g.patch(), s ^ 1);
            let bias = numbers(g.filters, s ^ 2);
            let grad = numbers(g.batch * g.out_image(), s ^ 3);
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
            let mut found = vec![f32::NAN; y.len()];
            conv_forward(&g, &x, &w, Some(&bias), &mut found);
            near(&found, &y, "output")?;
            let mut found = vec![f32::NAN; x.len()];
            conv_backward_input(&g, &grad, &w, &mut found);
            near(&found, &grad_x, "input")?;
            let mut found = vec![f32::NAN; w.len()];
            conv_backward_weight(&g, &x, &grad, &mut found);
            near(&found, &grad_w, "weight")?;
        }
    }
}
