//! Each bad input has its own code, says what was being done and to which address.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use panpipe::plain::blocking;
use panpipe::{Error, ErrorKind};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};

fn connecting(address: &str) -> Error {
    blocking::connect(address).err().unwrap()
}

fn listening(address: &str) -> Error {
    blocking::listen(address).err().unwrap()
}

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("panpipe-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_bad_address_has_its_code() {
    let long = format!("unix:/tmp/{}?framing=length", "x".repeat(103));
    for (error, kind) in [
        (connecting("gopher://x"), ErrorKind::Unsupported),
        (connecting("tcp://localhost?framing=length"), ErrorKind::InvalidAddress),
        (connecting("tcp://127.0.0.1:1?framing=length"), ErrorKind::Refused),
        (connecting("tcp://name.invalid:1?insecure=true&framing=length"), ErrorKind::NotFound),
        (connecting("unix:/nowhere/at/all?framing=length"), ErrorKind::NotFound),
        (connecting(&long), ErrorKind::PathTooLong),
        (listening(&long), ErrorKind::PathTooLong),
        (listening("unix:/nowhere/at/all?framing=length"), ErrorKind::NotFound),
        (connecting("mem:nobody?framing=length"), ErrorKind::Refused),
        (connecting("fd:987654?framing=length"), ErrorKind::NotFound),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
        let address = error.address().unwrap();
        assert!(error.doing().contains(address), "{error}");
        assert!(error.to_string().starts_with(&format!("{}: {}: ", error.doing(), error.code())), "{error}");
    }
    let longest = format!("unix:/tmp/{}?framing=length", "x".repeat(102));
    assert_eq!(connecting(&longest).kind(), ErrorKind::NotFound, "107 bytes are not too long");
}

#[test]
fn a_port_in_use_is_address_in_use() {
    let listener = blocking::listen("tcp://localhost:0?framing=length").unwrap();
    let error = listening(listener.address());
    assert_eq!(error.kind(), ErrorKind::AddressInUse, "{error}");
}

#[test]
fn a_socket_file_is_born_private_and_removed() {
    let folder = Folder::new("private");
    let path = folder.path("a.sock");
    let listener = blocking::listen(&format!("unix:{path}?framing=length")).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    drop(listener);
    let listener = blocking::listen(&format!("unix:{path}?mode=0666&framing=length")).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
    drop(listener);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "neither socket nor lock stays behind");
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let folder = Folder::new("stale");
    let path = folder.path("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    let first = blocking::listen(&format!("unix:{path}?framing=length")).unwrap();
    assert_eq!(listening(&format!("unix:{path}?framing=length")).kind(), ErrorKind::AddressInUse);
    blocking::connect(first.address()).unwrap();
}

#[test]
fn a_full_backlog_is_not_dead() {
    let folder = Folder::new("backlog");
    let address = format!("unix:{}?backlog=1&timeout=50ms&framing=length", folder.path("a.sock"));
    let _listener = blocking::listen(&address).unwrap();
    let waiting: Vec<_> = (0..2).map(|_| blocking::connect(&address).unwrap()).collect();
    assert_eq!(connecting(&address).kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(listening(&address).kind(), ErrorKind::AddressInUse);
    drop(waiting);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new("file");
    let path = folder.path("precious");
    std::fs::write(&path, "data").unwrap();
    assert_eq!(listening(&format!("unix:{path}?framing=length")).kind(), ErrorKind::AddressInUse);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    assert_eq!(connecting(&format!("unix:{path}?framing=length")).kind(), ErrorKind::Refused);
}

#[test]
fn another_listeners_file_is_not_removed_on_close() {
    let folder = Folder::new("other");
    let path = folder.path("a.sock");
    let ours = blocking::listen(&format!("unix:{path}?framing=length")).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(ours);
    assert!(std::fs::exists(&path).unwrap());
}

#[test]
fn two_servers_that_race_for_a_stale_path_leave_one_winner() {
    let folder = Folder::new("race");
    for round in 0..1000 {
        let path = folder.path(&format!("{round}.sock"));
        drop(UnixListener::bind(&path).unwrap());
        // A child that another test starts at this moment has a copy of it until its program runs.
        while std::os::unix::net::UnixStream::connect(&path).is_ok() {}
        race(&format!("unix:{path}?framing=length"));
    }
}

#[test]
fn two_servers_of_packets_that_race_for_a_stale_path_leave_one_winner() {
    let folder = Folder::new("packets-race");
    for round in 0..1000 {
        let path = folder.path(&format!("{round}.sock"));
        let stale = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        bind(&stale, &SocketAddrUnix::new(path.as_str()).unwrap()).unwrap();
        drop(stale);
        race(&format!("unix-seqpacket:{path}?protocol=plain"));
    }
}

/// Two threads listen on `address` in the same moment, with a descriptor each, as two processes would.
fn race(address: &str) {
    let barrier = std::sync::Barrier::new(2);
    let start = || {
        barrier.wait();
        blocking::listen(address)
    };
    let outcomes = std::thread::scope(|scope| {
        let other = scope.spawn(start);
        [start(), other.join().unwrap()]
    });
    let losers: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(losers.len(), 1, "{address}: {losers:?}");
    assert_eq!(losers[0].kind(), ErrorKind::AddressInUse);
    blocking::connect(address).unwrap();
}

#[test]
fn no_permission_is_permission() {
    let folder = Folder::new("permission");
    let path = folder.path("a.sock");
    let _listener = blocking::listen(&format!("unix:{path}?framing=length")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    // The superuser is let in everywhere, so the asking is done as nobody, by a thread that then ends.
    let asking = std::thread::spawn(move || {
        let nobody = 65534;
        // SAFETY: the raw system call, unlike the C library's function, changes the calling thread alone.
        unsafe { libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) };
        [connecting(&format!("unix:{path}?framing=length")), listening(&format!("unix:{path}x?framing=length"))]
    });
    for error in asking.join().unwrap() {
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    }
}

/// Calls `address` as the user nobody, where that can be done.
fn calling_as_nobody(address: &str) -> Result<panpipe::Bytes, Error> {
    let address = address.to_owned();
    let asking = std::thread::spawn(move || {
        let nobody = 65534;
        // SAFETY: the raw system call, unlike the C library's function, changes the calling thread alone.
        unsafe { libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) };
        blocking::connect(&address)?.call("may I?")
    });
    asking.join().unwrap()
}

#[test]
fn only_those_who_are_allowed_get_an_answer() {
    let serve = |address: &str| {
        let listener = blocking::listen(address).unwrap();
        let address = listener.address().to_owned();
        std::thread::spawn(move || blocking::serve(listener, |message: panpipe::Bytes| message));
        address
    };
    let ours = serve("unix:@panpipe-test-*?framing=length");
    blocking::connect(&ours).unwrap().call("it is us").unwrap();
    // Only the superuser can become somebody else.
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        assert_eq!(calling_as_nobody(&ours).unwrap_err().kind(), ErrorKind::ConnectionLost);
        for scheme in ["unix", "unix-seqpacket"] {
            let address = serve(&format!("{scheme}:@panpipe-test-*?allow=uid:65534&protocol=plain"));
            assert_eq!(calling_as_nobody(&address).unwrap(), "may I?");
            let error = blocking::connect(&address).unwrap().call("it is us").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        }
        let group = format!(
            "unix:@panpipe-test-*?allow=uid:7,gid:{}&framing=length",
            std::fs::metadata("/proc/self").unwrap().gid()
        );
        assert_eq!(calling_as_nobody(&serve(&group)).unwrap(), "may I?");
    }
    for wrong in ["1000", "uid:x", "uid:1,", "user:1", "uid:+1"] {
        assert_eq!(listening(&format!("unix:@a?allow={wrong}&framing=length")).kind(), ErrorKind::InvalidAddress);
    }
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_reached_through_its_folder() {
    let folder = Folder::new("long");
    let base = folder.path("");
    for length in [106, 107, 108, 109, 200, 1000] {
        let mut path = base.clone();
        while path.len() + 51 < length {
            path.push_str(&format!("{}/", "d".repeat(49)));
        }
        std::fs::create_dir_all(&path).unwrap();
        path.push_str(&"n".repeat(length - path.len()));
        assert_eq!(path.len(), length);
        for scheme in ["unix", "unix-seqpacket"] {
            let address = format!("{scheme}:{path}?protocol=plain");
            let listener = blocking::listen(&address).unwrap();
            assert_eq!(listener.address(), address);
            let client = blocking::connect(&address).unwrap();
            client.send("hello").unwrap();
            let accepted = listener.accept().unwrap().unwrap();
            assert_eq!(accepted.recv().unwrap().unwrap(), "hello", "{length}");
            assert_eq!(listening(&address).kind(), ErrorKind::AddressInUse);
            drop(listener);
            assert!(!std::path::Path::new(&path).exists(), "{path}");
            assert_eq!(connecting(&address).kind(), ErrorKind::NotFound);
        }
    }
}
