//! Opening a link on tokio, and waiting for a child at its other end to end.

use std::time::{Duration, Instant};

use panpipe_link::{Address, Child, Link, Result};
use tokio::io::Interest;

use crate::readiness::register;

/// Opens a link to an address within its timeout.
pub(crate) async fn open(address: &Address) -> Result<Link> {
    let mut connecting = match panpipe_link::may_block(address) {
        false => panpipe_link::connect(address)?,
        // The resolver blocks; it gets a thread of its own for as long as it takes.
        true => {
            let address = address.clone();
            match tokio::task::spawn_blocking(move || panpipe_link::connect(&address)).await {
                Ok(connecting) => connecting?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
    };
    let link = tokio::time::timeout(address.timeout, advance(&mut connecting)).await;
    link.unwrap_or_else(|_| Err(connecting.timed_out()))
}

async fn advance(connecting: &mut panpipe_link::Connecting) -> Result<Link> {
    loop {
        match connecting.advance()? {
            panpipe_link::Progress::Connected(link) => return Ok(link),
            panpipe_link::Progress::WaitFor(pause) => tokio::time::sleep(pause).await,
            panpipe_link::Progress::WaitWritable(socket) => {
                let socket = register(&socket, Interest::WRITABLE, connecting.address().text())?;
                // An error is one of the socket's, and the next attempt to advance says which.
                let _ = socket.writable().await;
            }
            panpipe_link::Progress::WaitReadable(socket) => {
                let socket = register(&socket, Interest::READABLE, connecting.address().text())?;
                let _ = socket.readable().await;
            }
        }
    }
}

/// Waits for a child to end.
pub(crate) async fn gone(mut child: Child) {
    /// How often to look when there is no descriptor left to wait on.
    const LOOK: Duration = Duration::from_millis(20);
    let watched =
        child.descriptor_of_its_own().and_then(|fd| register(&fd, Interest::READABLE, &"a child".into()).ok());
    while let Some(again) = child.advance(Instant::now()) {
        match &watched {
            Some(watched) => {
                let ready = async { watched.readable().await.map(|mut ready| ready.clear_ready()) };
                let _ = tokio::time::timeout_at(again.into(), ready).await;
            }
            None => tokio::time::sleep_until(again.min(Instant::now() + LOOK).into()).await,
        }
    }
}
