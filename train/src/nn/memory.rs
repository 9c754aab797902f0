//! How the process holds its memory.

use std::fs;

/// The most bytes of memory that this process has had so far, where Linux tells.
pub fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}

/// Makes the C library keep freed memory for the next allocation instead of giving it back to the
/// operating system; to be called once, before training.
///
/// A training step allocates and frees some hundred tensors of megabytes. By default the GNU C
/// library maps and unmaps each of these, and the kernel clears their pages every time: a fourth of
/// a step on the CPU. Training needs the same memory again in the next step, so nothing is lost by
/// keeping it. Elsewhere than on Linux with the GNU C library this does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes plain numbers, locks the allocator itself, and by its manual refuses
    // what it does not know. A refusal costs speed alone, so the results are not looked at.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}
