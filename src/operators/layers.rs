//! Layers with weights, and pools.

use super::{Kind, Operator, Pool, Shape};

const fn products(name: &'static str, shape: Shape) -> Operator {
    Operator::new(name, Kind::Products, shape)
}

const fn pool(name: &'static str, pool: Pool, shape: Shape) -> Operator {
    Operator::new(name, Kind::Pool(pool), shape)
}

pub(super) static ROWS: &[Operator] = &[
    products("Conv", Shape::Conv),
    products("ConvTranspose", Shape::ConvTranspose),
    products("Gemm", Shape::Gemm),
    products("MatMul", Shape::MatMul),
    Operator::new("Einsum", Kind::Other, Shape::Unknown)
        .mixing()
        .unbounded("its equation is not read"),
    // Padding never wins.
    pool("MaxPool", Pool::Max, Shape::Windows).moving(),
    pool("GlobalMaxPool", Pool::Max, Shape::Global).moving(),
    pool("AveragePool", Pool::Average, Shape::Windows).like_input(),
    pool("GlobalAveragePool", Pool::Average, Shape::Global).like_input(),
    pool("LpPool", Pool::Norm, Shape::Windows),
    pool("GlobalLpPool", Pool::Norm, Shape::Global),
];
