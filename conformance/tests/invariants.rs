//! The invariants of ARCHITECTURE.md that reading the sources can hold.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The files below a folder whose names end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no {ending}");
    found
}

/// The code of a file: neither comments nor its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("it can be read");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    // What a Python module gives may be called as a scheme is: `spawn`.
    let listed = code.split_once("\n__all__ = [").and_then(|(_, rest)| rest.split_once("\n]")).unwrap_or_default().0;
    let code = code.replacen(listed, "", usize::from(!listed.is_empty()));
    code.lines().filter(|line| !["//", "*", "/*", "#"].iter().any(|mark| line.trim_start().starts_with(mark))).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        },
    )
}

fn assert_absent(files: Vec<PathBuf>, words: &[String]) {
    for path in files {
        let code = code(&path);
        for word in words {
            assert!(!code.contains(word.as_str()), "{} says {word}", path.display());
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn wire_does_no_io_and_reads_no_clock() {
    let is_test = |path: &PathBuf| path.ends_with("tests.rs") || path.iter().any(|part| part == "tests");
    let sources = files("crates/wire/src", ".rs").into_iter().filter(|path| !is_test(path)).collect();
    let forbidden =
        ["std::io", "std::net", "std::fs", "std::os", "std::thread", "Instant::now", "SystemTime", "unsafe"];
    assert_absent(sources, &words(&forbidden));
    let manifest = fs::read_to_string(root().join("crates/wire/Cargo.toml")).expect("it can be read");
    let dependencies = manifest.split("[dependencies]\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let names: Vec<_> =
        dependencies.into_iter().flat_map(str::lines).filter_map(|line| line.split(['.', ' ']).next()).collect();
    assert_eq!(names, ["base64", "bytes", "httparse", "memchr", "panpipe-values", "sha1_smol"]);
}

#[test]
fn javascripts_wire_does_no_io_and_reads_no_clock() {
    let forbidden = ["node:", "Date.now", "performance.", "setTimeout", "setImmediate", "process."];
    assert_absent(files("javascript/src/wire", ".ts"), &words(&forbidden));
}

#[test]
fn faces_name_no_scheme_and_no_framing() {
    let schemes = panpipe::methods().iter().map(|method| method.scheme);
    let framings = panpipe::framings().iter().map(|framing| framing.name);
    let quoted: Vec<_> = schemes.chain(framings).map(|name| format!("\"{name}\"")).collect();
    for folder in ["crates/panpipe/src", "crates/cli/src", "python/src", "javascript/native/src"] {
        assert_absent(files(folder, ".rs"), &quoted);
    }
    assert_absent(files("python/panpipe", ".py"), &quoted);
    let faces =
        files("javascript/src", ".ts").into_iter().filter(|path| path.parent() == Some(&root().join("javascript/src")));
    assert_absent(faces.collect(), &quoted);
}

#[test]
fn only_transports_open_read_and_write() {
    let sources = files("crates/link/src", ".rs").into_iter();
    let elsewhere = sources.filter(|path| !path.to_string_lossy().contains("/transport/")).collect();
    let forbidden = ["rustix::net", "rustix::fs", "std::net", "std::fs", "sendmsg(", "accept_with(", "socket_with("];
    assert_absent(elsewhere, &words(&forbidden));
}
