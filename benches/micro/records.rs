//! Records and bodies: one token sealed and opened in place, and the hash of a body that goes beside one.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use sealmq::base::Wall;
use sealmq::crypto::digest::sha256;
use sealmq::crypto::fernet::IV_BYTES;
use sealmq::crypto::secret::Secret32;
use sealmq::session::record::{LENGTH_BYTES, Opener, Sealer};

/// Bytes of a record's frames, or of a body.
pub const SIZES: [usize; 3] = [64, 1024, 16 * 1024];
const IV: [u8; IV_BYTES] = [7; IV_BYTES];

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    for size in SIZES {
        let frames = vec![0x5a; size];
        group.throughput(Throughput::Bytes(size as u64));
        let (mut sealer, mut out) = (Sealer::new(secret()), Vec::with_capacity(size + 256));
        group.bench_function(BenchmarkId::new("seal", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                seal(&mut sealer, &frames, &mut out);
                black_box(out.len())
            });
        });
        // An opener takes each record once, so each has one of its own.
        let fresh = || {
            let mut record = Vec::new();
            seal(&mut Sealer::new(secret()), &frames, &mut record);
            (Opener::new(secret()), record)
        };
        group.bench_function(BenchmarkId::new("open", size), |bencher| {
            let open = |(opener, record): &mut (Opener, Vec<u8>)| {
                opener.open(&mut record[LENGTH_BYTES..]).expect("a good record").len()
            };
            bencher.iter_batched_ref(fresh, open, BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("hash of a body", size), |bencher| {
            bencher.iter(|| sha256(black_box(&frames)));
        });
    }
    group.finish();
}

fn seal(sealer: &mut Sealer, frames: &[u8], out: &mut Vec<u8>) {
    let start = sealer.begin(out);
    out.extend_from_slice(frames);
    sealer.finish(out, start, Wall::from_secs(1_795_435_200), &IV);
}

fn secret() -> Secret32 {
    Secret32::new([3; 32])
}
