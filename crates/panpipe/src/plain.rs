//! Plain messages, for peers that know nothing of panpipe: a message is what the address's framing says.
//! An address that names none means the protocol panpipe, and is `unsupported` here.
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let peer = panpipe::plain::connect("tcp://localhost:9999?framing=raw").await?;
//! let reply = peer.call("Hello, server!").await?;
//! # Ok(()) }
//! ```
//!
//! The other side, for any number of clients:
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let upper = |message: panpipe::Bytes| async move { message.to_ascii_uppercase() };
//! let server = panpipe::plain::serve("tcp://localhost:9999?framing=raw", upper).await?;
//! println!("listening on {}", server.address());
//! server.wait().await
//! # }
//! ```
//!
//! A program as a child, which ends with the connection, and with this process in any case:
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let child = panpipe::plain::spawn(["python3", "worker.py"], "framing=lines").await?;
//! let reply = child.call("Hello, child!").await?;
//! child.close().await
//! # }
//! ```

pub mod blocking;

mod connection;
pub use connection::{Call, Connection, connect, pair, spawn};

mod server;
pub(crate) use server::serve_connection;
pub use server::{Handler, Reply, Server, serve};

use panpipe_link::{Address, PLAIN, Result};

use crate::listening::Listening;

/// Listens on an address.
///
/// # Errors
/// `invalid-address`, `unsupported`, `address-in-use`, `not-found`, `permission`, `path-too-long`, `busy`, `io`.
pub async fn listen(address: &str) -> Result<Listener> {
    Ok(Listener(Listening::on(&parse(address)?).await?))
}

/// A listening address. Dropping it stops listening and removes its socket file.
pub struct Listener(Listening);

impl Listener {
    /// The real address, with the port or the name that was picked: connect to this.
    pub fn address(&self) -> &str {
        self.0.address().text()
    }

    /// Datagrams that were dropped for want of room, by this program and by the system; zero where none are.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Waits for the next connection; `None` when no more will come.
    ///
    /// Safe to cancel. Running out of descriptors is waited out.
    ///
    /// # Errors
    /// `io` when listening itself is broken.
    pub async fn accept(&self) -> Result<Option<Connection>> {
        match self.0.accept().await? {
            Some(link) => Connection::new(link, self.0.address()).map(Some),
            None => Ok(None),
        }
    }
}

/// An address that means plain messages.
fn parse(address: &str) -> Result<Address> {
    speaking_plain(panpipe_link::parse(address)?)
}

fn speaking_plain(address: Address) -> Result<Address> {
    address.check_speaks(PLAIN).map(|()| address)
}
