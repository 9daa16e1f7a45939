//! Reports as pages: one file of HTML that loads nothing.
//!
//! A page is a shell (`templates/page.html`, `templates/style.css`) around sections. Each section is a
//! file in [`sections`] (of a report), [`comparison`] or [`training`], with a template that escapes whatever it is
//! given, and a line in the table there. Curves are drawn by [`plot`], filters by [`bits`].

mod bits;
mod cards;
mod charts;
mod comparison;
mod headline;
mod plot;
mod reproduce;
mod said;
mod sections;
mod training;
mod words;

use askama::Template;
use thiserror::Error;

use crate::printable::printable_lines;
use crate::report::{ComparisonReport, Report, RunReport, TrainReport};

/// Why there is no page.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PageError {
    /// A template failed.
    #[error("a part of the page cannot be written: {0}")]
    Template(#[from] askama::Error),
    /// A curve could not be drawn.
    #[error("a curve cannot be drawn: {0}")]
    Plot(String),
    /// A picture could not be encoded.
    #[error("a picture cannot be encoded: {0}")]
    Picture(#[from] png::EncodingError),
}

/// What becomes of a section's part of `T`: its body, or nothing where it has nothing to show.
type Body<T> = fn(&T) -> Result<Option<String>, PageError>;

/// A section of a page about a `T`.
struct Section<T> {
    /// Its anchor.
    id: &'static str,
    /// Its heading.
    title: &'static str,
    body: Body<T>,
}

/// A section that has something to show.
struct Shown {
    id: &'static str,
    title: &'static str,
    body: String,
}

/// How a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// What was promised was done.
    Done,
    /// It was not, and nothing was written.
    Failed,
    /// It was only planned.
    Planned,
}

impl Verdict {
    fn class(self) -> &'static str {
        match self {
            Self::Done => "good",
            Self::Failed => "bad",
            Self::Planned => "plan",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Done => "Done.",
            Self::Failed => "Not written.",
            Self::Planned => "A plan.",
        }
    }
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    kind: &'a str,
    title: &'a str,
    verdict: Verdict,
    headline: &'a str,
    meta: Vec<(&'static str, String)>,
    sections: Vec<Shown>,
    version: &'a str,
    style: &'static str,
    plot_style: String,
}

/// What stands above a page's sections.
struct Head<'a> {
    /// What kind of report it is.
    kind: &'a str,
    /// The model's path.
    model: &'a str,
    verdict: Verdict,
    /// The verdict in a sentence.
    headline: &'a str,
    run: &'a RunReport,
    /// The tool's version.
    version: &'a str,
}

/// The page of a run.
///
/// # Errors
/// If a part of it cannot be written.
pub fn of_report(report: &Report) -> Result<String, PageError> {
    let (verdict, headline) = headline::of_report(report);
    let head = Head {
        kind: "onnx-bnnprune report",
        model: &report.input.path,
        verdict,
        headline: &headline,
        run: &report.run,
        version: &report.version,
    };
    render(&head, shown(sections::ALL, report)?)
}

/// The page of a comparison.
///
/// # Errors
/// If a part of it cannot be written.
pub fn of_comparison(report: &ComparisonReport) -> Result<String, PageError> {
    let headline = headline::of_comparison(report);
    let head = Head {
        kind: "onnx-bnnprune comparison",
        model: &report.model,
        verdict: Verdict::Done,
        headline: &headline,
        run: &report.run,
        version: &report.version,
    };
    render(&head, shown(comparison::ALL, report)?)
}

/// The page of a training run.
///
/// # Errors
/// If a part of it cannot be written.
pub fn of_training(report: &TrainReport) -> Result<String, PageError> {
    let headline = headline::of_training(report);
    let head = Head {
        kind: "onnx-bnnprune training",
        model: &report.input.path,
        verdict: Verdict::Done,
        headline: &headline,
        run: &report.run,
        version: &report.version,
    };
    render(&head, shown(training::ALL, report)?)
}

fn shown<T>(all: &[Section<T>], of: &T) -> Result<Vec<Shown>, PageError> {
    let mut shown = Vec::new();
    for section in all {
        if let Some(body) = (section.body)(of)? {
            shown.push(Shown {
                id: section.id,
                title: section.title,
                body,
            });
        }
    }
    Ok(shown)
}

fn render(head: &Head<'_>, sections: Vec<Shown>) -> Result<String, PageError> {
    let &Head {
        kind,
        model,
        verdict,
        headline,
        run,
        version,
    } = head;
    let path = std::path::Path::new(model);
    let name = path.file_name().map(|name| name.to_string_lossy());
    let title = name.as_deref().unwrap_or(model);
    let meta = [
        ("Model", model.to_owned()),
        ("Begun", run.started.replace('T', " ").replace('Z', " UTC")),
        ("Version", version.to_owned()),
    ];
    let page = Page {
        kind,
        title,
        verdict,
        headline,
        meta: meta.into_iter().filter(|(_, v)| !v.is_empty()).collect(),
        sections,
        version,
        style: include_str!("../../templates/style.css"),
        plot_style: plot::style(),
    };
    // Names come from strangers: what cannot be seen shows as an escape, as it does on a terminal.
    Ok(printable_lines(&page.render()?))
}

#[cfg(test)]
mod tests;
