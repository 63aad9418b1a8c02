//! Where servers listen: an address of each transport that no other server has.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::certificate::Certificate;

/// A folder of this run's own for socket files and certificates, removed with it.
pub(crate) struct Folder {
    path: PathBuf,
    certificate: OnceLock<Certificate>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        // That of a run that was killed stays, and another process gets its number.
        let path = (0..)
            .map(|attempt| format!("panpipe-conformance-{}.{attempt}", std::process::id()))
            .map(|name| std::env::temp_dir().join(name))
            .find(|path| match std::fs::create_dir(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                made => made.map(|()| true).expect("a temporary folder can be made"),
            })
            .expect("some name is free");
        Folder { path, certificate: OnceLock::new() }
    }

    /// The certificate of every listener with TLS, by which clients know it.
    pub(crate) fn certificate(&self) -> &Certificate {
        self.certificate.get_or_init(|| Certificate::of_localhost(self))
    }

    /// The path of a new file.
    pub(crate) fn path(&self) -> String {
        self.path.join(next().to_string()).to_str().expect("the temporary folder has a UTF-8 name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Where the page of the browser comes from: whoever listens on a WebSocket must let it in.
pub(crate) const LETS_BROWSER_IN: &str = "origin=http://page.localhost";

/// The places that cases of a transport run at: mostly its own name.
pub(crate) fn places(scheme: &'static str) -> &'static [&'static str] {
    match scheme {
        "unix" => &["unix", "unix_abstract"],
        "unix-seqpacket" => &["unix_seqpacket"],
        "unix-dgram" => &["unix_dgram"],
        "udp" => &["udp"],
        "tcp" => &["tcp", "one_port", "one_port_ws"],
        "tls" => &["tls"],
        "ws" => &["ws"],
        "wss" => &["wss"],
        "fifo" => &["fifo", "fifo_exclusive"],
        "stdio" => &["stdio"],
        "fd" => &["fd"],
        "mem" => &["mem"],
        "spawn" => &["spawn", "spawn_socket"],
        // A new transport has cases at once: give it an address below, or a line in skip.toml.
        scheme => panic!("the suite knows no place for {scheme}"),
    }
}

/// The address of a child that `command` is to start, and the one that this serves.
pub(crate) struct ChildPlace {
    pub(crate) serves: String,
    options: String,
}

/// What a child at `place` serves; nothing where servers listen.
pub(crate) fn child(place: &str, options: &str) -> Option<ChildPlace> {
    let (serves, more) = match place {
        "spawn" => ("-", ""),
        "spawn_socket" => ("fd:PANPIPE_FD", "&socket=true"),
        _ => return None,
    };
    Some(ChildPlace { serves: format!("{serves}?{options}"), options: format!("{options}{more}") })
}

impl ChildPlace {
    /// The address that starts `command` as the child.
    pub(crate) fn address(&self, command: &[String]) -> String {
        let command = serde_json::json!(command).to_string().replace('%', "%25").replace('?', "%3F");
        format!("spawn:{command}?{}", self.options)
    }
}

/// Whether client and server must be one process.
pub(crate) fn is_inside_one_process(place: &str) -> bool {
    place == "mem"
}

/// Whether an end that accepts sees a connection at `place` only once something has come over it.
pub(crate) fn begins_with_a_message(place: &str) -> bool {
    matches!(place, "fifo" | "fifo_exclusive" | "unix_dgram" | "udp")
}

/// Whether every message at `place` is one of a WebSocket.
pub(crate) fn is_websocket(place: &str) -> bool {
    matches!(place, "ws" | "wss" | "one_port_ws")
}

/// What all may speak who come to one port, where this is what one client's address says.
fn accepted(options: &str) -> String {
    match options.split_once('&').map_or((options, ""), |(first, rest)| (first, rest)) {
        ("protocol=panpipe", rest) => format!("accept=panpipe,ws,lines&{rest}"),
        ("protocol=plain", rest) => format!("accept=ws,lines&{rest}"),
        (first, rest) => format!("accept=ws,{}&{rest}", first.trim_start_matches("framing=")),
    }
}

/// The address that a client takes for a listener at `place` whose real one this is: it has its own options.
pub(crate) fn reached(place: &str, real: &str, options: &str, folder: &Folder) -> String {
    let target = real.split('?').next().unwrap_or_default();
    match place {
        "tls" | "wss" => format!("{target}?{options}&ca={}", folder.certificate().cert),
        "one_port" | "ws" => format!("{target}?{options}"),
        "one_port_ws" => format!("ws{}?{options}", target.trim_start_matches("tcp")),
        _ => real.to_owned(),
    }
}

/// An address to listen on at `place`.
pub(crate) fn address(place: &str, options: &str, folder: &Folder) -> Result<String, String> {
    Ok(match place {
        "tcp" => format!("tcp://localhost:0?{options}"),
        "one_port" | "one_port_ws" => {
            format!("tcp://localhost:0?{}&{LETS_BROWSER_IN}", accepted(options).trim_end_matches('&'))
        }
        "tls" => format!("tls://localhost:0?{options}&{}", folder.certificate().shown()),
        "ws" => format!("ws://localhost:0/a room?{options}&{LETS_BROWSER_IN}"),
        "wss" => format!("wss://localhost:0?{options}&{}", folder.certificate().shown()),
        "unix" => format!("unix:{}?{options}", folder.path()),
        "unix_seqpacket" => format!("unix-seqpacket:{}?{options}", folder.path()),
        "fifo" => format!("fifo:{}?reply={}&{options}", folder.path(), folder.path()),
        "fifo_exclusive" => format!("fifo:{}?reply={}&exclusive=true&{options}", folder.path(), folder.path()),
        "unix_dgram" => format!("unix-dgram:{}?{options}", folder.path()),
        "udp" => format!("udp://localhost:0?max=64KiB&{options}"),
        "mem" => format!("mem:{}?{options}", next()),
        // Node 20 fills abstract names up with zero bytes to 107, so that it meets others only at names of that length.
        "unix_abstract" => format!("unix:@{:-<107}?{options}", format!("panpipe-{}-{}", std::process::id(), next())),
        _ => return Err(format!("the suite knows no address for {place}; add one, or a line to skip.toml")),
    })
}

/// The largest message at `place`, in bytes with its framing: a writer that is not alone on a FIFO writes no more at once.
pub(crate) fn largest(place: &str) -> usize {
    if place == "fifo" { 4096 } else { usize::MAX }
}

fn next() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
