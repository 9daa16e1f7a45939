//! Options from files: a run's own (`--config`), and the preprocessing that lies beside a model
//! (`--preprocessor`). They become arguments; what is typed wins.

mod preprocessor;
pub use preprocessor::file_of as preprocessor_file;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;
use crate::rewrite::did_you_mean;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _};
use toml::{Table, Value};

use super::args::Cli;
use super::options::is_given;

/// Longest file that is read.
const MAX_FILE: u64 = 1 << 20;
/// Options that a file does not hold.
const NOT_IN_FILES: [&str; 5] = ["config", "save-config", "unset", "help", "version"];

/// The arguments that the files named in `matches` stand for.
///
/// # Errors
/// If a file cannot be read, or holds what is no option.
pub fn arguments(matches: &ArgMatches) -> Result<Vec<OsString>, Error> {
    let given = Given::of(matches);
    let mut found = Vec::new();
    let mut named = given.path("preprocessor");
    if let Some(path) = given.path("config") {
        let mut table = read(&path)?;
        let unset = given.texts("unset");
        let unset: BTreeSet<String> = unset.iter().map(|name| name.replace('_', "-")).collect();
        for name in unset {
            let same = |key: &String| key.replace('_', "-") == name;
            let Some(key) = table.keys().find(|key| same(key)).cloned() else {
                let names = table.keys().map(String::as_str);
                return Err(Error::Usage(format!(
                    "--unset {name}: {} has no such option{}",
                    path.display(),
                    did_you_mean(&name, names)
                )));
            };
            table.remove(&key);
        }
        for (key, value) in &table {
            let arg = given.option(&path, key)?;
            let arguments = written(&path, key, arg, value)?;
            if given.leaves_free(arg) {
                found.push((arg.get_id().as_str(), arguments));
            }
        }
        if named.is_none() {
            named = table
                .get("preprocessor")
                .and_then(Value::as_str)
                .map(PathBuf::from);
        }
    }
    if let Some(path) = named {
        let in_file: Vec<&str> = found.iter().map(|(id, _)| *id).collect();
        // Else the first of its options would be blamed, which nobody gave.
        if !in_file.contains(&"data") && !given.has("data") {
            return Err(Error::Usage(
                "--preprocessor has no effect here: it is about the images of --data, which is not given"
                    .to_owned(),
            ));
        }
        let wanted = |name: &str| !in_file.contains(&name) && !given.has(name);
        for (name, text) in preprocessor::options(&path, wanted)? {
            found.push((name, vec![format!("--{name}={text}")]));
        }
    }
    let arguments = found.into_iter().flat_map(|(_, arguments)| arguments);
    Ok(arguments.map(OsString::from).collect())
}

/// The options that a file for `--config` holds, by their names with underscores, whether or not
/// there are such; each with its value as text where it is a single one.
///
/// # Errors
/// If it cannot be read.
pub fn config_names(path: &Path) -> Result<Vec<(String, Option<String>)>, Error> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Boolean(on) => Some(on.to_string()),
        Value::Integer(n) => Some(n.to_string()),
        Value::Float(x) => Some(x.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    let table = read(path)?;
    let options = table.iter();
    Ok(options
        .map(|(key, value)| (key.replace('-', "_"), text(value)))
        .collect())
}

/// The files that options come from, as a message names them.
pub fn files(matches: &ArgMatches) -> String {
    let given = Given::of(matches);
    let files = ["config", "preprocessor"].map(|id| given.path(id));
    let names = files
        .iter()
        .flatten()
        .map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// Whether the file of `--config` holds an option, which `--unset` leaves out then.
pub fn holds(matches: &ArgMatches, name: &str) -> bool {
    let names = Given::of(matches)
        .path("config")
        .map(|path| config_names(&path));
    let mut names = names.and_then(Result::ok).into_iter().flatten();
    names.any(|(held, _)| held == name.replace('-', "_"))
}

/// Where `--save-config` goes, and what belongs there: all options that were given, in files or as
/// arguments.
pub fn to_save(matches: &ArgMatches) -> Option<(PathBuf, String)> {
    let given = Given::of(matches);
    let path = given.path("save_config")?;
    let mut table = Table::new();
    for arg in given.command.get_arguments() {
        let Some(long) = arg.get_long().filter(|long| !NOT_IN_FILES.contains(long)) else {
            continue;
        };
        // Its options stand here themselves.
        if long != "preprocessor" && given.has(arg.get_id().as_str()) {
            table.insert(long.to_owned(), given.value(arg));
        }
    }
    Some((path, table.to_string()))
}

/// A command and what was given of its arguments.
struct Given<'m> {
    command: Command,
    matches: &'m ArgMatches,
}

impl<'m> Given<'m> {
    fn of(matches: &'m ArgMatches) -> Self {
        let mut command = Cli::command();
        command.build();
        match matches.subcommand() {
            Some((name, matches)) => Self {
                command: command.find_subcommand(name).cloned().unwrap_or_default(),
                matches,
            },
            None => Self { command, matches },
        }
    }

    fn has(&self, id: &str) -> bool {
        is_given(self.matches, id)
    }

    fn path(&self, id: &str) -> Option<PathBuf> {
        self.matches.try_get_one::<PathBuf>(id).ok()?.cloned()
    }

    fn texts(&self, id: &str) -> Vec<String> {
        let found = self.matches.try_get_many::<String>(id).ok().flatten();
        found.into_iter().flatten().cloned().collect()
    }

    /// The option that a key of a file names, with dashes or underscores.
    fn option(&self, path: &Path, key: &str) -> Result<&Arg, Error> {
        let name = key.replace('_', "-");
        let options = || {
            let longs = self.command.get_arguments();
            longs.filter(|arg| arg.get_long().is_some_and(|l| !NOT_IN_FILES.contains(&l)))
        };
        let is_called = |arg: &&Arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(&name) || aliases.contains(&name.as_str())
        };
        let found = options().find(is_called);
        found.ok_or_else(|| {
            let near = did_you_mean(&name, options().filter_map(Arg::get_long));
            Error::unsuitable(path, format!("there is no option '{key}'{near}"))
        })
    }

    /// Whether neither it nor what excludes it was typed.
    fn leaves_free(&self, arg: &Arg) -> bool {
        let typed = self.command.get_arguments();
        let mut typed = typed.filter(|other| self.has(other.get_id().as_str()));
        !typed.any(|other| {
            other.get_id() == arg.get_id() || self.excludes(arg, other) || self.excludes(other, arg)
        })
    }

    fn excludes(&self, arg: &Arg, other: &Arg) -> bool {
        let excluded = self.command.get_arg_conflicts_with(arg);
        excluded.iter().any(|arg| arg.get_id() == other.get_id())
    }

    /// The value of an option that was given.
    fn value(&self, arg: &Arg) -> Value {
        if !arg.get_action().takes_values() {
            return Value::Boolean(true);
        }
        let raw = self.matches.get_raw(arg.get_id().as_str());
        let texts = raw.into_iter().flatten().map(|text| text.to_string_lossy());
        let mut values = texts.map(|text| typed(&text));
        match arg.get_value_delimiter().is_some() || repeatable(arg) {
            true => Value::Array(values.collect()),
            false => values.next().unwrap_or(Value::Boolean(true)),
        }
    }
}

fn repeatable(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// A number where that is written back as the same text.
fn typed(text: &str) -> Value {
    if let Some(n) = text.parse().ok().filter(|n: &i64| n.to_string() == text) {
        return Value::Integer(n);
    }
    match text.parse().ok().filter(|x: &f64| x.to_string() == text) {
        Some(x) => Value::Float(x),
        None => Value::String(text.to_owned()),
    }
}

fn read(path: &Path) -> Result<Table, Error> {
    let unreadable = |why: String| Error::unsuitable(path, why);
    let bytes =
        files::read(path, MAX_FILE).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8".to_owned()))?;
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map(|span| {
            let before = text.get(..span.start).unwrap_or_default();
            format!("line {}: ", before.matches('\n').count() + 1)
        });
        let line = line.unwrap_or_default();
        unreadable(format!("{line}{}", e.message().replace('\n', " ")))
    })
}

/// The arguments that a line of a file stands for.
fn written(path: &Path, key: &str, arg: &Arg, value: &Value) -> Result<Vec<String>, Error> {
    let name = arg.get_long().unwrap_or_default();
    let wrong = |what: &str| Error::unsuitable(path, format!("{key}: {what}"));
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(n) => Ok(n.to_string()),
        Value::Float(x) => Ok(x.to_string()),
        _ => Err(wrong("expected a number or a text")),
    };
    let list = |values: &[Value]| values.iter().map(scalar).collect::<Result<Vec<_>, _>>();
    if !arg.get_action().takes_values() {
        return match value {
            Value::Boolean(true) => Ok(vec![format!("--{name}")]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(wrong("expected true or false")),
        };
    }
    match (value, arg.get_value_delimiter()) {
        (Value::Array(values), Some(delimiter)) => Ok(vec![format!(
            "--{name}={}",
            list(values)?.join(&delimiter.to_string())
        )]),
        (Value::Array(values), None) if repeatable(arg) => {
            let values = list(values)?.into_iter();
            Ok(values.map(|text| format!("--{name}={text}")).collect())
        }
        (Value::Array(_), None) => Err(wrong("takes one value")),
        // NAME=SIZE, NAME=SIZES.
        (Value::Table(entries), _) if repeatable(arg) => entries
            .iter()
            .map(|(of, value)| match value {
                Value::Array(values) => Ok(format!("--{name}={of}={}", list(values)?.join(","))),
                value => Ok(format!("--{name}={of}={}", scalar(value)?)),
            })
            .collect(),
        (value, _) => Ok(vec![format!("--{name}={}", scalar(value)?)]),
    }
}

#[cfg(test)]
mod tests;
