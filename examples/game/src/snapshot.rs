//! A snapshot: all that players see of the arena at one tick, as at most 1,200 bytes.
//!
//! It is whole, so that any one can get lost. Numbers are big-endian; README.md has the layout.

use crate::arena::{Arena, Standing};
use crate::floor::Floor;

/// Bytes of a name.
pub(crate) const LONGEST_NAME: usize = 12;

// Flags of a player.
const DASHING: u8 = 1;
const DOWN: u8 = 2;
const BOT: u8 = 4;
const READY: u8 = 8;

/// A player in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// From 1 to 12; also the number of its colour.
    pub id: u8,
    /// What it is called.
    pub name: String,
    /// In tiles from the left.
    pub x: f32,
    /// In tiles from the top.
    pub y: f32,
    /// How many tiles it has.
    pub tiles: u16,
    /// Whether it is dashing, and splashes whom it hits.
    pub is_dashing: bool,
    /// Whether it was splashed, and comes back soon.
    pub is_down: bool,
    /// Whether the server plays it.
    pub is_bot: bool,
    /// Whether it may dash again.
    pub is_ready: bool,
}

/// All that players see of the arena at one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Grows by one with each snapshot: what is missing between two that came was lost.
    pub tick: u32,
    /// Whether the round is over, and the next begins soon.
    pub is_pause: bool,
    /// Ticks until the round, or the pause, ends.
    pub left: u16,
    /// Everybody, by their numbers.
    pub players: Vec<Seen>,
    /// Paint bombs that lie about, as columns and rows.
    pub bombs: Vec<(u8, u8)>,
    /// Who has which tile.
    pub floor: Floor,
}

impl Snapshot {
    /// What the arena looks like.
    pub fn of(arena: &Arena) -> Snapshot {
        let players = arena.players().map(|player| Seen {
            id: player.id,
            name: player.name.clone(),
            x: player.x,
            y: player.y,
            tiles: arena.floor().count(player.id),
            is_dashing: player.standing == Standing::Dashing,
            is_down: player.standing == Standing::Down,
            is_bot: player.is_bot(),
            is_ready: player.is_ready(),
        });
        Snapshot {
            tick: arena.tick(),
            is_pause: arena.is_pause(),
            left: arena.left(),
            players: players.collect(),
            bombs: arena.bombs().to_vec(),
            floor: arena.floor().clone(),
        }
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend(self.tick.to_be_bytes());
        out.push(u8::from(self.is_pause));
        out.extend(self.left.to_be_bytes());
        out.push(self.players.len() as u8);
        for player in &self.players {
            let flags =
                [(player.is_dashing, DASHING), (player.is_down, DOWN), (player.is_bot, BOT), (player.is_ready, READY)];
            out.push(player.id);
            out.push(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
            out.extend(((player.x * 1000.0) as u16).to_be_bytes());
            out.extend(((player.y * 1000.0) as u16).to_be_bytes());
            out.extend(player.tiles.to_be_bytes());
            out.push(player.name.len() as u8);
            out.extend(player.name.as_bytes());
        }
        out.push(self.bombs.len() as u8);
        out.extend(self.bombs.iter().flat_map(|&(column, row)| [column, row]));
        out.extend(self.floor.packed());
        out
    }

    /// What was sent; `None` for bytes that are no snapshot.
    pub fn decode(mut bytes: &[u8]) -> Option<Snapshot> {
        let from = &mut bytes;
        let tick = u32::from(word(from)?) << 16 | u32::from(word(from)?);
        let is_pause = byte(from)? != 0;
        let left = word(from)?;
        let players = (0..byte(from)?).map(|_| seen(from)).collect::<Option<_>>()?;
        let bombs = (0..byte(from)?).map(|_| Some((byte(from)?, byte(from)?))).collect::<Option<_>>()?;
        Some(Snapshot { tick, is_pause, left, players, bombs, floor: Floor::unpacked(from)? })
    }
}

fn seen(from: &mut &[u8]) -> Option<Seen> {
    let (id, flags) = (byte(from)?, byte(from)?);
    let (x, y, tiles) = (word(from)?, word(from)?, word(from)?);
    let length = byte(from)?;
    let (name, rest) = from.split_at_checked(usize::from(length))?;
    *from = rest;
    Some(Seen {
        id,
        name: String::from_utf8_lossy(name).into_owned(),
        x: f32::from(x) / 1000.0,
        y: f32::from(y) / 1000.0,
        tiles,
        is_dashing: flags & DASHING != 0,
        is_down: flags & DOWN != 0,
        is_bot: flags & BOT != 0,
        is_ready: flags & READY != 0,
    })
}

fn byte(from: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = from.split_first()?;
    *from = rest;
    Some(first)
}

fn word(from: &mut &[u8]) -> Option<u16> {
    Some(u16::from(byte(from)?) << 8 | u16::from(byte(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{MOST_PLAYERS, Steer};

    #[test]
    fn the_largest_snapshot_fits_a_datagram_and_comes_out_as_it_went_in() {
        let mut arena = Arena::new(7, 0);
        let keys: Vec<u64> = (0..MOST_PLAYERS).map(|_| arena.join("Ëëëëëë").unwrap().key).collect();
        for number in 0..900 {
            keys.iter().for_each(|key| arena.steer(*key, Steer { number, dx: 0.0, dy: 0.0, dash: false }));
            arena.step();
        }
        let snapshot = Snapshot::of(&arena);
        assert_eq!(
            (snapshot.players.len(), snapshot.players[0].name.len(), snapshot.bombs.len()),
            (12, LONGEST_NAME, 3)
        );
        let bytes = snapshot.encode();
        // A panpipe frame adds 17 bytes and the method's name.
        assert!(bytes.len() + 17 + "snapshot".len() <= 1200, "{} bytes", bytes.len());
        let again = Snapshot::decode(&bytes).unwrap();
        assert_eq!(again.encode(), bytes);
        assert_eq!((again.tick, again.left, &again.floor), (snapshot.tick, snapshot.left, &snapshot.floor));
        for end in 0..bytes.len() {
            assert_eq!(Snapshot::decode(&bytes[..end]), None);
        }
    }
}
