//! How much memory the process has used.

/// The largest resident set of this process so far, in bytes; known on Linux only.
///
/// `VmHWM` of `/proc/self/status`, which counts the runtime's memory too.
pub(super) fn peak_memory() -> Option<u64> {
    peak_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let status = "Name:\ttool\nVmPeak:\t  909488 kB\nVmHWM:\t  445004 kB\nThreads:\t5\n";
        assert_eq!(peak_of(status), Some(445_004 * 1024));
        assert_eq!(peak_of("Name:\ttool\n"), None);
        assert_eq!(peak_of("VmHWM:\t18446744073709551615 kB\n"), None);
    }
}
