//! Serving on tokio: any number of connections, each with a task of its own.

use std::sync::Arc;
use std::time::Duration;

use panpipe_link::panpipe::Side;
use panpipe_link::{Address, Error, ErrorKind, Link, PLAIN, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::listening::{Listening, ended};
use crate::peer::{Peer, parse};
use crate::plain::serve_connection as serve_plain;
use crate::service::Service;

/// How long handlers that run may take when a server closes, unless it says otherwise.
const GRACE: Duration = Duration::from_secs(10);

/// Listens on an address.
///
/// # Errors
/// `invalid-address`, `unsupported`, `address-in-use`, `not-found`, `permission`, `path-too-long`, `busy`, `io`.
pub async fn listen(address: &str) -> Result<Listener> {
    let address = parse(address)?;
    refuse_plain_peers(&address, "serve a service that has a handler of them")?;
    Ok(Listener(Listening::on(&address).await?))
}

/// Says that peers of plain messages, whom the address accepts, would not be answered.
fn refuse_plain_peers(address: &Address, advice: &str) -> Result<()> {
    let Some(framing) = address.accepts.as_ref().and_then(|accepts| accepts.framing) else { return Ok(()) };
    let error = Error::new(ErrorKind::Unsupported, format!("listening on {}", address.text()));
    Err(error.because(format!("{framing} in accept brings plain messages: {advice}")).at(address.text()))
}

/// A listening address. Dropping it stops listening and removes its socket file.
pub struct Listener(Listening);

impl Listener {
    /// The real address, with the port or the name that was picked: connect to this.
    pub fn address(&self) -> &str {
        self.0.address().text()
    }

    /// Waits for the next connection, whose other end may call `service`; `None` when no more will come.
    ///
    /// Safe to cancel. Running out of descriptors is waited out.
    ///
    /// # Errors
    /// `io` when listening itself is broken.
    pub async fn accept(&self, service: Option<&Service>) -> Result<Option<Peer>> {
        match self.0.accept().await? {
            Some(link) => Peer::over(link, self.0.address(), Side::Server, service.cloned()).map(Some),
            None => Ok(None),
        }
    }
}

/// Listens on an address and lets every client call the service's methods.
///
/// Handlers are concurrent, those of one connection too.
///
/// # Errors
/// Those of [`listen`].
pub async fn serve(address: &str, service: &Service) -> Result<Server> {
    let address = parse(address)?;
    if service.plain_handler().is_none() {
        refuse_plain_peers(&address, "give the service a handler of them with plain")?;
    }
    let listener = Listening::on(&address).await?;
    let address = Arc::clone(listener.address().text());
    let (stop, stopped) = watch::channel(None);
    let service = service.clone();
    let stopping = stopped.clone();
    let serve = move |link, address| serve_connection(link, address, service.clone(), stopping.clone());
    // Who is there when it stops takes no longer than the time of grace.
    let task = tokio::spawn(listener.serve_all(stopped, Duration::MAX, serve));
    Ok(Server { address, stop, task })
}

/// A running server. Dropping it closes it as [`close`](Self::close) does, in the background.
pub struct Server {
    address: Arc<str>,
    /// The time of grace, once it is to stop.
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<Result<()>>,
}

impl Server {
    /// The real address, with the port or the name that was picked.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until nobody can come any more: for ever on a socket, until its end on stdin.
    ///
    /// # Errors
    /// `io` when listening itself broke; on stdin also what ended its one connection, as `bad-peer`.
    pub async fn wait(&mut self) -> Result<()> {
        ended((&mut self.task).await)
    }

    /// Stops listening, refuses new calls, lets those that run finish within ten seconds, and closes.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub async fn close(self) -> Result<()> {
        self.close_within(GRACE).await
    }

    /// As [`close`](Self::close), with another time of grace.
    ///
    /// # Errors
    /// Those of `wait`.
    pub async fn close_within(self, grace: Duration) -> Result<()> {
        let _ = self.stop.send(Some(grace));
        ended(self.task.await)
    }
}

async fn serve_connection(
    link: Link,
    address: Address,
    service: Service,
    mut stopped: watch::Receiver<Option<Duration>>,
) -> Result<()> {
    if address.protocol == PLAIN {
        let Some(plain) = service.plain_handler() else { return Ok(()) };
        return serve_plain(link, &address, &plain, stopped).await;
    }
    let peer = Peer::over(link, &address, Side::Server, Some(service))?;
    let grace = tokio::select! {
        ended = peer.ended() => return ended,
        grace = stopped.wait_for(Option::is_some) => grace.ok().and_then(|grace| *grace),
    };
    peer.drain(grace.unwrap_or(GRACE)).await
}
