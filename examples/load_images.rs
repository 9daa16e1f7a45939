//! How fast images are read, decoded and varied, without a network behind them.
//!
//! ```text
//! cargo run --release --example load_images -- FOLDER [IMAGES]
//! ```
//!
//! Cuts a random part of at least 8 % out of each image, makes it 224 × 224, mirrors it or not, and prints
//! images per second on all threads (`RAYON_NUM_THREADS`). `scripts/images/compare_loading.py` does the same with
//! torchvision.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use onnx_bnnprune::data::{Augment, Augmentation, LoadOptions, Preprocess, epoch_order, load};

/// Images a batch.
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("usage: load_images FOLDER [IMAGES]")?;
    let most: usize = arguments.next().map_or(Ok(usize::MAX), |n| n.parse())?;
    let preprocess = Preprocess {
        crop: Some("224".parse()?),
        ..Preprocess::default()
    };
    let options = LoadOptions {
        preprocess: preprocess.clone(),
        channels: Some(3),
        streams: true,
        ..LoadOptions::default()
    };
    let began = Instant::now();
    let set = load(Path::new(&folder), &options, &|_, _| true)?;
    let first = set.len() as f64 / began.elapsed().as_secs_f64();
    println!(
        "each image looked at once: {} at {first:.0} a second",
        set.len()
    );
    let augmentation = Augmentation {
        augment: Augment {
            flip: true,
            random_crop: Some(0.08),
            ..Augment::default()
        },
        seed: 0,
        epoch: 0,
    };
    let all: Vec<usize> = (0..set.len()).collect();
    let mut order = epoch_order(&all, 0, 0);
    order.truncate(most);
    let began = Instant::now();
    let mut sum = 0.0;
    for batch in order.chunks(BATCH) {
        let x = set.augmented_batch(batch, &preprocess, &augmentation)?;
        sum += x.first().copied().unwrap_or_default();
    }
    let rate = order.len() as f64 / began.elapsed().as_secs_f64();
    println!(
        "decoded and varied: {} at {rate:.0} a second ({sum:.3})",
        order.len()
    );
    Ok(())
}
