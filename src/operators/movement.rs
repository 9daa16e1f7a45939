//! Operators that move values about, and what follows from shapes alone.

use super::{Kind, Operator, Range, Shape};

const fn view(name: &'static str, shape: Shape) -> Operator {
    Operator::new(name, Kind::View, shape).exact().moving()
}

const fn part(name: &'static str, shape: Shape) -> Operator {
    Operator::new(name, Kind::Part, shape).exact().moving()
}

const fn spread(name: &'static str, shape: Shape) -> Operator {
    Operator::new(name, Kind::Spread, shape).exact()
}

pub(super) static ROWS: &[Operator] = &[
    // Mask and saved statistics follow the first output; nothing reads them.
    Operator::new("Dropout", Kind::Same, Shape::First)
        .exact()
        .moving(),
    view("Flatten", Shape::Flatten),
    view("Reshape", Shape::Reshape),
    view("Squeeze", Shape::Squeeze),
    view("Unsqueeze", Shape::Unsqueeze),
    view("Transpose", Shape::Transpose),
    part("Slice", Shape::Slice),
    part("Gather", Shape::Gather),
    part("Expand", Shape::Expand),
    Operator::new("Split", Kind::Split, Shape::Split)
        .exact()
        .moving(),
    Operator::new("Concat", Kind::Concat, Shape::Concat)
        .exact()
        .like_inputs(),
    spread("Tile", Shape::Tile).moving(),
    spread("DepthToSpace", Shape::DepthToSpace).moving(),
    spread("SpaceToDepth", Shape::SpaceToDepth).moving(),
    spread("Pad", Shape::Pad).range(|_| Range::Padded),
    Operator::new("Resize", Kind::Resize, Shape::Resize),
    Operator::new("Upsample", Kind::Resize, Shape::Resize),
    Operator::new("ConstantOfShape", Kind::OfShape, Shape::OfValue).exact(),
    Operator::new("Shape", Kind::OfShape, Shape::Shape)
        .exact()
        .not_negative(),
    Operator::new("Size", Kind::OfShape, Shape::Number)
        .exact()
        .not_negative(),
];
