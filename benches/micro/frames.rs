//! Frames: what is most on the wire, written and read. A body stands beside its frame, so its size does not matter.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use sealmq::base::Wall;
use sealmq::base::ids::{Counter, Epoch, Offset, TopicHandle};
use sealmq::wire::body::{Body, BodyRef};
use sealmq::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};

/// Frames of one record.
const FRAMES: u64 = 32;

pub fn bench(criterion: &mut Criterion) {
    let publishes: Vec<ClientFrame> = (0..FRAMES).map(publish).collect();
    let messages: Vec<BrokerFrame> = (0..FRAMES).map(message).collect();
    let (mut published, mut delivered) = (Vec::new(), Vec::new());
    publishes.iter().for_each(|frame| frame.encode(&mut published));
    messages.iter().for_each(|frame| frame.encode(&mut delivered));

    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(FRAMES));
    let mut out = Vec::with_capacity(published.len().max(delivered.len()));
    group.bench_function("32 publishes, encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&publishes).iter().for_each(|frame| frame.encode(&mut out));
            out.len()
        });
    });
    group.bench_function("32 publishes, decode", |bencher| {
        bencher.iter(|| ClientFrame::decode_all(black_box(&published)).expect("good frames"));
    });
    group.bench_function("32 publishes, bodies found", |bencher| {
        bencher.iter(|| scan_bodies(black_box(&published)).expect("good frames"));
    });
    group.bench_function("32 messages, encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&messages).iter().for_each(|frame| frame.encode(&mut out));
            out.len()
        });
    });
    group.bench_function("32 messages, decode", |bencher| {
        bencher.iter(|| BrokerFrame::decode_all(black_box(&delivered)).expect("good frames"));
    });
    group.finish();
}

fn publish(number: u64) -> ClientFrame {
    let (topic, counter) = (TopicHandle(1), Counter(number));
    ClientFrame::Publish { slot: 0, topic, epoch: Epoch(1), counter, body: body() }
}

fn message(number: u64) -> BrokerFrame {
    let (topic, time) = (TopicHandle(1), Wall::from_secs(1_795_435_200));
    let (offset, counter) = (Offset(number), Counter(number));
    BrokerFrame::Message { topic, offset, time, sender: 0, epoch: Epoch(1), counter, body: body() }
}

fn body() -> Body {
    Body::Beside(BodyRef { len: 313, sha256: [9; 32] })
}
