//! Class names: their order, and a file that gives another one.

use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::Path;

use super::DataError;
use crate::files;

/// Longest class file read, in bytes: a list of names, not a data set.
const MAX_CLASS_FILE: u64 = 16 << 20;

/// Sorts class names by name, or by value where every name is a decimal number (`2` before `10`).
pub(super) fn sort(names: &mut [String]) {
    let numeric = names
        .iter()
        .all(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()));
    if numeric {
        names.sort_by(|a, b| by_value(a, b));
    } else {
        names.sort();
    }
}

/// Compares decimal numbers of any length.
fn by_value(a: &str, b: &str) -> Ordering {
    let digits = |text: &str| text.trim_start_matches('0').to_owned();
    let (x, y) = (digits(a), digits(b));
    x.len().cmp(&y.len()).then(x.cmp(&y)).then_with(|| a.cmp(b))
}

/// Reads `--classes FILE`: one name a line, in the order of the model's outputs. Empty lines at
/// the end and a carriage return are ignored.
pub(super) fn read(path: &Path) -> Result<Vec<String>, DataError> {
    let fail = |reason: String| DataError::Classes {
        path: path.to_owned(),
        reason,
    };
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    let bytes = match files::read(path, MAX_CLASS_FILE) {
        Err(e) if e.kind() == ErrorKind::FileTooLarge => {
            return Err(fail(
                "too large for a list of class names, one a line".into(),
            ));
        }
        read => read.map_err(io)?,
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| fail("not UTF-8 text; write one class name a line".into()))?;
    let names: Vec<String> = text
        .trim_start_matches('\u{feff}')
        .trim_end()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    if names.iter().all(String::is_empty) {
        return Err(fail("no class names; write one a line".into()));
    }
    let mut seen = std::collections::HashMap::new();
    for (line, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(fail(format!(
                "line {} is empty; write one class name a line",
                line + 1
            )));
        }
        if let Some(first) = seen.insert(name, line + 1) {
            return Err(fail(format!(
                "class `{name}` stands on line {first} and again on line {}",
                line + 1
            )));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        sort(&mut names);
        names
    }

    #[test]
    fn numbers_sort_by_value_names_by_name() {
        assert_eq!(sorted(&["10", "2", "1", "02"]), ["1", "02", "2", "10"]);
        assert_eq!(sorted(&["10", "2", "a"]), ["10", "2", "a"]);
        assert_eq!(sorted(&["0", "00"]), ["0", "00"]);
    }

    #[test]
    fn class_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("classes.txt");
        let read_text = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file)
        };
        assert_eq!(read_text("dog\r\ncat\n\n").unwrap(), ["dog", "cat"]);
        for bad in ["", "\n", "a\n\nb", "a\nb\na"] {
            assert!(read_text(bad).is_err(), "{bad:?}");
        }
        assert!(read(&dir.path().join("absent")).is_err());
    }
}
