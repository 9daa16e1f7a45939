//! The file of `--log-file`: every message with the time of day.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::error::Error;
use crate::printable::printable_line;

/// What every log begins with.
const BEGINNING: &str = "onnx-bnnprune log";

/// A log that lines are added to. What cannot be written is lost, as the run matters more; at its end that is said.
#[derive(Clone, Debug)]
pub struct Log(Arc<Mutex<Written>>);

#[derive(Debug)]
struct Written {
    path: PathBuf,
    file: File,
    /// Why lines are missing, where some are.
    failed: Option<io::Error>,
}

impl Log {
    /// Opens a log, an earlier run's too; `line` is what was typed.
    ///
    /// # Errors
    /// If the file is something else, which is left as it is, or cannot be written.
    pub fn open(path: &Path, line: &str) -> Result<Self, Error> {
        let unwritable = |e: io::Error| Error::unsuitable(path, format!("cannot be written: {e}"));
        let exists = path.is_file() && path.metadata().is_ok_and(|m| m.len() > 0);
        if exists && !is_log(path).map_err(unwritable)? {
            let why =
                "is no log of this tool; --log-file adds to a log or makes one: name another file";
            return Err(Error::unsuitable(path, why));
        }
        let file = OpenOptions::new().append(true).create(true).open(path);
        let log = Self(Arc::new(Mutex::new(Written {
            path: path.to_owned(),
            file: file.map_err(unwritable)?,
            failed: None,
        })));
        if !exists {
            log.write(&format!("{BEGINNING}\n"));
        }
        log.add("command", line);
        Ok(log)
    }

    /// Adds a message.
    pub fn add(&self, kind: &str, text: &str) {
        let now = DateTime::<Utc>::from(SystemTime::now());
        let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        self.write(&format!("{now} {kind}: {}\n", printable_line(text)));
    }

    /// Adds a result, whose lines stay lines.
    pub fn add_result(&self, text: &str) {
        self.write(text);
    }

    fn write(&self, text: &str) {
        if let Ok(mut written) = self.0.lock()
            && let Err(e) = written.file.write_all(text.as_bytes())
        {
            written.failed.get_or_insert(e);
        }
    }

    /// What is to be said where lines are missing.
    pub fn missing(&self) -> Option<String> {
        let written = self.0.lock().ok()?;
        let why = written.failed.as_ref()?;
        let path = written.path.display();
        Some(format!("{path}: lines of the log are missing: {why}"))
    }
}

fn is_log(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    let mut file = io::Read::take(BufReader::new(File::open(path)?), 64);
    file.read_until(b'\n', &mut first)?;
    Ok(first.starts_with(BEGINNING.as_bytes()))
}
