//! A client of servers that break rules: it waits on each for what it began, and tells how that ended.

use std::pin::Pin;

use panpipe::{Peer, Policy, Value, connect};
use panpipe_conformance::{Began, Failure, MeetRequest, Meeting, tell};

use crate::Result;

pub(crate) async fn meet(request: MeetRequest) -> Result<()> {
    for meeting in &request.meetings {
        tell(&ends(meeting).await)?;
    }
    Ok(())
}

/// How each thing ended: without an error, or with one; one alone if there is no connection.
async fn ends(meeting: &Meeting) -> Vec<Option<Failure>> {
    let peer = match connect(&meeting.address).await {
        Ok(peer) => peer,
        Err(error) => return vec![Some(Failure::of(&error))],
    };
    let begun: Vec<_> = meeting.began.iter().map(|began| begin(&peer, began)).collect();
    let mut ends = Vec::new();
    for end in begun {
        ends.push(end.await.err().map(|error| Failure::of(&error)));
    }
    ends
}

type End<'a> = Pin<Box<dyn Future<Output = panpipe::Result<()>> + 'a>>;

/// Begins it; nothing is taken of a stream before what was begun first has ended.
fn begin<'a>(peer: &'a Peer, began: &'a Began) -> End<'a> {
    match began {
        Began::Call => {
            let call = peer.call::<Value>("wait", ());
            Box::pin(async { call.await.map(drop) })
        }
        Began::Stream => {
            let mut stream = peer.stream::<Value>("wait", ());
            Box::pin(async move {
                while let Some(item) = stream.next().await {
                    item?;
                }
                Ok(())
            })
        }
        Began::Subscription => {
            let peer = peer.clone();
            let subscribing = async move { peer.subscribe::<Value>("wait", Policy::DropOldest).await };
            let subscribing = tokio::spawn(subscribing);
            Box::pin(async {
                let Ok(subscribed) = subscribing.await else { return Ok(()) };
                let mut subscription = subscribed?;
                while let Some(update) = subscription.next().await {
                    update?;
                }
                Ok(())
            })
        }
    }
}
