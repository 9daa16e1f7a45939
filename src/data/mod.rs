//! Training and validation images: loading, preprocessing, augmentation, order.
//!
//! [`load()`] recognises the [`Format`] of a path and decodes it into a [`Dataset`], which keeps
//! its pixels compactly; [`Dataset::batch`] applies the [`Preprocess`] a batch at a time.
//! Everything random is a pure function of a seed, the epoch and the image's index, so the
//! number of threads never shows.

mod arrays;
mod augment;
mod classes;
mod dataset;
mod decode;
mod error;
mod folder;
mod images;
mod load;
mod npz;
mod peek;
mod preprocess;
mod whole;

pub(crate) use augment::mix;
pub use augment::{Augment, Augmentation, epoch_order};
pub use dataset::{Dataset, Pixels, Split};
pub use error::DataError;
pub use folder::{holds_image, image_files};
pub use images::Images;
pub use load::{Format, LoadOptions, Progress, load};
pub use peek::first_size;
pub use preprocess::{Channels, Layout, Preprocess, Size};
