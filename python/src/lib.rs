//! The extension module of the Python package: commands of the tool run in this process, with
//! Python's lock released.
//!
//! It knows command lines, as texts; what Python objects become command lines is the package's.

mod events;
mod failure;
mod job;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use onnx_bnnprune::cli::{self, Installation};
use onnx_bnnprune::onnx::Model;
use onnx_bnnprune::page;
use onnx_bnnprune::report::ComparisonReport;
use pyo3::prelude::*;

use failure::{Answer, panicked};

/// A program and the arguments that make it a worker, the folder of ONNX Runtime's library, and the
/// library of operators on bits.
type Around = (
    Option<(PathBuf, Vec<OsString>)>,
    Option<PathBuf>,
    Option<PathBuf>,
);

/// An option: name, whether a value follows, whether it may be repeated, what parts its values, help.
type OptionRow = (String, bool, bool, Option<char>, String);

fn installation((worker, ort, operators): Around) -> Installation {
    Installation {
        worker,
        ort,
        operators,
    }
}

/// Runs a command and returns how it went. `events` is called now and then, in this thread, with a
/// list of what has happened since; what it raises stops the run and is raised here, as is Ctrl-C.
#[pyfunction]
fn call(
    py: Python<'_>,
    arguments: Vec<OsString>,
    around: Around,
    events: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    job::run(py, arguments, installation(around), events)
}

/// Runs the command line as a program does, and returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>, around: Around) -> u8 {
    let installation = installation(around);
    let run = || cli::main_from(arguments, &installation);
    py.detach(|| catch_unwind(AssertUnwindSafe(run)).unwrap_or(101))
}

/// The options of a command; nothing for one that does not exist. `None`: the main job.
#[pyfunction]
#[pyo3(signature = (command=None))]
fn options(command: Option<&str>) -> Option<Vec<OptionRow>> {
    let options = cli::options(command)?.into_iter();
    Some(
        options
            .map(|o| (o.name, o.value, o.repeatable, o.delimiter, o.help))
            .collect(),
    )
}

/// The options that a configuration file holds, with underscores, each with its value as text where
/// it is a single one; nothing where the file cannot be read, which whoever uses it says.
#[pyfunction]
fn config_names(path: PathBuf) -> Vec<(String, Option<String>)> {
    let read = || cli::config_names(&path).unwrap_or_default();
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
}

/// Writes a model file to another place, its external data with it.
#[pyfunction]
fn copy_model(py: Python<'_>, source: PathBuf, target: PathBuf) -> Answer {
    let copy = || {
        let model = Model::load(&source)?;
        model.save_edited(&model.proto, &target)?;
        Ok(())
    };
    py.detach(|| catch_unwind(AssertUnwindSafe(copy)))
        .map_or_else(|panic| panicked(&panic), Answer::of_nothing)
}

/// The page of a comparison, whose report is given as JSON; nothing where it is none.
#[pyfunction]
fn comparison_page(report: &str) -> Option<String> {
    let render = || {
        let report: ComparisonReport = serde_json::from_str(report).ok()?;
        page::of_comparison(&report).ok()
    };
    catch_unwind(render).unwrap_or_default()
}

/// Fails as a defect of the tool would, for tests of what Python sees then.
#[pyfunction]
fn panic(py: Python<'_>) -> PyResult<Answer> {
    job::supervise(py, None, |_| panic!("as asked for"))
}

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_function(wrap_pyfunction!(call, m)?)?;
    m.add_function(wrap_pyfunction!(main, m)?)?;
    m.add_function(wrap_pyfunction!(options, m)?)?;
    m.add_function(wrap_pyfunction!(config_names, m)?)?;
    m.add_function(wrap_pyfunction!(copy_model, m)?)?;
    m.add_function(wrap_pyfunction!(comparison_page, m)?)?;
    m.add_function(wrap_pyfunction!(panic, m)?)
}
