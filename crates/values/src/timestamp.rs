//! A point in time, as MessagePack's ext −1.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

const SECOND: u32 = 1_000_000_000;

/// A point in time: seconds since 1970 (UTC), and nanoseconds after them.
///
/// In formats other than panpipe's it is the pair of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// The name of the newtype that it is to serde, by which it is known among other types.
    pub const SERDE_NAME: &str = "panpipe::Timestamp";

    /// A time; `None` when there are 10^9 nanoseconds or more.
    pub const fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        if nanoseconds < SECOND { Some(Timestamp { seconds, nanoseconds }) } else { None }
    }

    /// Whole seconds since 1970, rounded down; negative before.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after the second, below 10^9.
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

/// Beyond 292 thousand million years the nearest time that there is.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp { seconds: whole(after), nanoseconds: after.subsec_nanos() },
            Err(before) => match (whole(before.duration()), before.duration().subsec_nanos()) {
                (seconds, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
                (seconds, nanoseconds) => Timestamp { seconds: -seconds - 1, nanoseconds: SECOND - nanoseconds },
            },
        }
    }
}

/// Fails with the time itself when the system has no such time.
impl TryFrom<Timestamp> for SystemTime {
    type Error = Timestamp;

    fn try_from(time: Timestamp) -> Result<SystemTime, Timestamp> {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let second = match time.seconds {
            0.. => UNIX_EPOCH.checked_add(whole),
            _ => UNIX_EPOCH.checked_sub(whole),
        };
        second.and_then(|second| second.checked_add(Duration::from_nanos(time.nanoseconds.into()))).ok_or(time)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Timestamp::SERDE_NAME, &(self.seconds, self.nanoseconds))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Timestamp::SERDE_NAME, TimestampVisitor)
    }
}

/// Reads the pair of seconds and nanoseconds.
pub(crate) struct TimestampVisitor;

impl<'de> Visitor<'de> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, pair: D) -> Result<Timestamp, D::Error> {
        let (seconds, nanoseconds) = <(i64, u32)>::deserialize(pair)?;
        Timestamp::new(seconds, nanoseconds).ok_or_else(|| de::Error::custom("a time of more than 999999999 ns"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_systems_time_and_back() {
        for (seconds, nanoseconds) in [(0, 0), (1_700_000_000, 123_456_789), (-1, 0), (-1, 500_000_000), (-7, 1)] {
            let time = Timestamp::new(seconds, nanoseconds).unwrap();
            let system = SystemTime::try_from(time).unwrap();
            assert_eq!(Timestamp::from(system), time);
        }
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_millis(1500)), Timestamp::new(-2, 500_000_000).unwrap());
    }

    #[test]
    fn has_less_than_a_second_of_nanoseconds() {
        assert_eq!(Timestamp::new(0, SECOND), None);
    }

    #[test]
    fn is_a_pair_in_other_formats() {
        let time = Timestamp::new(-1, 5).unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "[-1,5]");
        assert_eq!(serde_json::from_str::<Timestamp>("[-1,5]").unwrap(), time);
        assert!(serde_json::from_str::<Timestamp>("[-1,1000000000]").is_err());
    }
}
