//! Models changed at random, and what becomes of them: for tests, for `examples/mutate.rs` and for
//! the fuzz targets.
#![allow(dead_code)] // each of them uses a part of it

pub mod change;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ndarray_rand::rand::rngs::StdRng;
use ndarray_rand::rand::{Rng as _, SeedableRng as _};
use onnx_bnnprune::check::{CheckOptions, check_file};
use onnx_bnnprune::graph::{Facts, Graph};
use onnx_bnnprune::normalise::normalise;
use onnx_bnnprune::onnx::proto::ModelProto;
use onnx_bnnprune::onnx::{Model, decode, to_bytes};
use onnx_bnnprune::qonnx;
use onnx_bnnprune::recognize;
use onnx_bnnprune::report::Inspection;
use onnx_bnnprune::rewrite::{Analysis, FilterMasks, Removal, apply_masks, eliminate};
use onnx_bnnprune::verify::{Runtime, RuntimeError, Session, SessionOptions};
use prost::Message as _;

/// How far a mutant came before it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No readable model, or of an opset that is not supported.
    Refused,
    /// A graph that breaks the rules.
    Read,
    /// Too little known of its shapes, or elimination declined.
    Indexed,
    /// All the way.
    Eliminated,
}

/// A runtime that refuses every model: what is tested is what comes before it.
pub struct NoRuntime;

impl Runtime for NoRuntime {
    fn name(&self) -> &'static str {
        "none"
    }

    fn version(&self) -> &str {
        "0"
    }

    fn load(&self, _: &[u8], _: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
        Err(RuntimeError::Interface("is not run here".to_owned()))
    }
}

/// The models under `folder` up to a size, in the order of their names.
pub fn seeds(folder: &Path, most: u64) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let onnx = entry.path().extension().is_some_and(|e| e == "onnx");
        if onnx && entry.metadata().unwrap().len() <= most {
            paths.push(entry.into_path());
        }
    }
    let read = |p| std::fs::read(p).unwrap();
    paths.iter().map(read).collect()
}

/// One of the models, changed in a few places: the same for the same seed.
pub fn mutant(seeds: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    let changes = rng.random_range(1..6);
    // Changed bytes mostly end in the decoder; changed messages go further.
    if rng.random_range(0..4) == 0 {
        for _ in 0..changes {
            change::bytes(&mut bytes, &mut rng);
        }
        return bytes;
    }
    let mut model = ModelProto::decode(&bytes[..]).unwrap();
    for _ in 0..changes {
        if rng.random_range(0..12) == 0 {
            let other = &seeds[rng.random_range(0..seeds.len())];
            change::splice(&mut model, &ModelProto::decode(&other[..]).unwrap());
        } else {
            change::model(&mut model, &mut rng);
        }
    }
    model.encode_to_vec()
}

/// Takes a file with these bytes through everything that is done without a runtime: checking,
/// loading, recognition, inspection, masks and elimination; a panic's message if there is one.
pub fn drive(bytes: &[u8], folder: &Path) -> Result<Stage, String> {
    let path = folder.join("mutant.onnx");
    std::fs::write(&path, bytes).unwrap();
    catch_unwind(AssertUnwindSafe(|| run(&path))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        text.unwrap_or_else(|| "a panic without a message".to_owned())
    })
}

fn run(path: &Path) -> Stage {
    let report = check_file(path, &NoRuntime, &CheckOptions::default());
    assert!(!report.passed, "nothing passes without a runtime");
    let Ok(model) = Model::load(path) else {
        return Stage::Refused;
    };
    let bytes = to_bytes(&model.proto);
    let again = decode(bytes.clone()).expect("what is written can be read");
    // By bytes: a NaN is not equal to itself.
    assert!(to_bytes(&again) == bytes, "reading and writing changed it");
    let warnings = model.warnings;
    let model = model.proto;
    let Ok(graph) = Graph::new(&model) else {
        return Stage::Read;
    };
    let Ok(facts) = Facts::infer(&graph, 1) else {
        return Stage::Indexed;
    };
    let layers = recognize::layers(&graph, &facts);
    assert!(layers.len() <= graph.node_count());
    let analysis = Analysis::new(&graph, &facts);
    let text = Inspection::new(path, &graph, &facts, &layers, &analysis, warnings).render();
    assert!(!text.is_empty());
    let _ = qonnx::lower(&model);
    sound(&normalise(&graph, &facts, &layers).model);
    let mut masks = FilterMasks::default();
    for layer in analysis.layers() {
        let filters = analysis.filters(layer).unwrap_or(0);
        masks.prune(layer, filters, (1..filters).step_by(3));
    }
    for removal in [Removal::Drop, Removal::Fold] {
        if let Ok(masked) = apply_masks(&model, &masks, removal) {
            sound(&masked.model);
            if let Ok(done) = eliminate(&masked.model) {
                sound(&done.model);
            }
        }
    }
    match eliminate(&model) {
        Ok(done) => {
            sound(&done.model);
            Stage::Eliminated
        }
        Err(_) => Stage::Indexed,
    }
}

/// What was rewritten is a graph still.
pub fn sound(model: &ModelProto) {
    if let Err(e) = Graph::new(model) {
        panic!("rewriting broke the graph: {e}");
    }
}
