//! Secrets in memory stay there: no core file, and a word where they may be swapped out.

/// Turns core dumps of this process off, for good. Says what remains open, one line each.
pub(super) fn protect() -> Vec<String> {
    let mut notices = Vec::new();
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        if let Err(error) = setrlimit(Resource::Core, none) {
            notices.push(format!("warning: core dumps can't be turned off: {error}"));
        }
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // A limit of 0 does not stop a dump that the kernel pipes into a program.
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            notices.push(format!("warning: core dumps can't be turned off: {error}"));
        }
        // The first line is a heading.
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        if swaps.lines().count() > 1 {
            notices.push(
                "warning: this machine swaps, and weights of a sealed model may be written to the \
                 swap in the clear; turn swap off (swapoff -a), encrypt it, or set MemorySwapMax=0 \
                 for the service"
                    .to_owned(),
            );
        }
    }
    notices
}
