//! What a numpy array must be to hold images or labels, in words that say what to do.

use ndarray::{ArrayD, Dimension as _};

/// What an array of a numpy type such as `<U3` holds, if not numbers, and the remedy.
pub(super) fn no_numbers(dtype: &str) -> Option<&'static str> {
    match dtype.get(1..2)? {
        "U" | "S" | "a" => {
            Some("text; save class indices, such as y = np.unique(y, return_inverse=True)[1]")
        }
        "O" => Some("Python objects; save plain numbers (x.astype('uint8') or 'float32')"),
        "M" | "m" => Some("dates; save plain numbers"),
        "c" => Some("complex numbers; save real ones"),
        _ => None,
    }
}

/// `x`, whose first row is that of this index, unless a value is no finite number: its place is then in the
/// error text.
pub(super) fn finite(x: ArrayD<f32>, first: usize) -> Result<ArrayD<f32>, String> {
    let Some((at, value)) = x.indexed_iter().find(|(_, v)| !v.is_finite()) else {
        return Ok(x);
    };
    let what = match value.is_nan() {
        true => "NaN",
        false => "infinite",
    };
    let rows = std::iter::once(first).chain(std::iter::repeat(0));
    let at = at.slice().iter().zip(rows);
    let at: Vec<String> = at.map(|(i, first)| (i + first).to_string()).collect();
    Err(format!(
        "x[{}] is {what} (as a 32-bit float); every pixel must be a finite number: mend or leave out that image",
        at.join(", ")
    ))
}

/// The first of the values that is no whole number from 0 to 255.
pub(super) fn other_than_byte<'v>(values: impl IntoIterator<Item = &'v f32>) -> Option<f32> {
    let whole = |v: f32| v.fract() == 0.0 && (0.0..=255.0).contains(&v);
    values.into_iter().copied().find(|&v| !whole(v))
}
