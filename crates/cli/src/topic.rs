//! `panpipe subscribe` and `panpipe publish`: the topics of a service.

use std::io;
use std::process::ExitCode;

use panpipe::{Error, ErrorKind, Result, Update, Value};

use crate::arguments::{Publish, Subscribe};
use crate::description::Description;
use crate::{given, report, visit};

/// Prints what is published on a topic, an item a line, until the topic or whoever reads has ended.
pub(crate) fn subscribe(arguments: Subscribe) -> Result<ExitCode> {
    let address = visit::address_of(&arguments.target.address, arguments.started.program)?;
    visit::at(&address, arguments.target.timeout, async |peer| {
        let mut subscription = peer.subscribe::<Value>(&arguments.topic, arguments.policy).await?;
        while let Some(update) = subscription.next().await {
            match update? {
                Update::Item(item) if report::print_item(&item)? => {}
                Update::Item(_) => break,
                Update::Lagged(count) => report::say(&format!("missed {count} items")),
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Publishes one item, and waits until the other side has read it.
pub(crate) fn publish(arguments: Publish) -> Result<ExitCode> {
    let address = visit::address_of(&arguments.target.address, arguments.started.program)?;
    let topic = &arguments.topic;
    visit::at(&address, arguments.target.timeout, async |peer| {
        let refused = |kind, reason: String| {
            Error::new(kind, format!("publishing on {topic} at {}", address.text())).because(reason).at(address.text())
        };
        let item = given::guessed(&arguments.item, &mut io::stdin().lock());
        let item = item.map_err(|reason| refused(ErrorKind::InvalidArguments, reason))?;
        // Nobody answers an item: that there is no such topic only the description says.
        if let Some(description) = Description::of(peer).await?
            && !description.topics().contains(&topic.as_str())
        {
            let known = description.topics().join(", ");
            return Err(refused(ErrorKind::NotFound, format!("no topic {topic:?}; known: {known}")));
        }
        peer.publish(topic, &item).await?;
        peer.flush().await?;
        Ok(ExitCode::SUCCESS)
    })
}
