//! Unfolding images into columns and back.

use super::ConvGeometry;

/// Output columns `ox` of one kernel column for which the input column is inside the image:
/// `(first, end, input column of first)`.
fn valid(
    out: usize,
    size: usize,
    stride: usize,
    begin: usize,
    offset: usize,
) -> (usize, usize, usize) {
    let first = begin.saturating_sub(offset).div_ceil(stride);
    // Input position of output o is o·stride + offset - begin; it must be below `size`.
    let end = match (size + begin).checked_sub(offset + 1) {
        Some(last) => (last / stride + 1).min(out),
        None => 0,
    };
    if first >= end {
        return (0, 0, 0);
    }
    (first, end, first * stride + offset - begin)
}

/// Writes the patches of `count` images' group `group` to `col`, `[C/g·kH·kW, count·OH·OW]`.
pub(super) fn im2col(g: &ConvGeometry, x: &[f32], count: usize, group: usize, col: &mut [f32]) {
    let (p, plane) = (g.out_plane(), g.height * g.width);
    let per_group = g.channels_per_group();
    for (row, line) in col.chunks_exact_mut(count * p).enumerate() {
        let (c, ky, kx) = g.kernel_position(row);
        let (x0, x1, ix0) = valid(
            g.out_width,
            g.width,
            g.stride[1],
            g.pad[1],
            kx * g.dilation[1],
        );
        let (y0, y1, iy0) = valid(
            g.out_height,
            g.height,
            g.stride[0],
            g.pad[0],
            ky * g.dilation[0],
        );
        for (b, out) in line.chunks_exact_mut(p).enumerate() {
            let start = ((b * g.groups + group) * per_group + c) * plane;
            let image = &x[start..start + plane];
            out[..y0 * g.out_width].fill(0.0);
            out[y1 * g.out_width..].fill(0.0);
            for (i, out) in out[y0 * g.out_width..y1 * g.out_width]
                .chunks_exact_mut(g.out_width)
                .enumerate()
            {
                let iy = iy0 + i * g.stride[0];
                let source = &image[iy * g.width..(iy + 1) * g.width];
                out[..x0].fill(0.0);
                out[x1..].fill(0.0);
                if x0 == x1 {
                } else if g.stride[1] == 1 {
                    out[x0..x1].copy_from_slice(&source[ix0..ix0 + x1 - x0]);
                } else {
                    let taken = source[ix0..].iter().step_by(g.stride[1]);
                    out[x0..x1].iter_mut().zip(taken).for_each(|(o, s)| *o = *s);
                }
            }
        }
    }
}

/// Adds the columns back to the images they were taken from: the transpose of [`im2col`].
pub(super) fn col2im(g: &ConvGeometry, col: &[f32], count: usize, group: usize, x: &mut [f32]) {
    let (p, plane) = (g.out_plane(), g.height * g.width);
    let per_group = g.channels_per_group();
    for (row, line) in col.chunks_exact(count * p).enumerate() {
        let (c, ky, kx) = g.kernel_position(row);
        let (x0, x1, ix0) = valid(
            g.out_width,
            g.width,
            g.stride[1],
            g.pad[1],
            kx * g.dilation[1],
        );
        let (y0, y1, iy0) = valid(
            g.out_height,
            g.height,
            g.stride[0],
            g.pad[0],
            ky * g.dilation[0],
        );
        if x0 == x1 {
            continue;
        }
        for (b, source) in line.chunks_exact(p).enumerate() {
            let start = ((b * g.groups + group) * per_group + c) * plane;
            let image = &mut x[start..start + plane];
            for (i, source) in source[y0 * g.out_width..y1 * g.out_width]
                .chunks_exact(g.out_width)
                .enumerate()
            {
                let iy = iy0 + i * g.stride[0];
                let out = &mut image[iy * g.width..(iy + 1) * g.width];
                let source = &source[x0..x1];
                if g.stride[1] == 1 {
                    let out = &mut out[ix0..ix0 + source.len()];
                    out.iter_mut().zip(source).for_each(|(o, s)| *o += *s);
                } else {
                    let out = out[ix0..].iter_mut().step_by(g.stride[1]);
                    out.zip(source).for_each(|(o, s)| *o += *s);
                }
            }
        }
    }
}
