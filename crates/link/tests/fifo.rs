//! `fifo:`: who opens first, who writes, who goes, and what is left behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use panpipe_link::{
    Accepted, Address, Blocking, Endpoint, Error, ErrorKind, Event, Listener, Progress, Ran, Result, Server,
    ServerEvent, WaitFor, blocking, listen, parse,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};

/// How long a test waits for what must come: only a failure takes so long.
const NET: Duration = Duration::from_secs(20);

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("panpipe-fifo-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn fifo(&self, options: &str) -> String {
        match options {
            "" => format!("fifo:{}", self.path("fifo")),
            _ => format!("fifo:{}?{options}", self.path("fifo")),
        }
    }

    /// A FIFO that nobody of panpipe made.
    fn mkfifo(&self, name: &str) -> String {
        assert!(Command::new("mkfifo").arg(self.path(name)).status().unwrap().success());
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shell(script: String) -> Child {
    Command::new("sh").arg("-c").arg(script).stdout(Stdio::piped()).spawn().unwrap()
}

fn output(child: Child) -> String {
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

fn open(address: &str) -> Listener {
    listen(&parse(address).unwrap()).unwrap()
}

fn refused(address: &str) -> Error {
    listen(&parse(address).unwrap()).err().unwrap()
}

fn connect(address: &str) -> Result<Blocking> {
    blocking::connect(&parse(address).unwrap(), None, &mut WaitFor)
}

fn accept(listener: &Listener) -> Blocking {
    blocking::accept(listener, Some(NET), &mut WaitFor).unwrap().unwrap()
}

fn text(connection: &Blocking) -> Option<String> {
    let message = connection.recv(Some(NET), &mut WaitFor).unwrap();
    message.map(|message| String::from_utf8(message.to_vec()).unwrap())
}

fn send(connection: &Blocking, message: &[u8]) -> Result<()> {
    connection.send(message, Some(NET), &mut WaitFor)
}

fn close(connection: &Blocking) {
    connection.close(Some(NET), &mut WaitFor).unwrap();
}

/// Waits until `found` answers something.
fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < NET, "it does not come about");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn echo_into_the_path_is_a_message() {
    let folder = Folder::new();
    let listener = open(&folder.fifo("framing=lines"));
    let reader = accept(&listener);
    for _ in 0..3 {
        assert!(shell(format!("echo hi > {}", folder.path("fifo"))).wait().unwrap().success());
        assert_eq!(text(&reader).as_deref(), Some("hi"));
    }
}

#[test]
fn cat_of_the_path_gets_what_is_sent() {
    let folder = Folder::new();
    let path = folder.mkfifo("fifo");
    let cat = shell(format!("cat {path}"));
    let writer = connect(&folder.fifo("framing=lines")).unwrap();
    send(&writer, b"one").unwrap();
    send(&writer, b"two").unwrap();
    close(&writer);
    assert_eq!(output(cat), "one\ntwo\n");
    assert!(fs::exists(path).unwrap(), "one that was there before stays");
}

#[test]
fn whoever_opens_first_waits_for_the_other() {
    for order in ["listener first", "writer first", "shell writer first", "shell reader first"] {
        let folder = Folder::new();
        let address = folder.fifo("framing=lines");
        match order {
            "listener first" => {
                let listener = open(&address);
                let writer = connect(&address).unwrap();
                send(&writer, b"hi").unwrap();
                assert_eq!(text(&accept(&listener)).as_deref(), Some("hi"));
            }
            "writer first" => {
                folder.mkfifo("fifo");
                let mut connecting = panpipe_link::connect(&parse(&address).unwrap()).unwrap();
                assert!(matches!(connecting.advance().unwrap(), Progress::WaitFor(_)));
                let listener = open(&address);
                assert!(matches!(connecting.advance().unwrap(), Progress::Connected(_)));
                drop(listener);
            }
            "shell writer first" => {
                let path = folder.mkfifo("fifo");
                let mut echo = shell(format!("echo hi > {path}"));
                assert_eq!(text(&accept(&open(&address))).as_deref(), Some("hi"));
                assert!(echo.wait().unwrap().success());
            }
            _ => {
                let path = folder.mkfifo("fifo");
                let cat = shell(format!("cat {path}"));
                let writer = connect(&address).unwrap();
                send(&writer, b"hi").unwrap();
                close(&writer);
                assert_eq!(output(cat), "hi\n");
            }
        }
    }
}

#[test]
fn a_writer_without_a_reader_is_told_what_it_waited_for() {
    let folder = Folder::new();
    folder.mkfifo("fifo");
    let error = connect(&folder.fifo("timeout=50ms")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains("no reader has opened the FIFO"), "{error}");
    let folder = Folder::new();
    assert_eq!(connect(&folder.fifo("timeout=50ms")).err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_listener_without_a_writer_waits_and_does_not_take_it_for_the_end() {
    for options in ["framing=lines", "framing=lines&once=true"] {
        let folder = Folder::new();
        let listener = open(&folder.fifo(options));
        let reader = accept(&listener);
        let begun = Instant::now();
        let busy = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let error = reader.recv(Some(Duration::from_millis(100)), &mut WaitFor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(begun.elapsed() >= Duration::from_millis(100));
        let busy = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) - busy;
        assert!(busy.tv_sec == 0 && busy.tv_nsec < 50_000_000, "it spins: {busy:?}");
        shell(format!("echo hi > {}", folder.path("fifo"))).wait().unwrap();
        assert_eq!(text(&reader).as_deref(), Some("hi"));
    }
}

#[test]
fn writers_come_and_go_and_the_listener_stays() {
    let folder = Folder::new();
    let address = folder.fifo("framing=lines");
    let listener = open(&address);
    let reader = accept(&listener);
    for number in 0..50 {
        let writer = connect(&address).unwrap();
        send(&writer, number.to_string().as_bytes()).unwrap();
        close(&writer);
        assert_eq!(text(&reader), Some(number.to_string()));
    }
    let error = reader.recv(Some(Duration::from_millis(20)), &mut WaitFor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
}

#[test]
fn once_ends_with_the_writer_and_tells_a_message_that_was_cut() {
    for (sent, cut) in [("one\ntwo\n", false), ("one\ntwo\nthr", true)] {
        let folder = Folder::new();
        let listener = open(&folder.fifo("framing=lines&once=true"));
        let reader = accept(&listener);
        let mut writer = OpenOptions::new().write(true).open(folder.path("fifo")).unwrap();
        writer.write_all(sent.as_bytes()).unwrap();
        drop(writer);
        assert_eq!(text(&reader).as_deref(), Some("one"));
        assert_eq!(text(&reader).as_deref(), Some("two"));
        match cut {
            false => assert_eq!(text(&reader), None),
            true => {
                let error = reader.recv(Some(NET), &mut WaitFor).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionLost);
            }
        }
        assert!(blocking::accept(&listener, Some(NET), &mut WaitFor).unwrap().is_none());
    }
}

/// What two processes write at once, each message of one letter alone.
fn torn(length: usize, count: usize, options: &str) -> usize {
    let folder = Folder::new();
    let address = folder.fifo(&format!("framing=lines{options}"));
    let listener = open(&address);
    let reader = accept(&listener);
    thread::scope(|scope| {
        for letter in [b'a', b'b'] {
            let address = &address;
            scope.spawn(move || {
                let writer = connect(address).unwrap();
                let message = vec![letter; length - 1];
                for _ in 0..count {
                    send(&writer, &message).unwrap();
                }
                close(&writer);
            });
        }
        let mut torn = 0;
        for _ in 0..2 * count {
            let message = reader.recv(Some(NET), &mut WaitFor).unwrap().unwrap();
            let whole = message.len() == length - 1 && message.iter().all(|letter| *letter == message[0]);
            torn += usize::from(!whole);
        }
        torn
    })
}

#[test]
fn of_two_writers_with_4000_messages_of_4096_bytes_none_is_torn() {
    assert_eq!(torn(4096, 4000, ""), 0);
}

#[test]
fn small_messages_of_two_writers_are_not_torn_either() {
    for length in [2, 100, 1000, 2049, 4095] {
        assert_eq!(torn(length, 1000, ""), 0);
    }
}

#[test]
fn many_messages_that_wait_go_out_whole() {
    let folder = Folder::new();
    let address = parse(&folder.fifo("framing=lines")).unwrap();
    let listener = open(address.text());
    let reader = accept(&listener);
    let write = |letter: u8| {
        let mut writer = endpoint(&address);
        for round in 0..20 {
            // Queued without a write in between, as a turn of a loop does.
            for number in 0..50 {
                writer.send(&vec![letter; 1 + (round * 50 + number) * 37 % 4000], false).unwrap();
            }
            until(|| {
                writer.flush();
                (!writer.wants_write()).then_some(())
            });
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| write(b'a'));
        scope.spawn(|| write(b'b'));
        let mut counts = [0; 2];
        for _ in 0..2000 {
            let message = reader.recv(Some(NET), &mut WaitFor).unwrap().unwrap();
            let letter = message[0];
            assert!(message.iter().all(|other| *other == letter), "torn");
            let count = &mut counts[usize::from(letter - b'a')];
            assert_eq!(message.len(), 1 + *count * 37 % 4000, "in order");
            *count += 1;
        }
    });
}

/// A connection that this test pumps itself.
fn endpoint(address: &Address) -> Endpoint {
    match panpipe_link::connect(address).unwrap().advance().unwrap() {
        Progress::Connected(link) => Endpoint::new(link, address),
        _ => panic!("nobody reads"),
    }
}

#[test]
fn a_read_before_the_first_writer_came_is_not_the_end() {
    let folder = Folder::new();
    let address = parse(&folder.fifo("framing=lines&once=true")).unwrap();
    let listener = open(address.text());
    let Accepted::Link(link) = listener.accept().unwrap() else { panic!("it is there") };
    let mut reader = Endpoint::new(link, &address);
    let mut next = || {
        reader.on_readable();
        reader.next_event(Instant::now(), true)
    };
    assert!(next().is_none());
    let mut writer = endpoint(&address);
    assert!(next().is_none());
    writer.send(b"hi", true).unwrap();
    assert!(matches!(next(), Some(Event::Message(Ok(message))) if message == "hi"));
    assert!(next().is_none());
    writer.close();
    until(|| matches!(next(), Some(Event::Ended(None))).then_some(()));
}

#[test]
fn a_message_of_4097_bytes_is_refused_and_the_connection_lives() {
    for (framing, most) in [("lines", 4095), ("length", 4092), ("raw", 4096)] {
        let folder = Folder::new();
        let address = folder.fifo(&format!("framing={framing}"));
        let listener = open(&address);
        let reader = accept(&listener);
        let writer = connect(&address).unwrap();
        let error = send(&writer, &vec![b'x'; most + 1]).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::TooLarge, Ran::No));
        assert!(error.to_string().contains("exclusive=true"), "{error}");
        send(&writer, &vec![b'x'; most]).unwrap();
        assert_eq!(text(&reader).unwrap().len(), most);
    }
}

#[test]
fn an_exclusive_writer_sends_any_size_and_keeps_others_away() {
    let folder = Folder::new();
    let address = folder.fifo("framing=lines&exclusive=true&timeout=100ms");
    let listener = open(&address);
    let reader = accept(&listener);
    let writer = connect(&address).unwrap();
    let large = vec![b'x'; 3 << 20];
    thread::scope(|scope| {
        scope.spawn(|| send(&writer, &large).unwrap());
        assert_eq!(text(&reader).unwrap().len(), large.len());
    });
    for other in [address.clone(), folder.fifo("framing=lines&timeout=100ms")] {
        let error = connect(&other).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(error.to_string().contains("did not leave the FIFO"), "{error}");
    }
    let file = File::options().write(true).open(folder.path("fifo")).unwrap();
    assert!(flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(), "flock(1) sees it too");
    close(&writer);
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    flock(&file, FlockOperation::Unlock).unwrap();
    connect(&address).unwrap();
}

#[test]
fn a_reader_that_dies_is_a_lost_connection() {
    let folder = Folder::new();
    let path = folder.mkfifo("fifo");
    let mut cat = Command::new("cat").arg(&path).stdout(Stdio::null()).spawn().unwrap();
    let writer = connect(&folder.fifo("framing=lines")).unwrap();
    send(&writer, b"one").unwrap();
    cat.kill().unwrap();
    cat.wait().unwrap();
    let error = until(|| send(&writer, b"two").err());
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
}

#[test]
fn a_closed_listener_is_a_lost_connection_though_its_objects_live_on() {
    let folder = Folder::new();
    let address = folder.fifo("framing=lines");
    let listener = open(&address);
    let reader = accept(&listener);
    let writer = connect(&address).unwrap();
    close(&reader);
    // Children that other tests start have their descriptors for a moment.
    let error = until(|| send(&writer, b"two").err());
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
}

#[test]
fn one_way_ends_say_so() {
    let folder = Folder::new();
    let address = folder.fifo("framing=lines");
    let listener = open(&address);
    assert_eq!(listener.check_replies().unwrap_err().kind(), ErrorKind::Unsupported);
    let reader = accept(&listener);
    let writer = connect(&address).unwrap();
    let call = |connection: &Blocking| connection.call(b"hi", Some(NET), &mut WaitFor).unwrap_err();
    let reads = [send(&reader, b"hi").unwrap_err(), call(&reader)];
    let writes = [writer.recv(Some(NET), &mut WaitFor).unwrap_err(), call(&writer)];
    for (errors, reason) in [(reads, "this end of the FIFO only reads"), (writes, "this end of the FIFO only writes")] {
        for error in errors {
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unsupported, Ran::No));
            assert!(error.to_string().contains(reason) && error.to_string().contains("reply=PATH2"), "{error}");
        }
    }
    send(&writer, b"fine").unwrap();
    assert_eq!(text(&reader).as_deref(), Some("fine"));
    close(&writer);
    close(&reader);
}

#[test]
fn what_is_no_fifo_is_left_alone() {
    let folder = Folder::new();
    for (name, make) in [
        ("file", (|path| fs::write(path, "text").unwrap()) as fn(&str)),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("link", |path| std::os::unix::fs::symlink("elsewhere", path).unwrap()),
    ] {
        let path = folder.path(name);
        make(&path);
        let error = refused(&format!("fifo:{path}"));
        assert_eq!(error.kind(), ErrorKind::AddressInUse, "{error}");
        assert!(error.to_string().contains("no FIFO"), "{error}");
        let error = connect(&format!("fifo:{path}?timeout=50ms")).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(fs::symlink_metadata(&path).is_ok());
    }
    assert_eq!(fs::read_to_string(folder.path("file")).unwrap(), "text");
}

#[test]
fn a_link_to_a_fifo_is_not_followed() {
    let folder = Folder::new();
    std::os::unix::fs::symlink(folder.mkfifo("real"), folder.path("fifo")).unwrap();
    assert_eq!(refused(&folder.fifo("")).kind(), ErrorKind::AddressInUse);
    assert_eq!(connect(&folder.fifo("")).err().unwrap().kind(), ErrorKind::Refused);
}

#[test]
fn a_fifo_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // nobody else's files can be made
    }
    let folder = Folder::new();
    let path = folder.mkfifo("fifo");
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert_eq!(refused(&folder.fifo("")).kind(), ErrorKind::Permission);
    assert_eq!(connect(&folder.fifo("")).err().unwrap().kind(), ErrorKind::Permission);
}

#[test]
fn the_fifo_is_born_private_and_goes_with_its_listener_if_it_is_ours() {
    let folder = Folder::new();
    for (options, mode) in [("", 0o600), ("mode=0622", 0o622)] {
        let listener = open(&folder.fifo(options));
        let found = fs::symlink_metadata(folder.path("fifo")).unwrap();
        assert!(found.file_type().is_fifo());
        assert_eq!(found.permissions().mode() & 0o777, mode);
        let reader = accept(&listener);
        drop(listener);
        assert!(fs::exists(folder.path("fifo")).unwrap(), "the connection still reads it");
        close(&reader);
        assert!(!fs::exists(folder.path("fifo")).unwrap());
    }
    // Somebody puts another one in its place.
    let listener = open(&folder.fifo(""));
    fs::remove_file(folder.path("fifo")).unwrap();
    let other = fs::metadata(folder.mkfifo("fifo")).unwrap().ino();
    drop(listener);
    assert_eq!(fs::metadata(folder.path("fifo")).unwrap().ino(), other);
    // One that was there before.
    drop(open(&folder.fifo("")));
    assert_eq!(fs::metadata(folder.path("fifo")).unwrap().ino(), other);
}

#[test]
fn listening_again_works_once_the_connection_is_closed() {
    let folder = Folder::new();
    let address = folder.fifo("framing=lines");
    for _ in 0..3 {
        let listener = open(&address);
        let reader = accept(&listener);
        let writer = connect(&address).unwrap();
        send(&writer, b"hi").unwrap();
        assert_eq!(text(&reader).as_deref(), Some("hi"));
        close(&reader);
        let again = open(&address);
        drop(again);
    }
}

#[test]
fn a_second_listener_is_refused_and_disturbs_nothing() {
    for options in ["framing=lines", "framing=lines&once=true"] {
        let folder = Folder::new();
        let address = folder.fifo(options);
        let listener = open(&address);
        let reader = accept(&listener);
        for _ in 0..2 {
            let error = refused(&address);
            assert_eq!(error.kind(), ErrorKind::AddressInUse);
            assert!(error.to_string().contains("another process reads this FIFO"), "{error}");
        }
        let writer = connect(&address).unwrap();
        send(&writer, b"hi").unwrap();
        assert_eq!(text(&reader).as_deref(), Some("hi"));
    }
}

#[test]
fn a_killed_listener_leaves_a_fifo_that_the_next_one_uses() {
    let folder = Folder::new();
    let address = folder.fifo("framing=lines");
    // This test runs itself as the listener that is killed.
    if let Ok(address) = std::env::var("PANPIPE_TEST_LISTEN") {
        let _listener = open(&address);
        println!("listening");
        thread::sleep(NET);
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_listener_leaves_a_fifo_that_the_next_one_uses", "--nocapture"])
        .env("PANPIPE_TEST_LISTEN", &address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until(|| fs::exists(folder.path("fifo")).unwrap().then_some(()));
    until(|| {
        let error = listen(&parse(&address).unwrap()).err()?;
        (error.kind() == ErrorKind::AddressInUse).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fs::exists(folder.path("fifo")).unwrap());
    let listener = open(&address);
    shell(format!("echo hi > {}", folder.path("fifo"))).wait().unwrap();
    assert_eq!(text(&accept(&listener)).as_deref(), Some("hi"));
}

fn two_way(folder: &Folder, options: &str) -> String {
    folder.fifo(&format!("framing=lines&reply={}{options}", folder.path("reply")))
}

/// Answers in upper case, in a thread of its own, until dropped.
struct Upper {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<Error>>>,
}

impl Upper {
    fn serve(address: &str) -> Self {
        let mut server = Server::new(open(address)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut lost = Vec::new();
            while !stopped.load(Ordering::Relaxed) && !server.is_finished() {
                let patience = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                let timeout = match server.next_deadline(Instant::now()) {
                    Some(_) => Timespec { tv_sec: 0, tv_nsec: 100_000 },
                    None => patience,
                };
                poll(&mut [PollFd::new(server.descriptor(), PollFlags::IN)], Some(&timeout)).unwrap();
                server.turn(Instant::now()).unwrap();
                while let Some(event) = server.next_event(Instant::now()) {
                    match event {
                        ServerEvent::Request { from, message } => {
                            server.reply(from, Some(&message.to_ascii_uppercase()), Instant::now()).unwrap();
                        }
                        ServerEvent::Lost(error) | ServerEvent::Refused(error) => lost.push(error),
                    }
                }
            }
            lost
        });
        Upper { stop, thread: Some(thread) }
    }

    /// What ended connections before their time.
    fn end(mut self) -> Vec<Error> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn with_a_second_fifo_calls_are_answered_one_client_after_another() {
    let folder = Folder::new();
    let address = two_way(&folder, "");
    let server = Upper::serve(&address);
    for number in 0..20 {
        let client = connect(&address).unwrap();
        for _ in 0..10 {
            let reply = client.call(format!("call {number}").as_bytes(), Some(NET), &mut WaitFor).unwrap();
            assert_eq!(reply, format!("CALL {number}"));
        }
        close(&client);
    }
    assert!(server.end().is_empty());
    assert!(!fs::exists(folder.path("fifo")).unwrap() && !fs::exists(folder.path("reply")).unwrap());
}

#[test]
fn clients_of_a_two_way_fifo_wait_for_their_turn() {
    let folder = Folder::new();
    let address = two_way(&folder, "");
    let server = Upper::serve(&address);
    thread::scope(|scope| {
        for number in 0..4 {
            let address = &address;
            scope.spawn(move || {
                for round in 0..10 {
                    let client = connect(address).unwrap();
                    let message = format!("client {number} round {round}");
                    let reply = client.call(message.as_bytes(), Some(NET), &mut WaitFor).unwrap();
                    assert_eq!(reply, message.to_uppercase());
                    close(&client);
                }
            });
        }
    });
    assert!(server.end().is_empty());
}

#[test]
fn echo_and_cat_hold_a_conversation_again_and_again() {
    let folder = Folder::new();
    let server = Upper::serve(&two_way(&folder, ""));
    let (fifo, reply) = (folder.path("fifo"), folder.path("reply"));
    for number in 0..10 {
        // Either may come first.
        let pause = if number % 2 == 0 { "" } else { "sleep 0.05;" };
        let cat = shell(format!("echo hi {number} > {fifo} & {pause} cat {reply}"));
        assert_eq!(output(cat), format!("HI {number}\n"));
    }
    assert!(server.end().is_empty());
}

#[test]
fn a_writer_that_goes_inside_a_message_ends_its_two_way_conversation_alone() {
    let folder = Folder::new();
    let server = Upper::serve(&two_way(&folder, ""));
    let (fifo, reply) = (folder.path("fifo"), folder.path("reply"));
    let cat = shell(format!("printf cut > {fifo} & cat {reply}"));
    assert_eq!(output(cat), "");
    let cat = shell(format!("echo next > {fifo} & cat {reply}"));
    assert_eq!(output(cat), "NEXT\n");
    let lost = server.end();
    assert_eq!(lost.iter().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::ConnectionLost]);
}

#[test]
fn a_two_way_listener_that_is_to_serve_once_does() {
    let folder = Folder::new();
    let address = two_way(&folder, "&once=true");
    let listener = open(&address);
    let client = connect(&address).unwrap();
    send(&client, b"hi").unwrap();
    let peer = accept(&listener);
    assert_eq!(text(&peer).as_deref(), Some("hi"));
    assert!(blocking::accept(&listener, Some(NET), &mut WaitFor).unwrap().is_none());
    send(&peer, b"HI").unwrap();
    assert_eq!(text(&client).as_deref(), Some("HI"));
    close(&client);
    assert_eq!(text(&peer), None);
}

#[test]
fn a_two_way_listener_that_waits_does_not_spin_nor_miss_its_close() {
    let folder = Folder::new();
    let listener = Arc::new(open(&two_way(&folder, "")));
    let waiting = thread::spawn({
        let listener = Arc::clone(&listener);
        move || {
            let accepted = blocking::accept(&listener, Some(NET), &mut WaitFor).unwrap().is_some();
            (accepted, rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
        }
    });
    // Somebody looks in and goes without a word.
    drop(OpenOptions::new().write(true).open(folder.path("fifo")).unwrap());
    thread::sleep(Duration::from_millis(100));
    listener.close();
    let (accepted, busy) = waiting.join().unwrap();
    assert!(!accepted);
    assert!(busy.tv_sec == 0 && busy.tv_nsec < 50_000_000, "it spins: {busy:?}");
    assert!(!fs::exists(folder.path("fifo")).unwrap());
}
