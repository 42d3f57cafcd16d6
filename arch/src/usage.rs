//! What the process holds of the machine, for tests and benchmarks.
//!
//! Everything but the context switches comes from `/proc`, so on systems without it the functions
//! return `NotFound`.

#![expect(unsafe_code, reason = "calls libc")]

use std::fs;
use std::io;
use std::mem::MaybeUninit;

/// Memory, threads and switches of the process at one moment, in one pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Usage {
    /// Resident memory in bytes (`VmRSS`).
    pub rss_bytes: u64,
    /// Page tables in bytes (`VmPTE`).
    pub page_table_bytes: u64,
    /// Address space in bytes (`VmSize`).
    pub address_space_bytes: u64,
    /// Mappings, which `vm.max_map_count` limits.
    pub n_mappings: u64,
    /// Open descriptors.
    pub n_descriptors: u64,
    /// OS threads.
    pub n_threads: u64,
    /// Times that threads of the process gave up the CPU to wait, ended threads included.
    pub n_voluntary_switches: u64,
    /// Times that the kernel took the CPU from threads of the process, ended threads included.
    pub n_involuntary_switches: u64,
}

/// Looks at the process. Takes longer the more mappings and descriptors there are.
///
/// # Errors
///
/// Those of reading `/proc/self`; `NotFound` where there is none, `InvalidData` where a figure is
/// missing.
pub fn usage() -> io::Result<Usage> {
    let status = fs::read_to_string("/proc/self/status")?;
    let (n_voluntary_switches, n_involuntary_switches) = switches()?;
    Ok(Usage {
        rss_bytes: field(&status, "VmRSS:")? * 1024,
        page_table_bytes: field(&status, "VmPTE:")? * 1024,
        address_space_bytes: field(&status, "VmSize:")? * 1024,
        n_mappings: mappings()?,
        n_descriptors: descriptors()?,
        n_threads: field(&status, "Threads:")?,
        n_voluntary_switches,
        n_involuntary_switches,
    })
}

/// Mappings of the process.
///
/// # Errors
///
/// As [`usage`].
pub fn mappings() -> io::Result<u64> {
    let maps = fs::read("/proc/self/maps")?;
    Ok(maps.iter().filter(|&&byte| byte == b'\n').count() as u64)
}

/// Open descriptors of the process.
///
/// # Errors
///
/// As [`usage`].
pub fn descriptors() -> io::Result<u64> {
    // One of them is the descriptor that lists them.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1) as u64)
}

/// Voluntary and involuntary context switches of the process since it began. Works on every Unix.
///
/// # Errors
///
/// Those of `getrusage(2)`, which has none for the process itself.
pub fn switches() -> io::Result<(u64, u64)> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a place for one rusage.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroes are a valid rusage, and the kernel has filled it besides.
    let usage = unsafe { usage.assume_init() };
    Ok((usage.ru_nvcsw as u64, usage.ru_nivcsw as u64))
}

/// The number behind `name` in the text of `/proc/self/status`.
fn field(status: &str, name: &str) -> io::Result<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no {name} in /proc/self/status"),
            )
        })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_there() -> io::Result<()> {
        let usage = usage()?;
        assert!(usage.rss_bytes > 0 && usage.rss_bytes < usage.address_space_bytes);
        assert!(usage.page_table_bytes > 0);
        assert!(usage.n_mappings > 5);
        assert!(usage.n_descriptors >= 1);
        assert!(usage.n_threads >= 1);
        Ok(())
    }

    #[test]
    fn a_missing_figure_is_an_error() {
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:").unwrap(), 12);
        assert_eq!(
            field("", "VmRSS:").unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
