//! A player that plays by itself, over any address: prints once a second how it goes.
//!
//! `paint-player [NAME] [ADDRESS]`

use std::error::Error;
use std::time::{Duration, Instant};

use panpipe::{Bytes, Service};
use panpipe_game::{HEIGHT, Seen, Snapshot, TICKS, WIDTH};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;

/// Without a snapshot for this long the game has forgotten us, or begun anew.
const SILENCE: Duration = Duration::from_secs(2);
/// How long we wait to be let in: a datagram that gets lost is not sent again.
const ANSWER: Duration = Duration::from_millis(500);

/// A snapshot may get lost; we go on steering.
const TICK: Duration = Duration::from_millis(1000 / TICKS as u64);
/// Tiles that it looks ahead, so that it goes straight on where it can.
const AHEAD: f32 = 2.0;

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

    loop {
        // A connection of its own each time: to a game that began anew we are strangers.
        if let Err(error) = play(&name, &address).await {
            println!("{error}; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Joins, and steers at each snapshot until none come any more.
async fn play(name: &str, address: &str) -> panpipe::Result<()> {
    let (show, mut snapshots) = watch::channel(None);
    let game = panpipe::connect_with(address, &eyes(show)).await?;
    let welcome: Welcome = game.call_within(ANSWER, "join", name).await?;
    let mut score = Score::new();
    let mut wish = (0.0, 0.0, false);
    let mut heard = Instant::now();
    for number in 0_u32.. {
        if timeout(TICK, snapshots.changed()).await.is_ok() {
            heard = Instant::now();
            if let Some(snapshot) = &*snapshots.borrow_and_update() {
                wish = choose(snapshot, welcome.you, wish).unwrap_or(wish);
                score.saw(snapshot, welcome.you);
            }
        }
        if heard.elapsed() > SILENCE {
            break;
        }
        // Everything each time: whichever message arrives says it all.
        let (dx, dy, dash) = wish;
        game.send("steer", (welcome.key, number, dx, dy, dash)).await?;
    }
    Ok(())
}

/// What takes the snapshots in.
fn eyes(show: watch::Sender<Option<Snapshot>>) -> Service {
    Service::new().method("snapshot", move |bytes: Bytes| {
        if let Some(snapshot) = Snapshot::decode(&bytes) {
            // One that was overtaken tells nothing new.
            let is_new = show.borrow().as_ref().is_none_or(|newest: &Snapshot| newest.tick < snapshot.tick);
            if is_new {
                show.send_replace(Some(snapshot));
            }
        }
        std::future::ready(Ok(()))
    })
}

/// Goes to the tile that is not ours and is nearest to what lies ahead, and dashes at whom it meets.
fn choose(snapshot: &Snapshot, you: u8, (dx, dy, _): (f32, f32, bool)) -> Option<(f32, f32, bool)> {
    let own = snapshot.players.iter().find(|player| player.id == you)?;
    let is_near = |other: &Seen| (other.x - own.x).hypot(other.y - own.y) < 3.5;
    let prey = snapshot.players.iter().find(|other| other.id != you && !other.is_down && is_near(other));
    if let Some(prey) = prey.filter(|_| own.is_ready) {
        return Some((prey.x - own.x, prey.y - own.y, true));
    }
    let length = dx.hypot(dy).max(1.0);
    let (x, y) = (own.x + dx / length * AHEAD, own.y + dy / length * AHEAD);
    let middles = (0..WIDTH * HEIGHT).map(|tile| ((tile % WIDTH) as f32 + 0.5, (tile / WIDTH) as f32 + 0.5));
    let far = |place: &(f32, f32)| (place.0 - x).hypot(place.1 - y);
    let others = middles.filter(|&(x, y)| snapshot.floor.at(x, y) != you);
    let nearest = others.min_by(|one, other| far(one).total_cmp(&far(other)))?;
    Some((nearest.0 - own.x, nearest.1 - own.y, false))
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
