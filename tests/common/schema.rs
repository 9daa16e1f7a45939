//! Reports held against `docs/report.schema.json`.

use serde_json::Value;

/// The schema of one kind of report in which no other keys are allowed than those it names.
fn strict(kind: &str) -> Value {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(root.join("docs/report.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&text).unwrap();
    assert!(schema["$defs"][kind].is_object(), "no {kind}");
    let map = schema.as_object_mut().unwrap();
    map.remove("anyOf");
    map.insert("$ref".to_owned(), format!("#/$defs/{kind}").into());
    close(&mut schema);
    schema
}

/// Forbids further keys in every object whose keys are named.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.contains_key("properties") || map.contains_key("$ref") && map.len() > 1 {
                map.entry("unevaluatedProperties").or_insert(false.into());
            }
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

/// What is wrong with a report of that kind.
pub fn faults(kind: &str, report: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&strict(kind)).unwrap();
    let errors = validator.iter_errors(report);
    errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

/// Checks a report of that kind.
pub fn check(kind: &str, report: &Value) {
    let faults = faults(kind, report);
    assert!(faults.is_empty(), "{kind}: {faults:#?}");
}

/// Checks a file's JSON if it is a report.
pub fn check_file(json: &Value) {
    if json["tool"] != "onnx-bnnprune" {
        return;
    }
    let has = |key| json.get(key).is_some();
    let kind = match (has("rows"), has("epochs")) {
        (true, _) => "ComparisonReport",
        (_, true) => "TrainReport",
        _ => "Report",
    };
    check(kind, json);
}
