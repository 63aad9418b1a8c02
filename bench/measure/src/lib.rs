//! What the Rust contenders of the benchmark share: their roles, the lines by which they are driven, and what a
//! client times, counts and checks.

pub mod blocking;

pub mod concurrent;

mod contender;
pub use contender::{BYE, Contender, END, Role, Task, Workload, announce, run};

mod message;
pub use message::{Sink, check, check_count, message};

mod timing;
pub use timing::{Measured, Rate, RoundTrips, Span};

/// What can be done here, or a text that says why not.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
