//! `Pack`: from floats to bits.

use bnn_kernels::binary::bits::{Packing, bytes_of};

use super::checks;
use crate::definition::{Kernel, Operator, Port};
use crate::runtime::{Attributes as _, Context, Element, Error, Info, ShapeContext};

#[derive(Debug)]
pub struct Pack;

struct Packer {
    thresholds: Vec<f32>,
    at: i8,
}

/// Batch, channels, height and width of a shape of two or four dimensions.
fn four<T: Copy>(dims: &[T], one: T) -> Result<[T; 4], Error> {
    match *dims {
        [n, c] => Ok([n, c, one, one]),
        [n, c, h, w] => Ok([n, c, h, w]),
        _ => Err(Error(format!(
            "its input has {} dimensions instead of 2 or 4",
            dims.len()
        ))),
    }
}

fn at(given: Option<i64>) -> Result<i8, Error> {
    match given.unwrap_or(0) {
        at @ -1..=1 => Ok(at as i8),
        other => Err(Error(format!("at {other}: is not -1, 0 or 1"))),
    }
}

impl Operator for Pack {
    fn name(&self) -> &'static std::ffi::CStr {
        c"Pack"
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::of(Element::F32), Port::of(Element::F32)] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::of(Element::U8)] }
    }

    fn infer(&self, node: &ShapeContext) -> Result<(), Error> {
        let at = at(node.int(c"at"))?;
        let Some(dims) = node.input(0) else {
            return node.set_output(0, Element::U8, &vec![None; 4]);
        };
        let [n, c, h, w] = four(&dims, Some(1))?;
        let innermost = c.map(bytes_of).filter(|_| at != 0);
        node.set_output(0, Element::U8, &vec![n, h, w, innermost])
    }

    fn kernel(&self, node: &Info) -> Result<Box<dyn Kernel>, Error> {
        let thresholds = node.constant::<f32>(1, "thresholds")?.to_vec();
        if thresholds.is_empty() || thresholds.iter().any(|t| t.is_nan()) {
            return Err("its thresholds (input 1) are none, or no numbers".into());
        }
        let at = at(node.int(c"at"))?;
        Ok(Box::new(Packer { thresholds, at }))
    }
}

impl Kernel for Packer {
    fn run(&self, node: &Context) -> Result<(), Error> {
        let x = node.input::<f32>(0)?;
        let [n, c, h, w] = four(&x.shape, 1)?;
        if self.thresholds.len() != 1 && self.thresholds.len() != c {
            return Err(Error(format!(
                "it has {} thresholds for {c} channels",
                self.thresholds.len()
            )));
        }
        let (bytes, plane) = (bytes_of(c), h * w);
        let mut signs = vec![0; n * plane * bytes];
        let shape = [n, c, plane];
        let packing = Packing::signs(x.data, shape, &self.thresholds, self.at, &mut signs);
        node.parallel(packing.tasks(), |task| packing.run(task))?;
        let zeros = packing.has_zeros();
        let floats = (x.data, &self.thresholds[..]);
        checks::put_signs(node, 0, [n, h, w, c], &signs, zeros.then_some(floats))
    }
}
