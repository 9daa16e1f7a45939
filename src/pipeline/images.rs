//! Images that fit a model: loading, and every way in which they may not.

use std::path::Path;

use super::fit::Element;
use super::input_form::InputForm;
use super::{View, disjoint, fit, memory};
use crate::data::{
    self, Channels, DataError, DataSource, Dataset, Images, LoadOptions, Preprocess,
};
use crate::error::Error;
use crate::network::Network;
use crate::progress::Observer;
use crate::synthesis::{Request, synthesise};
use crate::training::RestoreError;

/// Share of the images that is kept from learning to validate on, unless told otherwise.
pub const VAL_SPLIT: f64 = 0.1;
/// Values of an image that is made, at most: a network's activations are many times that.
const MOST_VALUES: usize = 1 << 21;
/// Images that cannot be read and are named, at most.
const MOST_NAMED: usize = 20;
/// Bytes of all images that are made, at most.
const MOST_BYTES: usize = 4 << 30;

/// What images are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImagesFor {
    /// To learn from some of them, and to validate on others.
    Learning,
    /// To measure on.
    Measuring,
}

impl ImagesFor {
    /// Those of a job that learns, or does not.
    pub(super) fn job(learns: bool) -> Self {
        match learns {
            true => Self::Learning,
            false => Self::Measuring,
        }
    }
}

/// Loads the images of `source` for the classifier `view`, read from `model`. The seed splits
/// validation images off; to learn from the images, training and validation images must differ and
/// be of several classes.
///
/// # Errors
/// If the model takes no images or is no classifier, and whatever keeps the images from being
/// what it takes.
pub fn load(
    model: &Path,
    view: &View<'_>,
    source: &DataSource,
    seed: u64,
    purpose: ImagesFor,
    observer: &dyn Observer,
) -> Result<Images, Error> {
    let learns = purpose == ImagesFor::Learning;
    if let Some(val) = source.val.as_ref().filter(|_| learns) {
        disjoint::not_the_same(&source.data, val)?;
    }
    let mut reader = Reader::new(model, view, source, observer)?;
    let train = match source.synthetic {
        Some(count) => reader.make(view, count, seed)?,
        None => reader.read_to_learn_from(source)?,
    };
    fit::variation(source, &train)?;
    // One limit for all.
    let memory = &mut reader.options.memory;
    *memory = memory.saturating_sub(train.bytes());
    let all: Vec<usize> = (0..train.len()).collect();
    let (val, train_indices, val_indices, val_source) = match &source.val {
        Some(path) => {
            let set = reader.read(path)?;
            fit::effect(&[(&source.data, &train), (path, &set)], source)?;
            check_names(&source.data, &train, path, &set)?;
            if learns {
                disjoint::apart(&source.data, &train, path, &set, observer)?;
            }
            let indices = (0..set.len()).collect();
            (Some(set), all, indices, path.display().to_string())
        }
        // Where nothing is learned, nothing has to be kept from learning.
        None if !learns && source.val_split.is_none() => {
            fit::effect(&[(&source.data, &train)], source)?;
            let words = match source.synthetic {
                Some(_) => "images made from the network itself".to_owned(),
                None => source.data.display().to_string(),
            };
            (None, all.clone(), all, words)
        }
        None => {
            fit::effect(&[(&source.data, &train)], source)?;
            let share = source.val_split.unwrap_or(VAL_SPLIT);
            let split = train.split(share, seed);
            if learns && source.synthetic.is_none() {
                let sides = [&split.train, &split.val].map(Vec::as_slice);
                disjoint::split_apart(&source.data, &train, sides, observer);
            }
            let words = match source.synthetic {
                Some(_) => format!(
                    "{:.0} % of images made from the network itself",
                    100.0 * share
                ),
                None => format!(
                    "{:.0} % of {}, split off by seed {seed}; the original may have been trained on them",
                    100.0 * share,
                    source.data.display()
                ),
            };
            (None, split.train, split.val, words)
        }
    };
    if train_indices.is_empty() || val_indices.is_empty() {
        return Err(Error::unsuitable(
            &source.data,
            "too few images to train and validate on; add images, or give --val or another --val-split",
        ));
    }
    let images = Images {
        train,
        train_indices,
        val,
        val_indices,
        preprocess: reader.options.preprocess,
        val_source,
    };
    if learns {
        fit::several_classes(&images, source, reader.outputs, observer)?;
    }
    Ok(images)
}

/// [`load`], to learn from.
///
/// # Errors
/// As [`load`].
pub(super) fn load_to_learn_from(
    model: &Path,
    view: &View<'_>,
    source: &DataSource,
    seed: u64,
    observer: &dyn Observer,
) -> Result<Images, Error> {
    load(model, view, source, seed, ImagesFor::Learning, observer)
}

/// Loads the images of `source.data` to measure on: all validate, none trains.
///
/// # Errors
/// As [`load`].
pub fn load_all(
    model: &Path,
    view: &View<'_>,
    source: &DataSource,
    observer: &dyn Observer,
) -> Result<Images, Error> {
    let reader = Reader::new(model, view, source, observer)?;
    let set = reader.read(&source.data)?;
    fit::effect(&[(&source.data, &set)], source)?;
    if set.is_empty() {
        return Err(Error::unsuitable(&source.data, "holds no images"));
    }
    Ok(Images {
        val_indices: (0..set.len()).collect(),
        train: set,
        train_indices: Vec::new(),
        val: None,
        preprocess: reader.options.preprocess,
        val_source: source.data.display().to_string(),
    })
}

/// Reads data sets for one classifier.
struct Reader<'a> {
    model: &'a Path,
    /// Classes that the model tells apart.
    outputs: usize,
    element: Element,
    options: LoadOptions,
    observer: &'a dyn Observer,
}

impl<'a> Reader<'a> {
    /// Checks that the model is a classifier of images, before any is decoded.
    fn new(
        model: &'a Path,
        view: &View<'_>,
        source: &'a DataSource,
        observer: &'a dyn Observer,
    ) -> Result<Self, Error> {
        let read = source.synthetic.is_none().then_some(source.data.as_path());
        let mut arrays = read.is_some();
        for path in read.into_iter().chain(source.val.as_deref()) {
            arrays &= data::holds_arrays(path)?;
        }
        let form = InputForm::of(model, &view.graph, &view.facts, arrays)?;
        let element = fit::element(model, &view.graph)?;
        let input = view.graph.inputs().first();
        let name = input.map_or("", |&input| view.graph.name(input));
        fit::preprocessing(element, name, source)?;
        let outputs = view.classes().ok_or_else(|| {
            Error::unsuitable(
                model,
                "its first output is not [N, classes]; --data works with classifiers",
            )
        })?;
        let channels = match source.channels {
            Some(c) => c,
            None if source.synthetic.is_some() && form.flat_square() => Channels::Gray,
            None => form
                .channels
                .and_then(Channels::for_model)
                .unwrap_or_default(),
        };
        let fits = |c: usize| c == channels.count() || (source.channels.is_none() && arrays);
        if let Some(c) = form.channels.filter(|&c| !fits(c)) {
            return Err(Error::Usage(format!(
                "--channels {} does not fit: the model's input has {c} channels",
                channels.name()
            )));
        }
        let mut preprocess = Preprocess {
            scale: source.scale.unwrap_or(1.0 / 255.0),
            mean: or_default(&source.mean, 0.0),
            std: or_default(&source.std, 1.0),
            channels,
            resize: source.resize,
            crop: source.crop,
            layout: form.layout,
        };
        if element == Element::Byte {
            fit::as_they_are(&mut preprocess);
        }
        Ok(Self {
            model,
            outputs,
            element,
            options: LoadOptions {
                preprocess,
                channels: form.channels,
                size: form.size,
                classes: source.classes.clone(),
                memory: match source.images_mb {
                    Some(mib) => (mib as u64).saturating_mul(1 << 20),
                    None => memory::image_bytes(),
                },
                streams: false,
                skip_bad: source.skip_bad,
            },
            observer,
        })
    }

    /// Makes images from the network.
    fn make(&self, view: &View<'_>, count: usize, seed: u64) -> Result<Dataset, Error> {
        let preprocess = &self.options.preprocess;
        let channels = preprocess.channels.count();
        preprocess.check(channels)?;
        let network = Network::import(&view.graph, &view.facts, &view.layers);
        let network = network.map_err(|source| Error::Import {
            path: self.model.to_owned(),
            source,
        })?;
        let shape = match (self.options.size, network.input_shape()) {
            (Some(size), _) => [channels, size.height as usize, size.width as usize],
            // A flat input: a square, or a row.
            (None, &[length]) => {
                let side = (length / channels.max(1)).isqrt();
                match side * side * channels == length {
                    true => [channels, side, side],
                    false => {
                        return Err(Error::unsuitable(
                            self.model,
                            format!(
                                "takes {length} values, which are no square of {} pixels; --data synthetic makes images",
                                preprocess.channels.name()
                            ),
                        ));
                    }
                }
            }
            _ => {
                return Err(Error::unsuitable(
                    self.model,
                    "has no fixed size of images, which --data synthetic needs; give it with --input-shape",
                ));
            }
        };
        let values = shape.iter().product::<usize>();
        let all = values.saturating_mul(count);
        if values > MOST_VALUES || all > MOST_BYTES {
            return Err(Error::unsuitable(
                self.model,
                format!(
                    "--data synthetic: {count} images of {values} values are more than fit in memory; images have up to {MOST_VALUES} values, and all together up to {} GiB (--synthetic-images)",
                    MOST_BYTES >> 30
                ),
            ));
        }
        let request = Request {
            count,
            shape,
            classes: self.outputs,
            seed,
        };
        let unfit = |e: RestoreError| Error::unsuitable(self.model, e.to_string());
        let made = synthesise(&network, preprocess, &request, self.observer).map_err(unfit)?;
        if self.observer.cancelled() {
            return Err(Error::Interrupted);
        }
        Ok(made)
    }

    /// The training images; a random part is cut out of each as it is in its file.
    fn read_to_learn_from(&self, source: &DataSource) -> Result<Dataset, Error> {
        let options = LoadOptions {
            streams: source.augment.random_crop.is_some(),
            ..self.options.clone()
        };
        self.read_with(&source.data, &options)
    }

    fn read(&self, path: &Path) -> Result<Dataset, Error> {
        self.read_with(path, &self.options)
    }

    fn read_with(&self, path: &Path, options: &LoadOptions) -> Result<Dataset, Error> {
        let set = match read_with_progress(path, options, self.observer) {
            Err(DataError::Interrupted) => return Err(Error::Interrupted),
            read => read?,
        };
        if !set.skipped.is_empty() {
            let named = set.skipped.iter().take(MOST_NAMED);
            let named: Vec<String> = named.map(ToString::to_string).collect();
            let others = match set.skipped.len().saturating_sub(MOST_NAMED) {
                0 => String::new(),
                n => format!("; and {n} others"),
            };
            self.observer.warn(&format!(
                "{}: {} images left out (--skip-bad): {}{others}",
                path.display(),
                set.skipped.len(),
                named.join("; "),
            ));
        }
        fit::classes(self.model, path, &set, self.outputs)?;
        fit::bytes(path, self.element, &set)?;
        self.options.preprocess.check(set.image_shape()[0])?;
        Ok(set)
    }
}

/// The same class must be the same output in both; sets without names have none to compare.
fn check_names(data: &Path, train: &Dataset, val: &Path, set: &Dataset) -> Result<(), Error> {
    if train.classes.is_empty() || set.classes.is_empty() {
        return Ok(());
    }
    let name = |names: &[String], i: usize| match names.get(i) {
        Some(name) => format!("'{name}'"),
        None => "missing".to_owned(),
    };
    let count = train.classes.len().max(set.classes.len());
    match (0..count).find(|&i| train.classes.get(i) != set.classes.get(i)) {
        None => Ok(()),
        Some(i) => Err(Error::unsuitable(
            val,
            format!(
                "class {i} is {}, but in {} it is {}; both need the same classes in the same order (see --classes)",
                name(&set.classes, i),
                data.display(),
                name(&train.classes, i),
            ),
        )),
    }
}

/// What the user gave per channel, or one value for all.
fn or_default(values: &[f32], default: f32) -> Vec<f32> {
    match values {
        [] => vec![default],
        values => values.to_vec(),
    }
}

fn read_with_progress(
    path: &Path,
    options: &LoadOptions,
    observer: &dyn Observer,
) -> Result<Dataset, DataError> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (begun, shown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let progress = |done: usize, total: usize| {
        if begun.swap(1, Ordering::Relaxed) == 0 {
            observer.begin("reading images", total as u64);
        }
        let before = shown.fetch_max(done, Ordering::Relaxed);
        observer.advance(done.saturating_sub(before) as u64);
        !observer.cancelled()
    };
    let set = data::load(path, options, &progress);
    observer.end();
    set
}
