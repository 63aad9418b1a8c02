//! The arena: the rules of the game. Time is the number of calls of [`Arena::step`], 30 a second.

use crate::bot::{Bot, NAMES};
use crate::floor::{Floor, HEIGHT, WIDTH};
use crate::random::{Random, secret};
use crate::snapshot::LONGEST_NAME;

/// Steps in a second.
pub const TICKS: u32 = 30;
/// How many can play at once: a tile has four bits for its owner.
pub const MOST_PLAYERS: usize = 12;

const ROUND: u16 = 75 * TICKS as u16;
const PAUSE: u16 = 8 * TICKS as u16;
/// Ticks after which who is not heard of has left.
const SILENCE: u32 = 2 * TICKS;

// Tiles in a second, on no paint, on one's own, and on that of others; and in a dash.
const SPEED: f32 = 8.5;
const OWN_SPEED: f32 = 11.0;
const OTHERS_SPEED: f32 = 6.5;
const DASH_SPEED: f32 = 24.0;
/// What part of the way to the wanted speed a tick brings.
const GRIP: f32 = 0.3;

const DASH: u32 = 6;
const DASH_AGAIN: u32 = 45;
const DOWN: u32 = 45;

// Tiles from the middle: a player, its brush, where it looks for the paint that it glides on, what a dash paints, what it leaves of whom it hits, and a bomb.
const BODY: f32 = 0.7;
const BRUSH: f32 = 1.0;
const AHEAD: f32 = 1.6;
const DASH_BRUSH: f32 = 1.5;
const SPLASH: f32 = 3.4;
const BOMB: f32 = 4.6;

const MOST_BOMBS: usize = 3;
const BOMB_EVERY: u32 = 4 * TICKS;

/// How a player is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Gliding about.
    Up,
    /// Fast for a moment, and splashes whom it hits.
    Dashing,
    /// Splashed; it comes back elsewhere.
    Down,
}

/// One who plays.
#[derive(Clone, Debug)]
pub struct Player {
    /// From 1 to 12; also the number of its colour.
    pub id: u8,
    /// What it is called, in at most 12 bytes.
    pub name: String,
    /// In tiles from the left.
    pub x: f32,
    /// In tiles from the top.
    pub y: f32,
    /// How it is.
    pub standing: Standing,
    key: u64,
    bot: Option<Bot>,
    // Tiles in a second.
    speed: (f32, f32),
    // Where it steers: no longer than 1.
    wish: (f32, f32),
    wants_dash: bool,
    // Ticks until it is up again, and until it may dash again.
    until_up: u32,
    until_ready: u32,
    // The number of the newest message that it steered with, and the ticks since then.
    number: Option<u32>,
    silent: u32,
}

impl Player {
    /// Whether the server plays it.
    pub fn is_bot(&self) -> bool {
        self.bot.is_some()
    }

    /// Whether it may dash.
    pub fn is_ready(&self) -> bool {
        self.standing == Standing::Up && self.until_ready == 0
    }
}

/// What one who has joined is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its number among the players of a snapshot.
    pub you: u8,
    /// What it has to say with all that it sends.
    pub key: u64,
}

/// What a player wants.
#[derive(Clone, Copy, Debug)]
pub struct Steer {
    /// Grows with each message, so that one that was overtaken does nothing.
    pub number: u32,
    /// To the right, from -1 to 1.
    pub dx: f32,
    /// Down, from -1 to 1.
    pub dy: f32,
    /// Whether to dash as soon as it may.
    pub dash: bool,
}

/// Where the game is played.
#[derive(Debug)]
pub struct Arena {
    players: Vec<Player>,
    floor: Floor,
    bombs: Vec<(u8, u8)>,
    tick: u32,
    is_pause: bool,
    left: u16,
    bots: usize,
    random: Random,
}

impl Arena {
    /// An arena with this many bots, as long as there is room for them.
    pub fn new(seed: u64, bots: usize) -> Self {
        let mut arena = Arena {
            players: Vec::new(),
            floor: Floor::default(),
            bombs: Vec::new(),
            tick: 0,
            is_pause: false,
            left: ROUND,
            bots: bots.min(MOST_PLAYERS),
            random: Random::new(seed),
        };
        arena.fill_with_bots();
        arena
    }

    /// Everybody, by their numbers.
    pub fn players(&self) -> impl Iterator<Item = &Player> {
        self.players.iter()
    }

    /// Who has which tile.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Paint bombs that lie about, as columns and rows.
    pub fn bombs(&self) -> &[(u8, u8)] {
        &self.bombs
    }

    /// How many steps there were.
    pub fn tick(&self) -> u32 {
        self.tick
    }

    /// Whether the round is over, and the next begins soon.
    pub fn is_pause(&self) -> bool {
        self.is_pause
    }

    /// Ticks until the round, or the pause, ends.
    pub fn left(&self) -> u16 {
        self.left
    }

    /// Lets somebody in; a bot makes room. `None` when twelve play already.
    pub fn join(&mut self, name: &str) -> Option<Joined> {
        if self.players.len() == MOST_PLAYERS {
            let bot = self.players.iter().rposition(Player::is_bot)?;
            self.remove(bot);
        }
        Some(self.add(&short(name), None))
    }

    /// Does what a player wants from now on. Nothing for a key that is nobody's, and for a message that was overtaken.
    pub fn steer(&mut self, key: u64, steer: Steer) {
        let Some(player) = self.players.iter_mut().find(|player| player.key == key && !player.is_bot()) else { return };
        player.silent = 0;
        if player.number.is_some_and(|newest| steer.number <= newest) {
            return;
        }
        player.number = Some(steer.number);
        player.wish = unit(steer.dx, steer.dy);
        player.wants_dash = steer.dash;
    }

    /// Whether the one with this key has said anything yet, since it was let in; `None` when it does not play any more.
    pub fn hears(&self, key: u64) -> Option<bool> {
        self.players.iter().find(|player| player.key == key).map(|player| player.number.is_some())
    }

    /// Sends away the one with this key.
    pub fn leave(&mut self, key: u64) {
        if let Some(index) = self.players.iter().position(|player| player.key == key) {
            self.remove(index);
            self.fill_with_bots();
        }
    }

    /// Lets a thirtieth of a second pass.
    pub fn step(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        self.drop_the_silent();
        self.left -= 1;
        if self.left == 0 {
            self.change_phase();
        }
        if self.is_pause {
            return;
        }
        self.steer_bots();
        for player in &mut self.players {
            player.advance(&mut self.floor, &mut self.random);
        }
        self.collide();
        self.take_bombs();
    }

    fn drop_the_silent(&mut self) {
        for index in (0..self.players.len()).rev() {
            let player = &mut self.players[index];
            player.silent += 1;
            if player.silent > SILENCE && !player.is_bot() {
                self.remove(index);
            }
        }
        self.fill_with_bots();
    }

    fn change_phase(&mut self) {
        self.is_pause = !self.is_pause;
        self.left = if self.is_pause { PAUSE } else { ROUND };
        if !self.is_pause {
            self.floor = Floor::default();
            self.bombs.clear();
            for player in &mut self.players {
                player.come_back(&mut self.random);
            }
        }
    }

    fn steer_bots(&mut self) {
        let others: Vec<_> = self.players.iter().map(|each| (each.id, each.x, each.y, each.standing)).collect();
        for player in &mut self.players {
            let Some(mut bot) = player.bot.take() else { continue };
            let (dx, dy, dash) = bot.steer(player, &others, &self.floor, &self.bombs, &mut self.random);
            player.wish = unit(dx, dy);
            player.wants_dash = dash;
            player.bot = Some(bot);
        }
    }

    /// Who is hit by a dash is splashed; others bounce off each other.
    fn collide(&mut self) {
        for second in 1..self.players.len() {
            let (before, after) = self.players.split_at_mut(second);
            let one = &mut after[0];
            for other in before {
                if one.standing == Standing::Down || other.standing == Standing::Down {
                    continue;
                }
                let (dx, dy) = (one.x - other.x, one.y - other.y);
                let distance = dx.hypot(dy);
                if distance >= 2.0 * BODY {
                    continue;
                }
                match (one.standing, other.standing) {
                    (Standing::Dashing, Standing::Up) => other.splash(one.id, &mut self.floor),
                    (Standing::Up, Standing::Dashing) => one.splash(other.id, &mut self.floor),
                    _ => {
                        let (dx, dy) = if distance > 0.0 { (dx / distance, dy / distance) } else { (1.0, 0.0) };
                        one.bounce(dx, dy);
                        other.bounce(-dx, -dy);
                    }
                }
            }
        }
    }

    fn take_bombs(&mut self) {
        if self.tick.is_multiple_of(BOMB_EVERY) && self.bombs.len() < MOST_BOMBS {
            self.bombs.push((self.random.below(WIDTH) as u8, self.random.below(HEIGHT) as u8));
        }
        let Arena { bombs, players, floor, .. } = self;
        bombs.retain(|&(column, row)| {
            let (x, y) = (f32::from(column) + 0.5, f32::from(row) + 0.5);
            let taker = players
                .iter()
                .find(|player| player.standing != Standing::Down && (player.x - x).hypot(player.y - y) < BODY + 0.6);
            if let Some(taker) = taker {
                floor.paint(x, y, BOMB, taker.id);
            }
            taker.is_none()
        });
    }

    fn fill_with_bots(&mut self) {
        let mut bots = self.players.iter().filter(|player| player.is_bot()).count();
        while bots < self.bots && self.players.len() < MOST_PLAYERS {
            let taken = |name: &&str| self.players.iter().all(|player| player.name != *name);
            let name = NAMES.into_iter().find(taken).unwrap_or(NAMES[0]);
            self.add(name, Some(Bot::new()));
            bots += 1;
        }
    }

    fn add(&mut self, name: &str, bot: Option<Bot>) -> Joined {
        let id = (1..).find(|id| self.players.iter().all(|player| player.id != *id)).unwrap_or(1);
        let mut player = Player {
            id,
            name: name.to_owned(),
            x: 0.0,
            y: 0.0,
            standing: Standing::Up,
            key: secret(),
            bot,
            speed: (0.0, 0.0),
            wish: (0.0, 0.0),
            wants_dash: false,
            until_up: 0,
            until_ready: 0,
            number: None,
            silent: 0,
        };
        player.come_back(&mut self.random);
        let joined = Joined { you: id, key: player.key };
        let index = self.players.partition_point(|other| other.id < id);
        self.players.insert(index, player);
        joined
    }

    fn remove(&mut self, index: usize) {
        let gone = self.players.remove(index);
        self.floor.wipe(gone.id);
    }
}

impl Player {
    fn advance(&mut self, floor: &mut Floor, random: &mut Random) {
        self.until_ready = self.until_ready.saturating_sub(1);
        self.until_up = self.until_up.saturating_sub(1);
        match self.standing {
            Standing::Down if self.until_up == 0 => self.come_back(random),
            Standing::Down => return,
            Standing::Dashing if self.until_up == 0 => self.standing = Standing::Up,
            Standing::Up if self.wants_dash && self.until_ready == 0 => self.dash(),
            _ => {}
        }
        if self.standing == Standing::Up {
            // Where it is it has painted already; what lies ahead is what it glides over next.
            let ahead = floor.at(self.x + self.wish.0 * AHEAD, self.y + self.wish.1 * AHEAD);
            let most = if ahead == 0 {
                SPEED
            } else if ahead == self.id {
                OWN_SPEED
            } else {
                OTHERS_SPEED
            };
            self.speed.0 += (self.wish.0 * most - self.speed.0) * GRIP;
            self.speed.1 += (self.wish.1 * most - self.speed.1) * GRIP;
        }
        self.go(self.speed.0 / TICKS as f32, self.speed.1 / TICKS as f32);
        floor.paint(self.x, self.y, if self.standing == Standing::Dashing { DASH_BRUSH } else { BRUSH }, self.id);
    }

    /// In the direction that it steers to, or else glides to.
    fn dash(&mut self) {
        let (dx, dy) = if self.wish == (0.0, 0.0) { self.speed } else { self.wish };
        let length = dx.hypot(dy);
        if length > 0.01 {
            self.speed = (dx / length * DASH_SPEED, dy / length * DASH_SPEED);
            self.standing = Standing::Dashing;
            self.until_up = DASH;
            self.until_ready = DASH_AGAIN;
        }
    }

    fn splash(&mut self, by: u8, floor: &mut Floor) {
        floor.paint(self.x, self.y, SPLASH, by);
        self.standing = Standing::Down;
        self.until_up = DOWN;
    }

    fn bounce(&mut self, dx: f32, dy: f32) {
        self.speed = (dx * SPEED, dy * SPEED);
        self.go(dx * 0.1, dy * 0.1);
    }

    fn go(&mut self, dx: f32, dy: f32) {
        self.x = (self.x + dx).clamp(BODY, WIDTH as f32 - BODY);
        self.y = (self.y + dy).clamp(BODY, HEIGHT as f32 - BODY);
    }

    /// Up again, somewhere.
    fn come_back(&mut self, random: &mut Random) {
        self.x = random.between(3.0, WIDTH as f32 - 3.0);
        self.y = random.between(3.0, HEIGHT as f32 - 3.0);
        self.standing = Standing::Up;
        self.speed = (0.0, 0.0);
        self.until_ready = TICKS / 2;
    }
}

/// A wish of at most the length 1; what is no number is none.
fn unit(dx: f32, dy: f32) -> (f32, f32) {
    let length = dx.hypot(dy);
    if !length.is_finite() {
        return (0.0, 0.0);
    }
    if length > 1.0 { (dx / length, dy / length) } else { (dx, dy) }
}

/// A name without what would not be seen, cut to its most bytes.
fn short(name: &str) -> String {
    let mut short = String::new();
    for character in name.trim().chars().filter(|character| !character.is_control()) {
        if short.len() + character.len_utf8() > LONGEST_NAME {
            break;
        }
        short.push(character);
    }
    if short.is_empty() { "?".to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steer(number: u32, dx: f32, dy: f32, dash: bool) -> Steer {
        Steer { number, dx, dy, dash }
    }

    /// One player alone, in the middle.
    fn alone() -> (Arena, Joined) {
        let mut arena = Arena::new(7, 0);
        let joined = arena.join("Ann").unwrap();
        (arena.players[0].x, arena.players[0].y) = (24.0, 13.0);
        (arena, joined)
    }

    #[test]
    fn who_steers_glides_and_leaves_its_colour() {
        let (mut arena, joined) = alone();
        for number in 0..TICKS {
            arena.steer(joined.key, steer(number, 1.0, 0.0, false));
            arena.step();
        }
        let player = &arena.players[0];
        // A second at 8.5 tiles a second on bare floor, and a little less until it has got going.
        assert!((30.0..33.0).contains(&player.x) && player.y == 13.0, "{} {}", player.x, player.y);
        assert!(arena.floor.count(joined.you) > 12);
        assert_eq!(arena.floor.at(26.0, 13.0), joined.you);
    }

    #[test]
    fn a_message_that_was_overtaken_does_nothing_and_neither_does_a_wrong_key() {
        let (mut arena, joined) = alone();
        assert_eq!(arena.hears(joined.key), Some(false));
        arena.steer(joined.key + 1, steer(9, 0.0, 1.0, false));
        assert_eq!(arena.hears(joined.key), Some(false));
        arena.steer(joined.key, steer(2, 1.0, 0.0, false));
        arena.steer(joined.key, steer(1, -1.0, 0.0, false));
        arena.steer(joined.key, steer(3, f32::NAN, f32::INFINITY, false));
        assert_eq!(arena.players[0].wish, (0.0, 0.0));
        arena.steer(joined.key, steer(4, 30.0, 40.0, false));
        assert_eq!((arena.players[0].wish, arena.hears(joined.key)), ((0.6, 0.8), Some(true)));
    }

    #[test]
    fn who_is_hit_by_a_dash_is_splashed_and_comes_back() {
        let (mut arena, joined) = alone();
        arena.join("Bob").unwrap();
        (arena.players[1].x, arena.players[1].y) = (27.0, 13.0);
        arena.players[0].until_ready = 0;
        arena.steer(joined.key, steer(0, 1.0, 0.0, true));
        for _ in 0..DASH {
            arena.step();
        }
        assert_eq!(arena.players[1].standing, Standing::Down);
        assert!(arena.floor.count(joined.you) > 30, "{}", arena.floor.count(joined.you));
        assert!(!arena.players[0].is_ready());
        for _ in 0..DOWN {
            arena.step();
        }
        assert_eq!(arena.players[1].standing, Standing::Up);
    }

    #[test]
    fn a_bomb_paints_for_who_takes_it() {
        let (mut arena, joined) = alone();
        arena.bombs.push((24, 13));
        arena.step();
        assert!(arena.bombs.is_empty());
        assert!(arena.floor.count(joined.you) > 55, "{}", arena.floor.count(joined.you));
    }

    #[test]
    fn who_is_silent_leaves_and_takes_the_paint_along() {
        let (mut arena, joined) = alone();
        for _ in 0..=SILENCE {
            assert_eq!(arena.players.len(), 1);
            arena.step();
        }
        assert_eq!((arena.players.len(), arena.floor.count(joined.you)), (0, 0));
        assert_eq!(arena.hears(joined.key), None);
    }

    #[test]
    fn bots_make_room_and_come_back() {
        let mut arena = Arena::new(7, 5);
        assert!(arena.players().all(Player::is_bot));
        let joined: Vec<_> = (0..MOST_PLAYERS).map(|_| arena.join("Ann").unwrap()).collect();
        assert!(!arena.players().any(Player::is_bot));
        assert_eq!(arena.join("Bob"), None);
        arena.leave(joined[3].key);
        assert_eq!(arena.players().filter(|player| player.is_bot()).count(), 1);
        let ids: Vec<u8> = arena.players().map(|player| player.id).collect();
        assert_eq!(ids, (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn a_round_ends_and_the_next_begins_on_a_clean_floor() {
        let mut arena = Arena::new(7, 4);
        for _ in 0..ROUND {
            assert!(!arena.is_pause());
            arena.step();
        }
        let painted: u16 = arena.players().map(|player| arena.floor.count(player.id)).sum();
        assert!(painted > 900, "bots painted {painted} of 1296 tiles");
        for _ in 0..PAUSE {
            assert!(arena.is_pause());
            arena.step();
        }
        assert_eq!((arena.is_pause(), arena.left()), (false, ROUND));
        assert!(arena.floor.count(0) > 1200);
    }

    #[test]
    fn names_are_short_and_can_be_seen() {
        assert_eq!(short("  Ann\u{1b}[2J "), "Ann[2J");
        assert_eq!(short("ËËËËËËËË"), "ËËËËËË");
        assert_eq!(short("\n"), "?");
    }
}
