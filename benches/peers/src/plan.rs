//! What is measured: the works, and the lines of the table that are made of them.
//!
//! Knows no protocol. A change here changes what all brokers are asked to do.

use crate::broker::Kind;

/// Something that every broker is put through, in each round.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub id: &'static str,
    pub work: Work,
}

#[derive(Clone, Copy, Debug)]
pub enum Work {
    Fan(Fan),
    PingPong { bytes: usize, count: u64 },
    Connect { at_once: usize, waves: usize },
    Idle { connections: usize },
}

/// One publisher, and subscribers that all get everything.
#[derive(Clone, Copy, Debug)]
pub struct Fan {
    pub subscribers: usize,
    /// Of what the user publishes.
    pub bytes: usize,
    /// Messages that are published and not yet received by every subscriber, at most.
    pub window: u64,
    pub messages: u64,
    pub readers: Readers,
}

/// What a subscriber does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Decrypts, parses, counts, and sees that nothing is missing: the least that is honest.
    Light,
    /// What a real client does, with its CPU time taken.
    Real,
}

/// One figure of the table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub workload: &'static str,
    pub metric: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub reach: Reach,
    /// Which of sealmq's ways of keeping topics is held to that.
    pub judged: Kind,
}

/// What sealmq is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// So many times the best peer's figure, at most.
    TimesBest(f64),
    /// So much, whatever the peers do.
    AtMost(f64),
    /// Shown, and not judged.
    Nothing,
}

const fn fan(subscribers: usize, bytes: usize, window: u64, messages: u64) -> Work {
    Work::Fan(Fan { subscribers, bytes, window, messages, readers: Readers::Light })
}

const fn real(subscribers: usize, bytes: usize, window: u64, messages: u64) -> Work {
    Work::Fan(Fan { subscribers, bytes, window, messages, readers: Readers::Real })
}

const KIB: usize = 1024;

/// In the order in which they run.
pub const WORKLOADS: &[Workload] = &[
    Workload { id: "one-64", work: fan(1, 64, 2048, 120_000) },
    Workload { id: "one-1k", work: fan(1, KIB, 1024, 80_000) },
    Workload { id: "one-16k", work: fan(1, 16 * KIB, 64, 15_000) },
    Workload { id: "fifty-100", work: fan(50, 100, 2048, 16_384) },
    Workload { id: "fifty-1k", work: fan(50, KIB, 256, 8_192) },
    Workload { id: "fifty-16k", work: fan(50, 16 * KIB, 32, 1_024) },
    Workload { id: "fivehundred-100", work: fan(500, 100, 256, 1_536) },
    Workload { id: "fifty-single", work: fan(50, 100, 1, 2_000) },
    Workload { id: "fivehundred-single", work: fan(500, 100, 1, 300) },
    Workload { id: "ping-pong", work: Work::PingPong { bytes: 64, count: 10_000 } },
    Workload { id: "connect-32", work: Work::Connect { at_once: 32, waves: 5 } },
    Workload { id: "connect-100", work: Work::Connect { at_once: 100, waves: 3 } },
    Workload { id: "connect-alone", work: Work::Connect { at_once: 1, waves: 40 } },
    Workload { id: "idle", work: Work::Idle { connections: 1_000 } },
    Workload { id: "clients-64", work: real(2, 64, 512, 8_192) },
    Workload { id: "clients-1k", work: real(2, KIB, 256, 8_192) },
    Workload { id: "clients-16k", work: real(2, 16 * KIB, 32, 2_048) },
];

const DELIVERY: &str = "broker_us_per_delivery";
const MS: &str = "broker_ms_per_connection";

const fn line(
    workload: &'static str,
    metric: &'static str,
    title: &'static str,
    unit: &'static str,
    reach: Reach,
) -> Line {
    Line { workload, metric, title, unit, reach, judged: Kind::Sealmq }
}

/// The same line, to be reached with topics on disk.
const fn with_storage(line: Line) -> Line {
    Line { judged: Kind::SealmqDisk, ..line }
}

/// In the order of the table.
pub const LINES: &[Line] = &[
    line("one-64", DELIVERY, "1 to 1, 64 B, 2,048 in flight", "us", Reach::TimesBest(0.6)),
    line("one-1k", DELIVERY, "1 to 1, 1 KiB, 1,024 in flight", "us", Reach::TimesBest(0.8)),
    line("one-16k", DELIVERY, "1 to 1, 16 KiB, 64 in flight", "us", Reach::TimesBest(0.8)),
    line("fifty-100", DELIVERY, "1 to 50, 100 B, 2,048 in flight", "us", Reach::TimesBest(1.0)),
    line("fifty-1k", DELIVERY, "1 to 50, 1 KiB, 256 in flight", "us", Reach::TimesBest(0.6)),
    line("fifty-16k", DELIVERY, "1 to 50, 16 KiB, 32 in flight", "us", Reach::TimesBest(0.7)),
    line("fivehundred-100", DELIVERY, "1 to 500, 100 B, 256 in flight", "us", Reach::TimesBest(0.8)),
    line("fifty-single", DELIVERY, "1 to 50, 100 B, 1 in flight", "us", Reach::TimesBest(0.7)),
    line("fivehundred-single", DELIVERY, "1 to 500, 100 B, 1 in flight", "us", Reach::TimesBest(0.7)),
    line("ping-pong", "p50_us", "ping-pong, 64 B, p50", "us", Reach::TimesBest(1.0)),
    line("ping-pong", "p99_us", "ping-pong, 64 B, p99", "us", Reach::TimesBest(1.0)),
    line("connect-32", MS, "new connection, 32 at once", "ms", Reach::Nothing),
    line("connect-100", MS, "new connection, 100 at once", "ms", Reach::AtMost(0.5)),
    line("connect-alone", MS, "new connection, alone", "ms", Reach::AtMost(3.5)),
    line("idle", "kib_per_connection", "resident, per idle connection", "KiB", Reach::AtMost(4.0)),
    with_storage(line(
        "idle",
        "empty_mib",
        "resident, empty broker (sealmq: storage on)",
        "MiB",
        Reach::AtMost(8.0),
    )),
    line("idle", "binary_mib", "program file, stripped", "MiB", Reach::AtMost(6.0)),
];

/// What stands in the second table: the clients' side, and the wire.
pub const CLIENT_LINES: &[Line] = &[
    line("clients-64", "client_us_per_delivery", "subscriber CPU per message, 64 B", "us", Reach::Nothing),
    line("clients-1k", "client_us_per_delivery", "subscriber CPU per message, 1 KiB", "us", Reach::Nothing),
    line("clients-16k", "client_us_per_delivery", "subscriber CPU per message, 16 KiB", "us", Reach::Nothing),
    line("clients-64", "seal_us_per_message", "sealing and signing beforehand, 64 B", "us", Reach::Nothing),
    line(
        "clients-16k",
        "seal_us_per_message",
        "sealing and signing beforehand, 16 KiB",
        "us",
        Reach::Nothing,
    ),
    line("one-64", "bytes_up_per_message", "to the broker per message, 64 B", "B", Reach::Nothing),
    line("one-64", "bytes_down_per_delivery", "from the broker per delivery, 64 B", "B", Reach::Nothing),
    line("fifty-100", "bytes_down_per_delivery", "the same, 100 B to 50", "B", Reach::Nothing),
    line(
        "fifty-single",
        "bytes_down_per_delivery",
        "the same, 100 B to 50, 1 in flight",
        "B",
        Reach::Nothing,
    ),
    line("fifty-16k", "bytes_down_per_delivery", "the same, 16 KiB to 50", "B", Reach::Nothing),
];

impl Work {
    /// Whether this says something of `kind`: topics on disk are the same program and the same sessions.
    pub fn is_for(self, kind: Kind) -> bool {
        let is_of_clients = match self {
            Work::Fan(fan) => fan.readers == Readers::Real,
            Work::Connect { .. } => true,
            Work::PingPong { .. } | Work::Idle { .. } => false,
        };
        kind != Kind::SealmqDisk || !is_of_clients
    }

    /// The same work, short: enough to see that it runs, not enough for figures.
    pub fn quick(self) -> Work {
        let fewer = |count: u64| (count / 8).max(32);
        match self {
            Work::Fan(fan) => Work::Fan(Fan { messages: fewer(fan.messages), ..fan }),
            Work::PingPong { bytes, count } => Work::PingPong { bytes, count: fewer(count) },
            Work::Connect { at_once, waves } => Work::Connect { at_once, waves: (waves / 4).max(1) },
            Work::Idle { connections } => Work::Idle { connections: connections / 4 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_of_a_workload_and_no_workload_stands_twice() {
        for (i, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..i].iter().all(|other| other.id != workload.id), "{}", workload.id);
        }
        for line in LINES.iter().chain(CLIENT_LINES) {
            assert!(WORKLOADS.iter().any(|workload| workload.id == line.workload), "{}", line.title);
        }
    }
}
