//! Facts of rows held against the functions themselves.

use std::collections::{BTreeMap, HashSet};

use super::*;

/// Attributes of a node that has these floats.
#[derive(Default)]
struct Given(BTreeMap<&'static str, f32>);

impl Attributes for Given {
    fn float(&self, name: &str, default: f32) -> f32 {
        self.0.get(name).copied().unwrap_or(default)
    }

    fn int(&self, _: &str, default: i64) -> i64 {
        default
    }

    fn string(&self, name: &str) -> Option<&str> {
        (name == "approximate" && self.0.contains_key("tanh")).then_some("tanh")
    }
}

/// A node without attributes, and nodes with unusual ones.
fn settings() -> Vec<Given> {
    let some = |list: &[(&'static str, f32)]| Given(list.iter().copied().collect());
    vec![
        Given::default(),
        some(&[("alpha", 3.0), ("gamma", 2.0), ("beta", -0.3)]),
        some(&[("alpha", -0.7), ("tanh", 1.0)]),
        some(&[("gamma", -2.0), ("bias", 0.75)]),
        some(&[("lambd", -0.5), ("bias", 0.3)]),
    ]
}

fn points() -> impl Iterator<Item = f32> {
    (-4000..=4000).map(|i| i as f32 / 500.0)
}

#[test]
fn no_operator_has_two_rows() {
    let mut seen = HashSet::new();
    for row in all() {
        assert!(seen.insert(row.name), "{}", row.name);
    }
    assert!(operator("Relu").is_some() && operator("NoSuchOperator").is_none());
}

#[test]
fn no_function_is_steeper_than_its_row_says() {
    let mut seen = 0;
    for (row, function) in all().filter_map(|row| Some((row, row.unary()?))) {
        for given in settings() {
            let f = (function.single)(&given);
            let jumps = (function.jumps)(&given);
            let slope = |x: f32| match (function.slope)(&given) {
                Slope::AtMost(most) => most,
                Slope::At(at) => at(x, f(x)),
                Slope::Unbounded => f32::INFINITY,
            };
            for x in points().filter(|x| f(*x).is_finite()) {
                let next = x + 0.002;
                let jump = jumps.iter().any(|j| (x..=next).contains(&j.at));
                // A pole or the end of a domain lies between.
                if row.decides || jump || !f(next).is_finite() || x.abs() < 0.1 && slope(x) > 4.0 {
                    continue;
                }
                let (rise, most) = ((f(next) - f(x)).abs(), slope(x) * 0.002);
                let rounding = 1e-6 * (1.0 + f(x).abs());
                assert!(
                    rise <= most + rounding,
                    "{} at {x}: {rise} {most}",
                    row.name
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 100_000, "{seen}");
}

#[test]
fn what_rises_never_falls_and_what_is_not_negative_never_is() {
    for (row, function) in all().filter_map(|row| Some((row, row.unary()?))) {
        for given in settings() {
            let f = (function.single)(&given);
            let (trend, range) = ((row.trend)(&given), (row.range)(&given));
            for x in points() {
                let (y, next) = (f(x), f(x + 0.002));
                let (up, down) = (next >= y - 1e-6, next <= y + 1e-6);
                let kept = match trend {
                    Trend::Rises => up,
                    Trend::Falls => down,
                    Trend::Turns => true,
                };
                assert!(kept || y.is_nan(), "{} at {x}", row.name);
                let negative = match range {
                    Range::NotNegative => y < 0.0,
                    Range::Inputs(_) => x >= 0.0 && y < 0.0,
                    _ => false,
                };
                assert!(!negative, "{} at {x}: {y}", row.name);
            }
        }
    }
}

#[test]
fn single_and_double_precision_are_one_function() {
    for row in all() {
        if let Some((single, double)) = row.unary().and_then(|f| Some((f.single, f.double?))) {
            let f = single(&Given::default());
            for x in points() {
                let (a, b) = (f64::from(f(x)), double(f64::from(x)));
                let same = a.is_nan() && b.is_nan() || a == b || (a - b).abs() < 1e-5 * b.abs();
                assert!(same, "{} at {x}: {a} {b}", row.name);
            }
        }
        if let Some(Arithmetic {
            single: Some(single),
            double: Some(double),
            ..
        }) = row.arithmetic()
        {
            for (a, b) in [(1.5, 2.0), (4.0, -0.5), (0.25, 3.0)] {
                let (single, double) = (single(a, b), double(a.into(), b.into()));
                assert!((f64::from(single) - double).abs() < 1e-6, "{}", row.name);
            }
        }
    }
}

#[test]
fn jumps_are_where_rows_say_and_as_high() {
    for (row, function) in all().filter_map(|row| Some((row, row.unary()?))) {
        for given in settings() {
            let f = (function.single)(&given);
            for jump in (function.jumps)(&given) {
                let height = (f(jump.at + 1e-4) - f(jump.at - 1e-4)).abs();
                assert!(
                    (height - jump.height).abs() < 1e-3,
                    "{}: {height}",
                    row.name
                );
            }
        }
    }
}

#[test]
fn derivatives_are_finite_differences() {
    let mut seen = HashSet::new();
    for (row, function) in all().filter_map(|row| Some((row, row.unary()?))) {
        let Some(derivative) = function.derivative.filter(|_| !row.decides) else {
            continue;
        };
        for given in settings() {
            let (f, slope) = ((function.single)(&given), derivative(&given));
            for x in points() {
                let h = 2e-3;
                let (a, b) = (f64::from(f(x - h)), f64::from(f(x + h)));
                let [before, at, behind] = [x - h, x, x + h].map(|x| f64::from(slope(x)));
                // A kink, a jump, or a pole lies between.
                let known = [a, b, before, behind].iter().all(|v| v.is_finite());
                if !known || (before - behind).abs() > 0.05 * (1.0 + at.abs()) || at.abs() > 1e3 {
                    continue;
                }
                let jump = (function.jumps)(&given)
                    .iter()
                    .any(|j| (j.at - x).abs() <= 2.0 * h);
                let numeric = (b - a) / (2.0 * f64::from(h));
                let tolerance = 2e-3 + 2e-2 * at.abs() + 1e-4 * a.abs();
                assert!(
                    jump || (numeric - at).abs() < tolerance,
                    "{} at {x}: {at} instead of {numeric}",
                    row.name
                );
                seen.insert(row.name);
            }
        }
    }
    for row in all().filter(|row| !row.decides) {
        let learned = row.unary().and_then(|f| f.derivative).is_some();
        assert!(!learned || seen.contains(row.name), "{}", row.name);
    }
    assert!(seen.len() > 15, "{seen:?}");
}
