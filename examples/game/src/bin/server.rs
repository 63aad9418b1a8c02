//! The game's server: 30 ticks a second, for programs over UDP and for browsers over WebSocket.
//!
//! paint-server [--port 9999] [--bots 5] [--loss 0.0] [--seed 0]
//!
//! `--loss 0.1` loses a tenth of what it sends and of what it hears, the same tenth for the same seed.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use panpipe::{Bytes, Context, HandlerError, Peer, Service};
use panpipe_game::{Arena, Lossy, Snapshot, Steer, TICKS};
use serde::Serialize;
use tokio::sync::watch;

/// What there is of the game, for all tasks.
#[derive(Clone)]
struct Game {
    arena: Arc<Mutex<Arena>>,
    lossy: Arc<Mutex<Lossy>>,
    /// The newest snapshot. Who is slow misses some, and nobody waits for it.
    newest: watch::Receiver<Bytes>,
}

/// What `join` answers.
#[derive(Serialize)]
struct Welcome {
    you: u8,
    key: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    let (snapshots, newest) = watch::channel(Bytes::new());
    let game = Game {
        arena: Arc::new(Mutex::new(Arena::new(options.seed, options.bots))),
        lossy: Arc::new(Mutex::new(Lossy::new(options.loss, options.seed))),
        newest,
    };
    let service = game.service();
    let port = options.port;
    let page = escaped(concat!(env!("CARGO_MANIFEST_DIR"), "/page"));
    let browsers = format!("tcp://localhost:{port}?accept=panpipe,ws&static={page}");
    let browsers = panpipe::serve(&browsers, &service).await?;
    let programs = panpipe::serve(&format!("udp://localhost:{port}?protocol=panpipe"), &service).await?;
    println!("game: open http://{}/", host_and_port(browsers.address()));
    println!("game: programs play over {}", programs.address());

    let mut ticks = tokio::time::interval(Duration::from_secs(1) / TICKS);
    loop {
        ticks.tick().await;
        let mut arena = game.arena();
        arena.step();
        snapshots.send_replace(Snapshot::of(&arena).encode().into());
    }
}

impl Game {
    fn service(&self) -> Service {
        let (joining, watching, steering, pinged) = (self.clone(), self.clone(), self.clone(), self.clone());
        Service::new()
            .title("game", env!("CARGO_PKG_VERSION"))
            .method("join", move |context: Context, name: String| {
                let game = joining.clone();
                async move { game.join(context, &name) }
            })
            .doc("Lets the caller play; snapshots come once it steers")
            .method("watch", move |context: Context| {
                let game = watching.clone();
                async move { game.watch(context) }
            })
            .doc("Sends snapshots to one who does not play, until the connection ends; not over UDP")
            .method("steer", move |key: u64, number: u32, dx: f32, dy: f32, dash: bool| {
                steering.steer(key, Steer { number, dx, dy, dash });
                std::future::ready(Ok(()))
            })
            .doc("Where the player with this key wants to go, from -1 to 1; who is silent for two seconds has left")
            .method("ping", move || std::future::ready(Ok(pinged.arena().tick())))
            .doc("The tick")
    }

    fn join(&self, context: Context, name: &str) -> Result<Welcome, HandlerError> {
        let peer = context.peer().ok_or_else(|| HandlerError::new("the caller has gone"))?;
        let joined = self.arena().join(name);
        let joined = joined.ok_or_else(|| HandlerError::new("twelve play already").code("busy"))?;
        tokio::spawn(self.clone().show(peer, joined.key));
        Ok(Welcome { you: joined.you, key: joined.key })
    }

    fn watch(&self, context: Context) -> Result<(), HandlerError> {
        let peer = context.peer().ok_or_else(|| HandlerError::new("the caller has gone"))?;
        if peer.remote().transport == "udp" {
            // Anybody can write any sender's address on a datagram; see `show`.
            return Err(HandlerError::new("who is sent much over UDP has to play").code("unsupported"));
        }
        let mut newest = self.newest.clone();
        tokio::spawn(async move {
            while newest.changed().await.is_ok() {
                let snapshot = newest.borrow_and_update().clone();
                if peer.send("snapshot", snapshot).await.is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    fn steer(&self, key: u64, steer: Steer) {
        if !self.loses() {
            self.arena().steer(key, steer);
        }
    }

    /// Sends a player each snapshot, or the newest where it is too slow for all, until it leaves.
    async fn show(mut self, peer: Peer, key: u64) {
        while self.newest.changed().await.is_ok() {
            let snapshot = self.newest.borrow_and_update().clone();
            match self.arena().hears(key) {
                None => return,
                // Over UDP anybody can write any sender's address on a datagram. Who knows the key got our answer.
                Some(false) => continue,
                Some(true) => {}
            }
            if !self.loses() && peer.send("snapshot", snapshot).await.is_err() {
                break;
            }
        }
        self.arena().leave(key);
    }

    fn loses(&self) -> bool {
        self.lossy.lock().unwrap_or_else(PoisonError::into_inner).loses()
    }

    fn arena(&self) -> MutexGuard<'_, Arena> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the command line says.
struct Options {
    port: u16,
    bots: usize,
    loss: f32,
    seed: u64,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Options { port: 9999, bots: 5, loss: 0.0, seed: 0 };
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("reading the options: {option} has no value"))?;
            match option.as_str() {
                "--port" => options.port = value.parse()?,
                "--bots" => options.bots = value.parse()?,
                "--loss" => options.loss = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => return Err(format!("reading the options: {option} is none of --port --bots --loss --seed").into()),
            }
        }
        Ok(options)
    }
}

/// A path as the value of an option of an address.
fn escaped(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

fn host_and_port(address: &str) -> &str {
    address.trim_start_matches("tcp://").split('?').next().unwrap_or(address)
}
