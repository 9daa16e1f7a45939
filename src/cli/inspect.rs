//! `inspect`.

use crate::forms;
use crate::pipeline::{View, load_model, other_float_type};
use crate::report::Inspection;

use super::Printed;
use super::args::InspectArgs;
use super::host::Outcome;
use super::shared::json;

/// Lists layers and groups.
pub fn run(args: &InspectArgs) -> Printed {
    let model = load_model(&args.model, &args.shape.sizes(), None)?;
    let view = View::lean(&args.model, &model.proto)?;
    let mut warnings = model.warnings;
    warnings.extend(other_float_type(&view));
    if forms::has_operators(&model.proto) {
        warnings.push(
            "its binary layers are operators on bits (--to ops), of which nothing is listed or counted: inspect the model that it was made of".to_owned(),
        );
    }
    let found = Inspection::new(
        &args.model,
        &view.graph,
        &view.facts,
        &view.layers,
        &view.analysis,
        warnings,
    );
    match args.json {
        true => Ok(Outcome::verbatim(json(&args.model, &found)?, 0)),
        false => Ok(Outcome::new(found.render(), 0)),
    }
}
