//! Versions, imports and metadata.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, domain, node, shown};
use crate::check::finding::Findings;
use crate::onnx::proto::{ModelProto, Version};
use crate::operators::versions::NEWEST_OPSET;

/// From this version on a file says which operator sets it uses.
const IR_WITH_OPSETS: i64 = 3;
/// From this version on a file may define functions.
const IR_WITH_FUNCTIONS: i64 = 8;

/// Checks what stands beside the graph.
pub(super) fn apply<'m>(model: &'m ModelProto, findings: &mut Findings) -> Context<'m> {
    let ir = model.ir_version();
    let newest = Version::IrVersion as i64;
    if !(1..=newest).contains(&ir) {
        findings.error(
            "ir-version",
            format!("has the ir_version {ir}, known are 1 to {newest}; export it anew, or use a newer onnx-bnnprune"),
        );
    }
    let imports = imports(model, ir, findings);
    let nodes = model.graph.iter().flat_map(|g| &g.node);
    let foreign = nodes.filter(|n| node::is_quantizer(n) && !imports.contains_key(n.domain()));
    let foreign: BTreeSet<&str> = foreign.map(|n| n.domain()).collect();
    for name in foreign {
        findings.warning(
            "opset",
            format!("has quantisers of the domain '{name}', which it does not import, as Brevitas wrote it; add it to opset_import"),
        );
    }
    let mut functions = BTreeSet::new();
    if !model.functions.is_empty() && ir < IR_WITH_FUNCTIONS {
        findings.error(
            "functions",
            format!("defines functions, which IR version {ir} does not have; set ir_version to {IR_WITH_FUNCTIONS} or more"),
        );
    }
    let mut overloads = BTreeSet::new();
    for f in &model.functions {
        let name = (domain(f.domain()), f.name());
        if f.name().is_empty() {
            findings.error(
                "functions",
                "defines a function without a name; export it anew",
            );
        } else if !overloads.insert((name, f.overload())) {
            findings.error(
                "functions",
                format!("defines the function '{}' twice; export it anew", f.name()),
            );
        }
        functions.insert(name);
    }
    let mut keys = BTreeSet::new();
    for entry in &model.metadata_props {
        if !keys.insert(entry.key()) {
            findings.error(
                "metadata",
                format!("has the metadata key '{}' twice; remove one", entry.key()),
            );
        }
    }
    if !model.training_info.is_empty() {
        findings.warning(
            "training-info",
            "carries a training graph, which is not checked; export it for inference",
        );
    }
    Context {
        model,
        ir,
        imports,
        functions: functions.into(),
        in_function: false,
    }
}

fn imports<'m>(model: &'m ModelProto, ir: i64, findings: &mut Findings) -> BTreeMap<&'m str, i64> {
    let mut imports = BTreeMap::new();
    for import in &model.opset_import {
        let (name, version) = (domain(import.domain()), import.version());
        if imports.insert(name, version).is_some() {
            findings.error(
                "opset",
                format!("imports the operator set '{}' twice; keep one", shown(name)),
            );
        }
        if version < 1 {
            findings.error(
                "opset",
                format!(
                    "imports version {version} of the operator set '{}'; versions start at 1: export it anew",
                    shown(name)
                ),
            );
        } else if name.is_empty() && version > NEWEST_OPSET {
            findings.error(
                "opset",
                format!("uses opset {version}, known are 1 to {NEWEST_OPSET}; convert it with onnx.version_converter, or use a newer onnx-bnnprune"),
            );
        }
    }
    if imports.is_empty() {
        if ir >= IR_WITH_OPSETS {
            findings.error(
                "opset",
                "imports no operator set, so its operators have no meaning; export it anew",
            );
        }
        imports.insert("", 1);
    } else if ir < IR_WITH_OPSETS {
        findings.error(
            "opset",
            format!("imports operator sets, which IR version {ir} does not have; set ir_version to {IR_WITH_OPSETS} or more"),
        );
    }
    imports
}
