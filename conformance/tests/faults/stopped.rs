//! A subscriber that is stopped with SIGSTOP: the others must not notice.

use std::time::{Duration, Instant};

use panpipe::{Policy, Subscription, Update};
use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::peer::{Peer, RUST_TOKIO};
use crate::place::{Folder, address};

const ITEMS: u64 = 400;

/// Compares how long items take to another subscriber while one is stopped and while it is not, in turns.
pub(crate) fn subscriber(peer: Peer, folder: &Folder) -> Result<()> {
    let server = peer.serve(vec![address("unix", "protocol=panpipe", folder)?])?;
    let place = server.places[0].address.clone();
    let mut other = RUST_TOKIO.ask("subscribe", &place)?;
    let stopped = Pid::from_raw(other.id().try_into()?).ok_or("no process")?;
    other.next_answer::<()>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let delay = runtime.block_on(async {
        let publisher = panpipe::connect(&place).await?;
        let subscriber = panpipe::connect(&place).await?;
        let mut flood = subscriber.subscribe::<(String, u64, panpipe::Bytes)>("flood", Policy::DropOldest).await?;
        let mut delay = String::new();
        for _ in 0..5 {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                without.push(take_all(&publisher, &mut flood).await?);
                kill_process(stopped, Signal::STOP)?;
                with.push(take_all(&publisher, &mut flood).await?);
                kill_process(stopped, Signal::CONT)?;
            }
            let (with, without) = (median(with), median(without));
            if with <= 2 * without + Duration::from_millis(20) {
                return Ok(String::new());
            }
            delay = format!("{ITEMS} items take {with:?}, and {without:?} when nobody is stopped");
        }
        Ok::<_, Box<dyn std::error::Error>>(delay)
    })?;
    if !delay.is_empty() {
        return Err(delay.into());
    }
    // It tells how many items it missed once it goes on, and then it may end.
    other.go_on()?;
    match other.next_answer::<u64>()? {
        0 => Err("the one that was stopped missed nothing, so that nothing was tried".into()),
        _ => Ok(()),
    }
}

/// Has so many items published, in portions that the window holds, and takes them.
async fn take_all(
    publisher: &panpipe::Peer,
    flood: &mut Subscription<(String, u64, panpipe::Bytes)>,
) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..ITEMS / 40 {
        publisher.call::<()>("flood", ("stopped", 40)).await?;
        let mut taken = 0;
        while taken < 40 {
            match flood.next().await.ok_or("it has ended")?? {
                Update::Item(_) => taken += 1,
                Update::Lagged(count) => return Err(format!("{count} items were missed by one who takes them").into()),
            }
        }
    }
    Ok(begun.elapsed())
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}
