//! Pages of large networks.

use super::*;
use crate::report::{FilterSigns, GraphItem, GraphPlace, LayerReport, Pictures, Totals};
use crate::stopwatch::Lap;
use crate::subsidiary::StageReport;

/// A report of a network of `count` wide layers, trained long.
fn large(count: usize) -> Report {
    let name = |i: usize| format!("/features/layer{i}/conv/Conv");
    let layers: Vec<LayerReport> = (0..count)
        .map(|i| LayerReport {
            name: name(i),
            kind: "binary Conv".into(),
            binary: true,
            filters: 512,
            kept: 256,
            pruned: (0..512).filter(|f| f % 2 == 1).collect(),
            macs_before: 1 << 30,
            macs_after: 1 << 28,
            bytes_before: 1 << 22,
            bytes_after: 1 << 20,
            ..LayerReport::default()
        })
        .collect();
    let epoch = |i: usize| {
        serde_json::json!({"loss": 1.0 / (i + 1) as f64, "accuracy": null, "training_accuracy": 0.9,
            "learning_rate": 1e-3})
    };
    let mask = |i: usize| {
        serde_json::json!({"kept": 0.5, "flips": 0.01, "at_bounds": 0.1,
            "loss": 1.0 / (i + 1) as f64, "training_accuracy": 0.8})
    };
    let stage = |i: usize| -> StageReport {
        serde_json::from_value(serde_json::json!({
            "layers": [name(i)], "filters": 512, "kept": 256, "sensitivity": 0.01,
            "mask_epochs": (0..20).map(mask).collect::<Vec<_>>(),
            "retraining": (0..20).map(epoch).collect::<Vec<_>>(),
            "after_masking": 0.7, "random_after_masking": 0.6, "after_retraining": 0.75,
            "flipped_weights": 0.02, "loss": 0.1
        }))
        .unwrap()
    };
    // A generator of its own: compressible signs would flatter the size.
    let mut state = 1u64;
    let mut sign = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        if state >> 63 == 0 { 1 } else { -1 }
    };
    // As many as `pipeline::drawn` lets through.
    let shown = (1 << 21) / count / (512 * 9);
    let filters = (0..count).map(|i| FilterSigns {
        layer: name(i),
        filters: 512,
        inputs: 256,
        shown,
        kernel: [3, 3],
        signs: (0..512 * shown * 9).map(|_| sign()).collect(),
    });
    let filters = filters.collect();
    let graph = (0..2 * count)
        .map(|i| GraphItem {
            place: match i % 2 {
                0 => GraphPlace::Layer(i / 2),
                _ => GraphPlace::Join("Add".into()),
            },
            name: name(i),
            sources: match i {
                0 => Vec::new(),
                i if i % 2 == 1 && i > 1 => vec![i - 2, i - 1],
                i => vec![i - 1],
            },
            then: vec!["BatchNormalization".into(), "Sign".into()],
        })
        .collect();
    Report {
        totals: Totals::of(&layers),
        layers,
        stages: (0..count).map(stage).collect(),
        final_retraining: (0..150)
            .map(|i| serde_json::from_value(epoch(i)).unwrap())
            .collect(),
        timings: (0..count)
            .map(|stage| Lap {
                phase: "retraining".into(),
                stage: Some(stage),
                seconds: 1.5,
            })
            .collect(),
        pictures: Some(Pictures {
            filters,
            graph,
            operators: Vec::new(),
        }),
        ..Report::default()
    }
}

#[test]
fn sixty_wide_layers_stay_under_three_megabytes() {
    let begun = std::time::Instant::now();
    let page = of_report(&large(60)).unwrap();
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert!(page.contains("Only the first"), "nothing is left out");
    if let Some(path) = std::env::var_os("LARGE_PAGE") {
        std::fs::write(path, &page).unwrap();
        eprintln!("{} bytes in {:?}", page.len(), begun.elapsed());
    }
}

#[test]
fn an_empty_report_has_a_page() {
    let page = of_report(&Report::default()).unwrap();
    assert!(page.contains("No binary filter was removed"));
    let page = of_comparison(&ComparisonReport::default()).unwrap();
    assert!(page.contains("<main"));
}
