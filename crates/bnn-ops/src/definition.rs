//! What an operator is.

use std::ffi::CStr;
use std::fmt::Debug;

use crate::runtime::{Context, Element, Error, Info, ShapeContext};

/// An input or an output.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// Type of its elements.
    pub element: Element,
    /// Whether it may be left out.
    pub optional: bool,
}

impl Port {
    /// One that must be there.
    pub const fn of(element: Element) -> Self {
        let optional = false;
        Self { element, optional }
    }

    /// One that may be left out.
    pub const fn optional(element: Element) -> Self {
        let optional = true;
        Self { element, optional }
    }
}

/// An operator.
pub trait Operator: Debug + Sync {
    /// Its name.
    fn name(&self) -> &'static CStr;

    /// Its inputs.
    fn inputs(&self) -> &'static [Port];

    /// Its outputs.
    fn outputs(&self) -> &'static [Port];

    /// Checks what is known of a node, and says the shapes of its outputs as far as they are known.
    ///
    /// # Errors
    /// Why it is no such operator.
    fn infer(&self, node: &ShapeContext) -> Result<(), Error>;

    /// Makes a node's kernel.
    ///
    /// # Errors
    /// Why it is no such operator.
    fn kernel(&self, node: &Info) -> Result<Box<dyn Kernel>, Error>;
}

/// A node, ready to run: also on several threads at once.
pub trait Kernel: Send + Sync {
    /// Runs it.
    ///
    /// # Errors
    /// Why its inputs do not fit.
    fn run(&self, node: &Context) -> Result<(), Error>;
}
