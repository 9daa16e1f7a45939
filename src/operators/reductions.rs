//! Reductions along axes, and running sums.

use super::{Kind, Operator, Reduction, Shape};

const fn reduction(name: &'static str, reduction: Reduction) -> Operator {
    Operator::new(name, Kind::Reduction(reduction), Shape::Reduce)
}

/// Which of several values wins is no jump of one of them, so it is not laid open as a decision.
const BETWEEN: &str = "which value wins is a decision between values, not at a jump of one";

const fn winner(name: &'static str) -> Operator {
    Operator::new(name, Kind::Other, Shape::Unknown)
        .mixing()
        .unbounded(BETWEEN)
}

pub(super) static ROWS: &[Operator] = &[
    reduction("ReduceMax", Reduction::Max).like_input(),
    reduction("ReduceMin", Reduction::Min).like_input(),
    reduction("ReduceMean", Reduction::Mean).like_input(),
    reduction("ReduceSum", Reduction::Sum).like_input(),
    reduction("ReduceProd", Reduction::Prod).like_input(),
    reduction("ReduceL1", Reduction::L1).not_negative(),
    reduction("ReduceL2", Reduction::L2).not_negative(),
    reduction("ReduceSumSquare", Reduction::SumSquare).not_negative(),
    reduction("ReduceLogSum", Reduction::LogSum),
    reduction("ReduceLogSumExp", Reduction::LogSumExp),
    Operator::new("CumSum", Kind::RunningSum, Shape::First).mixing(),
    winner("ArgMax"),
    winner("ArgMin"),
    winner("TopK"),
];
