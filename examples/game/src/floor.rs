//! The floor: tiles, each with the number of the player whose colour it has.

/// Tiles in a row.
pub const WIDTH: usize = 48;
/// Rows.
pub const HEIGHT: usize = 27;

/// Who painted which tile; 0 is nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor([u8; WIDTH * HEIGHT]);

impl Default for Floor {
    fn default() -> Self {
        Floor([0; WIDTH * HEIGHT])
    }
}

impl Floor {
    /// Whose tile is at this place, in tiles; what is beyond the edge belongs to the tile there.
    pub fn at(&self, x: f32, y: f32) -> u8 {
        let column = (x.max(0.0) as usize).min(WIDTH - 1);
        let row = (y.max(0.0) as usize).min(HEIGHT - 1);
        self.0[row * WIDTH + column]
    }

    /// Paints all tiles whose middle is within `radius` of a place.
    pub fn paint(&mut self, x: f32, y: f32, radius: f32, player: u8) {
        let rows = (y - radius).max(0.0) as usize..((y + radius).ceil() as usize).min(HEIGHT);
        for row in rows {
            let columns = (x - radius).max(0.0) as usize..((x + radius).ceil() as usize).min(WIDTH);
            for column in columns {
                let (dx, dy) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
                if dx * dx + dy * dy <= radius * radius {
                    self.0[row * WIDTH + column] = player;
                }
            }
        }
    }

    /// How many tiles a player has.
    pub fn count(&self, player: u8) -> u16 {
        self.0.iter().filter(|&&owner| owner == player).count() as u16
    }

    /// Takes the paint of a player away.
    pub fn wipe(&mut self, player: u8) {
        self.0.iter_mut().filter(|owner| **owner == player).for_each(|owner| *owner = 0);
    }

    /// Two tiles a byte, row by row, the left one in the upper half.
    pub(crate) fn packed(&self) -> impl Iterator<Item = u8> {
        self.0.chunks_exact(2).map(|two| two[0] << 4 | two[1] & 15)
    }

    /// The floor of these bytes; `None` when there are too few.
    pub(crate) fn unpacked(bytes: &[u8]) -> Option<Floor> {
        let mut floor = Floor::default();
        for (two, byte) in floor.0.chunks_exact_mut(2).zip(bytes.get(..WIDTH * HEIGHT / 2)?) {
            (two[0], two[1]) = (byte >> 4, byte & 15);
        }
        Some(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paint_covers_a_circle_and_stops_at_the_edges() {
        let mut floor = Floor::default();
        floor.paint(10.5, 10.5, 1.0, 3);
        assert_eq!(floor.count(3), 5);
        assert_eq!((floor.at(10.2, 9.9), floor.at(11.2, 11.2)), (3, 0));
        floor.paint(0.0, 0.0, 2.0, 4);
        floor.paint(WIDTH as f32, HEIGHT as f32, 2.0, 4);
        assert_eq!(floor.count(4), 6);
        assert_eq!((floor.at(-3.0, -3.0), floor.at(99.0, 99.0)), (4, 4));
        floor.wipe(4);
        assert_eq!((floor.count(4), floor.count(3)), (0, 5));
    }

    #[test]
    fn what_was_packed_is_unpacked_again() {
        let mut floor = Floor::default();
        floor.paint(20.0, 5.0, 4.0, 12);
        floor.paint(23.0, 6.0, 3.0, 1);
        let bytes: Vec<u8> = floor.packed().collect();
        assert_eq!(Floor::unpacked(&bytes), Some(floor));
        assert_eq!(Floor::unpacked(&bytes[1..]), None);
    }
}
