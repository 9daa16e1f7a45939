//! What tests of operators share.

use super::Attributes;

/// A node without attributes.
pub struct Plain;

impl Attributes for Plain {
    fn float(&self, _: &str, default: f32) -> f32 {
        default
    }

    fn int(&self, _: &str, default: i64) -> i64 {
        default
    }

    fn string(&self, _: &str) -> Option<&str> {
        None
    }
}
