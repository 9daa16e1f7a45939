//! Numbers as people read them.

use serde::Serialize;
use serde_json::Value;

use crate::screen::{Role, Text};

pub(super) use crate::screen::shortened;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// A count with a metric prefix where it has more than four digits: `9,216`, `1.25M`.
pub(crate) fn short(number: u64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T"])
}

/// A number of bytes: `512 B`, `1.5 KiB`.
pub(crate) fn bytes(number: u64) -> String {
    scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(number: u64, step: f64, units: &[&str]) -> String {
    if number < 10_000 {
        return format!("{}{}", grouped(number), units.first().unwrap_or(&""));
    }
    let mut value = number as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", units.get(unit).unwrap_or(&""))
}

/// `before → after`, or the one number where nothing changed.
pub(super) fn change(before: u64, after: u64, write: fn(u64) -> String) -> String {
    if before == after {
        write(before)
    } else {
        format!("{} → {}", write(before), write(after))
    }
}

/// [`change`], with what there is now in colour where it is another.
pub(super) fn changed(before: u64, after: u64, write: fn(u64) -> String) -> Text {
    if before == after {
        return write(before).into();
    }
    Text::from(format!("{} → ", write(before))).and(Role::Good, write(after))
}

/// [`changed`], and by how much.
pub(super) fn saved(before: u64, after: u64, write: fn(u64) -> String) -> Text {
    changed(before, after, write).and_plain(saving(before, after))
}

/// A fraction as per cent: `98.50 %`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2} %", fraction * 100.0)
}

/// The reduction from `before` to `after`: `-43.2 %`; nothing where there is none.
fn saving(before: u64, after: u64) -> String {
    if before == 0 || before == after {
        return String::new();
    }
    let ratio = after as f64 / before as f64 - 1.0;
    format!(" ({:+.1} %)", ratio * 100.0)
}

/// A value as JSON with its numbers as they are written: 0.4 in single precision is 0.4, not
/// 0.4000000059604645, which is what it becomes in double precision.
///
/// # Errors
/// If it has no form in JSON.
pub(crate) fn as_written(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Value> {
    serde_json::from_str(&serde_json::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(short(9_216), "9,216");
        assert_eq!(short(1_250_000), "1.25M");
        assert_eq!(short(u64::MAX), "18446744T");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(73_728), "72.0 KiB");
        assert_eq!(change(5, 5, grouped), "5");
        assert_eq!(change(5_000, 4, grouped), "5,000 → 4");
        assert_eq!(percent(0.985), "98.50 %");
        assert_eq!(saving(200, 113), " (-43.5 %)");
        assert_eq!(saving(0, 0), "");
    }
}
