//! Binary convolutions and matrix products, to floats or to signs.

use std::ffi::CStr;

use bnn_kernels::binary::bits::{Affine, BitConv, BitGeometry, Floats, Job, bytes_of, interleave};

use super::checks::{self, Presence};
use super::ternary::{Ternary, not_zero};
use crate::definition::{Kernel, Operator, Port};
use crate::runtime::{Attributes, Context, Element, Error, Info, ShapeContext};

/// `BinaryConv`: to floats.
pub const CONV: Layer = Layer {
    name: c"BinaryConv",
    matmul: false,
    signs: false,
};
/// `BinaryConvSign`: to signs.
pub const CONV_SIGN: Layer = Layer {
    name: c"BinaryConvSign",
    matmul: false,
    signs: true,
};
/// `BinaryMatMul`: to floats.
pub const MATMUL: Layer = Layer {
    name: c"BinaryMatMul",
    matmul: true,
    signs: false,
};
/// `BinaryMatMulSign`: to signs.
pub const MATMUL_SIGN: Layer = Layer {
    name: c"BinaryMatMulSign",
    matmul: true,
    signs: true,
};

/// An operator that is a binary layer.
#[derive(Debug)]
pub struct Layer {
    name: &'static CStr,
    /// A window is the whole image.
    matmul: bool,
    /// Sums become signs.
    signs: bool,
}

impl Layer {
    /// The sizes of a node with weights `[O, kH, kW, ⌈C/8⌉]`.
    fn geometry(&self, node: &impl Attributes, weights: &[usize]) -> Result<BitGeometry, Error> {
        let channels = checks::channels(node)?;
        let [filters, kh, kw, bytes] = *weights else {
            return Err(Error(format!(
                "its weights have {} dimensions instead of 4",
                weights.len()
            )));
        };
        if bytes != bytes_of(channels) {
            return Err(Error(format!(
                "its weights have {bytes} bytes for each position; {channels} channels need {}",
                bytes_of(channels)
            )));
        }
        let mut g = BitGeometry {
            channels,
            filters,
            kernel: [kh, kw],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
        };
        if !self.matmul {
            g.stride = checks::sizes(node, c"strides", 1, Presence::Optional)?;
            g.dilation = checks::sizes(node, c"dilations", 1, Presence::Optional)?;
            g.pads = checks::sizes(node, c"pads", 0, Presence::Optional)?;
        }
        match g.is_supported() {
            true => Ok(g),
            false => Err("its sizes are 0, or too large".into()),
        }
    }

    /// Height and width of the output, as far as they are known.
    fn out_size(
        &self,
        g: &BitGeometry,
        [height, width]: [Option<usize>; 2],
    ) -> Result<[Option<usize>; 2], Error> {
        if self.matmul {
            let [kh, kw] = g.kernel;
            return match height.is_none_or(|h| h == kh) && width.is_none_or(|w| w == kw) {
                true => Ok([Some(1); 2]),
                false => Err(Error(format!(
                    "its input is not {kh} × {kw}, as its weights are"
                ))),
            };
        }
        // A size that is not known is one that fits.
        let sizes = [0, 1].map(|i| {
            let known = [height, width][i];
            known.unwrap_or(1 + (g.kernel[i] - 1) * g.dilation[i])
        });
        let out = g
            .out_size(sizes)
            .ok_or("its window is larger than the image, or the image too large")?;
        Ok([height.map(|_| out[0]), width.map(|_| out[1])])
    }

    /// Dimensions of the output of floats.
    fn float_dims<T: Copy>(&self, n: T, f: T, [h, w]: [T; 2]) -> Vec<T> {
        match self.matmul {
            true => vec![n, f],
            false => vec![n, f, h, w],
        }
    }
}

impl Operator for Layer {
    fn name(&self) -> &'static CStr {
        self.name
    }

    fn inputs(&self) -> &'static [Port] {
        match (self.signs, self.matmul) {
            (true, _) => {
                const {
                    &[
                        Port::of(Element::U8),
                        Port::of(Element::U8),
                        Port::of(Element::I32),
                    ]
                }
            }
            (false, true) => {
                const {
                    &[
                        Port::of(Element::U8),
                        Port::of(Element::U8),
                        Port::of(Element::F32),
                    ]
                }
            }
            (false, false) => {
                const {
                    &[
                        Port::of(Element::U8),
                        Port::of(Element::U8),
                        Port::of(Element::F32),
                        Port::optional(Element::F32),
                    ]
                }
            }
        }
    }

    fn outputs(&self) -> &'static [Port] {
        match (self.signs, self.matmul) {
            (true, _) => const { &[Port::of(Element::U8)] },
            (false, true) => const { &[Port::of(Element::F32)] },
            (false, false) => const { &[Port::of(Element::F32), Port::optional(Element::U8)] },
        }
    }

    fn infer(&self, node: &ShapeContext) -> Result<(), Error> {
        let channels = checks::channels(node)?;
        let [n, h, w] = checks::bits_dims(node.input(0), channels)?;
        let weights = node
            .input(1)
            .and_then(|dims| dims.into_iter().collect::<Option<Vec<_>>>());
        let Some(weights) = weights else {
            return Ok(());
        };
        let g = self.geometry(node, &weights)?;
        let [oh, ow] = self.out_size(&g, [h, w])?;
        if self.signs {
            // Whether something is 0 depends on the data.
            let innermost = (!ternary(node)?).then_some(bytes_of(g.filters));
            return node.set_output(0, Element::U8, &vec![n, oh, ow, innermost]);
        }
        node.set_output(
            0,
            Element::F32,
            &self.float_dims(n, Some(g.filters), [oh, ow]),
        )
    }

    fn kernel(&self, node: &Info) -> Result<Box<dyn Kernel>, Error> {
        let weights = node.constant::<u8>(1, "weights")?;
        let g = self.geometry(node, &weights.shape)?;
        let conv =
            BitConv::new(g, &weights).ok_or("its weights have another size than they say")?;
        let what = match self.signs {
            true => {
                let thresholds = node.constant::<i32>(2, "thresholds")?;
                if thresholds.len() != g.filters {
                    return Err(Error(format!(
                        "it has {} thresholds for {} filters",
                        thresholds.len(),
                        g.filters
                    )));
                }
                match ternary(node)? {
                    false => What::Signs(thresholds.to_vec()),
                    true => What::Ternary(Ternary::new(&g, &thresholds)),
                }
            }
            false => {
                let numbers = node.constant::<f32>(2, "scales")?;
                if numbers.shape != [4, g.filters] {
                    return Err(Error(format!(
                        "its scales (input 2) are {:?} instead of [4, {}]",
                        numbers.shape, g.filters
                    )));
                }
                What::Floats(affine(&numbers, g.filters))
            }
        };
        let layer = Layer { ..*self };
        Ok(Box::new(Binary { layer, conv, what }))
    }
}

/// What is done with sums, of `[4, O]`: divided by the first row, to which the second is added, multiplied by the
/// third, to which the fourth is added. Rows that change nothing are left out.
fn affine(numbers: &[f32], filters: usize) -> Affine {
    let mut rows = numbers.chunks(filters);
    let mut row = |idle: f32| {
        let row = rows.next().unwrap_or_default();
        // Adding +0 turns -0 into +0: only -0 changes nothing.
        let is_idle = row.iter().all(|n| n.to_bits() == idle.to_bits());
        (!is_idle).then(|| row.to_vec())
    };
    Affine {
        divisor: row(1.0),
        bias: row(-0.0),
        factor: row(1.0),
        shift: row(-0.0),
    }
}

/// Whether what is equal to its threshold becomes 0, by the attribute `at`.
fn ternary(node: &impl Attributes) -> Result<bool, Error> {
    match node.int(c"at") {
        None | Some(1) => Ok(false),
        Some(0) => Ok(true),
        Some(other) => Err(Error(format!("at {other}: is not 0 or 1"))),
    }
}

/// What becomes of sums.
enum What {
    Signs(Vec<i32>),
    Ternary(Ternary),
    Floats(Affine),
}

struct Binary {
    layer: Layer,
    conv: BitConv,
    what: What,
}

impl Kernel for Binary {
    fn run(&self, node: &Context) -> Result<(), Error> {
        let g = self.conv.geometry();
        let x = node.input::<u8>(0)?;
        let bits = checks::bits(&x, g.channels)?;
        self.layer
            .out_size(g, [Some(bits.height), Some(bits.width)])?;
        let job = Job::new(&self.conv, bits).ok_or("its window does not fit into its input")?;
        let [oh, ow] = job.out_size();
        let (n, bytes) = (bits.batch, bytes_of(g.filters));
        let signs_to = |thresholds: &[i32], out: &mut [u8]| {
            let to = job.signs_to(thresholds, out);
            node.parallel(job.sign_tasks(), |task| job.signs(task, &to))
        };
        let put_signs = |thresholds: &[i32]| {
            let out = node.output(0, &[n, oh, ow, bytes])?;
            match out.is_empty() {
                true => Ok(()),
                false => signs_to(thresholds, out),
            }
        };
        match &self.what {
            What::Signs(thresholds) => put_signs(thresholds),
            What::Ternary(t) if bits.planes == 1 && !t.ties => put_signs(&t.above),
            What::Ternary(thresholds) => {
                let size = n * oh * ow * bytes;
                let (mut signs, mut nonzero) = (vec![0; size], vec![0; size]);
                if size > 0 {
                    signs_to(&thresholds.above, &mut signs)?;
                    signs_to(&thresholds.not_below, &mut nonzero)?;
                }
                let zeros = not_zero(&signs, &mut nonzero, g.filters);
                let planes = if zeros { 2 } else { 1 };
                let out = node.output(0, &[n, oh, ow, planes * bytes])?;
                if out.is_empty() {
                    return Ok(());
                }
                match zeros {
                    true => out.copy_from_slice(&interleave(&signs, &nonzero, bytes)),
                    false => out.copy_from_slice(&signs),
                }
                Ok(())
            }
            What::Floats(affine) => {
                let residual = match self.layer.matmul {
                    true => None,
                    false => node.optional::<f32>(3)?,
                };
                if let Some(residual) = &residual
                    && residual.shape != [n, g.filters, oh, ow]
                {
                    return Err(Error(format!(
                        "what is added is {:?} instead of {:?}",
                        residual.shape,
                        [n, g.filters, oh, ow]
                    )));
                }
                let y = node.output(0, &self.layer.float_dims(n, g.filters, [oh, ow]))?;
                let with_signs = !self.layer.matmul && node.outputs() > 1;
                if y.is_empty() {
                    if with_signs {
                        node.output::<u8>(1, &[n, oh, ow, bytes])?;
                    }
                    return Ok(());
                }
                let mut signs = vec![0; if with_signs { job.sign_bytes() } else { 0 }];
                let mut to = Floats::new(affine, residual.map(|r| r.data), &mut *y);
                if with_signs {
                    to = to.with_signs(&mut signs);
                }
                node.parallel(job.float_tasks(), |task| job.floats(task, &to))?;
                let zeros = to.has_zeros();
                match with_signs {
                    false => Ok(()),
                    true => {
                        let shape = [n, oh, ow, g.filters];
                        checks::put_signs(node, 1, shape, &signs, zeros.then_some((&*y, &[0.0])))
                    }
                }
            }
        }
    }
}
