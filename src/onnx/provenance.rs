//! Who wrote a file: this tool, of what, and how; and who wrote what it was made of.

use super::proto::{ModelProto, StringStringEntryProto};

/// What a changed model names as its producer.
pub const PRODUCER: &str = "onnx-bnnprune";
/// How the keys begin under which it says what was done.
const PREFIX: &str = "onnx_bnnprune.";
/// The producer of the file that it was made of.
const NAME: &str = "original_producer_name";
const VERSION: &str = "original_producer_version";

/// What was done, by key (without the prefix).
pub type Entries = Vec<(&'static str, String)>;

/// Makes this tool the producer of a model and says in its metadata what was done. Who produced the
/// original is kept there; what an earlier run said is replaced, other metadata stay.
pub fn stamp(model: &mut ModelProto, entries: &Entries) {
    let original =
        original_producer(model).map(|(name, version)| (name.to_owned(), version.to_owned()));
    model
        .metadata_props
        .retain(|p| !p.key().starts_with(PREFIX));
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            model.metadata_props.push(StringStringEntryProto {
                key: Some(format!("{PREFIX}{key}")),
                value: Some(value.to_owned()),
            });
        }
    };
    for (key, value) in entries {
        put(key, value);
    }
    if let Some((name, version)) = original {
        put(NAME, &name);
        put(VERSION, &version);
    }
    model.producer_name = Some(PRODUCER.to_owned());
    model.producer_version = Some(env!("CARGO_PKG_VERSION").to_owned());
}

/// Name and version of what exported a model, also where this tool has changed it since; `None` where
/// neither is said.
pub fn original_producer(model: &ModelProto) -> Option<(&str, &str)> {
    let (name, version) = match model.producer_name() {
        PRODUCER => {
            let of = |key: &str| {
                let props = model.metadata_props.iter();
                let mut found = props.filter(|p| p.key().strip_prefix(PREFIX) == Some(key));
                found.next().map_or("", |p| p.value())
            };
            (of(NAME), of(VERSION))
        }
        name => (name, model.producer_version()),
    };
    (!name.is_empty() || !version.is_empty()).then_some((name, version))
}
