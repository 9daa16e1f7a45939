//! Normalisations: with constant statistics, and with those of the data.

use super::{Kind, Operator, Shape, Statistics};

const fn own(name: &'static str, statistics: Statistics, shape: Shape) -> Operator {
    Operator::new(name, Kind::Normalization(statistics), shape)
}

pub(super) static ROWS: &[Operator] = &[
    Operator::new("BatchNormalization", Kind::BatchNormalization, Shape::First),
    own("InstanceNormalization", Statistics::Instance, Shape::First),
    own("GroupNormalization", Statistics::Group, Shape::First).mixing(),
    own("LayerNormalization", Statistics::Layer, Shape::First).mixing(),
    own("RMSNormalization", Statistics::RootMeanSquare, Shape::First).mixing(),
    own("MeanVarianceNormalization", Statistics::Axes, Shape::First).mixing(),
    Operator::new("LpNormalization", Kind::NormDivision, Shape::First).mixing(),
    Operator::new("LRN", Kind::ResponseNormalization, Shape::First).mixing(),
    Operator::new("Softmax", Kind::Softmax { logarithm: false }, Shape::First).not_negative(),
    Operator::new(
        "LogSoftmax",
        Kind::Softmax { logarithm: true },
        Shape::First,
    ),
    Operator::new("Hardmax", Kind::Other, Shape::First)
        .mixing()
        .unbounded("which value is largest is a decision between values, not at a jump of one"),
];
