//! `BinaryMaxPool`: the largest of windows of bits.

use bnn_kernels::binary::bits::{BitPool, bytes_of};

use super::checks::{self, Presence};
use crate::definition::{Kernel, Operator, Port};
use crate::runtime::{Attributes, Context, Element, Error, Info, ShapeContext};

#[derive(Debug)]
pub struct MaxPool;

struct Pool {
    pool: BitPool,
    channels: usize,
    turned: Option<Vec<u8>>,
}

fn pool(node: &impl Attributes) -> Result<BitPool, Error> {
    let pool = BitPool {
        kernel: checks::sizes(node, c"kernel_shape", 1, Presence::Required)?,
        stride: checks::sizes(node, c"strides", 1, Presence::Optional)?,
        dilation: checks::sizes(node, c"dilations", 1, Presence::Optional)?,
        pads: checks::sizes(node, c"pads", 0, Presence::Optional)?,
    };
    let reach = |i: usize| (pool.kernel[i] - 1).saturating_mul(pool.dilation[i]);
    match (0..4).all(|i| pool.pads[i] <= reach(i % 2)) {
        true => Ok(pool),
        false => Err("its pads are as large as its window".into()),
    }
}

/// The output's size along an axis; `None` where it is not known.
fn side(pool: &BitPool, axis: usize, size: Option<usize>) -> Result<Option<usize>, Error> {
    let Some(size) = size else {
        return Ok(None);
    };
    let extent = (pool.kernel[axis] - 1).saturating_mul(pool.dilation[axis]) + 1;
    let padded = size.saturating_add(pool.pads[axis] + pool.pads[axis + 2]);
    let rest = padded.checked_sub(extent).filter(|_| size > 0);
    let rest = rest.ok_or("its window is larger than the image")?;
    let side = rest / pool.stride[axis] + 1;
    // The last window has to reach into the image. (The first one does, as pads are smaller than windows.)
    match (side - 1) * pool.stride[axis] < size + pool.pads[axis] {
        true => Ok(Some(side)),
        false => Err("a window lies outside of the image".into()),
    }
}

impl Operator for MaxPool {
    fn name(&self) -> &'static std::ffi::CStr {
        c"BinaryMaxPool"
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::of(Element::U8), Port::optional(Element::U8)] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::of(Element::U8)] }
    }

    fn infer(&self, node: &ShapeContext) -> Result<(), Error> {
        let channels = checks::channels(node)?;
        let pool = pool(node)?;
        let input = node.input(0);
        let innermost = input.as_ref().and_then(|dims| dims.last().copied()?);
        let [n, h, w] = checks::bits_dims(input, channels)?;
        let (h, w) = (side(&pool, 0, h)?, side(&pool, 1, w)?);
        node.set_output(0, Element::U8, &vec![n, h, w, innermost])
    }

    fn kernel(&self, node: &Info) -> Result<Box<dyn Kernel>, Error> {
        let channels = checks::channels(node)?;
        let turned = match node.inputs() {
            ..2 => None,
            _ => Some(node.constant::<u8>(1, "channels to turn around")?.to_vec()),
        };
        if turned
            .as_ref()
            .is_some_and(|t| t.len() != bytes_of(channels))
        {
            return Err(Error(format!(
                "its channels to turn around (input 1) are not {} bytes",
                bytes_of(channels)
            )));
        }
        let pool = pool(node)?;
        Ok(Box::new(Pool {
            pool,
            channels,
            turned,
        }))
    }
}

impl Kernel for Pool {
    fn run(&self, node: &Context) -> Result<(), Error> {
        let x = node.input::<u8>(0)?;
        let bits = checks::bits(&x, self.channels)?;
        let h = side(&self.pool, 0, Some(bits.height))?.unwrap_or(0);
        let w = side(&self.pool, 1, Some(bits.width))?.unwrap_or(0);
        let innermost = bits.planes * bytes_of(self.channels);
        let out = node.output(0, &[bits.batch, h, w, innermost])?;
        if !out.is_empty() {
            self.pool.run(&bits, [h, w], self.turned.as_deref(), out);
        }
        Ok(())
    }
}
