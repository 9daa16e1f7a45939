//! Do images, labels and options fit the model and each other?

use std::collections::BTreeSet;
use std::path::Path;

use super::{DataSource, View};
use crate::data::{Channels, Dataset, Images, Preprocess, holds_arrays};
use crate::error::Error;
use crate::graph::Graph;
use crate::network::Network;
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::type_proto;
use crate::progress::{Observer, Phase};
use crate::rewrite::{self, Residual};
use crate::subsidiary::{self, Options, Subject, TrainError};
use crate::verify;

/// What the elements of a model's input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// 32-bit floats.
    Float,
    /// uint8: pixels as they are.
    Byte,
}

/// Whether the native network can train the model.
pub(super) fn learnable(path: &Path, view: &View<'_>) -> Result<(), Error> {
    if !view.layers.iter().any(|l| l.is_binary()) {
        return Err(Error::unsuitable(
            path,
            format!(
                "has no binary layer (±1 weights on ±1 inputs); `onnx-bnnprune inspect {}` says why of each",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// What is learned or judged by must tell classes apart: one number a sample does where labels say that there
/// are two, or where it is a probability. It may be anything else, of which neither the loss nor agreement knows.
pub(super) fn tells_classes(
    model: &Path,
    view: &View<'_>,
    images: &Images,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let labelled = images.train.labels.is_some() && images.val_set().labels.is_some();
    let probability = verify::threshold_of_one_output(view.graph.model()) > 0.0;
    match view.scores() {
        Some(1) if !labelled && !probability => Err(Error::unsuitable(
            model,
            "has one output a sample, and the images no labels: is it the logit of two classes? Give labels (a folder per class, or `y` of 0 and 1), or end the model in a Sigmoid",
        )),
        Some(scores @ 2..) if !labelled => {
            let graph = &view.graph;
            let output = graph.outputs().first();
            let mut last = output.and_then(|&t| graph.producer(t));
            // Behind it views may stand.
            while let Some(n) = last
                && matches!(
                    graph.node(n).op(),
                    "Cast" | "Flatten" | "Identity" | "Reshape" | "Squeeze"
                )
            {
                last = graph.input_of(n, 0).and_then(|t| graph.producer(t));
            }
            if last.is_some_and(|n| graph.node(n).op() == "Sigmoid") {
                observer.warn(&format!(
                    "{} ends in a Sigmoid of {scores}: it is taken for a classifier of one class an image, that of the largest; if its images have several labels at once, neither learning nor agreement asks for the others",
                    model.display()
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The elements of the only input, which images are fed to.
pub(super) fn element(path: &Path, graph: &Graph<'_>) -> Result<Element, Error> {
    let model = graph.model().graph.as_ref();
    let name = graph
        .inputs()
        .first()
        .map_or("", |&input| graph.name(input));
    let mut declared = model.into_iter().flat_map(|g| &g.input);
    let kind = declared
        .find(|value| value.name() == name)
        .and_then(|value| value.r#type.as_ref()?.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Ok(Element::Float);
    };
    match DataType::try_from(tensor.elem_type()) {
        Ok(DataType::Uint8) => Ok(Element::Byte),
        Ok(DataType::Float | DataType::Undefined) | Err(_) => Ok(Element::Float),
        Ok(other) => Err(Error::unsuitable(
            path,
            format!(
                "input '{name}' takes {}, and images are fed as float or uint8; give it one of these types, with a Cast behind it",
                other.as_str_name().to_lowercase()
            ),
        )),
    }
}

/// Multiply-accumulates of one image above which nobody waits for [`doubt`]: those of ImageNet's networks.
const MOST_MACS: u64 = 500_000_000;

/// Warns where labelled images are probably not read as the model was trained with them.
/// Nothing is said of a model that has no native network, or whose images take long.
pub fn doubt(view: &View<'_>, images: &Images, observer: &dyn Observer) {
    let macs = rewrite::cost(&view.graph, &view.facts, &view.layers).macs;
    if macs > MOST_MACS || images.val_set().labels.is_none() {
        return;
    }
    let Ok(network) = Network::import(&view.graph, &view.facts, &view.layers) else {
        return;
    };
    let _looking = Phase::begin(observer, "looking at the images");
    if let Err(TrainError::Mismatch(said)) = subsidiary::sanity::fits(&network, images, observer) {
        observer.warn(&said);
    }
}

/// Options that can do nothing for a model that takes bytes.
pub(super) fn preprocessing(
    element: Element,
    name: &str,
    source: &DataSource,
) -> Result<(), Error> {
    if element == Element::Float {
        return Ok(());
    }
    let scaled = source.scale.is_some_and(|s| s != 1.0);
    let given = [
        ("--scale", scaled),
        ("--mean", source.mean.iter().any(|&m| m != 0.0)),
        ("--std", source.std.iter().any(|&s| s != 1.0)),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Error::Usage(format!(
            "{option}: input '{name}' takes uint8, pixels as they are; leave {option} out"
        ))),
    }
}

/// Options that can do nothing for data of that kind: an option is idle where it is for all sets.
pub(super) fn effect(sets: &[(&Path, &Dataset)], source: &DataSource) -> Result<(), Error> {
    let Some((path, _)) = sets.first() else {
        return Ok(());
    };
    let made = |path: &Path| source.synthetic.is_some() && path == source.data;
    let archive = (sets.iter()).all(|(path, _)| made(path) || holds_arrays(path).unwrap_or(false));
    let synthetic = sets.iter().all(|(path, _)| made(path));
    let values = sets.iter().all(|(_, set)| set.images.are_floats());
    let gray = source.channels == Some(Channels::Gray);
    let given = [
        ("--scale", source.scale.is_some(), values),
        ("--mean", !source.mean.is_empty(), values),
        ("--std", !source.std.is_empty(), values),
        ("--channels", source.channels.is_some() && !gray, values),
        ("--resize", source.resize.is_some(), archive),
        ("--crop", source.crop.is_some(), archive),
        ("--skip-bad", source.skip_bad, archive),
        ("--images-mb", source.images_mb.is_some(), synthetic),
    ];
    if let Some((option, ..)) = given.iter().find(|(_, given, idle)| *given && *idle) {
        return Err(Error::unsuitable(
            path,
            match option {
                &"--skip-bad" => format!(
                    "{option} is for images in files of their own; an archive of arrays is good or bad as a whole: leave it out"
                ),
                &"--images-mb" => format!(
                    "{option} is for images that are read; these are made, and held in memory: leave it out"
                ),
                &"--resize" | &"--crop" => format!(
                    "{option} is for image files; arrays are taken in their size: leave it out, or save x in the model's size"
                ),
                _ => format!(
                    "x holds floats, which are the model's input as they are: leave {option} out, or save uint8 pixels"
                ),
            },
        ));
    }
    if sets.iter().all(|(_, set)| set.labels.is_none()) && source.classes.is_some() {
        return Err(Error::unsuitable(
            path,
            "has no labels: --classes says nothing of it; leave it out, or give a folder per class or `y`",
        ));
    }
    Ok(())
}

/// Floats for a model that takes bytes must be such.
pub(super) fn bytes(path: &Path, element: Element, set: &Dataset) -> Result<(), Error> {
    let other = match element {
        Element::Byte => set.images.other_than_bytes(),
        _ => None,
    };
    match other {
        None => Ok(()),
        Some(v) => Err(Error::unsuitable(
            path,
            format!("x holds {v}, but the model takes uint8; save uint8 pixels"),
        )),
    }
}

/// Random variation that the images' size does not allow.
pub(super) fn variation(source: &DataSource, set: &Dataset) -> Result<(), Error> {
    let varied = source.augment;
    let [channels, h, w] = set.image_shape();
    let of_pictures = [
        ("--random-crop", varied.random_crop.is_some()),
        ("--colour-jitter", varied.colour_jitter.is_some()),
    ];
    if let Some((option, _)) = of_pictures.into_iter().find(|(_, given)| *given) {
        let refused = |why: String| Err(Error::unsuitable(&source.data, why));
        if set.images.are_floats() {
            return refused(format!(
                "x holds floats, of which {option} does not know what they show: leave it out, or save uint8 pixels"
            ));
        }
        if h == 1 || w == 1 {
            return refused(format!(
                "has signals, single rows: {option} is for images; leave it out"
            ));
        }
        if ![1, 3].contains(&channels) {
            return refused(format!(
                "has {channels} channels: {option} is for images of one or three; leave it out"
            ));
        }
    }
    let padding = varied.crop_padding;
    // A single row, or column, is moved along itself only.
    let least = if h == 1 || w == 1 { h.max(w) } else { h.min(w) };
    if padding >= least {
        return Err(Error::Usage(format!(
            "--crop-padding {padding}: images of {h}x{w} would be moved out of sight; give less than {least}"
        )));
    }
    if source.augment.flip && w == 1 {
        return Err(Error::Usage(
            "--flip: the images are one pixel wide, which leaves nothing to flip; leave it out"
                .to_owned(),
        ));
    }
    Ok(())
}

/// No layer loses all its filters, so not any share can go.
pub(super) fn reachable(
    model: &Path,
    subject: &Subject<'_>,
    options: &Options,
) -> Result<(), Error> {
    let Some(most) = subsidiary::most_that_can_go(subject, options) else {
        return Ok(());
    };
    // Rounded down: what is said must be possible.
    let rounded = |most: f64| (most * 1000.0).floor() / 1000.0;
    let one_by_one = Options {
        residual: Residual::Scatter,
        ..options.clone()
    };
    let scattered = match subsidiary::most_that_can_go(subject, &one_by_one) {
        None => ", and with --residual scatter it can be had".to_owned(),
        Some(more) if more > most + 1e-9 => {
            format!(", and with --residual scatter {}", rounded(more))
        }
        Some(_) => String::new(),
    };
    let most = rounded(most);
    Err(Error::unsuitable(
        model,
        format!(
            "--ratio asks for more than can go: each layer keeps at least a twentieth of its filters (and what --round-to, --max-share, --keep and the groups of convolutions say), and some layers keep all; --ratio {most} is the most{scattered}"
        ),
    ))
}

/// Labels must be outputs of the model.
pub(super) fn classes(
    model: &Path,
    path: &Path,
    set: &Dataset,
    outputs: usize,
) -> Result<(), Error> {
    let Some(classes) = set.class_count() else {
        return Ok(());
    };
    if classes == outputs || (set.classes.is_empty() && classes < outputs) {
        return Ok(());
    }
    let model = model.display();
    let labels = set.labels.as_deref().unwrap_or_default();
    let range = labels.iter().min().zip(labels.iter().max());
    let reason = match range {
        Some((&least, &most)) if set.classes.is_empty() => {
            let remedy = match least {
                0 => "leave the other images out, or give the model that has these classes",
                _ => "classes count from 0: save y - 1 if they count from 1",
            };
            format!(
                "y holds the classes {least} to {most}, but {model} tells {outputs} apart (0 to {}); {remedy}",
                outputs.saturating_sub(1)
            )
        }
        _ => format!(
            "holds {classes} classes, but {model} tells {outputs} apart; check the folder, or list the classes with --classes"
        ),
    };
    Err(Error::unsuitable(path, reason))
}

/// Labels to learn from and to judge by must be of several classes.
pub(super) fn several_classes(
    images: &Images,
    source: &DataSource,
    outputs: usize,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let present = |set: &Dataset, indices: &[usize]| -> Option<BTreeSet<usize>> {
        let labels = set.labels.as_ref()?;
        Some(
            indices
                .iter()
                .filter_map(|&i| labels.get(i).copied())
                .collect(),
        )
    };
    let (train, val) = (&images.train, images.val_set());
    let sides = [
        (&source.data, train, &images.train_indices, "to learn from"),
        (
            source.val.as_ref().unwrap_or(&source.data),
            val,
            &images.val_indices,
            "split off to judge by",
        ),
    ];
    for (path, set, indices, purpose) in sides {
        let Some(found) = present(set, indices) else {
            continue;
        };
        let all: BTreeSet<&usize> = set.labels.iter().flatten().collect();
        // Of a part that has not all the classes of its file, which part it is is said.
        let (part, remedy) = match all.len() > found.len() {
            true => (
                format!(" {purpose}"),
                "more images of them, or other images to judge by (--val)",
            ),
            false => (String::new(), "images of all classes"),
        };
        if found.len() < 2 && outputs > 1 {
            let only = found.first().copied().unwrap_or_default();
            return Err(Error::unsuitable(
                path,
                format!(
                    "all its images{part} are of one class ({}) of the model's {outputs}; nothing can be learned or judged of the others: give {remedy}",
                    class_name(images, only)
                ),
            ));
        }
        if found.len() < outputs {
            let missing = (0..outputs)
                .find(|k| !found.contains(k))
                .unwrap_or_default();
            observer.warn(&format!(
                "{}: its images{part} are of {} of the model's {outputs} classes (none of {}): what the others need may be pruned",
                path.display(),
                found.len(),
                class_name(images, missing)
            ));
        }
    }
    Ok(())
}

fn class_name(images: &Images, class: usize) -> String {
    match images.train.classes.get(class) {
        Some(name) => format!("'{name}'"),
        None => class.to_string(),
    }
}

/// Pixels of 8 bits, as they are.
pub(super) fn as_they_are(preprocess: &mut Preprocess) {
    preprocess.scale = 1.0;
    preprocess.mean = vec![0.0];
    preprocess.std = vec![1.0];
}
