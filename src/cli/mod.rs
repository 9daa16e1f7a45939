//! Arguments, commands, progress, exit codes; no logic.

mod args;
mod check;
mod compare;
mod effect;
mod eval;
mod inspect;
mod isolate;
mod progress;
mod prune;
mod shared;
mod targets;
mod train;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::printable::{printable_line, printable_lines};
use crate::verify::prepare_this_process;
use clap::{CommandFactory as _, FromArgMatches as _};

use args::{Cli, Command};

/// What the process prints on stdout, and its exit code.
type Printed = Result<(String, u8), Error>;

/// Runs the command line.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    if let Some(Command::Worker(a)) = &cli.command {
        // Ctrl-C ends it at once.
        return ExitCode::from(u8::from(isolate::work(a).is_err()));
    }
    if cli
        .runtime()
        .is_some_and(|runtime| runtime.limits.in_process)
        && let Err(e) = prepare_this_process()
    {
        eprintln!("warning: ONNX Runtime's telemetry cannot be turned off: {e}");
    }
    // The first Ctrl-C (or SIGTERM, SIGHUP) stops cleanly, a second one at once.
    let handler = move || {
        if progress::CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping (press Ctrl-C again to stop at once) …");
    };
    if let Err(e) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C cannot be caught: {e}");
    }
    let outcome = effect::check(&matches).and_then(|()| run(&cli));
    match outcome {
        Ok((text, code)) => {
            let printed = std::io::stdout().write_all(printable_lines(&text).as_bytes());
            match printed.and_then(|()| std::io::stdout().flush()) {
                // A closed pipe (`| head`) is not an error.
                Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                    eprintln!("onnx-bnnprune: the output cannot be written: {e}");
                    ExitCode::from(code.max(2))
                }
                _ => ExitCode::from(code),
            }
        }
        Err(e) => {
            eprintln!("onnx-bnnprune: {}", printable_line(&e.to_string()));
            ExitCode::from(e.exit_code())
        }
    }
}

/// Runs the command that was asked for.
fn run(cli: &Cli) -> Printed {
    match &cli.command {
        Some(Command::Inspect(a)) => unless_interrupted(inspect::run(a)),
        Some(Command::Eval(a)) => unless_interrupted(eval::run(a)),
        Some(Command::Verify(a)) => unless_interrupted(verify::run(a)),
        Some(Command::Check(a)) => unless_interrupted(check::run(a)),
        Some(Command::Train(a)) => train::run(a),
        Some(Command::Compare(a)) => compare::run(a),
        Some(Command::Worker(_)) => Ok((String::new(), 0)),
        None => prune::run(&cli.prune),
    }
}

/// What a command that only reads has found, unless Ctrl-C cut it short. The main job looks at the
/// flag itself: what it has written by then stands.
fn unless_interrupted(outcome: Printed) -> Printed {
    match progress::interrupted() {
        true => Err(Error::Interrupted),
        false => outcome,
    }
}
