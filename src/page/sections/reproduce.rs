//! What it takes to get the same result again.

use askama::Template;

use crate::page::words::count;
use crate::page::{PageError, Section};
use crate::report::{FileReport, Report, RunReport};

pub(super) const SECTION: Section<Report> = Section {
    id: "reproduce",
    title: "Reproduce",
    body,
};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{%- if !command.is_empty() %}
<p>The same command, version, files and seed give the same bytes, on any number of threads.</p>
<pre tabindex="0"><code>{{ command }}</code></pre>
{%- endif %}
<h3>Files and machine</h3>
<div class="scroll" role="group" aria-label="Files and machine" tabindex="0">
<table><thead><tr><th scope="col">What</th><th scope="col">Value</th></tr></thead><tbody>
{%- for (name, value) in facts %}
<tr><th scope="row" class="nw">{{ name }}</th><td class="name">{{ value }}</td></tr>
{%- endfor %}
</tbody></table>
</div>
{%- if !settings.is_empty() %}
<details>
<summary>All settings</summary>
<div class="scroll" role="group" aria-label="All settings" tabindex="0">
<table><thead><tr><th scope="col">Setting</th><th scope="col">Value</th></tr></thead><tbody>
{%- for (name, value) in settings %}
<tr><th scope="row" class="name">{{ name }}</th><td class="name">{{ value }}</td></tr>
{%- endfor %}
</tbody></table>
</div>
</details>
{%- endif %}"#
)]
struct Reproduce {
    command: String,
    facts: Vec<(&'static str, String)>,
    settings: Vec<(String, String)>,
}

fn body(report: &Report) -> Result<Option<String>, PageError> {
    let mut facts = vec![
        ("Model read", file(&report.input)),
        ("SHA-256", report.input.sha256.clone()),
        ("Opset", report.input.opset.to_string()),
    ];
    if let Some(output) = &report.output {
        facts.push(("Model written", file(output)));
        facts.push(("Its SHA-256", output.sha256.clone()));
    }
    facts.push(("Seed", report.seed.to_string()));
    facts.extend(machine(&report.run, &report.version));
    let mut settings = Vec::new();
    for (name, value) in &report.settings {
        flat(name, value, &mut settings);
    }
    let reproduce = Reproduce {
        command: command(&report.run.command),
        facts,
        settings,
    };
    Ok(Some(reproduce.render()?))
}

fn file(of: &FileReport) -> String {
    format!("{} ({} bytes)", of.path, crate::report::grouped(of.bytes))
}

/// Which version ran when, and on what.
pub(in crate::page) fn machine(run: &RunReport, version: &str) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Version", version.to_owned())];
    if !run.started.is_empty() {
        facts.push(("Begun", run.started.clone()));
        facts.push((
            "Processor",
            format!("{}, {} threads", run.processor, count(run.cores)),
        ));
        facts.push(("System", run.system.clone()));
    }
    facts
}

/// A command line that a shell takes as it is.
pub(in crate::page) fn command(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=,+:@%".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Settings in settings by their names: `training.main_lr`.
fn flat(name: &str, value: &serde_json::Value, into: &mut Vec<(String, String)>) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            for (inner, value) in map {
                flat(&format!("{name}.{inner}"), value, into);
            }
        }
        Value::Null => {}
        Value::Array(all) if all.is_empty() => {}
        Value::String(text) => into.push((name.to_owned(), text.clone())),
        other => into.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_quoted_where_a_shell_needs_it() {
        let words = ["onnx-bnnprune", "a b.onnx", "it's", "--ratio=0.3", "", "$x"];
        let line = command(&words.map(str::to_owned));
        assert_eq!(
            line,
            r"onnx-bnnprune 'a b.onnx' 'it'\''s' --ratio=0.3 '' '$x'"
        );
    }
}
