//! The JSON Schema of all reports, from their types: `docs/report.schema.json`.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{ComparisonReport, Evaluation, Inspection, Report, TrainReport};
use crate::check::CheckReport;
use crate::verify::Verification;

/// The schema of what the tool writes and prints as JSON.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings.into_generator();
    let kinds = [
        generator.subschema_for::<Report>(),
        generator.subschema_for::<ComparisonReport>(),
        generator.subschema_for::<TrainReport>(),
        generator.subschema_for::<Inspection>(),
        generator.subschema_for::<Evaluation>(),
        generator.subschema_for::<Verification>(),
        generator.subschema_for::<CheckReport>(),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Reports of onnx-bnnprune",
        "description": "--report of the main job and of convert (Report), of compare (ComparisonReport) and of train (TrainReport), and --json of inspect (Inspection), eval (Evaluation), verify (Verification) and check (CheckReport). Later versions may add keys; they rename and drop none.",
        "anyOf": kinds,
        "$defs": generator.take_definitions(true),
    })
}

/// All paths to properties of a schema.
fn keys(of: &Value, at: &str, into: &mut Vec<String>) {
    let Some(map) = of.as_object() else { return };
    for (name, value) in map {
        let here = format!("{at}/{name}");
        // Types are named in the schema alone, not in reports.
        if name == "properties" {
            let names = value.as_object().into_iter().flat_map(|m| m.keys());
            into.extend(names.map(|key| format!("{here}/{key}")));
        }
        keys(value, &here, into);
    }
}

#[test]
fn the_schema_is_that_of_the_types_and_loses_no_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let (mut before, mut now) = (Vec::new(), Vec::new());
    if let Ok(known) = serde_json::from_str(&known) {
        keys(&known, "", &mut before);
    }
    keys(&schema(), "", &mut now);
    let lost: Vec<&String> = before.iter().filter(|key| !now.contains(key)).collect();
    assert!(
        lost.is_empty(),
        "keys of reports are never renamed or dropped: {lost:?}"
    );
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == text,
        "docs/report.schema.json is of other types: UPDATE_SCHEMA=1 cargo test --lib json_schema writes it"
    );
}
