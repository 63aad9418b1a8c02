//! `fifo:` on tokio and on threads: what the faces make of ends that go one way, and of writers that come and go.

use std::process::{Command, Stdio};
use std::time::Duration;

use panpipe::plain::blocking;
use panpipe::{Bytes, ErrorKind};
use tokio::time::timeout;

/// How long a test waits for what must come.
const NET: Duration = Duration::from_secs(20);

/// A folder of one test, removed with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("panpipe-faces-{}-{name}", std::process::id()));
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

async fn shell(script: String) -> String {
    let run = move || Command::new("sh").arg("-c").arg(script).stderr(Stdio::inherit()).output().unwrap();
    let output = timeout(NET, tokio::task::spawn_blocking(run)).await.expect("it ends").unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn many_writers_one_after_another_and_at_once() {
    let folder = Folder::new("writers");
    let address = format!("fifo:{}?framing=lines", folder.path("fifo"));
    let listener = panpipe::plain::listen(&address).await.unwrap();
    let reader = listener.accept().await.unwrap().unwrap();
    for round in 0..3 {
        shell(format!("echo shell {round} > {}", folder.path("fifo"))).await;
        assert_eq!(timeout(NET, reader.recv()).await.unwrap().unwrap().unwrap(), format!("shell {round}"));
    }
    let write = async |letter: &str| {
        let writer = panpipe::plain::connect(&address).await.unwrap();
        let message = letter.repeat(4095);
        for _ in 0..500 {
            writer.send(&message).await.unwrap();
        }
        let error = writer.send(letter.repeat(4096)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        writer.close().await.unwrap();
    };
    let read = async {
        for _ in 0..1000 {
            let message = reader.recv().await.unwrap().unwrap();
            assert!(message.len() == 4095 && message.iter().all(|letter| *letter == message[0]));
        }
    };
    timeout(NET, async { tokio::join!(write("a"), write("b"), read) }).await.unwrap();
    reader.close().await.unwrap();
    assert!(!std::fs::exists(folder.path("fifo")).unwrap());
}

#[tokio::test]
async fn a_handler_that_answers_nothing_serves_a_one_way_fifo() {
    let folder = Folder::new("handler");
    let address = format!("fifo:{}?framing=lines", folder.path("fifo"));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = panpipe::plain::serve(&address, move |message: Bytes| {
        let tell = tell.clone();
        async move { tell.send(message).unwrap() }
    });
    let server = server.await.unwrap();
    assert_eq!(server.check_replies().unwrap_err().kind(), ErrorKind::Unsupported);
    let writer = panpipe::plain::connect(&address).await.unwrap();
    writer.send("one").await.unwrap();
    assert_eq!(timeout(NET, told.recv()).await.unwrap().unwrap(), "one");
    server.close().await.unwrap();
    // One that does answer is told, and so is whoever waits for the server.
    let server = panpipe::plain::serve(&address, |message: Bytes| async move { message }).await.unwrap();
    panpipe::plain::connect(&address).await.unwrap().send("two").await.unwrap();
    let error = timeout(NET, server.wait()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_two_way_fifo_is_served_again_and_again() {
    let folder = Folder::new("two-way");
    let (fifo, reply) = (folder.path("fifo"), folder.path("reply"));
    let address = format!("fifo:{fifo}?reply={reply}&framing=lines");
    let server =
        panpipe::plain::serve(&address, |message: Bytes| async move { message.to_ascii_uppercase() }).await.unwrap();
    server.check_replies().unwrap();
    for round in 0..5 {
        assert_eq!(shell(format!("echo hi {round} > {fifo} & cat {reply}")).await, format!("HI {round}\n"));
    }
    for _ in 0..5 {
        let peer = panpipe::plain::connect(&address).await.unwrap();
        for call in 0..5 {
            assert_eq!(peer.call(format!("call {call}")).await.unwrap(), format!("CALL {call}"));
        }
        peer.close().await.unwrap();
    }
    server.close().await.unwrap();
    assert!(!std::fs::exists(fifo).unwrap() && !std::fs::exists(reply).unwrap());
}

#[tokio::test]
async fn a_writer_waits_for_its_reader_and_the_first_writer_for_the_end() {
    let folder = Folder::new("waits");
    assert!(Command::new("mkfifo").arg(folder.path("fifo")).status().unwrap().success());
    let address = format!("fifo:{}?framing=lines", folder.path("fifo"));
    let error = panpipe::plain::connect(&format!("{address}&timeout=50ms")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains("no reader has opened the FIFO"), "{error}");
    let once = format!("{address}&once=true");
    let read = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let listener = panpipe::plain::listen(&once).await.unwrap();
        let reader = listener.accept().await.unwrap().unwrap();
        assert_eq!(reader.recv().await.unwrap().unwrap(), "hi");
        assert!(reader.recv().await.unwrap().is_none());
    };
    let write = async {
        let writer = panpipe::plain::connect(&address).await.unwrap();
        writer.send("hi").await.unwrap();
        writer.close().await.unwrap();
    };
    timeout(NET, async { tokio::join!(read, write) }).await.unwrap();
}

#[test]
fn an_exclusive_writer_on_threads() {
    let folder = Folder::new("exclusive");
    let address = format!("fifo:{}?framing=length&exclusive=true&timeout=100ms", folder.path("fifo"));
    let listener = blocking::listen(&address).unwrap();
    let reader = listener.accept().unwrap().unwrap();
    let writer = blocking::connect(&address).unwrap();
    let large = vec![7; 2 << 20];
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&large).unwrap());
        assert_eq!(reader.recv().unwrap().unwrap(), large);
    });
    assert_eq!(blocking::connect(&address).err().unwrap().kind(), ErrorKind::DeadlineExceeded);
    writer.close().unwrap();
    blocking::connect(&address).unwrap();
}
