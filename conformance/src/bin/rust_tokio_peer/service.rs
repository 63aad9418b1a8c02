//! The service that every peer offers; `../../../README.md` lists its methods.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use futures_core::Stream;
use panpipe::{Bytes, Context, HandlerError, Items, Service, Value};
use panpipe_conformance::Log;

type Result<T> = std::result::Result<T, HandlerError>;

/// An item of the topic `flood`: who asked for it, its number, and much that means nothing.
type Flooding = (String, u64, Bytes);

/// What is counted for each name that clients give.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    stopped: HashMap<String, u64>,
    produced: HashMap<String, u64>,
    notes: HashMap<String, Vec<u64>>,
    running: u64,
    most_running: u64,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service; what its method `begin` begins it notes in `log`.
pub(crate) fn service(log: Option<Log>) -> std::io::Result<Service> {
    let counts = Counts::default();
    let log = log.map(Begun::open).transpose()?.map(Arc::new);
    let mut service = Service::new();
    let news = service.topic::<Value>("news");
    let flood = service.topic::<Flooding>("flood");
    let of = |read: fn(&Counted, &str) -> u64| {
        let counts = counts.clone();
        move |name: String| {
            let count = read(&counts.lock(), &name);
            async move { Ok(count) }
        }
    };
    let (stopped, produced) = (
        of(|counted, name| counted.stopped.get(name).copied().unwrap_or_default()),
        of(|counted, name| counted.produced.get(name).copied().unwrap_or_default()),
    );
    let [hanging, endless, noting, noted, running] = [(); 5].map(|()| counts.clone());
    let service = service
        .plain(|message: Bytes| async move { message.to_ascii_uppercase() })
        .method("upper", |text: String| async move { Ok(text.to_uppercase()) })
        .parameters(["text"])
        .method("add", |a: i64, b: i64| async move { Ok(a + b) })
        .parameters(["a", "b"])
        .method("echo", |bytes: Bytes| async move { Ok(bytes) })
        .method("values", |value: Value| async move { Ok(value) })
        .method("slow", |milliseconds: u64| async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(milliseconds)
        })
        .method("fail", fail)
        .method("relay", relay)
        .method("hang", move |name: Option<Value>| {
            let running = Running::new(&hanging, name);
            async move {
                let _running = running;
                std::future::pending::<Result<()>>().await
            }
        })
        .method("stopped", stopped)
        .method("most_running", move || {
            let most = running.lock().most_running;
            async move { Ok(most) }
        })
        .stream("countdown", |from: u32| Countdown(from))
        .stream("endless", move |name: Option<Value>| Endless(Running::new(&endless, name)))
        .method("produced", produced)
        .method("total", |context: Context| async move {
            let mut numbers = arguments::<u64>(&context)?;
            let mut total = 0;
            while let Some(number) = numbers.next().await {
                total += number?;
            }
            Ok(total)
        })
        .stream("double", |context: Context| Double(arguments(&context).ok()))
        .method("swallow", |context: Context| async move {
            let _untaken = arguments::<Value>(&context)?;
            std::future::pending::<Result<()>>().await
        })
        .method("note", move |name: String, number: u64| {
            noting.lock().notes.entry(name).or_default().push(number);
            async { Ok(()) }
        })
        .method("notes", move |name: String| {
            let notes = noted.lock().notes.get(&name).cloned().unwrap_or_default();
            async move { Ok(notes) }
        })
        .method("publish", move |item: Value| {
            let news = news.clone();
            async move { Ok(news.publish(&item).await?) }
        })
        .method("flood", move |name: String, count: u64| {
            let flood = flood.clone();
            async move {
                for number in 0..count {
                    flood.publish(&(name.clone(), number, Bytes::from(vec![0; 4096]))).await?;
                }
                Ok(())
            }
        })
        .method("begin", move |number: u64, milliseconds: u64, bytes: Bytes| {
            let noted = log.as_ref().map_or(Ok(()), |log| log.note(number));
            async move {
                noted?;
                if milliseconds > 0 {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                }
                Ok((number, bytes))
            }
        });
    Ok(service)
}

/// The file in which it stands what has begun, also when this process is killed.
struct Begun {
    file: File,
    left: Option<AtomicU64>,
}

impl Begun {
    fn open(log: Log) -> std::io::Result<Self> {
        let file = File::options().append(true).create(true).open(log.path)?;
        Ok(Begun { file, left: log.most.map(AtomicU64::new) })
    }

    /// Notes a call; after the last that there may be this process is no more.
    fn note(&self, number: u64) -> std::io::Result<()> {
        (&self.file).write_all(format!("{number}\n").as_bytes())?;
        if let Some(left) = &self.left
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        }
        Ok(())
    }
}

async fn fail(text: String) -> Result<()> {
    let mut failure =
        HandlerError::of(Trouble { text, cause: Some(Box::new(Trouble { text: "deep".into(), cause: None })) });
    failure = failure.type_name("Trouble").data(&(1, "two"));
    Err(failure)
}

/// An error with a cause.
#[derive(Debug)]
struct Trouble {
    text: String,
    cause: Option<Box<Trouble>>,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Trouble {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

async fn relay(context: Context, method: String, value: Value) -> Result<Value> {
    let caller = context.peer().ok_or_else(|| HandlerError::new("the caller has gone"))?;
    Ok(caller.call(&method, (value,)).await?)
}

fn arguments<T: serde::de::DeserializeOwned + 'static>(context: &Context) -> Result<Items<T>> {
    context.arguments().ok_or_else(|| HandlerError::new("no stream of arguments"))
}

/// A handler that runs until it is stopped, which counts.
struct Running {
    counts: Counts,
    name: String,
}

impl Running {
    fn new(counts: &Counts, name: Option<Value>) -> Self {
        let mut counted = counts.lock();
        counted.running += 1;
        counted.most_running = counted.most_running.max(counted.running);
        let name = if let Some(Value::Text(name)) = name { name } else { String::new() };
        Running { counts: counts.clone(), name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counted = self.counts.lock();
        counted.running -= 1;
        *counted.stopped.entry(std::mem::take(&mut self.name)).or_default() += 1;
    }
}

struct Countdown(u32);

impl Stream for Countdown {
    type Item = Result<u32>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let left = self.0;
        self.0 = left.saturating_sub(1);
        Poll::Ready((left > 0).then_some(Ok(left)))
    }
}

struct Endless(Running);

impl Stream for Endless {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        *self.0.counts.lock().produced.entry(self.0.name.clone()).or_default() += 1;
        Poll::Ready(Some(Ok(Bytes::from_static(&[0; 1000]))))
    }
}

/// Twice each item that comes.
struct Double(Option<Items<i64>>);

impl Stream for Double {
    type Item = Result<i64>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Some(items) = &mut self.0 else {
            return Poll::Ready(None);
        };
        Pin::new(items).poll_next(task).map(|item| item.map(|number| Ok(2 * number?)))
    }
}
