//! Training and validation images: loading, preprocessing, augmentation, order.
//!
//! [`load()`] recognises the format of a path, lists its images in a catalogue, and looks at each once: a
//! [`Dataset`] keeps their pixels compactly, or where memory has no room for them decodes them from their
//! files each time. [`Dataset::batch`] applies the [`Preprocess`] a batch at a time.
//! Everything random is a pure function of a seed, the epoch and the image's index, so the
//! number of threads never shows.

mod arrays;
mod augment;
mod catalogue;
mod classes;
mod dataset;
mod decode;
mod error;
mod folder;
mod images;
mod load;
mod npz;
mod preprocess;
mod reading;
mod rows;
mod shards;
mod source;
mod streamed;
mod variation;
mod whole;

pub(crate) use augment::mix;
pub use augment::{Augment, Augmentation, epoch_order};
pub use dataset::{Dataset, Pixels, Split};
pub use error::DataError;
pub use folder::{holds_image, image_files};
pub use images::Images;
pub use load::{LoadOptions, Progress, first_size, holds_arrays, load};
pub use npz::Stored;
pub use preprocess::{Channels, Layout, Preprocess, Size};
pub use source::DataSource;
pub use streamed::Streamed;
