//! `Unpack`: from bits to floats.

use bnn_kernels::binary::bits::unpack;

use super::checks;
use crate::definition::{Kernel, Operator, Port};
use crate::runtime::{Context, Element, Error, Info, ShapeContext};

#[derive(Debug)]
pub struct Unpack;

struct Unpacker {
    channels: usize,
    flat: bool,
}

impl Operator for Unpack {
    fn name(&self) -> &'static std::ffi::CStr {
        c"Unpack"
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::of(Element::U8)] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::of(Element::F32)] }
    }

    fn infer(&self, node: &ShapeContext) -> Result<(), Error> {
        let channels = checks::channels(node)?;
        let [n, h, w] = checks::bits_dims(node.input(0), channels)?;
        let dims = match checks::flag(node, c"flat")? {
            false => vec![n, Some(channels), h, w],
            true => {
                let pixels = h
                    .zip(w)
                    .and_then(|(h, w)| h.checked_mul(w)?.checked_mul(channels));
                vec![n, pixels]
            }
        };
        node.set_output(0, Element::F32, &dims)
    }

    fn kernel(&self, node: &Info) -> Result<Box<dyn Kernel>, Error> {
        let channels = checks::channels(node)?;
        let flat = checks::flag(node, c"flat")?;
        Ok(Box::new(Unpacker { channels, flat }))
    }
}

impl Kernel for Unpacker {
    fn run(&self, node: &Context) -> Result<(), Error> {
        let x = node.input::<u8>(0)?;
        let bits = checks::bits(&x, self.channels)?;
        let (n, c, h, w) = (bits.batch, self.channels, bits.height, bits.width);
        let y = match self.flat {
            true => node.output(0, &[n, c * h * w])?,
            false => node.output(0, &[n, c, h, w])?,
        };
        if !y.is_empty() {
            unpack(&bits, y);
        }
        Ok(())
    }
}
