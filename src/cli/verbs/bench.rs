//! `bench`: throughput, latency and new sessions, over real connections of one identity in this process.
//!
//! Everything is sealed, signed and verified as for other verbs; the topics are of this run alone.

mod crew;
mod flow;
mod host;
mod pace;
mod report;

use std::time::Duration;

use serde_json::json;

use crate::base::entropy::random_array;
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::access::Base;
use crate::cli::args::{self, Bench, BenchKind, DurabilityArg};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::system;
use crate::cli::units::{show_bytes, show_duration};
use crate::client::{CreateRequest, MemberChoice};
use crate::net::broker::{connections_within, raise_limit};
use crate::wire::values::{Retention, Start};
use crew::{Crew, many};
use flow::{Flow, Plan, Until};
use pace::time_of;
use report::{CpuTimes, Report, Times, round, show_rate};

pub fn run(base: &Base, bench: &Bench) -> Result<(), CliError> {
    match &bench.kind {
        None => throughput(base, &bench.flow, "throughput"),
        Some(BenchKind::Latency(latency)) => throughput(base, &one_at_a_time(latency), "latency"),
        Some(BenchKind::Connect(connect)) => sessions(base, connect),
    }
}

/// Latency is throughput with nothing to wait behind.
fn one_at_a_time(latency: &args::Latency) -> args::Flow {
    args::Flow {
        pubs: 1,
        subs: 1,
        count: latency.count,
        duration: None,
        window: Some(1),
        rate: latency.rate,
        topics: 1,
        load: latency.load.clone(),
        form: latency.form,
        patience: latency.patience,
        access: latency.access.clone(),
    }
}

fn throughput(base: &Base, flow: &args::Flow, name: &str) -> Result<(), CliError> {
    let window = window(flow)?;
    check_time(flow)?;
    let count = 1 + flow.pubs as usize + flow.subs as usize;
    check_descriptors(count)?;
    let mut crew = Crew::prepare(base, &flow.access)?;
    crew.connect(count, AT_ONCE, flow.patience.wait)?;
    crew.check_stop()?;
    let topics = topics(flow)?;
    let result = measured(&mut crew, flow, window, &topics, name);
    // However it went: what was made is taken away. Who has much to read still would hold that up.
    crew.dismiss(1);
    let deleted = if flow.load.keep { Ok(()) } else { crew.delete(&topics) };
    crew.dismiss(0);
    let result = result.and_then(|report| report.print(flow.form));
    match (result, deleted) {
        (result, Ok(())) => result,
        (Ok(()), Err(left)) => Err(CliError::other("measured, but not cleaned up").remedy(left.remedy())),
        (Err(error), Err(left)) => Err(error.remedy(left.remedy())),
    }
}

/// The window in messages; all that is on its way at once is bounded.
fn window(flow: &args::Flow) -> Result<usize, CliError> {
    let each = flow.load.size * flow.pubs as usize;
    let window = flow.window.map_or((WINDOW_BYTES / each).clamp(1, WINDOW), |window| window as usize);
    if window * each > IN_FLIGHT_BYTES_MAX {
        let (all, max) = (show_bytes((window * each) as u64), show_bytes(IN_FLIGHT_BYTES_MAX as u64));
        return Err(CliError::usage(format!("{all} would be in flight at once; {max} is the limit"))
            .remedy("a smaller --window, --size or number of --pubs is within it"));
    }
    let deliveries = flow.count.saturating_mul(u64::from(flow.subs));
    if flow.duration.is_none() && deliveries > DELIVERIES_MAX {
        return Err(CliError::usage(format!(
            "{deliveries} deliveries are too many; {DELIVERIES_MAX} is the limit"
        ))
        .remedy("--duration SECONDS bounds a run by time"));
    }
    Ok(window)
}

/// A run at a rate says how long it takes, and that is bounded as it is without one.
fn check_time(flow: &args::Flow) -> Result<(), CliError> {
    let (Some(rate), None) = (flow.rate, flow.duration) else { return Ok(()) };
    let time = time_of(flow.count - 1, rate);
    if time <= args::BENCH_TIME_MAX {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{} at {} take {}; an hour is the limit",
        many(flow.count as usize, "message"),
        show_rate(rate),
        show_duration(time)
    ))
    .remedy("a smaller --count takes less"))
}

fn check_descriptors(count: usize) -> Result<(), CliError> {
    let limit = raise_limit();
    if connections_within(limit, count, 0) < count {
        return Err(CliError::usage(format!(
            "{count} connections need more than the {limit} open files allowed here"
        ))
        .remedy("ulimit -n says and raises how many"));
    }
    Ok(())
}

/// Names that nobody has used.
fn topics(flow: &args::Flow) -> Result<Vec<TopicName>, CliError> {
    let random = u64::from_be_bytes(random_array(&mut system::SystemEntropy));
    let name = |number| {
        let text = format!("{}/{random:016x}/{number}", flow.load.topic);
        TopicName::parse(&text).map_err(|e| CliError::usage(format!("--topic {}: {e}", flow.load.topic)))
    };
    (0..flow.topics).map(name).collect()
}

/// Member 0 of the crew makes the topics; publishers follow, then subscribers.
fn measured(
    crew: &mut Crew,
    args: &args::Flow,
    window: usize,
    topics: &[TopicName],
    name: &str,
) -> Result<Report, CliError> {
    make(crew, args, window, topics)?;
    let (pubs, subs) = (args.pubs as usize, args.subs as usize);
    subscribe(crew, 1 + pubs..1 + pubs + subs, topics)?;
    let plan = Plan {
        publishers: shared_out(pubs, topics),
        subscribers: args.subs,
        size: args.load.size,
        window,
        rate: args.rate,
    };
    let mut flow = Flow::new(plan);
    flow.warm_up(crew)?;
    let mut progress = Progress::new("sealmq", "publishing");
    let cpu = CpuTimes::begin(crew.port());
    let began = crew.now().mono;
    let until = args.duration.map_or(Until::Count(args.count), |time| Until::Time(began + time));
    flow.run(crew, until, &mut progress)?;
    let elapsed = crew.now().mono.since(began);
    drop(progress);
    if flow.was_stopped() && flow.tally.published == 0 {
        crew.check_stop()?;
    }
    let mut report = about(args, window, name);
    about_topics(&mut report, args, topics);
    counted(&mut report, &flow, args, elapsed);
    let done = [("publish", flow.tally.published), ("delivery", flow.tally.delivered)];
    cpu.end(&mut report, elapsed, &done);
    report.stopped(flow.was_stopped());
    Ok(report)
}

fn make(crew: &mut Crew, args: &args::Flow, window: usize, topics: &[TopicName]) -> Result<(), CliError> {
    // Nobody is further behind than the windows: more need not be kept.
    let kept = 2 * (args.pubs as usize * window) as u64 + 64;
    let bytes = kept * (args.load.size as u64 + 1024);
    for topic in topics {
        crew.check_stop()?;
        let ticket = crew.core(0).create(CreateRequest {
            durability: args.load.durability.into(),
            retention: Retention { count: kept, bytes, age_ms: 0 },
            members: MemberChoice::OnlyMe,
            ..CreateRequest::new(topic.clone())
        });
        crew.ask(0, ticket)?;
    }
    Ok(())
}

fn subscribe(crew: &mut Crew, who: std::ops::Range<usize>, topics: &[TopicName]) -> Result<(), CliError> {
    let Some((all, _)) = topics.first().and_then(|topic| topic.as_str().rsplit_once('/')) else {
        return Ok(());
    };
    let filter = TopicFilter::parse(&format!("{all}/#")).expect("a topic's upper levels make a filter");
    for index in who {
        crew.check_stop()?;
        let ticket = crew.core(index).subscribe(filter.clone(), Start::Earliest);
        crew.ask(index, ticket)?;
    }
    Ok(())
}

/// Each topic has a publisher, each publisher a topic, and none more than it needs.
fn shared_out(pubs: usize, topics: &[TopicName]) -> Vec<(usize, Vec<TopicName>)> {
    let of = |publisher: usize| {
        let first = publisher % topics.len();
        topics.iter().skip(first).step_by(pubs).cloned().collect()
    };
    (0..pubs).map(|publisher| (1 + publisher, of(publisher))).collect()
}

/// What was asked for.
fn about(args: &args::Flow, window: usize, name: &str) -> Report {
    let mut report = Report::default();
    let durability = match args.load.durability {
        DurabilityArg::Disk => "disk",
        DurabilityArg::Memory => "memory",
    };
    let who =
        format!("{}, {}", many(args.pubs as usize, "publisher"), many(args.subs as usize, "subscriber"));
    let size = show_bytes(args.load.size as u64);
    let topics = many(args.topics as usize, "topic");
    let rate = args.rate.map(|rate| format!(", {}", show_rate(rate))).unwrap_or_default();
    report.line(name, format!("{who}, {topics} ({durability}), {size} each, window {window}{rate}"));
    for (name, value) in [
        ("bench", json!(name)),
        ("pubs", json!(args.pubs)),
        ("subs", json!(args.subs)),
        ("topics", json!(args.topics)),
        ("durability", json!(durability)),
        ("size_bytes", json!(args.load.size)),
        ("window", json!(window)),
        ("rate_per_s", json!(args.rate)),
    ] {
        report.figure(name, value);
    }
    report
}

/// Where the messages are that somebody wants to keep.
fn about_topics(report: &mut Report, args: &args::Flow, topics: &[TopicName]) {
    let above = topics.first().and_then(|topic| topic.as_str().rsplit_once('/')).map(|(above, _)| above);
    if let Some(above) = above.filter(|_| args.load.keep) {
        report.line("kept", format!("{above}/#"));
    }
    report.figure("kept_topics", json!(above.filter(|_| args.load.keep).map(|above| format!("{above}/#"))));
}

fn counted(report: &mut Report, flow: &Flow, args: &args::Flow, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64().max(1e-6);
    report.figure("seconds", json!(round(seconds)));
    for (name, count) in [("published", flow.tally.published), ("delivered", flow.tally.delivered)] {
        let bytes = count as f64 * args.load.size as f64 / seconds;
        let rate = count as f64 / seconds;
        let all = show_bytes(bytes as u64);
        report.line(name, format!("{count} messages in {seconds:.2} s: {}, {all}/s", show_rate(rate)));
        report.figure(name, json!(count));
        report.figure(&format!("{name}_per_s"), json!(round(rate)));
        report.figure(&format!("{name}_bytes_per_s"), json!(bytes.round() as u64));
    }
    report.rate(args.rate, flow.rate_reached());
    let tally = &flow.tally;
    report.times(&[("delivery", &tally.delivery), ("answer", &tally.answer), ("lag", &tally.lag)]);
}

fn sessions(base: &Base, connect: &args::Connect) -> Result<(), CliError> {
    let count = connect.count as usize;
    check_descriptors(count + 1)?;
    let mut crew = Crew::prepare(base, &connect.access)?;
    // The first shows where the broker is, so that its CPU can be counted for the others.
    crew.connect(1, 1, connect.patience.wait)?;
    let cpu = CpuTimes::begin(crew.port());
    let began = crew.now().mono;
    crew.check_stop()?;
    let taken = crew.connect(count, connect.at_once as usize, None)?;
    let elapsed = crew.now().mono.since(began);
    if taken.is_empty() {
        crew.check_stop()?;
    }
    let mut times = Times::new();
    taken.iter().for_each(|time| times.record(*time));
    let mut report = Report::default();
    let (seconds, at_once) = (elapsed.as_secs_f64().max(1e-6), connect.at_once);
    let (made, rate) = (taken.len(), taken.len() as f64 / seconds);
    report.line("connect", format!("{made} sessions in {seconds:.2} s, {at_once} at once: {rate:.0}/s"));
    for (name, value) in [
        ("bench", json!("connect")),
        ("count", json!(count)),
        ("at_once", json!(at_once)),
        ("connected", json!(made)),
        ("seconds", json!(round(seconds))),
        ("connected_per_s", json!(round(rate))),
    ] {
        report.figure(name, value);
    }
    report.times(&[("session", &times)]);
    cpu.end(&mut report, elapsed, &[("session", made as u64)]);
    report.stopped(made < count);
    crew.dismiss(0);
    report.print(connect.form)
}

/// As many as a broker takes of one address without asking them to come again.
const AT_ONCE: usize = 32;
/// Messages in flight of each publisher, unless said otherwise, and their bytes for all together.
const WINDOW: usize = 256;
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// What the broker and we hold of messages in flight.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
const DELIVERIES_MAX: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_a_publisher_and_each_publisher_a_topic() {
        let name = |n: usize| TopicName::parse(&format!("bench/x/{n}")).expect("a good name");
        for (pubs, topics) in [(1, 1), (1, 5), (5, 1), (2, 5), (5, 2), (4, 4)] {
            let all: Vec<TopicName> = (0..topics).map(name).collect();
            let shared = shared_out(pubs, &all);
            assert_eq!(shared.len(), pubs);
            assert!(shared.iter().all(|(_, own)| !own.is_empty()), "{pubs} {topics}");
            assert!(all.iter().all(|t| shared.iter().any(|(_, own)| own.contains(t))), "{pubs} {topics}");
        }
    }
}
