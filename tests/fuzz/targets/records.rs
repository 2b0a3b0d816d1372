//! Records on their way through an inbox: cut anywhere, damaged, repeated, never obeyed but in order.

use sealmq::base::limits::{RECORD_BODIES_BYTES_MAX, TOKEN_BYTES_MAX};
use sealmq::crypto::digest::sha256;
use sealmq::crypto::secret::Secret32;
use sealmq::session::inbox::Progress;
use sealmq::session::{Inbox, Opener, Sealer};
use sealmq::wire::frame::scan_bodies;

use super::feed::Feed;
use super::stage::NOW;

/// What the honest sender sealed, and what goes on the wire.
#[derive(Default)]
struct Wire {
    sealed: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    bytes: Vec<u8>,
    last: Vec<u8>,
}

const KEY: [u8; 32] = [0x5a; 32];
const HONEST: u8 = 0;
const BODIES: u8 = 1;

pub fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (step, room) = (1 + usize::from(feed.byte()), usize::from(feed.byte()) * 64);
    let wire = write(&mut feed);
    let (mut inbox, mut opener) = (Inbox::new(), Opener::new(Secret32::new(KEY)));
    let mut received = 0;
    for piece in wire.bytes.chunks(step) {
        inbox.push(piece);
        assert!(inbox.held_bytes() <= HELD_BYTES_MAX, "{} bytes held", inbox.held_bytes());
        let mut room_now = room;
        loop {
            match inbox.next_record(&mut opener, scan_bodies, room_now) {
                Ok(Progress::NeedsBytes) => break,
                Ok(Progress::NeedsRoom(bytes)) => {
                    assert!(bytes > room_now && bytes <= RECORD_BODIES_BYTES_MAX);
                    room_now = bytes;
                }
                Ok(Progress::Record(record)) => {
                    let (frames, bodies) = &wire.sealed[received];
                    assert_eq!(record.frames, frames, "each record once, in its order");
                    assert!(
                        record.bodies.iter().map(|body| &body[..]).eq(bodies.iter().map(|body| &body[..]))
                    );
                    received += 1;
                }
                Err(_) => {
                    inbox.push(&wire.bytes);
                    assert_eq!(inbox.held_bytes(), 0, "a dead session keeps nothing");
                    assert!(inbox.next_record(&mut opener, scan_bodies, room_now).is_err());
                    return;
                }
            }
        }
    }
}

/// One token, one record's bodies, a piece of what follows, and the vector's own slack.
const HELD_BYTES_MAX: usize = 2 * TOKEN_BYTES_MAX + RECORD_BODIES_BYTES_MAX + 4096;

fn write(feed: &mut Feed<'_>) -> Wire {
    let mut wire = Wire::default();
    let mut sealer = Sealer::new(Secret32::new(KEY));
    while !feed.is_empty() && wire.bytes.len() < 128 * 1024 {
        match feed.below(8) as u8 {
            HONEST => wire.seal(&mut sealer, feed.bytes(), &[]),
            BODIES => {
                let bodies: Vec<Vec<u8>> = (0..feed.below(4)).map(|_| feed.bytes().to_vec()).collect();
                let frames: Vec<u8> = bodies.iter().flat_map(|body| message(body)).collect();
                wire.seal(&mut sealer, &frames, &bodies);
            }
            2 => wire.bytes.extend_from_slice(feed.bytes()),
            3 => wire.bytes.extend_from_slice(&wire.last),
            4 => {
                let at = feed.below(wire.bytes.len().clamp(1, 256));
                let end = wire.bytes.len();
                wire.bytes.truncate(end.saturating_sub(at));
            }
            5 => {
                let at = feed.below(256).min(wire.bytes.len().saturating_sub(1));
                let place = wire.bytes.len().saturating_sub(at + 1);
                wire.bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 0x20);
            }
            // What follows is not the body that the frame names; if that has no bytes, it is there all the same.
            6 => {
                let named = feed.bytes().to_vec();
                wire.seal(&mut sealer, &message(&named), &[]);
                wire.bytes.extend_from_slice(feed.bytes());
                wire.sealed.last_mut().expect("one was just sealed").1 = vec![named];
            }
            _ => wire.bytes.extend_from_slice(&u32::from(feed.byte()).pow(3).to_be_bytes()),
        }
    }
    wire
}

impl Wire {
    fn seal(&mut self, sealer: &mut Sealer, frames: &[u8], bodies: &[Vec<u8>]) {
        let start = self.bytes.len();
        let record = sealer.begin(&mut self.bytes);
        self.bytes.extend_from_slice(frames);
        sealer.finish(&mut self.bytes, record, NOW, &[3; 16]);
        bodies.iter().for_each(|body| self.bytes.extend_from_slice(body));
        self.last = self.bytes[start..].to_vec();
        self.sealed.push((frames.to_vec(), bodies.to_vec()));
    }
}

/// A Message frame that names `body`, which follows the token.
fn message(body: &[u8]) -> Vec<u8> {
    let fixed = 4 + 8 + 8 + 4 + 4 + 8;
    let payload = [&vec![0; fixed + 1][..], &(body.len() as u32).to_be_bytes(), &sha256(body)].concat();
    [&[0x49, 0, payload.len() as u8][..], &payload].concat()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let honest = [&[HONEST, 2][..], b"\x01\0\x08\0\0\0\0"].concat();
    let bodies = [&[BODIES, 2, 3][..], b"twelve bytes", &[1], b"four"].concat();
    vec![
        [&[255, 255], &honest[..], &honest].concat(),
        [&[0, 0], &bodies[..], &honest, &bodies].concat(),
        [&[7, 1], &bodies[..], &[3]].concat(),
        [&[40, 9], &honest[..], &bodies, &[5, 30], &honest].concat(),
        [&[40, 9], &honest[..], &bodies, &[4, 10], &honest].concat(),
        [&[99, 9], &[6, 1][..], b"body", &[1], b"ydob"].concat(),
        [&[99, 9], &[7, 255][..], &honest].concat(),
        [&[99, 9], &[2, 3][..], b"GET / HTTP/1"].concat(),
    ]
}
