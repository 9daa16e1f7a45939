//! The vocabulary of a row: what can be said about an operator.

/// A node's attributes, as far as rows read them.
pub trait Attributes {
    /// A float attribute, or the default.
    fn float(&self, name: &str, default: f32) -> f32;
    /// An integer attribute, or the default.
    fn int(&self, name: &str, default: i64) -> i64;
    /// A string attribute.
    fn string(&self, name: &str) -> Option<&str>;
}

/// A function of one number.
pub type Function = Box<dyn Fn(f32) -> f32 + Send + Sync>;
/// A function of two numbers.
pub type Function2 = fn(f32, f32) -> f32;

/// What an operator computes, by the structure that its readers share.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A function of one number, element by element.
    Unary(Unary),
    /// A function of two numbers (or folded over more), element by element, with broadcasting.
    Arithmetic(Arithmetic),
    /// A predicate of two numbers: its result is a decision.
    Comparison(fn(f64, f64) -> bool),
    /// Truth values made of truth values.
    Logic,
    /// Its first input cut to an interval.
    Clip,
    /// Its first input, and that times a slope where it is negative.
    Slope,
    /// One of two operands, as a condition says.
    Choice,
    /// Another element type.
    Cast,
    /// Integers made of real numbers: its result is a decision.
    Quantize,
    /// Real numbers made of integers.
    Dequantize,
    /// Sums of products of data with weights.
    Products,
    /// A scale and a shift per channel, from constant statistics.
    BatchNormalization,
    /// Shifted and scaled by mean and deviation of the data themselves.
    Normalization(Statistics),
    /// Divided by the norm of the data along an axis.
    NormDivision,
    /// Divided by a power of what channels close by hold.
    ResponseNormalization,
    /// Exponentials divided by their sum, or the logarithm of that.
    Softmax {
        /// Whether it is the logarithm.
        logarithm: bool,
    },
    /// One value of each window of each channel.
    Pool(Pool),
    /// One value of what lies along some axes.
    Reduction(Reduction),
    /// Sums of everything before, along an axis.
    RunningSum,
    /// Its first input as it is.
    Same,
    /// The same values in another shape or order of axes.
    View,
    /// Some of the values, or values repeated, by index.
    Part,
    /// Each output takes the next stretch of an axis.
    Split,
    /// Inputs one behind the other.
    Concat,
    /// Values of a channel anywhere in it, or between others.
    Spread,
    /// Another size in space.
    Resize,
    /// A number that follows from shapes alone.
    OfShape,
    /// Anything else.
    Other,
}

/// A function of one number.
#[derive(Debug, Clone, Copy)]
pub struct Unary {
    /// In single precision, its attributes bound.
    pub single: fn(&dyn Attributes) -> Function,
    /// In double precision, where weights are computed with it.
    pub double: Option<fn(f64) -> f64>,
    /// How many roundings a runtime's result is off by at most: of the result, or of what
    /// [`Smoothness::Scaled`] says.
    pub roundings: f32,
    /// How steep it gets.
    pub slope: fn(&dyn Attributes) -> Slope,
    /// Where it jumps, unless that is a decision ([`Operator::decides`](super::Operator::decides)).
    pub jumps: fn(&dyn Attributes) -> Vec<Jump>,
    /// What gradients are multiplied by on the way through: the derivative; of functions that round, the
    /// straight-through estimator's 1. `None` where nothing is learned through it, or by an operator of its own.
    pub derivative: Option<fn(&dyn Attributes) -> Function>,
}

/// How much further apart a function of one number moves what it reads.
#[derive(Debug, Clone, Copy)]
pub enum Slope {
    /// By no more than this factor, wherever.
    AtMost(f32),
    /// By a factor that depends on where: a function of x and f(x) that holds in a neighbourhood
    /// of x which is large against rounding.
    At(fn(f32, f32) -> f32),
    /// By a factor that no number bounds, or that nobody has looked up.
    Unbounded,
}

/// A point at which a function of one number jumps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jump {
    /// The point.
    pub at: f32,
    /// How far the function jumps there.
    pub height: f32,
}

/// How a function of one number treats rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothness {
    /// Every runtime computes it without rounding (Relu, Neg, Abs).
    Exact,
    /// Runtimes round or approximate it differently, by a few roundings of the result.
    Rounded,
    /// The same, and numbers of this size occur on the way (`alpha` of an Elu).
    Scaled(f32),
    /// Has jumps, and is exact between them (Sign, Round).
    Jumps,
}

/// Where a function of one number goes as its input increases, as far as it is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// It never decreases.
    Rises,
    /// It never increases.
    Falls,
    /// Neither, or that is not known.
    Turns,
}

impl Trend {
    /// Rises under a condition.
    pub(super) fn rises_if(condition: bool) -> Self {
        match condition {
            true => Self::Rises,
            false => Self::Turns,
        }
    }
}

/// Arithmetic of two operands, or folded over more.
#[derive(Debug, Clone, Copy)]
pub struct Arithmetic {
    /// Which.
    pub how: How,
    /// In single precision; `None` for Mean, which is a Sum and a division.
    pub single: Option<Function2>,
    /// In double precision.
    pub double: Option<fn(f64, f64) -> f64>,
}

/// Ways to combine two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// a to the power of b
    Pow,
    /// The smaller or larger one.
    Extreme,
    /// The sum or mean of any number of operands.
    Sum,
}

/// What mean and deviation are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Space, for each channel of each sample.
    Instance,
    /// Groups of channels, and space.
    Group,
    /// The axes from the attribute `axis` on.
    Layer,
    /// The same, without the mean being subtracted.
    RootMeanSquare,
    /// The axes of the attribute `axes`.
    Axes,
}

/// What a pool makes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The largest value.
    Max,
    /// The mean.
    Average,
    /// The p-norm.
    Norm,
}

/// What a reduction makes of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// The sum of magnitudes.
    L1,
    /// The root of the sum of squares.
    L2,
    /// The sum of squares.
    SumSquare,
    /// The logarithm of their sum.
    LogSum,
    /// The logarithm of the sum of exponentials.
    LogSumExp,
}

impl Reduction {
    /// Whether it makes of one value that value.
    pub fn keeps_one_value(self) -> bool {
        use Reduction::{Max, Mean, Min, Prod, Sum};
        matches!(self, Mean | Sum | Max | Min | Prod)
    }
}

/// How the shapes of outputs follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Not known.
    Unknown,
    /// The first input's.
    First,
    /// The common shape of all inputs.
    Broadcast,
    /// A convolution's.
    Conv,
    /// A transposed convolution's.
    ConvTranspose,
    /// One value for each window.
    Windows,
    /// One value for each channel.
    Global,
    /// A matrix product, with transposition.
    Gemm,
    /// A matrix product, with batches.
    MatMul,
    /// Two axes.
    Flatten,
    /// As a target says.
    Reshape,
    /// Axes in another order.
    Transpose,
    /// Without axes of size 1.
    Squeeze,
    /// With further axes of size 1.
    Unsqueeze,
    /// One behind the other.
    Concat,
    /// With a border.
    Pad,
    /// Stretches of axes.
    Slice,
    /// Several stretches of one axis.
    Split,
    /// Repeated.
    Tile,
    /// Blocks of channels to space.
    DepthToSpace,
    /// Blocks of space to channels.
    SpaceToDepth,
    /// By scales or sizes.
    Resize,
    /// Broadcast to a target.
    Expand,
    /// As its input says.
    OfValue,
    /// A list with an entry for each axis.
    Shape,
    /// A number.
    Number,
    /// By index along an axis.
    Gather,
    /// Without some axes, or with these of size 1.
    Reduce,
}

/// When an operator's output is never negative (or NaN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Not known ever to be so.
    Any,
    /// Always.
    NotNegative,
    /// If these inputs never are.
    Inputs(&'static [usize]),
    /// If no input ever is.
    All,
    /// As the bounds of a Clip say.
    Clipped,
    /// If one of the operands is a constant that is not negative, or none ever is.
    Largest,
    /// If neither the first input nor the padding ever is.
    Padded,
}
