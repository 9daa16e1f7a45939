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

/// `x`, unless a value is no finite number: its place is then in the error text.
pub(super) fn finite(x: ArrayD<f32>) -> Result<ArrayD<f32>, String> {
    let Some((at, value)) = x.indexed_iter().find(|(_, v)| !v.is_finite()) else {
        return Ok(x);
    };
    Err(no_finite(at.slice(), *value))
}

/// The error text for a value at that index of `x`.
pub(super) fn no_finite(at: &[usize], value: f32) -> String {
    let what = match value.is_nan() {
        true => "NaN",
        false => "infinite",
    };
    let at: Vec<String> = at.iter().map(ToString::to_string).collect();
    format!(
        "x[{}] is {what} (as a 32-bit float); every pixel must be a finite number: mend or leave out that image",
        at.join(", ")
    )
}
