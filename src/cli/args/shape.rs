//! Sizes of what a model leaves free.

use crate::sizes::Sizes;
use clap::Args;

/// Sizes of free dimensions. What is written keeps them free.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Free dimensions")]
pub struct ShapeArgs {
    /// Shape of an input whose height and width the file leaves free (repeatable) [default: the
    /// images' size]
    #[arg(long, value_name = "NAME=1,3,H,W", value_parser = parse_shape)]
    pub input_shape: Vec<(String, Vec<usize>)>,
    /// Size of a free dimension by its name in the file (repeatable)
    #[arg(long, value_name = "NAME=SIZE", value_parser = parse_dim)]
    pub dim: Vec<(String, usize)>,
}

impl ShapeArgs {
    /// As the library takes them.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            dims: self.dim.iter().cloned().collect(),
            shapes: self.input_shape.iter().cloned().collect(),
        }
    }
}

fn parse_dim(text: &str) -> Result<(String, usize), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, size)| {
        let size = size.parse().ok().filter(|&n: &usize| n > 0)?;
        (!name.is_empty()).then(|| (name.to_owned(), size))
    });
    parsed.ok_or_else(|| "must be NAME=SIZE with a positive size, such as height=224".to_owned())
}

fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, shape)| {
        let sizes = shape.split([',', 'x']).map(|size| size.trim().parse().ok());
        let sizes: Vec<usize> = sizes.collect::<Option<_>>()?;
        let fits = !name.is_empty() && sizes.iter().all(|&n| n > 0);
        fits.then(|| (name.to_owned(), sizes))
    });
    parsed.ok_or_else(|| {
        "must be NAME=SIZES with positive sizes, such as input=1,3,224,224".to_owned()
    })
}
