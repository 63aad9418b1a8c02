//! Calls, streams and topics between peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use panpipe::{
    Bytes, ConnectionState, Context, Error, ErrorKind, HandlerError, Named, Peer, Policy, Ran, Service, Update, Value,
    pair,
};
use tokio::sync::Notify;

fn service() -> Service {
    Service::new()
        .method("upper", |text: String| async move { Ok(text.to_uppercase()) })
        .parameters(["text"])
        .method("add", |a: i64, b: i64| async move { Ok(a + b) })
        .parameters(["a", "b"])
        .method("echo", |bytes: Bytes| async move { Ok(bytes) })
        .method("later", |milliseconds: u64| async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(milliseconds)
        })
        .method("fail", |text: String| async move {
            Err::<(), _>(HandlerError::new(text).type_name("Trouble").data(&[1, 2]))
        })
        .method("panic", |text: String| async move {
            if !text.is_empty() {
                panic!("{text}");
            }
            Ok(())
        })
        .stream("countdown", countdown)
}

fn countdown(from: u32) -> Numbers {
    Numbers { next: from, dropped: None }
}

/// Counts down to one.
struct Numbers {
    next: u32,
    dropped: Option<Arc<Notify>>,
}

impl futures_core::Stream for Numbers {
    type Item = Result<u32, HandlerError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let now = self.next;
        self.next = now.saturating_sub(1);
        std::task::Poll::Ready((now > 0).then_some(Ok(now)))
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.notify_one();
        }
    }
}

fn peers() -> (Peer, Peer) {
    pair("protocol=panpipe", None, Some(&service())).unwrap()
}

#[tokio::test]
async fn a_call_is_answered_with_its_reply() {
    let (peer, _other) = peers();
    let reply: String = peer.call("upper", "Hello, server!").await.unwrap();
    assert_eq!(reply, "HELLO, SERVER!");
    let sum: i64 = peer.call("add", (40, 2)).await.unwrap();
    assert_eq!(sum, 42);
    let named: i64 = peer.call("add", Named([("b", 2), ("a", 40)])).await.unwrap_or_default();
    assert_eq!(named, 0, "an array of pairs is no map");
    let named: i64 = peer.call("add", Named(std::collections::BTreeMap::from([("b", 2), ("a", 40)]))).await.unwrap();
    assert_eq!(named, 42);
}

#[tokio::test]
async fn many_calls_are_answered_out_of_order_each_with_its_own() {
    let (peer, _other) = peers();
    let slow = peer.call::<u64>("later", 50u64);
    let quick: Vec<_> = (0..3000).map(|n| peer.call::<i64>("add", (n, 1))).collect();
    for (n, call) in quick.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), n as i64 + 1);
    }
    assert_eq!(slow.await.unwrap(), 50);
}

#[tokio::test]
async fn long_messages_are_whole_and_keep_nobody_waiting() {
    let (peer, _other) = peers();
    let long = Bytes::from((0..5_000_000u32).map(|n| n as u8).collect::<Vec<_>>());
    let echo = peer.call::<Bytes>("echo", &long);
    assert_eq!(peer.call::<i64>("add", (1, 2)).await.unwrap(), 3);
    assert!(echo.await.unwrap() == long);
}

#[tokio::test]
async fn a_failing_handler_answers_with_its_error() {
    let (peer, _other) = peers();
    let error = peer.call::<()>("fail", "no way").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Remote, Ran::Maybe));
    let remote = error.remote().unwrap();
    assert_eq!((remote.message.as_str(), remote.type_name.as_deref()), ("no way", Some("Trouble")));
    assert_eq!(remote.data, Some(vec![1, 2].into()));
    let error = peer.call::<()>("panic", "oh no").await.unwrap_err();
    assert!(error.remote().unwrap().message.contains("oh no"), "{error}");
    assert_eq!(peer.call::<i64>("add", (1, 2)).await.unwrap(), 3, "the connection lives");
}

#[tokio::test]
async fn what_does_not_fit_was_not_run() {
    let (peer, _other) = peers();
    for (error, kind) in [
        (peer.call::<()>("nothing", ()).await, ErrorKind::NotFound),
        (peer.call::<()>("upper", 5).await, ErrorKind::InvalidArguments),
        (peer.call::<()>("upper", ()).await, ErrorKind::InvalidArguments),
        (peer.call::<()>("upper", ("a", "b")).await, ErrorKind::InvalidArguments),
        (peer.call::<()>("\u{1}", ()).await, ErrorKind::Unsupported),
        (peer.call::<()>("echo", Bytes::from(vec![0; 17 << 20])).await, ErrorKind::TooLarge),
    ] {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (kind, Ran::No), "{error}");
    }
    let error = peer.call::<i64>("upper", "text").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::BadPeer, Ran::Maybe), "{error}");
}

#[tokio::test]
async fn a_deadline_ends_a_call_and_its_handler() {
    let dropped = Arc::new(Notify::new());
    let guard = Arc::clone(&dropped);
    let service = Service::new().method("hang", move || {
        let guard = Numbers { next: 0, dropped: Some(Arc::clone(&guard)) };
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok(())
        }
    });
    let (peer, _other) = pair("protocol=panpipe", None, Some(&service)).unwrap();
    let error = peer.call_within::<()>(Duration::from_millis(30), "hang", ()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    tokio::time::timeout(Duration::from_secs(5), dropped.notified()).await.expect("the handler is stopped");
    let call = peer.call::<()>("hang", ());
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(call);
    tokio::time::timeout(Duration::from_secs(5), dropped.notified()).await.expect("a dropped call stops it, too");
}

#[tokio::test]
async fn a_handler_calls_its_caller_back() {
    let near = Service::new().method("name", || async { Ok("the caller".to_owned()) });
    let far = Service::new().method("greet", |context: Context| async move {
        let caller = context.peer().unwrap();
        let name: String = caller.call("name", ()).await?;
        Ok(format!("Hello, {name}!"))
    });
    let (peer, _other) = pair("protocol=panpipe", Some(&near), Some(&far)).unwrap();
    let greetings: Vec<_> = (0..100).map(|_| peer.call::<String>("greet", ())).collect();
    for greeting in greetings {
        assert_eq!(greeting.await.unwrap(), "Hello, the caller!");
    }
}

#[tokio::test]
async fn a_deadline_goes_on_to_the_handlers_own_calls() {
    let near = Service::new().method("left", |context: Context| async move {
        let left = context.deadline().unwrap().saturating_duration_since(std::time::Instant::now());
        Ok(left.as_millis() as u64)
    });
    let far = Service::new().method("ask", |context: Context| async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Ok(context.peer().unwrap().call::<u64>("left", ()).await?)
    });
    let (peer, _other) = pair("protocol=panpipe", Some(&near), Some(&far)).unwrap();
    let left: u64 = peer.call_within(Duration::from_millis(900), "ask", ()).await.unwrap();
    assert!((100..=880).contains(&left), "{left} ms left of 900 after 60");
}

#[tokio::test]
async fn an_error_says_through_whom_it_came() {
    let (inner, _inner_other) = pair("protocol=panpipe", None, Some(&service())).unwrap();
    let relay = Service::new().method("relay", move || {
        let inner = inner.clone();
        async move { Ok(inner.call::<()>("fail", "deep down").await?) }
    });
    let (peer, _other) = pair("protocol=panpipe", None, Some(&relay)).unwrap();
    let error = peer.call::<()>("relay", ()).await.unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!((remote.message.as_str(), remote.via.len()), ("deep down", 1), "{remote:?}");
}

#[tokio::test]
async fn a_stream_brings_its_items_and_its_end() {
    let (peer, _other) = peers();
    let mut stream = peer.stream::<u32>("countdown", 10_000);
    let mut last = 10_001;
    while let Some(item) = stream.next().await {
        let item = item.unwrap();
        assert_eq!(item, last - 1);
        last = item;
    }
    assert_eq!(last, 1);
    assert!(stream.next().await.is_none());
    let error = peer.stream::<u32>("nothing", ()).next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_slow_consumer_stops_its_producer_and_nobody_else() {
    let made = Arc::new(AtomicUsize::new(0));
    let dropped = Arc::new(Notify::new());
    let (counter, guard) = (Arc::clone(&made), Arc::clone(&dropped));
    struct Endless(Arc<AtomicUsize>, #[expect(dead_code, reason = "tells when it is dropped")] Numbers);
    impl futures_core::Stream for Endless {
        type Item = Result<Bytes, HandlerError>;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::task::Poll::Ready(Some(Ok(Bytes::from(vec![0; 1000]))))
        }
    }
    let service = service().stream("endless", move || {
        Endless(Arc::clone(&counter), Numbers { next: 0, dropped: Some(Arc::clone(&guard)) })
    });
    let (peer, _other) = pair("protocol=panpipe", None, Some(&service)).unwrap();
    let mut stream = peer.stream::<Bytes>("endless", ());
    assert_eq!(stream.next().await.unwrap().unwrap().len(), 1000);
    for n in 0..100 {
        assert_eq!(peer.call::<i64>("add", (n, 1)).await.unwrap(), n + 1);
    }
    let so_far = made.load(Ordering::Relaxed);
    assert!(so_far < 500, "{so_far} items for a window of 262,144 bytes");
    for _ in 0..1000 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), dropped.notified()).await.expect("it stops when it is not wanted");
}

#[tokio::test]
async fn arguments_go_on_as_a_stream() {
    let service = Service::new()
        .method("sum", |context: Context, start: u64| async move {
            let mut numbers = context.arguments::<u64>().unwrap();
            let mut sum = start;
            while let Some(number) = numbers.next().await {
                sum += number?;
            }
            Ok(sum)
        })
        .method(
            "first",
            |context: Context| async move { Ok(context.arguments::<u64>().unwrap().next().await.unwrap()?) },
        );
    let (peer, _other) = pair("protocol=panpipe", None, Some(&service)).unwrap();
    let (mut numbers, sum) = peer.call_with_stream::<u64, u64>("sum", 5);
    for number in 0..20_000 {
        numbers.send(&number).await.unwrap();
    }
    numbers.finish();
    assert_eq!(sum.await.unwrap(), 5 + (0..20_000).sum::<u64>());
    let (mut numbers, first) = peer.call_with_stream::<u64, u64>("first", ());
    numbers.send(&7).await.unwrap();
    assert_eq!(first.await.unwrap(), 7);
    let refused = async { while numbers.send(&8).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("nobody takes more");
    let (numbers, sum) = peer.call_with_stream::<u64, u64>("sum", 5);
    drop(numbers);
    assert_eq!(sum.await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn subscribers_get_what_is_published_once_they_stand() {
    let mut service = service();
    let weather = service.topic::<String>("weather").retain();
    weather.publish(&"rain".to_owned()).await.unwrap();
    let (peer, _other) = pair("protocol=panpipe", None, Some(&service)).unwrap();
    let mut news = peer.subscribe::<String>("weather", Policy::DropOldest).await.unwrap();
    assert_eq!(weather.subscribers(), 1);
    weather.publish(&"sun".to_owned()).await.unwrap();
    peer.publish("weather", "snow").await.unwrap();
    peer.flush().await.unwrap();
    for expected in ["rain", "sun", "snow"] {
        assert_eq!(news.next().await.unwrap().unwrap(), Update::Item(expected.to_owned()));
    }
    drop(news);
    peer.flush().await.unwrap();
    let gone = async {
        while weather.subscribers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("a dropped subscription ends");
    let error = peer.subscribe::<String>("cake", Policy::DropOldest).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_a_slow_subscriber_missed_is_told_in_its_place() {
    let mut service = service();
    let numbers = service.topic::<u64>("numbers");
    let (peer, _other) = pair("protocol=panpipe", None, Some(&service)).unwrap();
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Disconnect] {
        let mut slow = peer.subscribe::<u64>("numbers", policy).await.unwrap();
        for number in 0..20_000 {
            numbers.publish(&number).await.unwrap();
        }
        let (mut next, mut lagged, mut ended) = (0, 0, None);
        while next < 20_000 && ended.is_none() {
            match slow.next().await {
                Some(Ok(Update::Item(number))) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                Some(Ok(Update::Lagged(count))) => {
                    lagged += count;
                    next += count;
                }
                Some(Err(error)) => ended = Some(error.kind()),
                None => panic!("it has ended"),
            }
        }
        match policy {
            Policy::Disconnect => {
                assert_eq!(ended, Some(ErrorKind::Lagged));
                assert_eq!(numbers.subscribers(), 0, "the topic has let go of it");
            }
            _ => assert!(lagged > 10_000 && ended.is_none(), "{policy:?} missed {lagged}"),
        }
    }
    let mut slow = peer.subscribe::<u64>("numbers", Policy::Block).await.unwrap();
    let publishing = async {
        for number in 0..20_000 {
            numbers.publish(&number).await.unwrap();
        }
    };
    let taking = async {
        for number in 0..20_000 {
            assert_eq!(slow.next().await.unwrap().unwrap(), Update::Item(number));
        }
    };
    tokio::join!(publishing, taking);
}

#[tokio::test]
async fn everybody_who_waits_is_told_when_the_peer_goes() {
    let (peer, other) = peers();
    let calls: Vec<_> = (0..100).map(|_| peer.call::<u64>("later", 60_000u64)).collect();
    let mut stream = peer.stream::<u32>("countdown", 1_000_000_000);
    stream.next().await.unwrap().unwrap();
    other.close().await.unwrap();
    for call in calls {
        let error = call.await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::Maybe));
    }
    while let Some(item) = stream.next().await {
        if let Err(error) = item {
            assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        }
    }
    let error = peer.call::<u64>("later", 1u64).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::No));
    assert!(peer.ended().await.is_ok());
}

#[tokio::test]
async fn a_server_that_closes_finishes_what_runs() {
    let folder = std::env::temp_dir().join(format!("panpipe-drain-{}", std::process::id()));
    let address = format!("unix:{}?protocol=panpipe", folder.display());
    let mut service = service();
    let _topic = service.topic::<u32>("news");
    let server = panpipe::serve(&address, &service).await.unwrap();
    let peer = panpipe::connect(server.address()).await.unwrap();
    let slow = peer.call::<u64>("later", 150u64);
    let mut news = peer.subscribe::<u32>("news", Policy::DropOldest).await.unwrap();
    peer.flush().await.unwrap();
    let begun = std::time::Instant::now();
    let closing = tokio::spawn(server.close());
    // The goodbye comes before the end.
    let refused = loop {
        match peer.call::<i64>("add", (1, 2)).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind(), refused.may_have_run()), (ErrorKind::Refused, Ran::No), "{refused}");
    assert_eq!(slow.await.unwrap(), 150);
    assert!(news.next().await.is_none(), "subscriptions end");
    closing.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing is waited for but what runs");
    let error = panpipe::connect(&address).await.err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Refused), "{error}");
}

#[tokio::test]
async fn one_way_messages_are_handled_in_their_order() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let service = Service::new().method("note", move |n: u32| {
        notes.lock().unwrap().push(n);
        async { Ok(()) }
    });
    let (peer, _other) = pair("protocol=panpipe", None, Some(&service)).unwrap();
    for n in 0..50_000 {
        peer.send("note", n).await.unwrap();
    }
    peer.flush().await.unwrap();
    let expected: Vec<_> = (0..50_000).collect();
    let all = async {
        while seen.lock().unwrap().len() < expected.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
    assert!(*seen.lock().unwrap() == expected);
}

#[tokio::test]
async fn a_service_describes_itself() {
    let (peer, _other) = peers();
    let document = peer.describe().await.unwrap();
    let Some(Value::Array(methods)) = document.get("methods") else { panic!("{document:?}") };
    let names: Vec<_> = methods.iter().filter_map(|method| method.get("name")?.as_str()).collect();
    assert!(names.contains(&"upper") && names.contains(&"countdown"), "{names:?}");
}

#[tokio::test]
async fn a_peer_without_panpipe_is_named() {
    let (plain, _) = panpipe::plain::pair("framing=raw").unwrap();
    drop(plain);
    let upper = |message: Bytes| async move { message.to_ascii_uppercase() };
    let server = panpipe::plain::serve("tcp://localhost:0?framing=raw", upper).await.unwrap();
    let address = server.address().replace("framing=raw", "protocol=panpipe");
    let peer = panpipe::connect(&address).await.unwrap();
    let error = peer.call::<String>("upper", "Hello").await.unwrap_err();
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::BadPeer && text.contains("HELLO") && text.contains("framing=raw"), "{text}");
    let _: Option<Error> = None;
}

#[tokio::test]
async fn a_lost_connection_is_made_again_where_that_was_asked_for() {
    let path = std::env::temp_dir().join(format!("panpipe-again-{}", std::process::id()));
    let address = format!("unix:{}", path.display());
    let mut service = service();
    let weather = service.topic::<String>("weather");
    let server = panpipe::serve(&address, &service).await.unwrap();
    let peer = panpipe::connect(&format!("{address}?reconnect=true")).await.unwrap();
    let mut news = peer.subscribe::<String>("weather", Policy::DropOldest).await.unwrap();
    let in_flight = peer.call::<u64>("later", 60_000u64);
    let again = peer.call::<u64>("later", 300u64).idempotent();
    peer.flush().await.unwrap();

    server.close_within(Duration::from_millis(100)).await.unwrap();
    assert_eq!(peer.state_after(ConnectionState::Connected).await, ConnectionState::Reconnecting);
    let error = in_flight.await.unwrap_err();
    // The handler is told to stop, and says so, or the connection goes first.
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Cancelled), "{error}");
    assert_eq!(error.may_have_run(), Ran::Maybe);
    let waiting = peer.call::<i64>("add", (1, 2));
    let late = peer.call_within::<i64>(Duration::from_millis(20), "add", (1, 2)).await.unwrap_err();
    assert_eq!((late.kind(), late.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::No), "{late}");

    let _server = panpipe::serve(&address, &service).await.unwrap();
    assert_eq!(waiting.await.unwrap(), 3);
    assert_eq!(peer.state(), ConnectionState::Connected);
    match again.await {
        Ok(reply) => assert_eq!(reply, 300),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
    }
    weather.publish(&"sun".to_owned()).await.unwrap();
    assert_eq!(news.next().await.unwrap().unwrap(), Update::Item("sun".to_owned()));
    peer.close().await.unwrap();
    assert_eq!(peer.state(), ConnectionState::Closed);
}

#[tokio::test]
async fn calls_go_over_datagrams_and_streams_do_not() {
    for address in ["udp://localhost:0?protocol=panpipe", "unix-dgram:/tmp/panpipe-calls-*?protocol=panpipe"] {
        let server = panpipe::serve(address, &service()).await.unwrap();
        let peer = panpipe::connect(server.address()).await.unwrap();
        let slow = peer.call::<u64>("later", 50u64);
        let quick: Vec<_> = (0..10).map(|n| peer.call::<i64>("add", (n, 1))).collect();
        for (n, call) in quick.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), n as i64 + 1);
        }
        assert_eq!(slow.await.unwrap(), 50, "no reply is taken for another's");
        peer.send("add", (1, 2)).await.unwrap();
        let error = peer.stream::<u32>("countdown", 3).next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unsupported, Ran::No), "{error}");
        let error = peer.call::<Bytes>("echo", Bytes::from(vec![0; 1 << 20])).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::TooLarge, Ran::No), "{error}");
    }
}

#[tokio::test]
async fn a_stream_keeps_its_connection() {
    let server = panpipe::serve("unix:/tmp/panpipe-stream-*", &service()).await.unwrap();
    let mut stream = panpipe::connect(server.address()).await.unwrap().stream::<u32>("countdown", 20_000);
    for expected in (1..=20_000).rev() {
        assert_eq!(stream.next().await.unwrap().unwrap(), expected);
    }
    assert!(stream.next().await.is_none());
}
