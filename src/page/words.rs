//! Numbers as a page writes them.

use crate::report::{grouped, percent};

/// `98.89 % → 97.11 %`.
pub(super) fn shares(before: f64, after: f64) -> String {
    format!("{} → {}", percent(before), percent(after))
}

/// `5 → 3`, or the one number where nothing changed.
pub(super) fn change(before: u64, after: u64, write: fn(u64) -> String) -> String {
    match before == after {
        true => write(before),
        false => format!("{} → {}", write(before), write(after)),
    }
}

/// By how much it became less, in per cent: `−60.4 %`; nothing where it did not change.
pub(super) fn saving(before: u64, after: u64) -> String {
    match before == 0 || before == after {
        true => String::new(),
        false => signed(100.0 * (after as f64 / before as f64 - 1.0), 1) + " %",
    }
}

/// A number with its sign, a proper minus; no sign where it shows as nothing.
pub(super) fn signed(number: f64, decimals: usize) -> String {
    let text = format!("{number:+.decimals$}");
    match text.chars().all(|c| !c.is_ascii_digit() || c == '0') {
        true => text.replace(['+', '-'], ""),
        false => text.replace('-', "−"),
    }
}

/// What is left in per cent, for the width of a bar.
pub(super) fn left(before: u64, after: u64) -> String {
    let share = after as f64 / before.max(1) as f64;
    format!("{:.1}", 100.0 * share.clamp(0.0, 1.0))
}

/// Seconds, minutes or hours.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.1 => format!("{:.0} ms", 1000.0 * s),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => {
            let whole = s.round();
            format!("{:.0} min {:02.0} s", (whole / 60.0).floor(), whole % 60.0)
        }
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// `percentage points`.
pub(super) fn points(share: f64) -> String {
    format!("{:.2} points", 100.0 * share)
}

/// A count with commas.
pub(super) fn count(number: usize) -> String {
    grouped(number as u64)
}

/// A share in per cent, or a dash.
pub(super) fn maybe(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(change(5, 5, grouped), "5");
        assert_eq!(change(5_000, 4, grouped), "5,000 → 4");
        assert_eq!(saving(200, 113), "−43.5 %");
        assert_eq!(signed(-0.001, 2), "0.00");
        assert_eq!(signed(1.5, 2), "+1.50");
        assert_eq!(saving(0, 0), "");
        assert_eq!(left(200, 50), "25.0");
        assert_eq!(left(0, 50), "100.0");
        let times = [0.0123, 2.0, 119.7, 125.0, 7200.0].map(time);
        assert_eq!(
            times,
            ["12 ms", "2.0 s", "2 min 00 s", "2 min 05 s", "2.0 h"]
        );
    }
}
