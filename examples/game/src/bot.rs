//! A bot: a player that the server plays, so that nobody is ever alone.

use crate::arena::{Player, Standing, TICKS};
use crate::floor::{Floor, HEIGHT, WIDTH};
use crate::random::Random;

/// What bots are called.
pub(crate) const NAMES: [&str; 12] =
    ["Blot", "Smear", "Daub", "Drip", "Fleck", "Splash", "Tint", "Dab", "Smudge", "Spatter", "Umber", "Ochre"];

/// How many places a bot thinks of before it goes to the best.
const IDEAS: usize = 6;

/// Where a bot is going.
#[derive(Clone, Debug)]
pub(crate) struct Bot {
    x: f32,
    y: f32,
    /// Ticks until it thinks again.
    patience: u32,
}

impl Bot {
    pub(crate) fn new() -> Self {
        Bot { x: 0.0, y: 0.0, patience: 0 }
    }

    /// Where it steers, and whether it dashes.
    pub(crate) fn steer(
        &mut self,
        own: &Player,
        others: &[(u8, f32, f32, Standing)],
        floor: &Floor,
        bombs: &[(u8, u8)],
        random: &mut Random,
    ) -> (f32, f32, bool) {
        let near = |x: f32, y: f32, distance: f32| (x - own.x).hypot(y - own.y) < distance;
        if self.patience == 0 || near(self.x, self.y, 1.0) {
            self.think(own, floor, bombs, random);
        }
        self.patience = self.patience.saturating_sub(1);
        let prey =
            others.iter().find(|(id, x, y, standing)| *id != own.id && *standing == Standing::Up && near(*x, *y, 4.0));
        match prey {
            // Not every time: people should have a chance.
            Some(&(_, x, y, _)) if own.is_ready() && random.share() < 0.04 => (x - own.x, y - own.y, true),
            _ => (self.x - own.x, self.y - own.y, false),
        }
    }

    /// Chooses among some places: one that is not its own yet, and not too far away.
    fn think(&mut self, own: &Player, floor: &Floor, bombs: &[(u8, u8)], random: &mut Random) {
        let worth = |x: f32, y: f32, extra: f32| {
            let gain = if floor.at(x, y) == own.id { 0.0 } else { 12.0 };
            gain + extra - (x - own.x).hypot(y - own.y)
        };
        let mut best = f32::MIN;
        let ideas = (0..IDEAS).map(|_| (random.between(0.5, WIDTH as f32), random.between(0.5, HEIGHT as f32), 0.0));
        let bombs = bombs.iter().map(|&(column, row)| (f32::from(column) + 0.5, f32::from(row) + 0.5, 8.0));
        for (x, y, extra) in ideas.chain(bombs).collect::<Vec<_>>() {
            if worth(x, y, extra) > best {
                best = worth(x, y, extra);
                (self.x, self.y) = (x, y);
            }
        }
        self.patience = TICKS + random.below(2 * TICKS as usize) as u32;
    }
}
