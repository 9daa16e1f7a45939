//! What it takes to get the same again: a command, files, a machine.

use askama::Template;

use super::PageError;
use super::words::count;
use crate::report::{FileReport, RunReport, grouped};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{%- if !command.is_empty() %}
{%- if !promise.is_empty() %}
<p>{{ promise }}</p>
{%- endif %}
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
    promise: &'static str,
    facts: Vec<(&'static str, String)>,
    settings: Vec<(String, String)>,
}

/// What the same command gives, where that is known to the bit.
pub(super) const SAME_BYTES: &str =
    "The same command, version, files and seed give the same bytes, on any number of threads.";

/// The section: the command of a run, facts of its files, and how its machine was.
///
/// # Errors
/// If it cannot be rendered.
pub(super) fn body(
    run: &RunReport,
    version: &str,
    promise: &'static str,
    mut facts: Vec<(&'static str, String)>,
    settings: Vec<(String, String)>,
) -> Result<Option<String>, PageError> {
    facts.push(("Version", version.to_owned()));
    if !run.started.is_empty() {
        facts.push(("Begun", run.started.clone()));
        let processor = format!("{}, {} threads", run.processor, count(run.cores));
        facts.push(("Processor", processor));
        facts.push(("System", run.system.clone()));
    }
    let section = Reproduce {
        command: command(&run.command),
        promise,
        facts,
        settings,
    };
    Ok(Some(section.render()?))
}

/// A model that was read, and one that was written.
pub(super) fn files(
    read: &FileReport,
    written: Option<&FileReport>,
) -> Vec<(&'static str, String)> {
    let file = |of: &FileReport| format!("{} ({} bytes)", of.path, grouped(of.bytes));
    let mut facts = vec![
        ("Model read", file(read)),
        ("SHA-256", read.sha256.clone()),
        ("Opset", read.opset.to_string()),
    ];
    if let Some(output) = written {
        facts.push(("Model written", file(output)));
        facts.push(("Its SHA-256", output.sha256.clone()));
    }
    facts
}

/// A command line that a shell takes as it is.
fn command(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=,+:@%".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Settings in settings by their names: `training.main_lr`.
pub(super) fn flat(name: &str, value: &serde_json::Value, into: &mut Vec<(String, String)>) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            for (inner, value) in map {
                let name = match name {
                    "" => inner.clone(),
                    name => format!("{name}.{inner}"),
                };
                flat(&name, value, into);
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
