//! Arguments, commands, progress, exit codes; no logic.
//!
//! [`main`] is the program; [`call`] runs a command within another program.

mod args;
mod check;
mod compare;
mod config;
mod convert;
mod effect;
mod eval;
mod host;
mod inspect;
mod isolate;
mod options;
mod processes;
mod progress;
mod prune;
mod reference;
mod shared;
mod targets;
mod tips;
mod train;
mod verify;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::onnx::write_atomically;
use crate::output::FileId;
use crate::printable::printable_line;
use crate::progress::Observer;
use crate::screen::{Layout, Role};
use crate::verify::prepare_this_process;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use args::{Cli, Command};
use processes::Processes;
use progress::{Follower, Log, Terminal};

pub use config::config_names;
pub use host::{Host, Installation, Outcome};
pub use options::{CommandOption, options};

/// What a command has to say, or why it said nothing.
type Printed = Result<Outcome, Error>;

/// Runs the command line.
pub fn main() -> ExitCode {
    ExitCode::from(main_from(std::env::args_os(), &Installation::default()))
}

/// Runs a command line, the program's name first, and returns the exit code. Ends the process on a
/// second Ctrl-C, and where the arguments are wrong or ask for help.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>, installation: &Installation) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match parse(arguments.clone()) {
        Ok(parsed) => parsed,
        Err(Refusal::Arguments(e)) => e.exit(),
        Err(Refusal::File(e)) => return Reader::default().print(Err(e)),
    };
    let cli = &parsed.cli;
    if let Some(Command::Worker(a)) = &cli.command {
        // Ctrl-C ends it at once.
        return u8::from(isolate::work(a).is_err());
    }
    if cli
        .runtime()
        .is_some_and(|runtime| runtime.limits.in_process)
        && let Err(e) = prepare_this_process()
    {
        eprintln!("warning: ONNX Runtime's telemetry cannot be turned off: {e}");
    }
    let messages = cli.messages();
    let mut reader = Reader {
        markdown: messages.markdown,
        log: None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let processes = match Processes::of(cli, &stop) {
        Ok(processes) => processes,
        Err(e) => return reader.print(Err(e)),
    };
    let leads = processes.communicator().rank() == 0;
    if let Some(path) = messages.log_file.as_ref().filter(|_| leads) {
        let typed: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        let opened =
            log_is_its_own(&parsed.matches, path).and_then(|()| Log::open(path, &typed.join(" ")));
        match opened {
            Ok(log) => reader.log = Some(log),
            Err(e) => return conclude(&reader, &processes, Err(e)),
        }
    }
    // The first Ctrl-C (or SIGTERM, SIGHUP) stops cleanly, a second one at once.
    let flag = Arc::clone(&stop);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if leads {
            eprintln!("\nstopping (press Ctrl-C again to stop at once) …");
        }
    };
    if let Err(e) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C cannot be caught: {e}");
    }
    // A file that would grow beyond `ulimit -f` is an error like a full disk, not the end.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let terminal = Terminal::new(&messages, reader.log.clone(), Arc::clone(&stop));
    // What the first process says is true of all of them.
    let follower = Follower(Arc::clone(&stop));
    let observer: &dyn Observer = if leads { &terminal } else { &follower };
    let host = Host {
        observer,
        stop,
        installation,
        processes: processes.communicator(),
    };
    let outcome = run(&parsed, &host);
    drop(terminal);
    conclude(&reader, &processes, outcome)
}

/// Says how a command went, once for all processes that run it; the exit code.
fn conclude(reader: &Reader, processes: &Processes, outcome: Printed) -> u8 {
    let code = match &outcome {
        Ok(outcome) => Ok(outcome.code),
        Err(e) => Err(e.exit_code()),
    };
    // The others wait, and mpirun with them: it would not while one is printing and another is gone.
    if processes.communicator().rank() == 0 {
        let printed = reader.print(outcome);
        return processes.end(code.map(|_| printed)).code.max(printed);
    }
    let ending = processes.end(code);
    match ending.told {
        true => ending.code,
        false => reader.print(outcome),
    }
}

/// Runs a command within a program that goes on: prints nothing, and never ends the process. Asked
/// for help, it returns that.
///
/// `arguments` are those of the command line, the program's name first.
///
/// # Errors
/// What is wrong with the arguments, and all else that the command line would exit for. That a
/// verification failed is an [`Outcome`].
pub fn call(
    arguments: impl IntoIterator<Item = OsString>,
    host: &Host<'_>,
) -> Result<Outcome, Error> {
    match parse(arguments) {
        Ok(parsed) => run(&parsed, host),
        Err(Refusal::Arguments(e)) if !e.use_stderr() => Ok(Outcome::verbatim(e.to_string(), 0)),
        Err(Refusal::Arguments(e)) => Err(Error::Usage(first_paragraph(&e.to_string()))),
        Err(Refusal::File(e)) => Err(e),
    }
}

/// A command line, with what files that it names add to it.
struct Parsed {
    cli: Cli,
    matches: ArgMatches,
    /// Without what the files add.
    typed: ArgMatches,
    /// As typed.
    line: Vec<OsString>,
}

/// Why there is none.
enum Refusal {
    /// What was typed; or it asks for help.
    Arguments(clap::Error),
    /// What a file says.
    File(Error),
}

/// A number below 0 is a value, which its option may refuse, and no option of its own.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let allow = |arg: clap::Arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    let command = command.mut_args(allow);
    command.mut_subcommands(|command| command.mut_args(allow))
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refusal> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let line = arguments.clone();
    let read = |arguments: &[OsString]| {
        let matches = with_negative_numbers(Cli::command()).try_get_matches_from(arguments)?;
        Ok((Cli::from_arg_matches(&matches)?, matches))
    };
    let first = arguments.get(1).map(|a| a.to_string_lossy());
    if let Some(why) = first.and_then(|typed| tips::misspelt_command(&typed)) {
        return Err(Refusal::File(Error::Usage(why)));
    }
    let (mut cli, mut matches) =
        read(&arguments).map_err(|e| Refusal::Arguments(tips::with_tip(e)))?;
    let typed = matches.clone();
    let added = config::arguments(&matches).map_err(Refusal::File)?;
    if !added.is_empty() {
        // Behind the names of program and command.
        let behind = 1 + usize::from(matches.subcommand_name().is_some());
        let at = behind.min(arguments.len());
        arguments.splice(at..at, added);
        (cli, matches) = read(&arguments).map_err(|e| {
            let why = first_paragraph(&e.to_string());
            Refusal::File(Error::Usage(format!("{}: {why}", config::files(&matches))))
        })?;
    }
    Ok(Parsed {
        cli,
        matches,
        typed,
        line,
    })
}

/// What is wrong with arguments, without the usage that follows it.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines = text.lines().map(str::trim).take_while(|l| !l.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// Checks that no file that is written is the log as well.
fn log_is_its_own(matches: &ArgMatches, log: &Path) -> Result<(), Error> {
    let matches = matches.subcommand().map_or(matches, |(_, m)| m);
    let id = FileId::of_output(log);
    for name in WRITTEN {
        let Ok(Some(path)) = matches.try_get_one::<PathBuf>(name) else {
            continue;
        };
        if id.is_some() && FileId::of_output(path) == id {
            return Err(Error::Usage(format!(
                "{} is both the log and {}; name another file",
                path.display(),
                effect::option_of(name)
            )));
        }
    }
    Ok(())
}

/// Arguments that name a file that is written.
const WRITTEN: [&str; 8] = [
    "output",
    "report",
    "html",
    "save_masks",
    "save_masked",
    "save_config",
    "junit",
    "write_baseline",
];

/// Who reads how a command went.
#[derive(Default)]
struct Reader {
    markdown: bool,
    log: Option<Log>,
}

impl Reader {
    /// Prints how a command went; the exit code.
    fn print(&self, outcome: Printed) -> u8 {
        let outcome = outcome.unwrap_or_else(|e| Outcome::default().and(Err(e)));
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let errors = Layout::of_stderr(&stderr);
        let layout = match outcome.on_stderr {
            true => errors,
            false => Layout::of_stdout(&stdout, &stderr),
        };
        let text = match self.markdown {
            true => outcome.screen.markdown(),
            false => outcome.screen.lay_out(&layout),
        };
        let printed = match outcome.on_stderr {
            true => stderr.lock().write_all(text.as_bytes()),
            false => stdout
                .lock()
                .write_all(text.as_bytes())
                .and_then(|()| stdout.lock().flush()),
        };
        if let Some(log) = &self.log {
            log.add_result(&outcome.text());
        }
        for failure in &outcome.failures {
            let failure = printable_line(failure);
            let line = errors.remark(Role::Bad, "onnx-bnnprune", &failure);
            // The exit code says it too, to whoever has closed the pipe.
            let _ = stderr.lock().write_all(line.as_bytes());
            self.log.iter().for_each(|log| log.add("error", &failure));
        }
        if let Some(log) = &self.log {
            log.add("exit code", &outcome.code.to_string());
        }
        if let Some(missing) = self.log.as_ref().and_then(Log::missing) {
            let line = errors.remark(Role::Warning, "warning", &missing);
            let _ = stderr.lock().write_all(line.as_bytes());
        }
        match printed {
            // A closed pipe (`| head`) is not an error.
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("onnx-bnnprune: the output cannot be written: {e}");
                outcome.code.max(2)
            }
            _ => outcome.code,
        }
    }
}

/// Runs the command that was asked for.
fn run(parsed: &Parsed, host: &Host<'_>) -> Printed {
    let (cli, line) = (&parsed.cli, &parsed.line);
    effect::check(&parsed.matches, &parsed.typed)?;
    let command = || match &cli.command {
        Some(Command::Inspect(a)) => unless_stopped(host, inspect::run(a)),
        Some(Command::Eval(a)) => unless_stopped(host, eval::run(a, host)),
        Some(Command::Verify(a)) => unless_stopped(host, verify::run(a, host)),
        Some(Command::Check(a)) => unless_stopped(host, check::run(a, host)),
        Some(Command::Convert(a)) => convert::run(a, line, host),
        Some(Command::Train(a)) => train::run(a, line, host),
        Some(Command::Compare(a)) => compare::run(a, line, host),
        Some(Command::Completions(a)) => reference::completions(a),
        Some(Command::Man(a)) => reference::man(a),
        Some(Command::Worker(_)) => Ok(Outcome::default()),
        None => prune::run(&cli.prune, line, host),
    };
    let threads = host::usable_threads(cli.threads(), host.observer)?;
    let outcome = host::with_threads(threads, command)?;
    let saved = match config::to_save(&parsed.matches).filter(|_| host.processes.rank() == 0) {
        Some((path, text)) => write_atomically(&path, text.as_bytes()).map_err(Error::from),
        None => Ok(()),
    };
    Ok(outcome.and(saved))
}

/// What a command that only reads has found, unless it was stopped. The main job looks at the flag
/// itself: what it has written by then stands.
fn unless_stopped(host: &Host<'_>, outcome: Printed) -> Printed {
    match host.stopped() {
        true => Err(Error::Interrupted),
        false => outcome,
    }
}
