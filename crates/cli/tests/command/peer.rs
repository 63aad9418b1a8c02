//! `panpipe call`, `subscribe`, `publish` and `describe` at a service, and `serve` as one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use panpipe::{Bytes, Context, HandlerError, Service, Topic, Value};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::{Server, call, finish, panpipe, run, wait};

/// A service in this process, until it is dropped.
struct Garden {
    address: String,
    _stop: oneshot::Sender<()>,
}

/// How many handlers of `wait` were told to stop.
static CANCELLED: AtomicUsize = AtomicUsize::new(0);

struct CountsDrop;

impl Drop for CountsDrop {
    fn drop(&mut self) {
        CANCELLED.fetch_add(1, Ordering::SeqCst);
    }
}

fn service() -> (Service, Topic<Value>) {
    let mut service = Service::new()
        .title("garden", "1.0")
        .method("upper", |text: String| async move { Ok(text.to_uppercase()) })
        .parameters(["text"])
        .doc("The text in capitals\nof any language")
        .method("grow", |plant: String, by: Option<i64>| async move {
            Ok(Value::map([("plant", Value::from(plant)), ("by", by.map_or(Value::Nil, Value::from))]))
        })
        .parameters(["plant", "by"])
        .method("reverse", |bytes: Bytes| async move { Ok(bytes.iter().rev().copied().collect::<Vec<u8>>()) })
        .parameters(["bytes"])
        .method("bytes", |count: u8| async move { Ok(Bytes::from((0..count).collect::<Vec<_>>())) })
        .parameters(["count"])
        .method("wait", || async {
            let _told = CountsDrop;
            std::future::pending::<()>().await;
            Ok(())
        })
        .method("dry", |plant: String| async move {
            let error = HandlerError::new(format!("no water for {plant}")).type_name("Drought").data(&[1, 2]);
            Err::<(), _>(error)
        })
        .parameters(["plant"])
        .stream("count", |_: Context, to: u32| Items(0, to))
        .parameters(["to"])
        .method("words", || async { Ok("two words") });
    let topic = service.topic::<Value>("weather");
    (service, topic)
}

struct Items(u32, u32);

impl futures_core::Stream for Items {
    type Item = Result<u32, HandlerError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0 += 1;
        std::task::Poll::Ready((self.0 <= self.1).then_some(Ok(self.0)))
    }
}

impl Garden {
    fn open() -> Self {
        let (tell, told) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (service, topic) = service();
                let server = panpipe::serve("unix:@panpipe-cli-*", &service).await.unwrap();
                tell.send(server.address().to_owned()).unwrap();
                let publishing = async {
                    loop {
                        topic.publish(&Value::map([("sun", true)])).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::select! { _ = stopped => {}, () = publishing => {} }
            });
        });
        Garden { address: told.recv().unwrap(), _stop: stop }
    }

    fn call(&self, words: &[&str]) -> crate::Outcome {
        call(&[&[self.address.as_str()], words].concat())
    }
}

#[test]
fn arguments_become_what_the_method_takes() {
    let garden = Garden::open();
    garden.call(&["upper", "Hello, server!"]).is("HELLO, SERVER!\n");
    garden.call(&["upper", "42"]).is("42\n");
    garden.call(&["-n", "upper", "text=a=b"]).is("A=B");
    garden.call(&["grow", "oak"]).is("{\"plant\":\"oak\",\"by\":null}\n");
    garden.call(&["grow", "plant=7", "by=7"]).is("{\"plant\":\"7\",\"by\":7}\n");
    garden.call(&["grow", "oak", "-5"]).is("{\"plant\":\"oak\",\"by\":-5}\n");
    garden.call(&["upper", "--", "--flag"]).is("--FLAG\n");
    garden.call(&["reverse", "abc"]).is("[99,98,97]\n");
    run(["call", &garden.address, "reverse", "-"], b"\0\xff").is("[255,0]\n");
    run(["call", &garden.address, "upper", "-"], "grün".as_bytes()).is("GRÜN\n");
    let bytes = garden.call(&["bytes", "3"]);
    assert_eq!((bytes.code, bytes.stdout), (Some(0), vec![0, 1, 2]));
    garden.call(&["words"]).is("two words\n");
}

#[test]
fn a_stream_is_an_item_a_line() {
    let garden = Garden::open();
    garden.call(&["count", "3"]).is("1\n2\n3\n");
    let mut counting =
        panpipe(["call", &garden.address, "count", "4000000000"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<_> = BufReader::new(counting.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    assert_eq!(lines, ["1", "2", "3"]);
    // Its reader has gone.
    assert_eq!(wait(&mut counting).code(), Some(0));
}

#[test]
fn what_cannot_be_called_is_told_before_it_is() {
    let garden = Garden::open();
    let address = &garden.address;
    for (words, code, reason) in [
        (
            &["lower", "x"][..],
            3,
            "not-found: no method \"lower\"; known: upper, grow, reverse, bytes, wait, dry, count, words",
        ),
        (&["upper"], 2, "invalid-arguments: the argument text is missing: upper(text: string) -> string"),
        (
            &["grow", "oak", "per=3"],
            2,
            "invalid-arguments: no parameter is called \"per\": grow(plant: string, by?: integer | null) -> any; \
             a text with = in it is written plant=…",
        ),
        (
            &["grow", "oak", "much"],
            2,
            "invalid-arguments: the argument by is to be integer | null, in JSON, and \"much\" is not",
        ),
    ] {
        let line = format!("panpipe: calling {} at {address}: {reason}", words[0]);
        garden.call(words).is_error(code, &[&line]);
    }
}

#[test]
fn a_handler_that_fails_is_1_with_its_code_type_and_message() {
    let garden = Garden::open();
    let line = format!("panpipe: calling {}: remote: Drought: no water for fern", garden.address);
    garden.call(&["dry", "fern"]).is_error(1, &[&line]);
    garden.call(&["--verbose", "dry", "fern"]).is_error(1, &[&line, "  data: [1,2]"]);
    garden.call(&["upper", "a", "b"]).is_error(
        2,
        &[&format!(
            "panpipe: calling {}: invalid-arguments: arguments[1]: one argument too many, expected 1",
            garden.address
        )],
    );
}

#[test]
fn a_deadline_is_4_and_an_interrupt_is_130_and_both_cancel() {
    let garden = Garden::open();
    let late = garden.call(&["--timeout", "50ms", "wait"]);
    assert_eq!(late.code, Some(4), "{late:?}");
    let mut waiting = panpipe(["call", &garden.address, "wait"]).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&waiting), Signal::INT).unwrap();
    assert_eq!(wait(&mut waiting).code(), Some(130));
    let begun = std::time::Instant::now();
    while CANCELLED.load(Ordering::SeqCst) < 2 {
        assert!(begun.elapsed() < crate::NET, "a handler was not told");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn topics_are_subscribed_to_and_published_on() {
    let garden = Garden::open();
    let address = &garden.address;
    let mut reading = panpipe(["subscribe", address, "weather"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<_> = BufReader::new(reading.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(lines, ["{\"sun\":true}", "{\"sun\":true}"]);
    assert_eq!(wait(&mut reading).code(), Some(0), "its reader has gone");

    let mut reading = panpipe(["subscribe", address, "weather"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(reading.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let publish = |words: &[&str]| finish(panpipe(["publish", address]).args(words).stdin(Stdio::null()), b"");
    publish(&["weather", "{\"rain\": 3}"]).is("");
    assert!(lines.by_ref().take(1000).any(|line| line.unwrap() == "{\"rain\":3}"));
    kill_process(Pid::from_child(&reading), Signal::INT).unwrap();
    assert_eq!(wait(&mut reading).code(), Some(130));

    let line = format!("panpipe: publishing on news at {address}: not-found: no topic \"news\"; known: weather");
    publish(&["news", "hi"]).is_error(3, &[&line]);
    let nothing = run(["subscribe", address, "news"], b"");
    assert_eq!(nothing.code, Some(3), "{nothing:?}");
    assert!(nothing.stderr.contains("not-found"), "{nothing:?}");
}

#[test]
fn describe_shows_signatures_and_docs_or_the_document() {
    let garden = Garden::open();
    run(["describe", &garden.address], b"").is("\
garden 1.0

  upper(text: string) -> string
      The text in capitals
      of any language

  grow(plant: string, by?: integer | null) -> any

  reverse(bytes: bytes) -> any

  bytes(count: integer) -> bytes

  wait() -> null

  dry(plant: string) -> null

  count(to: integer) -> stream of integer

  words() -> string

  topics: weather
");
    let document = run(["describe", "--json", &garden.address], b"");
    assert!(String::from_utf8(document.stdout).unwrap().starts_with("{\n  \"openrpc\": \"1.3.2\","));
}

#[test]
fn serve_offers_its_handlers_as_methods() {
    let server = Server::start("tcp://localhost:0", &["--upper"]);
    call(&[&server.address, "upper", "Hello, grün!"]).is("HELLO, GRÜN!\n");
    let server = Server::start("unix:@panpipe-cli-*", &["--echo"]);
    call(&[&server.address, "echo", "{\"a\":[1,null]}"]).is("{\"a\":[1,null]}\n");
    let server = Server::start("unix:@panpipe-cli-*", &["--", "tr", "a-z", "A-Z"]);
    call(&[&server.address, "run", "hello"]).is("HELLO\n");
    run(["call", &server.address, "run", "-"], b"a\nb\n").is("A\nB\n");
    call(&["spawn:", "upper", "hello", "--", env!("CARGO_BIN_EXE_panpipe"), "serve", "-", "--upper"]);
    let server = Server::start("unix:@panpipe-cli-*", &["--", "sh", "-c", "exit 3"]);
    let line = format!("panpipe: calling {}: remote: sh ended with exit status 3", server.address);
    call(&[&server.address, "run", "x"]).is_error(1, &[&line]);
}

#[test]
fn a_server_that_is_terminated_finishes_what_runs_and_takes_no_more() {
    let mut server = Server::start("unix:@panpipe-cli-*", &["--", "sh", "-c", "echo begun >&2; sleep 0.5; cat"]);
    let calling = panpipe(["call", &server.address, "run", "hi"]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(server.line(), "begun");
    assert_eq!(server.end(Signal::TERM), Some(143));
    let outcome = calling.wait_with_output().unwrap();
    assert_eq!((outcome.status.code(), outcome.stdout), (Some(0), b"hi\n".to_vec()));
}
