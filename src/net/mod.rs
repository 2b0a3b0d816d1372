//! The drivers of the two cores: sockets, the clocks, the system's randomness.
//!
//! The only room that knows `mio`, `Instant`, `SystemTime` and `getrandom`.

pub mod broker;
pub mod client;
pub mod clock;
pub mod entropy;
pub mod hangup;

pub use clock::Clock;
pub use entropy::SystemEntropy;
