//! What a reader must know of the machine; nothing that names it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::pair::{python, root};

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
        format!("panpipe {}; {}", env!("CARGO_PKG_VERSION"), rivals().join(", ")),
    ]
}

/// The rivals' names and versions, from the files that choose them.
fn rivals() -> Vec<String> {
    let read = |file: &str| fs::read_to_string(root().join("bench/rivals").join(file)).unwrap_or_default();
    let lock = read("Cargo.lock");
    let of_rust = ["tonic", "tarpc", "zmq", "zeromq-src"].into_iter().filter_map(|name| {
        let rest = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some(format!("{name} {}", rest.split('"').next()?))
    });
    let requirements = read("requirements.txt");
    let of_python = requirements.lines().map(|line| line.replace("==", " "));
    let package: serde_json::Value = serde_json::from_str(&read("package.json")).unwrap_or_default();
    let of_node = package["dependencies"].as_object().into_iter().flatten();
    let of_node = of_node.map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or_default()));
    of_rust.chain(of_python).chain(of_node).collect()
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
