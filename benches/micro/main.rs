//! What single steps cost, with Criterion: `cargo bench --bench micro`, or `... --bench micro -- records` for one of
//! records, frames, handshake, topics.
//!
//! Everything is in this process, without sockets, on fixed keys. Times move with the machine's load: for a slower
//! commit on a busy one `scripts/instructions.sh` counts instead. Criterion holds each run against the one before it
//! (`-- --save-baseline NAME`, `-- --baseline NAME`).

mod frames;
mod handshake;
mod records;
#[path = "../work/stage.rs"]
#[allow(dead_code, reason = "the other target has more uses of it")]
mod stage;
mod topics;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    records::bench(&mut criterion);
    frames::bench(&mut criterion);
    handshake::bench(&mut criterion);
    topics::bench(&mut criterion);
    criterion.final_summary();
}
