//! The options of each command as data, for those who offer them in another language.

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _};

use super::args::Cli;

/// An option of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOption {
    /// As typed, without the dashes: `max-drop`.
    pub name: String,
    /// Whether a value follows.
    pub value: bool,
    /// Whether it may be given several times.
    pub repeatable: bool,
    /// What parts the values of one, where it takes several.
    pub delimiter: Option<char>,
    /// What it does.
    pub help: String,
}

/// The options of `command`, `None` being the main job; nothing if there is no such command.
pub fn options(command: Option<&str>) -> Option<Vec<CommandOption>> {
    let mut cli = Cli::command();
    // Inherits what is said of all commands.
    cli.build();
    let command = match command {
        Some(name) => cli.find_subcommand(name)?,
        None => &cli,
    };
    let options = command.get_arguments().filter_map(|arg| {
        let name = arg.get_long()?.to_owned();
        let automatic = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        (!automatic).then(|| CommandOption {
            name,
            value: arg.get_action().takes_values(),
            repeatable: matches!(arg.get_action(), ArgAction::Append),
            delimiter: arg.get_value_delimiter(),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        })
    });
    Some(options.collect())
}

/// Whether an argument was given, and not only has its default. There need not be such an argument.
pub(super) fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(matches.try_contains_id(id), Ok(true))
        && matches.value_source(id) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_command_line() {
        let main = options(None).unwrap();
        let find = |name: &str| main.iter().find(|o| o.name == name).unwrap();
        assert!(find("max-drop").value && !find("max-drop").repeatable);
        assert!(find("keep").repeatable && find("keep").delimiter.is_none());
        assert_eq!(find("mean").delimiter, Some(','));
        assert!(!find("normalise").value);
        assert!(main.iter().all(|o| o.name != "help" && o.name != "version"));
        assert!(
            options(Some("eval"))
                .unwrap()
                .iter()
                .any(|o| o.name == "runs")
        );
        assert_eq!(options(Some("evaluate")), None);
    }
}
