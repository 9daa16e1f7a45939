//! How much memory the process has used, and how much there is.

use crate::distributed::processes_here;

/// Bounds of [`cache_mb`]: with the upper one, a run on networks for CIFAR-10 stays under 2 GiB.
const CACHE_MIB: std::ops::RangeInclusive<u64> = 256..=768;

/// The largest resident set of this process so far, in bytes; known on Linux only.
///
/// `VmHWM` of `/proc/self/status`, which counts the runtime's memory too.
pub(super) fn peak_memory() -> Option<u64> {
    peak_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    bytes_of(status, "VmHWM:")
}

/// How many MiB a cache may take on this machine: a quarter of what is available, from 256 to 768;
/// `otherwise` where that is not known (beside Linux).
pub(super) fn cache_mb(otherwise: usize) -> usize {
    let (meminfo, limits) = read_figures();
    let most = meminfo.and_then(|text| cache_of(&text, limits));
    most.unwrap_or(otherwise)
}

/// Memory that is available, in bytes.
fn available() -> Option<u64> {
    let (meminfo, limits) = read_figures();
    available_of(&meminfo?, limits)
}

/// What the kernel says, and a container's limits.
fn read_figures() -> (Option<String>, [Option<u64>; 2]) {
    let read = |path| std::fs::read_to_string(path).ok();
    let meminfo = read("/proc/meminfo");
    // A container's limit, which the machine's figures do not show: cgroups version 2, and 1.
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limits = limits.map(|path| read(path).and_then(|text| text.trim().parse().ok()));
    (meminfo, limits)
}

/// For each process that a launcher has started here.
fn available_of(meminfo: &str, limits: [Option<u64>; 2]) -> Option<u64> {
    let available = bytes_of(meminfo, "MemAvailable:")?;
    let available = limits.into_iter().flatten().fold(available, u64::min);
    Some(available / processes_here() as u64)
}

fn cache_of(meminfo: &str, limits: [Option<u64>; 2]) -> Option<usize> {
    let available = available_of(meminfo, limits)?;
    let mib = (available / (4 << 20)).clamp(*CACHE_MIB.start(), *CACHE_MIB.end());
    usize::try_from(mib).ok()
}

/// How many bytes decoded images may take on this machine: a quarter of what is available, at most
/// 16 GiB, which is also what is said where that is not known.
pub(super) fn image_bytes() -> u64 {
    let most = 16 << 30;
    available().map_or(most, |bytes| (bytes / 4).min(most))
}

/// A figure of the kernel's, in bytes.
fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
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

    #[test]
    fn a_cache_takes_a_quarter_of_what_is_available_within_bounds() {
        let meminfo = |mib: u64| format!("MemTotal: 9 kB\nMemAvailable:   {} kB\n", mib << 10);
        let none = [None, None];
        assert_eq!(cache_of(&meminfo(2000), none), Some(500));
        assert_eq!(cache_of(&meminfo(64_000), none), Some(768));
        assert_eq!(cache_of(&meminfo(100), none), Some(256));
        let limits = [Some(2 << 30), Some(u64::MAX >> 1)];
        assert_eq!(cache_of(&meminfo(64_000), limits), Some(512));
        assert_eq!(cache_of("MemTotal: 9 kB\n", none), None);
        assert!((256..=768).contains(&cache_mb(768)));
    }
}
