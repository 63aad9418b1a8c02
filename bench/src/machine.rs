//! What a reader must know of the machine; nothing that names it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::pair::python;

/// One fact a line.
pub(crate) fn facts() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    vec![
        format!("CPU: {}, {cores} to use; load average at the start {load}", cpu.map_or("unknown", |(_, model)| model)),
        format!("kernel: Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("{}; {}; node {}", version("rustc"), version(python()), version("node")),
        format!("panpipe {}", env!("CARGO_PKG_VERSION")),
    ]
}

/// Today, as in 2026-11-24.
pub(crate) fn date() -> String {
    output(Command::new("date").arg("+%F")).unwrap_or_else(|| "undated".into())
}

fn version(program: impl AsRef<Path>) -> String {
    let program = program.as_ref();
    let name = program.file_name().unwrap_or_default().display().to_string();
    output(Command::new(program).arg("--version")).unwrap_or_else(|| format!("{name} missing"))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
