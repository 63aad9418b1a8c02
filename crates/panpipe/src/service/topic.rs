//! Topics: what a service publishes to those who subscribed.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use panpipe_link::{Error, ErrorKind, Result};
use serde::Serialize;

use super::handler::Encoded;

/// A topic of a service, of items of one type.
pub struct Topic<T> {
    publisher: Arc<Publisher>,
    items: PhantomData<fn(&T)>,
}

impl<T> Topic<T> {
    pub(super) fn new(publisher: Arc<Publisher>) -> Self {
        Topic { publisher, items: PhantomData }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.publisher.name
    }

    /// From now on the last item is kept, and who subscribes later gets it first.
    #[must_use]
    pub fn retain(self) -> Self {
        self.publisher.state().retains = true;
        self
    }

    /// How many there are who subscribed.
    pub fn subscribers(&self) -> usize {
        self.publisher.state().subscribers.len()
    }
}

impl<T: Serialize + 'static> Topic<T> {
    /// Publishes an item to all who have subscribed, and waits for those whose policy is `block`.
    ///
    /// Items of one publisher come in their order. Who drops the future has published to all that were not waited for.
    ///
    /// # Errors
    /// `unsupported` for an item that has no place in panpipe's values.
    pub async fn publish(&self, item: &T) -> Result<()> {
        let item = Encoded::of(item).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("publishing to {}", self.name())).because(error)
        })?;
        self.publisher.publish(item).await;
        Ok(())
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Topic::new(Arc::clone(&self.publisher))
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name()).finish()
    }
}

/// One who subscribed: the stream of items to one peer, with its window and its policy.
///
/// Its methods are called while the topic is locked: they wait for nothing and do not come back to the topic.
pub(crate) trait Subscriber: Send + Sync {
    /// The subscription stands; what is published from now on comes.
    fn open(&self);

    /// Takes an item, unless there is no room for it and the policy is `block`.
    fn poll_offer(&self, task: &mut TaskContext<'_>, item: &Encoded) -> Poll<()>;
}

/// A topic without the type of its items.
pub(super) struct Publisher {
    name: String,
    state: Mutex<State>,
}

struct State {
    retains: bool,
    last: Option<Encoded>,
    /// By ascending numbers. Whoever publishes holds the list that there was, so that nobody is called under the lock.
    subscribers: Arc<Vec<(u64, Arc<dyn Subscriber>)>>,
    next: u64,
}

impl Publisher {
    pub(super) fn new(name: String) -> Self {
        let state = State { retains: false, last: None, subscribers: Arc::default(), next: 0 };
        Publisher { name, state: Mutex::new(state) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn publish(&self, item: Encoded) {
        let subscribers = {
            let mut state = self.state();
            if state.retains {
                state.last = Some(item.clone());
            }
            Arc::clone(&state.subscribers)
        };
        let mut waiting: Option<Vec<usize>> = None;
        poll_fn(|task| {
            let mut waits = |index: &usize| subscribers[*index].1.poll_offer(task, &item).is_pending();
            match &mut waiting {
                Some(waiting) => waiting.retain(waits),
                None => waiting = Some((0..subscribers.len()).filter(&mut waits).collect()),
            }
            if waiting.as_ref().is_none_or(Vec::is_empty) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(super) fn subscribe(self: &Arc<Self>, subscriber: Arc<dyn Subscriber>) -> Subscription {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        // Under the lock, so that no item comes before these or is missed between them.
        subscriber.open();
        if let Some(last) = &state.last {
            // Nothing waits at a new subscriber.
            let _ = subscriber.poll_offer(&mut TaskContext::from_waker(Waker::noop()), last);
        }
        Arc::make_mut(&mut state.subscribers).push((number, subscriber));
        Subscription { publisher: Arc::clone(self), number }
    }
}

/// A subscription, which ends when this is dropped.
pub(crate) struct Subscription {
    publisher: Arc<Publisher>,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.publisher.state();
        if let Ok(index) = state.subscribers.binary_search_by_key(&self.number, |(number, _)| *number) {
            let gone = Arc::make_mut(&mut state.subscribers).remove(index);
            drop(state);
            drop(gone);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.publisher.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use panpipe_values::decode;

    use super::*;
    use crate::{Bytes, Service};

    /// Notes what it is given; full when it has `room` items.
    struct Notes {
        came: Mutex<Vec<String>>,
        room: Mutex<usize>,
    }

    impl Notes {
        fn new(room: usize) -> Arc<Self> {
            Arc::new(Notes { came: Mutex::default(), room: Mutex::new(room) })
        }

        fn came(&self) -> Vec<String> {
            self.came.lock().unwrap().clone()
        }
    }

    impl Subscriber for Notes {
        fn open(&self) {
            self.came.lock().unwrap().push("open".to_owned());
        }

        fn poll_offer(&self, _task: &mut TaskContext<'_>, item: &Encoded) -> Poll<()> {
            let mut came = self.came.lock().unwrap();
            if came.len() == *self.room.lock().unwrap() {
                return Poll::Pending;
            }
            came.push(decode::<i32>(item.payload.clone(), item.raw).unwrap().to_string());
            Poll::Ready(())
        }
    }

    #[tokio::test]
    async fn all_who_subscribed_get_what_is_published_while_they_do() {
        let mut service = Service::new();
        let topic = service.topic::<i32>("numbers");
        topic.publish(&0).await.unwrap();
        let (first, second) = (Notes::new(99), Notes::new(99));
        let subscription = service.subscribe("numbers", first.clone()).unwrap();
        topic.publish(&1).await.unwrap();
        let _second = service.subscribe("numbers", second.clone()).unwrap();
        topic.publish(&2).await.unwrap();
        assert_eq!(topic.subscribers(), 2);
        drop(subscription);
        assert_eq!((topic.subscribers(), Arc::strong_count(&first)), (1, 1));
        topic.publish(&3).await.unwrap();
        assert_eq!(first.came(), ["open", "1", "2"]);
        assert_eq!(second.came(), ["open", "2", "3"]);
        assert!(service.subscribe("letters", first).is_err_and(|error| error.failure().code == "not-found"));
    }

    #[tokio::test]
    async fn the_last_item_is_kept_where_that_was_asked_for() {
        let mut service = Service::new();
        let topic = service.topic::<i32>("numbers").retain();
        let (early, late) = (Notes::new(99), Notes::new(99));
        let _early = service.subscribe("numbers", early.clone()).unwrap();
        topic.publish(&1).await.unwrap();
        topic.publish(&2).await.unwrap();
        let _late = service.subscribe("numbers", late.clone()).unwrap();
        topic.publish(&3).await.unwrap();
        assert_eq!(early.came(), ["open", "1", "2", "3"]);
        assert_eq!(late.came(), ["open", "2", "3"]);
    }

    #[test]
    fn who_has_no_room_is_waited_for_while_the_others_go_on() {
        let mut service = Service::new();
        let topic = service.topic::<i32>("numbers");
        let (full, free) = (Notes::new(1), Notes::new(99));
        let _full = service.subscribe("numbers", full.clone()).unwrap();
        let _free = service.subscribe("numbers", free.clone()).unwrap();
        let mut task = TaskContext::from_waker(Waker::noop());
        let mut publishing = pin!(topic.publish(&1));
        assert!(publishing.as_mut().poll(&mut task).is_pending());
        assert_eq!((full.came().len(), free.came().len()), (1, 2));
        *full.room.lock().unwrap() = 2;
        assert!(publishing.as_mut().poll(&mut task).is_ready());
        assert_eq!((full.came().len(), free.came().len()), (2, 2));
    }

    #[tokio::test]
    async fn what_a_peer_publishes_is_checked() {
        let mut service = Service::new();
        let _topic = service.topic::<i32>("numbers");
        let notes = Notes::new(99);
        let _subscription = service.subscribe("numbers", notes.clone()).unwrap();
        let item = |payload| Encoded { payload: Bytes::from_static(payload), raw: false };
        service.publish("numbers", item(&[5])).await.unwrap();
        let error = service.publish("numbers", item(&[0xc1])).await.unwrap_err();
        assert_eq!(error.failure().code, "invalid-arguments");
        assert_eq!(service.publish("letters", item(&[5])).await.unwrap_err().failure().code, "not-found");
        assert_eq!(notes.came(), ["open", "5"]);
    }

    #[tokio::test]
    async fn what_has_no_place_is_an_error_of_the_publisher() {
        let topic = Service::new().topic::<u128>("numbers");
        let error = topic.publish(&u128::MAX).await.unwrap_err();
        assert!(error.to_string().starts_with("publishing to numbers: unsupported: value: the integer"), "{error}");
    }
}
