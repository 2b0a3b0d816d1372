//! Fixed work for a broker core, to be counted in instructions: `scripts/instructions.sh`.
//!
//! Not a benchmark of time: everything is in one process, without sockets, and seeded. What is counted
//! stands in one function, which the script tells callgrind of.

mod stage;

use sealmq::base::transmit::Transmit;

use self::stage::Stage;

/// Bytes of the sealed bodies of messages of 64 B, 100 B and 1 KiB.
const BODY_64: usize = 281;
const BODY_100: usize = 313;
const BODY_1K: usize = 1241;

fn main() {
    // Cargo gives `--bench` when it runs this itself.
    let which = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    match which.as_deref() {
        Some("one-64") => fan(1, 2048, 32, BODY_64),
        Some("one-1k") => fan(1, 1024, 32, BODY_1K),
        Some("one-single") => fan(1, 256, 1, BODY_100),
        Some("fifty-100") => fan(50, 512, 32, BODY_100),
        Some("connect-100") => connect(100),
        _ => println!(
            "one of: one-64, one-1k, one-single, fifty-100, connect-100; see scripts/instructions.sh"
        ),
    }
}

/// `messages` of one publisher to `subscribers`, `batch` in a record and a turn.
fn fan(subscribers: usize, messages: usize, batch: usize, len: usize) {
    let mut stage = Stage::new();
    let (mut author, _readers) = stage.author(subscribers);
    let records: Vec<Vec<u8>> =
        (0..messages / batch).map(|_| author.record(&mut stage, batch, len)).collect();
    let mut out = Transmit::new();
    let mut written = 0;
    for record in &records {
        stage.advance(1);
        stage.serve(&[(author.peer.id, record)], &mut out, &mut |_, bytes| written += bytes.len());
    }
    assert!(written > subscribers * messages * len, "every message went to every subscriber");
    println!("units {}", subscribers * messages);
}

/// So many clients at once, from their hellos to their Welcome.
fn connect(clients: usize) {
    let mut stage = Stage::new();
    stage.counts_all = true;
    stage.connect("alice", clients);
    println!("units {clients}");
}
