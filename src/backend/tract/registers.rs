//! Vector registers as a matrix kernel leaves them.

/// Marks the upper halves of the vector registers as unused.
///
/// tract's matrix kernels for AVX and AVX-512 leave values there. Until they are cleared, a
/// processor keeps them through each instruction on 128 bits, which all code compiled for the
/// baseline consists of, and waits for them: such loops took four times as long.
pub(super) fn clear_upper_halves() {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: the processor has AVX. No caller holds values in upper halves: they are not kept
        // across calls.
        unsafe { std::arch::x86_64::_mm256_zeroupper() };
    }
}
