//! Which instructions count bits.

use std::sync::OnceLock;

/// Instructions that bits are counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Those of every processor.
    Portable,
    /// NEON: `cnt`.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// AVX2: two look-ups of half a byte.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW and VPOPCNTDQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this processor has, or what the environment variable `BNN_KERNELS_BITS` names of what it
    /// has (`portable`, `avx2`, `avx512`, `neon`), for comparisons.
    pub fn detect() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let all = Self::all();
            let wanted = std::env::var("BNN_KERNELS_BITS").ok();
            let named = all.iter().find(|l| wanted.as_deref() == Some(l.name()));
            named.or(all.last()).copied().unwrap_or(Self::Portable)
        })
    }

    /// All that this processor has, the best one last.
    pub fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have nothing to add")]
        let mut all = vec![Self::Portable];
        // Miri interprets few vector instructions.
        if cfg!(miri) {
            return all;
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Self::Neon);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            all.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vpopcntdq")
            {
                all.push(Self::Avx512);
            }
        }
        all
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }
}
