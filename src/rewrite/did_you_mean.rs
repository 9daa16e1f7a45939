//! Names that a user may have meant.

/// Names that are listed at most.
const LISTED: usize = 3;
/// How alike two names must be (Jaro-Winkler similarity, 0..1).
const ALIKE: f64 = 0.8;

/// `; did you mean '/conv1/Conv'?` if some of `names` are like `wanted`, else nothing: names that
/// contain it first, then those that are spelt alike.
pub(crate) fn did_you_mean<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> String {
    let lower = wanted.to_lowercase();
    let mut near: Vec<(f64, &str)> = names
        .map(|name| {
            let other = name.to_lowercase();
            let contains = !lower.is_empty() && other.contains(&lower);
            let alike = strsim::jaro_winkler(&lower, &other);
            (f64::from(u8::from(contains)) + alike, name)
        })
        .filter(|&(score, _)| score >= ALIKE)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let listed: Vec<String> = near
        .iter()
        .take(LISTED)
        .map(|(_, n)| format!("'{n}'"))
        .collect();
    match listed.is_empty() {
        true => String::new(),
        false => format!("; did you mean {}?", listed.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_contain_it_come_before_names_spelt_alike() {
        let names = ["/stem/Conv", "/conv1/Conv", "/conv10/Conv", "/fc/Gemm"];
        let of = |wanted| did_you_mean(wanted, names.into_iter());
        assert_eq!(
            of("conv1"),
            "; did you mean '/conv1/Conv' or '/conv10/Conv'?"
        );
        assert_eq!(
            of("/conv1/Cnov"),
            "; did you mean '/conv1/Conv' or '/conv10/Conv'?"
        );
        assert_eq!(of("something else"), "");
        assert_eq!(of(""), "");
    }
}
