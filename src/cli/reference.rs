//! `completions` and `man`: what the command line knows of itself, for shells and for `man`.

use std::fs;

use clap::CommandFactory as _;

use super::Printed;
use super::args::{Cli, CompletionsArgs, ManArgs};
use super::host::Outcome;
use crate::error::Error;
use crate::screen::Screen;

/// Prints completions.
pub fn completions(args: &CompletionsArgs) -> Printed {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    // clap_complete takes the dash in the name for a step to a subcommand, in some places: the script would then look
    // for what it never sets.
    let text = text.replace("onnx__subcmd__bnnprune", "onnx__bnnprune");
    Ok(Outcome::verbatim(text, 0))
}

/// Writes manual pages, one for the main job and one for each command.
pub fn man(args: &ManArgs) -> Printed {
    let folder = &args.folder;
    let failed = |e: std::io::Error| Error::unsuitable(folder, e.to_string());
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    let mut screen = Screen::default();
    screen.figure("written", folder.display().to_string());
    Ok(Outcome::new(screen, 0))
}
