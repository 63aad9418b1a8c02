//! A player that plays by itself, over any address: prints once a second how it goes.
//!
//! paint-player [NAME] [ADDRESS]

use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use panpipe::{Bytes, Peer, Service};
use panpipe_game::{HEIGHT, Seen, Snapshot, TICKS, WIDTH};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

/// Without a snapshot for this long the game has forgotten us, or begun anew.
const SILENCE: Duration = Duration::from_secs(2);
/// A datagram that gets lost is not sent again; what joins may ask again, because who stays silent leaves by itself.
const ANSWER: Duration = Duration::from_millis(500);

/// Tiles from our middle within which all is painted.
const BRUSH: f32 = 1.4;

#[derive(Deserialize)]
struct Welcome {
    you: u8,
    key: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "Ferris".into());
    let address = words.next().unwrap_or_else(|| "udp://localhost:9999?protocol=panpipe".into());

    let (show, mut snapshots) = watch::channel(None);
    let show = Mutex::new(show);
    let eyes = Service::new().method("snapshot", move |bytes: Bytes| {
        if let (Some(snapshot), Ok(show)) = (Snapshot::decode(&bytes), show.lock()) {
            // One that was overtaken tells nothing new.
            show.send_if_modified(|newest: &mut Option<Snapshot>| {
                let is_new = newest.as_ref().is_none_or(|newest| newest.tick < snapshot.tick);
                if is_new {
                    *newest = Some(snapshot);
                }
                is_new
            });
        }
        std::future::ready(Ok(()))
    });
    let game = panpipe::connect_with(&address, &eyes).await?;
    loop {
        match join(&game, &name).await {
            Ok(welcome) => play(&game, &welcome, &mut snapshots).await,
            Err(error) => {
                println!("{error}; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn join(game: &Peer, name: &str) -> panpipe::Result<Welcome> {
    game.call_within(ANSWER, "join", name).await
}

/// Steers at each snapshot, until none come any more.
async fn play(game: &Peer, welcome: &Welcome, snapshots: &mut watch::Receiver<Option<Snapshot>>) {
    let mut number = 0;
    let mut score = Score::new();
    let mut steering = interval(Duration::from_secs(1) / TICKS);
    let mut wish = (0.0, 0.0, false);
    let mut heard = Instant::now();
    while heard.elapsed() < SILENCE {
        if timeout(steering.period(), snapshots.changed()).await.is_ok_and(|changed| changed.is_ok()) {
            heard = Instant::now();
            if let Some(snapshot) = &*snapshots.borrow_and_update() {
                wish = choose(snapshot, welcome.you).unwrap_or(wish);
                score.saw(snapshot, welcome.you);
            }
        }
        // Everything each time: whichever message arrives says it all.
        let (dx, dy, dash) = wish;
        if game.send("steer", (welcome.key, number, dx, dy, dash)).await.is_err() {
            steering.tick().await;
        }
        number += 1;
    }
}

/// Goes to the nearest tile that is not ours, and dashes at whom it meets.
fn choose(snapshot: &Snapshot, you: u8) -> Option<(f32, f32, bool)> {
    let own = snapshot.players.iter().find(|player| player.id == you)?;
    let distance = |x: f32, y: f32| (x - own.x).hypot(y - own.y);
    let is_prey = |other: &&Seen| other.id != you && !other.is_down && distance(other.x, other.y) < 3.5;
    if let Some(prey) = snapshot.players.iter().find(is_prey).filter(|_| own.is_ready) {
        return Some((prey.x - own.x, prey.y - own.y, true));
    }
    let middles = (0..WIDTH * HEIGHT).map(|tile| ((tile % WIDTH) as f32 + 0.5, (tile / WIDTH) as f32 + 0.5));
    let (x, y) = middles
        .filter(|&(x, y)| snapshot.floor.at(x, y) != you && distance(x, y) > BRUSH)
        .min_by(|one, other| distance(one.0, one.1).total_cmp(&distance(other.0, other.1)))?;
    Some((x - own.x, y - own.y, false))
}

/// What is printed once a second.
struct Score {
    since: Instant,
    came: u32,
    first: Option<u32>,
}

impl Score {
    fn new() -> Self {
        Score { since: Instant::now(), came: 0, first: None }
    }

    fn saw(&mut self, snapshot: &Snapshot, you: u8) {
        self.came += 1;
        let sent = snapshot.tick - *self.first.get_or_insert(snapshot.tick) + 1;
        if self.since.elapsed() < Duration::from_secs(1) {
            return;
        }
        let tiles = |id: u8| snapshot.players.iter().find(|player| player.id == id).map_or(0, |player| player.tiles);
        let place = 1 + snapshot.players.iter().filter(|player| player.tiles > tiles(you)).count();
        let lost = 100 * sent.saturating_sub(self.came) / sent;
        let (came, all) = (self.came, snapshot.players.len());
        println!("{came} snapshots, {lost} % lost, {} tiles, place {place} of {all}", tiles(you));
        *self = Score { first: Some(snapshot.tick + 1), ..Score::new() };
    }
}
