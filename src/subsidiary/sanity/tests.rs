//! Verdicts on made-up predictions.

use std::collections::BTreeMap;

use super::*;
use crate::progress::Silent;

/// `count` images of each class; every second class is predicted right, the others anyhow.
fn half_right(classes: usize, count: usize) -> (Vec<usize>, Vec<usize>) {
    let truth: Vec<usize> = (0..classes * count).map(|i| i / count).collect();
    let guess = |(i, &t): (usize, &usize)| match i.is_multiple_of(2) {
        true => t,
        false => (t + 1 + i * 7919) % classes,
    };
    let order: Vec<usize> = (0..classes * count)
        .map(|i| i * 7 % (classes * count))
        .collect();
    let predicted: Vec<usize> = truth.iter().enumerate().map(guess).collect();
    order.iter().map(|&i| (predicted[i], truth[i])).unzip()
}

#[test]
fn a_healthy_model_with_few_images_a_class_passes() {
    for count in [1, 2, 3] {
        let (predicted, truth) = half_right(500, count);
        let accuracy = agreement(&predicted, &truth);
        assert!((accuracy - 0.5).abs() < 0.02, "{accuracy}");
        judge(&predicted, &truth, 500, &[], false).unwrap();
    }
}

#[test]
fn permuted_classes_are_refused_with_the_whole_order() {
    let truth: Vec<usize> = (0..400).map(|i| i % 4).collect();
    let order = [2, 0, 3, 1];
    let label = |(i, &t): (usize, &usize)| if i % 10 == 0 { t } else { order[t] };
    let predicted: Vec<usize> = truth.iter().enumerate().map(label).collect();
    let found = best_permutation(&predicted, &truth).unwrap();
    assert_eq!(
        found.label_of,
        BTreeMap::from([(2, 0), (0, 1), (3, 2), (1, 3)])
    );
    assert!(
        (found.permuted - 0.9).abs() < 0.05 && found.as_listed < 0.2,
        "{found:?}"
    );
    let names = ["ant", "bee", "cat", "dog"].map(str::to_owned);
    let message = judge(&predicted, &truth, 4, &names, false)
        .unwrap_err()
        .to_string();
    assert!(
        message
            .contains("output 0 is 'bee', output 1 is 'dog', output 2 is 'ant', output 3 is 'cat'"),
        "{message}"
    );
}

#[test]
fn near_chance_depends_on_the_outputs_of_the_model() {
    // Two classes, 65 % right: better than chance, though not by half.
    let truth: Vec<usize> = (0..200).map(|i| i % 2).collect();
    let right = |share: usize| -> Vec<usize> {
        let guess = |(i, &t): (usize, &usize)| if i / 2 % 100 < share { t } else { 1 - t };
        truth.iter().enumerate().map(guess).collect()
    };
    judge(&right(65), &truth, 2, &[], false).unwrap();
    assert!(judge(&right(52), &truth, 2, &[], false).is_err());
    // The same labels from a model that tells a thousand classes apart: far from chance.
    judge(&right(45), &truth, 1000, &[], false).unwrap();
    assert_eq!(
        classes_of(&ArrayD::zeros(ndarray::IxDyn(&[6, 10, 1, 1]))),
        10
    );
}

#[test]
fn the_error_of_an_accuracy_is_binomial() {
    // Wilson's interval of 9 of 10 is 0.596 to 0.982, that of 900 of 1000 0.880 to 0.917.
    assert!((uncertainty(0.9, 10) - 0.193).abs() < 2e-3);
    assert!((uncertainty(0.9, 1000) - 0.0186).abs() < 2e-4);
    assert!(enough(0.9, 10, &Silent).is_err() && enough(1.0, 10, &Silent).is_err());
    enough(0.9, 100, &Silent).unwrap();
}

#[test]
fn one_class_without_labels_shows() {
    let mixed: Vec<usize> = (0..40).map(|i| i % 10).collect();
    one_answer(&mixed, 9, 20).unwrap();
    let error = one_answer(&[3; 12], 0, 20).unwrap_err().to_string();
    assert!(
        error.contains("class 3") && error.contains("100 %"),
        "{error}"
    );
    // Half of them, beside other folders of images.
    let half: Vec<usize> = (0..40)
        .map(|i| if i % 2 == 0 { 0 } else { i % 10 })
        .collect();
    one_answer(&half, 0, 20).unwrap();
    assert!(one_answer(&half, 9, 20).is_err());
    one_answer(&[], 0, 20).unwrap();
    // A folder for each of ten classes: whatever the original says of the images.
    let error = one_answer(&mixed, 9, 10).unwrap_err().to_string();
    assert!(
        error.contains("one for each other of the model's 10 classes"),
        "{error}"
    );
}

#[test]
fn spreading_keeps_to_the_limit_and_the_order() {
    let all: Vec<usize> = (0..1000).collect();
    let some = spread(&all, 300);
    assert!(some.len() == 300 && some.windows(2).all(|w| w[0] < w[1]));
    // One of every three or four.
    assert!(
        some.iter()
            .enumerate()
            .all(|(i, &k)| (k * 3 / 10).abs_diff(i) <= 1)
    );
    assert_eq!(spread(&all[..5], 300), [0, 1, 2, 3, 4]);
    assert_eq!(spread(&all, 1), [0]);
    assert!(spread(&[], 9).is_empty() && spread(&all, 0).is_empty());
}

#[test]
fn what_is_spread_over_classes_that_go_round_has_all_of_them() {
    for (classes, images, count) in [(10, 20_000, 2_000), (10, 50_000, 2_048), (8, 4_096, 512)] {
        let all: Vec<usize> = (0..images).collect();
        let mut of_each = vec![0; classes];
        for image in spread(&all, count) {
            of_each[image % classes] += 1;
        }
        let even = count / classes;
        assert!(
            of_each.iter().all(|&k| k > even / 2 && k < 2 * even),
            "{images}: {of_each:?}"
        );
    }
}
