//! panpipe's calls, one-way messages and topics on tokio, as a user writes them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use panpipe::{Bytes, Peer, Policy, Service, Update, connect};
use panpipe_bench_measure::concurrent::{self, Peer as Measures};
use panpipe_bench_measure::{END, Measured, Rate, Role, Sink, Task, Workload, announce, check, message};
use tokio::task::JoinSet;

use crate::Outcome;

/// Items that are published ahead of those that have come.
const AHEAD: usize = 64;

/// Every role is a part of one service.
pub(super) async fn serve(role: Role, address: &str) -> Outcome<()> {
    let counted = Arc::new(Mutex::new(Sink::default()));
    let sink = counted.clone();
    let mut service = Service::new()
        .method("echo", |message: Bytes| async move { Ok(message) })
        .method("sink", move |message: Bytes| {
            // What it does not take it does not count, and the client will see.
            let _ = lock(&sink).take(&message);
            async { Ok(()) }
        })
        .method("count", move || {
            let count = lock(&counted).take(END).ok().flatten().unwrap_or_default();
            async move { Ok(Bytes::copy_from_slice(&count)) }
        });
    if let Role::Topics(count) = role {
        for number in 0..count {
            let _ = service.topic::<Bytes>(topic(number));
        }
    }
    let mut server = panpipe::serve(address, &service).await?;
    announce(server.address())?;
    Ok(server.wait().await?)
}

pub(super) async fn measure(task: Task, address: &str) -> Outcome<Measured> {
    match task.workload {
        Workload::Stream => concurrent::stream(task, OneWay(connect(address).await?)).await,
        Workload::Topics => {
            let subscriber = connect(address).await?;
            let topics = (0..task.count).map(|number| (subscriber.clone(), topic(number)));
            items(task, connect(address).await?, topics.collect(), 1).await
        }
        Workload::Subscribers => {
            let mut topics = Vec::new();
            for _ in 0..task.count {
                topics.push((connect(address).await?, topic(0)));
            }
            items(task, connect(address).await?, topics, task.count).await
        }
        _ => concurrent::measure(task, async || Ok(Calls(connect(address).await?))).await,
    }
}

#[derive(Clone)]
struct Calls(Peer);

impl Measures for Calls {
    async fn send(&mut self, _: &Bytes) -> Outcome<()> {
        Err("a call has a reply".into())
    }

    async fn call(&mut self, message: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        Ok(self.0.call::<Bytes>("echo", message.clone()).await?)
    }
}

struct OneWay(Peer);

impl Measures for OneWay {
    async fn send(&mut self, message: &Bytes) -> Outcome<()> {
        Ok(self.0.send("sink", message.clone()).await?)
    }

    /// The count: what was sent before has been read by then.
    async fn call(&mut self, _: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        Ok(self.0.call::<Bytes>("count", ()).await?)
    }
}

/// Items per second that come to all subscribers. For `each` that have come another one is published, on the next of
/// the topics, so that there are as many on their way at any time.
async fn items(task: Task, publisher: Peer, topics: Vec<(Peer, String)>, each: usize) -> Outcome<Measured> {
    let message = Bytes::from(message(task.size, 0));
    let mut subscriptions = Vec::new();
    for (subscriber, topic) in &topics {
        subscriptions.push(subscriber.subscribe::<Bytes>(topic, Policy::DropOldest).await?);
    }
    let names: Arc<[String]> = topics.into_iter().map(|(_, topic)| topic).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let publish = move |publisher: Peer, message: Bytes| {
        let name = next.fetch_add(1, Ordering::Relaxed) % names.len();
        let names = names.clone();
        async move { Outcome::Ok(publisher.publish(&names[name], message).await?) }
    };

    let rate = Arc::new(Mutex::new(Rate::begin(task.span, task.count)));
    let mut readers = JoinSet::new();
    for mut subscription in subscriptions {
        let (publisher, message, publish, rate) = (publisher.clone(), message.clone(), publish.clone(), rate.clone());
        readers.spawn(async move {
            let mut is_first = true;
            while let Some(update) = subscription.next().await {
                let Update::Item(item) = update? else { return Err("items were missed".into()) };
                check(&item, &message, is_first)?;
                is_first = false;
                let (goes_on, count) = {
                    let mut rate = lock(&rate);
                    (rate.tick(), rate.operations())
                };
                match goes_on {
                    true if count.is_multiple_of(each as u64) => publish(publisher.clone(), message.clone()).await?,
                    true => {}
                    false => return Outcome::Ok(true),
                }
            }
            Ok(false)
        });
    }
    for _ in 0..AHEAD {
        publish(publisher.clone(), message.clone()).await?;
    }
    // The first reader that sees the end ends it for all.
    while let Some(ended) = readers.join_next().await {
        if ended?? {
            return lock(&rate).end();
        }
    }
    Err("the server has closed".into())
}

fn topic(number: usize) -> String {
    format!("topic-{number}")
}

fn lock<T>(locked: &Mutex<T>) -> MutexGuard<'_, T> {
    locked.lock().unwrap_or_else(PoisonError::into_inner)
}
