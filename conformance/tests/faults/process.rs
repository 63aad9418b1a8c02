//! What another process uses, as proc(5) shows it.

use std::fs;
use std::time::Duration;

use crate::Result;

/// The CPU time of all its threads so far.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let told = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += told.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

/// The memory that it has resident, in bytes.
pub(crate) fn memory(pid: u32) -> Result<usize> {
    let told = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = told.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB"));
    Ok(line.ok_or("proc tells no Rss")?.trim().parse::<usize>()? << 10)
}

/// The numbers of its descriptors.
pub(crate) fn descriptors(pid: u32) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd"))? {
        numbers.push(descriptor?.file_name().to_string_lossy().parse()?);
    }
    Ok(numbers)
}
