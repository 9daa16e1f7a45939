//! Attributes without which an operator of the standard means nothing.

/// Operator, its required attributes.
const REQUIRED: &[(&str, &[&str])] = &[
    ("AveragePool", &["kernel_shape"]),
    ("Cast", &["to"]),
    ("Concat", &["axis"]),
    ("ConcatFromSequence", &["axis"]),
    ("DepthToSpace", &["blocksize"]),
    ("Einsum", &["equation"]),
    ("If", &["else_branch", "then_branch"]),
    ("LRN", &["size"]),
    ("Loop", &["body"]),
    ("LpPool", &["kernel_shape"]),
    ("MaxPool", &["kernel_shape"]),
    ("MaxUnpool", &["kernel_shape"]),
    ("RandomNormal", &["shape"]),
    ("RandomUniform", &["shape"]),
    ("Scan", &["body", "num_scan_inputs"]),
    ("SequenceMap", &["body"]),
    ("SpaceToDepth", &["blocksize"]),
];

/// The attributes that an operator of the default domain must have.
pub(super) fn attributes(op: &str) -> &'static [&'static str] {
    let entry = REQUIRED.iter().find(|(name, _)| *name == op);
    entry.map_or(&[], |(_, attributes)| attributes)
}
