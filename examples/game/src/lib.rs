//! Paint: players glide over a floor and leave their colour on it; who has most tiles when the time is up has won.
//!
//! [`Arena`] holds the rules and knows nothing of connections; a [`Snapshot`] is all that players see of it, as bytes.

mod arena;
pub use arena::{Arena, Joined, MOST_PLAYERS, Player, Standing, Steer, TICKS};

mod bot;

mod floor;
pub use floor::{Floor, HEIGHT, WIDTH};

mod lossy;
pub use lossy::Lossy;

mod random;
pub use random::{Random, secret};

mod snapshot;
pub use snapshot::{Seen, Snapshot};
