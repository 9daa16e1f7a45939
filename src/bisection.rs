//! Where monotone functions of an integer reach a value.

/// For each of `channels` functions the least u in `-most ..= most` from which on `holds` of its
/// value; `most + 1` if there is none. `eval` gives the value of every function, each at its own u,
/// and each must be non-decreasing as far as `holds` can tell. `None` as soon as `eval` gives that.
pub(crate) fn first(
    channels: usize,
    most: i64,
    eval: impl Fn(&[i64]) -> Option<Vec<f32>>,
    holds: impl Fn(f32) -> bool,
) -> Option<Vec<i64>> {
    let (mut below, mut from) = (vec![-most - 1; channels], vec![most + 1; channels]);
    while below.iter().zip(&from).any(|(b, f)| f - b > 1) {
        let at: Vec<i64> = below
            .iter()
            .zip(&from)
            .map(|(b, f)| (b + f).div_euclid(2).clamp(-most, most))
            .collect();
        let values = eval(&at)?;
        for (((below, from), &at), value) in below.iter_mut().zip(&mut from).zip(&at).zip(values) {
            if *from - *below > 1 {
                match holds(value) {
                    true => *from = at,
                    false => *below = at,
                }
            }
        }
    }
    Some(from)
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn finds_the_least_integer() {
        let at = [-5.5f32, 0.0, 2.0, 9.5, -100.0];
        let eval = |u: &[i64]| Some(u.iter().zip(at).map(|(&u, t)| u as f32 - t).collect());
        assert_eq!(first(5, 9, eval, |v| v >= 0.0).unwrap(), [-5, 0, 2, 10, -9]);
        assert_eq!(first(5, 9, eval, |v| v > 0.0).unwrap(), [-5, 1, 3, 10, -9]);
        assert_eq!(first(5, 9, |_| None, |_| true), None);
    }
}
