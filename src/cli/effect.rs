//! Which option has an effect on which run: one that has none is an error, not ignored.
//!
//! Every argument stands in a table with what it needs; a test fails for one that does not. What
//! depends on the model or the images is checked where these are known.

mod needs;
mod tables;

use super::config;
use super::options::is_given;
use crate::error::Error;
use clap::ArgMatches;

/// Why an option would do nothing in such a run; `None` if it does something.
type Need = fn(&Given<'_>) -> Option<String>;
/// Arguments by name, each with what it needs.
type Group = &'static [(&'static str, Need)];
/// The arguments of a command, those that commands share in groups.
type Table = &'static [Group];

/// The arguments of a run.
struct Given<'m>(&'m ArgMatches);

/// Checks the arguments that were given, those `typed` and those that files add to them.
///
/// # Errors
/// Names the first that would do nothing, and says why.
pub fn check(matches: &ArgMatches, typed: &ArgMatches) -> Result<(), Error> {
    let all = matches;
    let (table, matches) = match matches.subcommand() {
        Some((name, matches)) => (tables::of(name), matches),
        None => (tables::MAIN, matches),
    };
    let typed = Given(typed.subcommand().map_or(typed, |(_, typed)| typed));
    let given = Given(matches);
    for (name, need) in table.iter().copied().flatten() {
        if given.has(name)
            && let Some(why) = need(&given)
        {
            let option = option_of(name);
            let problem = format!("{option} has no effect here: {why}");
            return Err(Error::Usage(match typed.has(name) {
                true => problem,
                false => {
                    let (files, name) = (config::files(all), option.trim_start_matches('-'));
                    match config::holds(all, name) {
                        true => format!("{files}: {problem}; --unset {name} leaves it out"),
                        false => format!("{files}: {problem}"),
                    }
                }
            }));
        }
    }
    Ok(())
}

impl Given<'_> {
    /// Whether the user gave it.
    fn has(&self, name: &str) -> bool {
        is_given(self.0, name)
    }

    /// Its value as typed.
    fn text(&self, name: &str) -> Option<String> {
        let mut values = self.0.try_get_raw(name).ok()??;
        Some(values.next()?.to_string_lossy().into_owned())
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.text(name).as_deref() == Some(value)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }

    fn varied(&self) -> bool {
        let some = ["flip", "random_crop", "colour_jitter"];
        some.iter().any(|name| self.has(name))
            || self.number("crop_padding").is_some_and(|n| n > 0.0)
    }
}

/// The option as a user types it.
pub(super) fn option_of(name: &str) -> String {
    match name {
        "folder" => "--checkpoint".to_owned(),
        "every" => "--checkpoint-every".to_owned(),
        "paths" | "model" | "input" | "output" | "reference" | "candidate" => name.to_uppercase(),
        _ => format!("--{}", name.replace('_', "-")),
    }
}

#[cfg(test)]
mod tests;
