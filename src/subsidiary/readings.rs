//! Other ways to read the same images: what people forget, and the option that asks for it.

use ndarray::{Array4, Axis};

use crate::data::{Channels, DataError, Dataset, Pixels, Preprocess};

/// Mean and standard deviation that networks are trained with, for pixels scaled to 0..1.
struct Statistics {
    /// Whose they are.
    of: &'static str,
    mean: &'static [f32],
    std: &'static [f32],
}

const STATISTICS: [Statistics; 8] = [
    Statistics {
        of: "",
        mean: &[0.5],
        std: &[0.5],
    },
    Statistics {
        of: "ImageNet's",
        mean: &[0.485, 0.456, 0.406],
        std: &[0.229, 0.224, 0.225],
    },
    Statistics {
        of: "CIFAR-10's",
        mean: &[0.4914, 0.4822, 0.4465],
        std: &[0.247, 0.2435, 0.2616],
    },
    Statistics {
        of: "CIFAR-10's, as often copied",
        mean: &[0.4914, 0.4822, 0.4465],
        std: &[0.2023, 0.1994, 0.201],
    },
    Statistics {
        of: "CIFAR-100's",
        mean: &[0.5071, 0.4867, 0.4408],
        std: &[0.2675, 0.2565, 0.2761],
    },
    Statistics {
        of: "SVHN's",
        mean: &[0.4377, 0.4438, 0.4728],
        std: &[0.198, 0.201, 0.197],
    },
    Statistics {
        of: "MNIST's",
        mean: &[0.1307],
        std: &[0.3081],
    },
    Statistics {
        of: "Fashion-MNIST's",
        mean: &[0.286],
        std: &[0.353],
    },
];

/// Means of Caffe's networks, blue first, which take pixels from 0 to 255.
const CAFFE: [f32; 3] = [103.939, 116.779, 123.68];
/// The default scale.
const UNIT: f32 = 1.0 / 255.0;

/// A reading of images.
pub(super) struct Reading {
    /// How pixels become the model's input.
    pub preprocess: Preprocess,
    /// What is done to values that are the input as they are: times the first, plus the second, per
    /// channel.
    pub values: Option<Vec<(f32, f32)>>,
    /// What to do to read them so, in the words of an error.
    pub advice: String,
}

/// Other readings than `pre` of images in memory, the most usual first.
pub(super) fn others(pre: &Preprocess, set: &Dataset) -> Vec<Reading> {
    let channels = set.image_shape()[0];
    match &set.images {
        Pixels::F32(values) => of_values(pre, channels, values),
        _ => of_pixels(pre, channels),
    }
}

fn of_pixels(pre: &Preprocess, channels: usize) -> Vec<Reading> {
    let is_unit = (pre.scale - UNIT).abs() < 1e-6;
    let mut all = Vec::new();
    let mut add = |scale: f32, mean: &[f32], std: &[f32], order: Channels, advice: String| {
        all.push(Reading {
            preprocess: Preprocess {
                scale,
                mean: mean.to_vec(),
                std: std.to_vec(),
                channels: order,
                ..pre.clone()
            },
            values: None,
            advice,
        });
    };
    let (mean, std) = (pre.mean.as_slice(), pre.std.as_slice());
    let plain = mean.iter().all(|&m| m == 0.0) && std.iter().all(|&s| s == 1.0);
    if !plain {
        let advice = "neither --mean nor --std".to_owned();
        add(pre.scale, &[0.0], &[1.0], pre.channels, advice);
    }
    if !is_unit {
        add(UNIT, mean, std, pre.channels, "--scale 1/255".to_owned());
    }
    for s in STATISTICS
        .iter()
        .filter(|s| [1, channels].contains(&s.mean.len()))
    {
        let scale = if is_unit { "" } else { "--scale 1/255 " };
        let whose = if s.of.is_empty() {
            String::new()
        } else {
            format!(" ({})", s.of)
        };
        let advice = format!(
            "{scale}--mean {} --std {}{whose}",
            list(s.mean),
            list(s.std)
        );
        add(UNIT, s.mean, s.std, pre.channels, advice);
    }
    match pre.channels {
        Channels::Rgb => add(
            pre.scale,
            mean,
            std,
            Channels::Bgr,
            "--channels bgr".to_owned(),
        ),
        Channels::Bgr => add(
            pre.scale,
            mean,
            std,
            Channels::Rgb,
            "--channels rgb".to_owned(),
        ),
        Channels::Gray => {}
    }
    if (pre.scale - 1.0).abs() > 1e-6 {
        add(1.0, mean, std, pre.channels, "--scale 1".to_owned());
    }
    if channels == 3 {
        let advice = format!("--scale 1 --mean {} --channels bgr (Caffe's)", list(&CAFFE));
        add(1.0, &CAFFE, &[1.0], Channels::Bgr, advice);
    }
    all
}

fn of_values(pre: &Preprocess, channels: usize, values: &Array4<f32>) -> Vec<Reading> {
    let mut all = Vec::new();
    let mut add = |values: Vec<(f32, f32)>, advice: String| {
        all.push(Reading {
            preprocess: pre.clone(),
            values: Some(values),
            advice,
        });
    };
    let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let unit = if largest > 16.0 { UNIT } else { 1.0 };
    let scaled = if largest > 16.0 { "x / 255" } else { "x" };
    match largest > 16.0 {
        true => add(vec![(UNIT, 0.0)], "x / 255 as x".to_owned()),
        false => add(vec![(255.0, 0.0)], "x * 255 as x".to_owned()),
    }
    for s in STATISTICS
        .iter()
        .filter(|s| [1, channels].contains(&s.mean.len()))
    {
        let whose = if s.of.is_empty() {
            String::new()
        } else {
            format!(" ({})", s.of)
        };
        let (mean, std) = (list(s.mean), list(s.std));
        let pairs = || s.mean.iter().zip(s.std);
        add(
            pairs().map(|(m, s)| (unit / s, -m / s)).collect(),
            format!("({scaled} - [{mean}]) / [{std}] per channel{whose} as x"),
        );
        if largest <= 16.0 {
            add(
                pairs().map(|(&m, &s)| (s, m)).collect(),
                format!("x * [{std}] + [{mean}] per channel{whose} as x"),
            );
        }
    }
    all
}

/// Some images of a set, with their values changed.
pub(super) fn some(
    set: &Dataset,
    indices: &[usize],
    values: Option<&[(f32, f32)]>,
) -> Result<Dataset, DataError> {
    let mut some = set.select(indices)?;
    if let Pixels::F32(all) = &mut some.images {
        for (c, mut plane) in all.axis_iter_mut(Axis(1)).enumerate() {
            let change = values.and_then(|v| v.get(c).or(v.first()));
            if let Some(&(factor, shift)) = change {
                plane.mapv_inplace(|v| v * factor + shift);
            }
        }
    }
    Ok(some)
}

fn list(values: &[f32]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(images: Pixels) -> Dataset {
        Dataset {
            images,
            labels: None,
            classes: Vec::new(),
            source: "d".into(),
            skipped: Vec::new(),
        }
    }

    fn advice(pre: &Preprocess, set: &Dataset) -> Vec<String> {
        others(pre, set).into_iter().map(|r| r.advice).collect()
    }

    #[test]
    fn colour_images_are_tried_with_the_statistics_in_use() {
        let colour = set(Pixels::U8(Array4::zeros((1, 3, 2, 2))));
        let found = advice(&Preprocess::default(), &colour);
        for wanted in [
            "--mean 0.5 --std 0.5",
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 (ImageNet's)",
            "--mean 0.4914,0.4822,0.4465 --std 0.247,0.2435,0.2616 (CIFAR-10's)",
            "--mean 0.5071,0.4867,0.4408 --std 0.2675,0.2565,0.2761 (CIFAR-100's)",
            "--scale 1 --mean 103.939,116.779,123.68 --channels bgr (Caffe's)",
            "--channels bgr",
            "--scale 1",
        ] {
            assert!(found.iter().any(|a| a == wanted), "{wanted}: {found:?}");
        }
        let other = Preprocess {
            scale: 1.0,
            mean: vec![3.0],
            ..Preprocess::default()
        };
        let found = advice(&other, &colour);
        for wanted in [
            "neither --mean nor --std",
            "--scale 1/255",
            "--scale 1/255 --mean 0.5 --std 0.5",
        ] {
            assert!(found.iter().any(|a| a == wanted), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn values_are_changed_per_channel() {
        let values = set(Pixels::F32(Array4::from_elem((2, 3, 1, 1), 255.0)));
        let all = others(&Preprocess::default(), &values);
        let imagenet = all.iter().find(|r| r.advice.contains("ImageNet")).unwrap();
        let Pixels::F32(changed) = some(&values, &[1], imagenet.values.as_deref())
            .unwrap()
            .images
        else {
            panic!("no floats")
        };
        for (c, (mean, std)) in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]
            .iter()
            .enumerate()
        {
            assert!((changed[[0, c, 0, 0]] - (1.0 - mean) / std).abs() < 1e-4);
        }
    }
}
