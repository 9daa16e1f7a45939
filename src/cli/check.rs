//! `check`.

use std::path::PathBuf;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use onnx_bnnprune::check::{self, Baseline, Checked, junit};
use onnx_bnnprune::error::Error;
use onnx_bnnprune::onnx::write_atomically;
use onnx_bnnprune::progress::Observer as _;

use super::Printed;
use super::args::CheckArgs;
use super::progress::{Terminal, interrupted};
use super::shared::{Interruptible, json, runtime};

/// Validates every model under the paths; exit code 1 if one is bad.
pub fn run(args: &CheckArgs) -> Printed {
    let baseline = match &args.baseline {
        Some(path) => Some(Baseline::read(path).map_err(|e| Error::Usage(e.to_string()))?),
        None => None,
    };
    let paths = check::find(&args.paths)?;
    let runtime = Interruptible(runtime(&args.runtime)?);
    let terminal = Terminal::new(args.json);
    terminal.begin("checking", paths.len() as u64);
    let mut checked = Vec::new();
    for path in &paths {
        if interrupted() {
            return Err(Error::Interrupted);
        }
        terminal.detail(&path.display().to_string());
        checked.push(check::check(path, &runtime)?);
        terminal.advance(1);
    }
    terminal.end();
    if let Some(path) = &args.write_baseline {
        let text = json(path, &Baseline::of(&checked))?;
        write_atomically(path, text.as_bytes())?;
    }
    if let Some(baseline) = &baseline {
        baseline.compare(&mut checked);
    }
    if let Some(path) = &args.junit {
        let text = junit(&checked).map_err(|e| Error::unsuitable(path, e.to_string()))?;
        write_atomically(path, text.as_bytes())?;
    }
    let code = u8::from(checked.iter().any(|c| !c.passed));
    if args.json {
        let passed = checked.iter().filter(|c| c.passed).count();
        let all = serde_json::json!({
            "runtime": onnx_bnnprune::verify::Runtime::name(&runtime),
            "runtime_version": onnx_bnnprune::verify::Runtime::version(&runtime),
            "checked": checked.len(),
            "passed": passed,
            "models": checked,
        });
        let first = paths.first().map_or_else(PathBuf::new, Clone::clone);
        return Ok((json(&first, &all)?, code));
    }
    let mut text = render(&checked);
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true") {
        text.push_str(&annotations(&checked));
    }
    Ok((text, code))
}

fn render(checked: &[Checked]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "",
            "model",
            "opset",
            "nodes",
            "binary layers",
            "filters",
            "bytes",
        ]);
    for c in checked {
        let mark = if c.passed { "ok" } else { "BAD" };
        let mut row = vec![mark.to_owned(), c.path.display().to_string()];
        match &c.summary {
            Some(s) => row.extend([
                s.opset.to_string(),
                s.nodes.to_string(),
                s.binary_layers.to_string(),
                s.binary_filters.to_string(),
                s.bytes.to_string(),
            ]),
            None => row.extend(vec!["-".to_owned(); 5]),
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.trim_fmt() + "\n\n";
    for c in checked {
        let path = c.path.display();
        for p in &c.problems {
            text.push_str(&format!("{path}: {}: {}\n", p.check, p.message));
        }
        for note in &c.notes {
            text.push_str(&format!("note: {path}: {note}\n"));
        }
    }
    let bad = checked.iter().filter(|c| !c.passed).count();
    let models = if checked.len() == 1 {
        "model"
    } else {
        "models"
    };
    text.push_str(&format!("{} {models} checked, {bad} bad\n", checked.len()));
    text
}

/// Workflow commands that GitHub shows beside the files.
fn annotations(checked: &[Checked]) -> String {
    let escaped = |s: &str| {
        s.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |s: &str| escaped(s).replace(':', "%3A").replace(',', "%2C");
    let each = checked
        .iter()
        .flat_map(|c| c.problems.iter().map(move |p| (c, p)));
    each.map(|(c, p)| {
        let file = property(&c.path.display().to_string());
        let message = escaped(&p.message);
        format!("::error file={file},title={}::{message}\n", p.check)
    })
    .collect()
}
