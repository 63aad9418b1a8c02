//! What a client finds at a server with the standard service; `../../../README.md` lists the checks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use panpipe::{
    Bytes, Context, Error, ErrorKind, HandlerError, Named, Peer, Policy, Ran, Service, Update, Value, connect_with,
};
use panpipe_conformance::{Checked, tell};

type Checking = Result<(), Box<dyn std::error::Error>>;

/// Fails the check with what was there, unless `$condition`.
macro_rules! ensure {
    ($condition:expr, $($there:tt)*) => {
        if !$condition {
            return Err(format!($($there)*).into());
        }
    };
}

macro_rules! checks {
    ($($name:ident)*) => {
        /// Does every check at `address`, and tells of each as it is done.
        pub(crate) async fn run(address: &str) -> std::io::Result<()> {
            match connect_with(address, &own_service()).await {
                Ok(peer) => {
                    $(told(stringify!($name), within($name(&peer)).await)?;)*
                    let _ = peer.close().await;
                }
                Err(error) => told("connects", Err(error.into()))?,
            }
            tell(&None::<Checked>)
        }
    };
}

checks! {
    calls_are_answered
    arguments_have_names
    bytes_come_back
    a_thousand_calls_have_a_reply_each
    answers_come_in_any_order
    an_unknown_method_was_not_run
    arguments_that_do_not_fit_were_not_run
    what_is_too_large_was_not_run
    an_error_travels_whole
    an_error_says_through_whom_it_came
    a_handler_calls_back
    a_deadline_goes_on_to_the_handlers_calls
    a_deadline_reaches_the_handler
    giving_up_reaches_the_handler
    a_stream_brings_its_items_and_its_end
    a_slow_consumer_stops_its_producer
    arguments_stream
    streams_go_both_ways
    one_way_messages_keep_their_order
    a_subscriber_gets_what_is_published
    a_slow_subscriber_is_told_what_it_missed
    an_unknown_topic_is_not_found
    a_service_describes_itself
}

/// A net: each check takes a fraction of it.
const LONGEST: Duration = Duration::from_secs(5);

async fn within(check: impl Future<Output = Checking>) -> Checking {
    match tokio::time::timeout(LONGEST, check).await {
        Ok(checked) => checked,
        Err(_) => Err(format!("it took longer than {LONGEST:?}").into()),
    }
}

fn told(name: &str, checked: Checking) -> std::io::Result<()> {
    tell(&Some(Checked { check: name.to_owned(), failed: checked.err().map(|reason| reason.to_string()) }))
}

/// What servers call back.
fn own_service() -> Service {
    Service::new()
        .method("greet", |name: String| async move { Ok(format!("Hello, {name}!")) })
        .method("left", |context: Context, _: Value| async move {
            let left = context.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            Ok(left.map(|left| left.as_millis() as u64))
        })
        .method("refuse", |text: String| async move { Err::<(), _>(HandlerError::new(text)) })
}

/// A name that no other client gives.
fn name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("rust_tokio {} {}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed))
}

async fn calls_are_answered(peer: &Peer) -> Checking {
    let reply: String = peer.call("upper", "grüße, 世界").await?;
    ensure!(reply == "GRÜSSE, 世界", "{reply}");
    Ok(())
}

async fn arguments_have_names(peer: &Peer) -> Checking {
    let sum: i64 = peer.call("add", Named(BTreeMap::from([("b", 2), ("a", 40)]))).await?;
    ensure!(sum == 42, "{sum}");
    let sum: i64 = peer.call("add", (40, Named(BTreeMap::from([("b", 3)])))).await?;
    ensure!(sum == 43, "{sum}");
    Ok(())
}

async fn bytes_come_back(peer: &Peer) -> Checking {
    for size in [0, 1, 100_000, 700_000] {
        let bytes = Bytes::from((0..size).map(|at: u32| (at % 251) as u8).collect::<Vec<_>>());
        let back: Bytes = peer.call("echo", &bytes).await?;
        ensure!(back == bytes, "{} other bytes than {size}", back.len());
    }
    Ok(())
}

async fn a_thousand_calls_have_a_reply_each(peer: &Peer) -> Checking {
    let calls: Vec<_> = (0..1000).map(|number| peer.call::<i64>("add", (number, 1))).collect();
    for (number, call) in (0..).zip(calls) {
        let sum = call.await?;
        ensure!(sum == number + 1, "{sum} is the reply to {number}");
    }
    Ok(())
}

async fn answers_come_in_any_order(peer: &Peer) -> Checking {
    let mut slow = std::pin::pin!(peer.call::<u64>("slow", 100));
    tokio::select! {
        biased;
        _ = &mut slow => ensure!(false, "the slow call was answered first"),
        quick = peer.call::<u64>("slow", 0) => ensure!(quick? == 0, "another reply"),
    }
    ensure!(slow.await? == 100, "another reply");
    Ok(())
}

fn is(error: &Error, kind: ErrorKind, ran: Ran) -> Checking {
    ensure!(
        (error.kind(), error.may_have_run()) == (kind, ran),
        "{} {:?}: {error}",
        error.code(),
        error.may_have_run()
    );
    Ok(())
}

fn failure<T>(outcome: panpipe::Result<T>) -> Result<Error, String> {
    outcome.err().ok_or_else(|| "it did not fail".to_owned())
}

async fn an_unknown_method_was_not_run(peer: &Peer) -> Checking {
    is(&failure(peer.call::<()>("nothing", ()).await)?, ErrorKind::NotFound, Ran::No)
}

async fn arguments_that_do_not_fit_were_not_run(peer: &Peer) -> Checking {
    is(&failure(peer.call::<()>("add", 1).await)?, ErrorKind::InvalidArguments, Ran::No)?;
    is(&failure(peer.call::<()>("add", (1, 2, 3)).await)?, ErrorKind::InvalidArguments, Ran::No)
}

async fn what_is_too_large_was_not_run(peer: &Peer) -> Checking {
    is(&failure(peer.call::<()>("echo", Bytes::from(vec![0; 17 << 20])).await)?, ErrorKind::TooLarge, Ran::No)?;
    calls_are_answered(peer).await
}

async fn an_error_travels_whole(peer: &Peer) -> Checking {
    let error = failure(peer.call::<()>("fail", "oh no").await)?;
    is(&error, ErrorKind::Remote, Ran::Maybe)?;
    let remote = error.remote().ok_or("it tells nothing of the handler")?;
    ensure!(remote.message == "oh no" && remote.type_name.as_deref() == Some("Trouble"), "{remote:?}");
    ensure!(remote.data == Some(vec![Value::from(1), Value::from("two")].into()), "{remote:?}");
    ensure!(remote.cause.as_ref().is_some_and(|cause| cause.message == "deep"), "{remote:?}");
    Ok(())
}

async fn an_error_says_through_whom_it_came(peer: &Peer) -> Checking {
    let error = failure(peer.call::<()>("relay", ("refuse", "not you")).await)?;
    is(&error, ErrorKind::Remote, Ran::Maybe)?;
    let remote = error.remote().ok_or("it tells nothing of the handler")?;
    ensure!(remote.message == "not you" && remote.via.len() == 1, "{remote:?}");
    Ok(())
}

async fn a_handler_calls_back(peer: &Peer) -> Checking {
    let calls: Vec<_> =
        (0..100).map(|number| (number, peer.call::<String>("relay", ("greet", number.to_string())))).collect();
    for (number, call) in calls {
        let greeting = call.await?;
        ensure!(greeting == format!("Hello, {number}!"), "{greeting}");
    }
    Ok(())
}

async fn a_deadline_goes_on_to_the_handlers_calls(peer: &Peer) -> Checking {
    let left: Option<u64> = peer.call_within(Duration::from_secs(5), "relay", ("left", ())).await?;
    ensure!(left.is_some_and(|left| (1..=5100).contains(&left)), "{left:?}");
    Ok(())
}

async fn a_deadline_reaches_the_handler(peer: &Peer) -> Checking {
    let name = name();
    let error = failure(peer.call_within::<()>(Duration::from_millis(50), "hang", &name).await)?;
    is(&error, ErrorKind::DeadlineExceeded, Ran::Maybe)?;
    until_stopped(peer, &name).await
}

async fn giving_up_reaches_the_handler(peer: &Peer) -> Checking {
    let name = name();
    let call = peer.call::<()>("hang", &name);
    peer.flush().await?;
    drop(call);
    until_stopped(peer, &name).await
}

async fn until_stopped(peer: &Peer, name: &str) -> Checking {
    while peer.call::<u64>("stopped", name).await? == 0 {}
    Ok(())
}

async fn a_stream_brings_its_items_and_its_end(peer: &Peer) -> Checking {
    let mut stream = peer.stream::<u32>("countdown", 3000);
    for expected in (1..=3000).rev() {
        let item = stream.next().await.ok_or("it has ended")??;
        ensure!(item == expected, "{item} is no {expected}");
    }
    ensure!(stream.next().await.is_none(), "there is more");
    Ok(())
}

async fn a_slow_consumer_stops_its_producer(peer: &Peer) -> Checking {
    let name = name();
    let mut stream = peer.stream::<Bytes>("endless", &name);
    stream.next().await.ok_or("it has ended")??;
    calls_are_answered(peer).await?;
    let produced: u64 = peer.call("produced", &name).await?;
    // A window of 262,144 bytes, and what was made before it was full.
    ensure!(produced < 600, "{produced} items of 1,000 bytes for one that was taken");
    for _ in 0..600 {
        stream.next().await.ok_or("it has ended")??;
    }
    drop(stream);
    until_stopped(peer, &name).await
}

async fn arguments_stream(peer: &Peer) -> Checking {
    let (mut numbers, total) = peer.call_with_stream::<u64, u64>("total", ());
    for number in 0..5000 {
        numbers.send(&number).await?;
    }
    numbers.finish();
    let total = total.await?;
    ensure!(total == (0..5000).sum::<u64>(), "{total}");
    Ok(())
}

async fn streams_go_both_ways(peer: &Peer) -> Checking {
    let (mut numbers, mut doubles) = peer.stream_with_stream::<i64, i64>("double", ());
    for number in [-1, 20, 300] {
        numbers.send(&number).await?;
        let double = doubles.next().await.ok_or("it has ended")??;
        ensure!(double == 2 * number, "{double}");
    }
    numbers.finish();
    ensure!(doubles.next().await.is_none(), "there is more");
    Ok(())
}

async fn one_way_messages_keep_their_order(peer: &Peer) -> Checking {
    let name = name();
    for number in 0..200 {
        peer.send("note", (&name, number)).await?;
    }
    peer.flush().await?;
    loop {
        let notes: Vec<u64> = peer.call("notes", &name).await?;
        ensure!(notes.iter().zip(0..).all(|(note, number)| *note == number), "{notes:?}");
        if notes.len() == 200 {
            return Ok(());
        }
    }
}

async fn a_subscriber_gets_what_is_published(peer: &Peer) -> Checking {
    let name = name();
    let mut news = peer.subscribe::<(String, u32)>("news", Policy::DropOldest).await?;
    peer.call::<()>("publish", ((&name, 1),)).await?;
    peer.publish("news", &(&name, 2)).await?;
    for expected in 1..=2 {
        loop {
            match news.next().await.ok_or("it has ended")?? {
                Update::Item((whose, number)) if whose == name => {
                    ensure!(number == expected, "{number} comes before {expected}");
                    break;
                }
                // What others publish meanwhile.
                _ => {}
            }
        }
    }
    Ok(())
}

async fn a_slow_subscriber_is_told_what_it_missed(peer: &Peer) -> Checking {
    const COUNT: u64 = 500;
    let name = name();
    let mut flood = peer.subscribe::<(String, u64, Bytes)>("flood", Policy::DropOldest).await?;
    peer.call::<()>("flood", (&name, COUNT)).await?;
    let (mut received, mut missed, mut last) = (0, 0, None);
    // Others flood it, too.
    while received + missed < COUNT {
        match flood.next().await.ok_or("it has ended")?? {
            Update::Item((whose, number, _)) if whose == name => {
                ensure!(last < Some(number), "{number} comes after {last:?}");
                last = Some(number);
                received += 1;
            }
            Update::Item(_) => received += 1,
            Update::Lagged(count) => missed += count,
        }
    }
    ensure!(missed > 0, "{received} received, and none missed");
    Ok(())
}

async fn an_unknown_topic_is_not_found(peer: &Peer) -> Checking {
    let outcome = peer.subscribe::<Value>("nothing", Policy::DropOldest).await;
    let error = failure(outcome)?;
    ensure!(error.kind() == ErrorKind::NotFound, "{error}");
    Ok(())
}

async fn a_service_describes_itself(peer: &Peer) -> Checking {
    let document = peer.describe().await?;
    let named = |method: &&Value, name| method.get("name").and_then(Value::as_str) == Some(name);
    let methods = document.get("methods").and_then(Value::as_array).ok_or("no methods")?;
    let add = methods.iter().find(|method| named(method, "add")).ok_or("no add")?;
    let names = add
        .get("params")
        .and_then(Value::as_array)
        .ok_or("no params")?
        .iter()
        .map(|each| each.get("name").and_then(Value::as_str));
    ensure!(names.eq([Some("a"), Some("b")]), "{add:?}");
    let countdown = methods.iter().find(|method| named(method, "countdown")).ok_or("no countdown")?;
    ensure!(
        countdown.get("x-panpipe").and_then(|more| more.get("stream")) == Some(&Value::Bool(true)),
        "{countdown:?}"
    );
    let topics = document.get("x-panpipe-topics").and_then(Value::as_array).ok_or("no topics")?;
    ensure!(topics.contains(&Value::from("news")), "{topics:?}");
    Ok(())
}
