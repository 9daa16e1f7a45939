//! The list of what a reader should know, on every page that has one.

use askama::Template;

use super::PageError;

/// A line of it.
pub(super) struct Line {
    /// Its style: `failed`, `warned` or `noted`.
    pub class: &'static str,
    /// What it is, in a word.
    pub word: &'static str,
    pub text: String,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<ul class="said">
{%- for line in lines %}
<li class="{{ line.class }}"><b>{{ line.word }}</b> {{ line.text }}</li>
{%- endfor %}
</ul>"#
)]
struct Said {
    lines: Vec<Line>,
}

/// Of many, so many are listed.
const MOST: usize = 200;

/// The lines of several texts of a kind.
pub(super) fn each(class: &'static str, word: &'static str, texts: &[String]) -> Vec<Line> {
    let line = |text: String| Line { class, word, text };
    let mut lines: Vec<Line> = texts.iter().take(MOST).cloned().map(line).collect();
    if texts.len() > MOST {
        let more = format!("{} more are in the JSON report.", texts.len() - MOST);
        lines.push(line(more));
    }
    lines
}

/// The list; nothing where nothing is said.
///
/// # Errors
/// If it cannot be rendered.
pub(super) fn list(lines: Vec<Line>) -> Result<Option<String>, PageError> {
    match lines.is_empty() {
        true => Ok(None),
        false => Ok(Some(Said { lines }.render()?)),
    }
}
