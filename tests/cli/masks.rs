//! Masks files, and masks that do not fit a model.

use crate::common::{json, network, quick};
use crate::graphs::Builder;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::rewrite::{
    FilterMasks, LayerMask, MasksError, Removal, RewriteError, apply_masks,
};

/// One convolution of four filters, by its name.
fn model() -> (ModelProto, String) {
    let mut b = Builder::new(&[2, 6, 6]);
    let w = b.weight(&[4, 2, 1, 1], vec![1.0; 8]);
    let a = b.node("Conv", &["x", &w], vec![]);
    (b.model(&[&a]), a)
}

#[test]
fn masks_that_do_not_fit_are_one_line_errors() {
    let (model, a) = model();
    let error = |layer: &str, filters: usize, pruned: Vec<usize>| {
        let mut masks = FilterMasks::default();
        masks
            .layers
            .insert(layer.to_owned(), LayerMask { filters, pruned });
        match apply_masks(&model, &masks, Removal::Drop) {
            Err(RewriteError::Masks(e)) => {
                assert!(!e.to_string().contains('\n'));
                e
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        error("nowhere", 4, vec![0]),
        MasksError::UnknownLayer { .. }
    ));
    assert!(matches!(
        error(&a, 5, vec![0]),
        MasksError::FilterCount { .. }
    ));
    assert!(matches!(
        error(&a, 4, vec![4]),
        MasksError::OutOfRange { .. }
    ));
    assert!(matches!(
        error(&a, 4, vec![1, 1]),
        MasksError::Duplicate { .. }
    ));
    assert!(matches!(
        error(&a, 4, vec![0, 1, 2, 3]),
        MasksError::Empties { .. }
    ));
}

#[test]
fn masks_files_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masks.json");
    let mut m = FilterMasks::default();
    m.prune("/4/Conv", 160, [12, 3, 7]);
    m.save(&path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().trim(),
        r#"{"format":"onnx-bnnprune-masks/1","layers":{"/4/Conv":{"filters":160,"pruned":[3,7,12]}}}"#
    );
    assert_eq!(FilterMasks::load(&path).unwrap(), m);
    std::fs::write(&path, r#"{"format":"other/9","layers":{}}"#).unwrap();
    assert!(matches!(
        FilterMasks::load(&path),
        Err(MasksError::Format { .. })
    ));
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(
        FilterMasks::load(&path),
        Err(MasksError::Json { .. })
    ));
}

#[test]
fn each_producer_of_a_stream_has_a_mask_of_its_own_with_scatter() {
    let dir = tempfile::tempdir().unwrap();
    let pruned = |residual: &str| -> [Vec<u64>; 2] {
        let (out, masks) = (dir.path().join("o.onnx"), dir.path().join("m.json"));
        let report = dir.path().join("r.json");
        quick(&network("resnet"), &out)
            .args(["--ratio", "0.4", "--residual", residual, "--save-masks"])
            .arg(&masks)
            .arg("--report")
            .arg(&report)
            .assert()
            .success();
        assert_eq!(json(&report)["verification"]["passed"], true);
        let masks = json(&masks);
        // Both write into the stream of blocks 2 and 3, as a float shortcut does.
        ["/block2/conv2/Conv", "/block3/conv2/Conv"].map(|name| {
            let pruned = masks["layers"][name]["pruned"].as_array();
            let pruned = pruned.into_iter().flatten();
            pruned.map(|f| f.as_u64().unwrap()).collect()
        })
    };
    let [first, second] = pruned("coupled");
    assert_eq!(first, second);
    assert!(!first.is_empty());
    let [first, second] = pruned("scatter");
    assert!(!first.is_empty() && !second.is_empty());
    assert_ne!(first, second);
}
