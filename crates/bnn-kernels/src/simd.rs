//! Vector instructions: what this processor has, and loops compiled for it.

use std::sync::OnceLock;

/// Runs `f` compiled for the widest vectors of this processor, which is found out at run time.
///
/// It gives the same bits everywhere: neither the order of floating-point operations nor their rounding
/// depends on the processor. `f` has to be inlined to gain anything: closures it calls want
/// `#[inline(always)]`.
#[inline(always)]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    // Miri interprets few vector instructions.
    if cfg!(miri) {
        return f();
    }
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(f)
}

/// What inner loops on this processor are made of, for people; results may differ in rounding from those of
/// another one.
pub fn instructions() -> &'static str {
    match Instructions::detect() {
        Instructions::Portable => "portable",
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => "NEON",
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => "AVX2",
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => "AVX-512",
    }
}

/// Which instructions inner loops are made of; a later one has those of the earlier ones too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// Those of every processor.
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F and BW.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The best that this processor has.
    pub fn detect() -> Self {
        // Miri interprets few vector instructions.
        if cfg!(miri) {
            return Self::Portable;
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let more = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            return if more { Self::Avx512 } else { Self::Avx2 };
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Neon;
        }
        Self::Portable
    }

    /// All that this processor has.
    #[cfg(test)]
    pub fn all() -> Vec<Self> {
        match Self::detect() {
            Self::Portable => vec![Self::Portable],
            #[cfg(target_arch = "aarch64")]
            Self::Neon => vec![Self::Portable, Self::Neon],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Portable, Self::Avx2],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Portable, Self::Avx2, Self::Avx512],
        }
    }
}
