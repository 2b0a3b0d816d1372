//! `bench`: that its numbers add up, and that nothing of it stays. How fast it is is not asked.

use serde_json::Value;

use crate::support::Town;

fn json(town: &Town, line: &str) -> Value {
    serde_json::from_str(&town.good("alice", line)).expect("one JSON object")
}

fn topics(town: &Town) -> String {
    town.good("alice", "topics --all --names")
}

#[test]
fn every_message_is_with_every_subscriber_and_the_topics_are_gone() {
    let town = Town::new();
    town.topic("bench/mine");
    let pins = town.good("alice", "trust list -v");
    let figures = json(&town, "bench --pubs 2 --subs 3 --topics 3 --count 101 --size 64 --window 8 -J");
    let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    assert_eq!((figure("published"), figure("delivered")), (101.0, 303.0));
    assert_eq!((figures["durability"].as_str(), figure("window")), (Some("disk"), 8.0));
    assert!(figure("delivery_p50_us") <= figure("delivery_p99_us"), "{figures}");
    assert!(figure("answer_p50_us") >= 1.0 && figure("seconds") > 0.0, "{figures}");
    // The broker of a test is a process of ours, on this host.
    assert!(figure("broker_cpu_us_per_delivery") > 0.0 && figure("own_cpu_share") > 0.0, "{figures}");
    assert_eq!(topics(&town), "bench/mine\n", "only what was there before");
    assert_eq!(town.good("alice", "trust list -v"), pins, "and nothing is remembered of it");
}

#[test]
fn without_subscribers_answers_are_counted() {
    let town = Town::new();
    let figures = json(&town, "bench --subs 0 --count 20 --durability memory --size 1KiB -J");
    assert_eq!((&figures["published"], &figures["delivered"]), (&20.into(), &0.into()));
    assert_eq!(figures["delivery_p50_us"], Value::Null, "the same names in every run");
    assert_eq!(figures["broker_cpu_us_per_delivery"], Value::Null);
    assert!(figures["broker_cpu_us_per_publish"].is_number(), "{figures}");
}

#[test]
fn a_run_may_be_bounded_by_time() {
    let town = Town::new();
    let figures = json(&town, "bench --duration 0.3 --subs 2 --durability memory -J");
    let published = figures["published"].as_u64().expect("a count");
    assert!(published > 0);
    assert_eq!(figures["delivered"].as_u64(), Some(2 * published));
}

#[test]
fn a_rate_is_kept_and_said() {
    let town = Town::new();
    for (line, published) in [
        ("bench --rate 50 --count 11 --pubs 2 --subs 2 --topics 2 --durability memory -J", Some(11)),
        ("bench --rate 40.5 --duration 0.3 --durability memory -J", None),
        ("bench latency --rate 50 --count 6 --durability memory -J", Some(6)),
    ] {
        let figures = json(&town, line);
        let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
        let (asked, sent) = (figure("rate_per_s"), figure("published"));
        assert!(published.is_none_or(|published: u32| sent == f64::from(published)), "{figures}");
        assert_eq!(figure("delivered"), sent * figure("subs"), "{figures}");
        // A busy host is late, and never early.
        assert!(sent > 0.0 && figure("seconds") >= (sent - 1.0) / asked - 0.001, "{figures}");
        assert!(figure("rate_reached_per_s") <= asked, "{figures}");
        assert!(figure("lag_p50_us") <= figure("delivery_max_us"), "{figures}");
    }
}

#[test]
fn a_rate_out_of_reach_is_said_and_what_waited_is_in_the_times() {
    let town = Town::new();
    let told = town.run("alice", "bench --rate 5000000 --count 300 --window 2 --durability memory");
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("asked for 5000000/s, published "), "{told:?}");
    assert!(told.err.contains("the rate was not reached: asked for 5000000/s, got "), "{told:?}");
    let figures = json(&town, "bench --rate 5000000 --count 300 --window 2 --durability memory -J");
    let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    assert!(figure("rate_reached_per_s") < figure("rate_per_s"), "{figures}");
    // All were due at once, so that the last one's time is the whole run's, and the median's half of it.
    let seconds = figure("seconds");
    assert!(figure("delivery_max_us") > seconds * 0.9e6, "{figures}");
    assert!(figure("lag_max_us") <= figure("delivery_max_us"), "{figures}");
}

#[test]
fn a_run_at_a_rate_ends_at_ctrl_c_while_it_waits_for_the_next() {
    let town = Town::new();
    let mut bench = town.start("alice", "bench --rate 5 --duration 600 -J");
    bench.says("messages published");
    bench.interrupt();
    let figures: Value = serde_json::from_str(&bench.line()).expect("one JSON object");
    assert!(figures["stopped"] == true && figures["published"] == figures["delivered"], "{figures}");
    bench.says("stopped before its end");
    assert_eq!(bench.wait().code(), Some(1));
}

#[test]
fn latency_is_of_one_message_at_a_time() {
    let town = Town::new();
    let csv = town.good("alice", "bench latency --count 15 --csv");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), lines[0].len()), (2, lines[1].len()), "{csv}");
    let cell = |name: &str| {
        let place = lines[0].iter().position(|n| *n == name).unwrap_or_else(|| panic!("{name}: {csv}"));
        lines[1][place]
    };
    assert_eq!(
        [cell("bench"), cell("window"), cell("published"), cell("delivered")],
        ["latency", "1", "15", "15"]
    );
    assert!(cell("delivery_p99_us").parse::<u64>().is_ok_and(|us| us > 0));
    assert_eq!(topics(&town), "");
}

#[test]
fn sessions_are_counted() {
    let town = Town::new();
    let figures = json(&town, "bench connect --count 12 --at-once 5 -J");
    assert_eq!((&figures["connected"], &figures["at_once"]), (&12.into(), &5.into()));
    assert!(
        figures["session_p50_us"].is_u64() && figures["broker_cpu_us_per_session"].is_number(),
        "{figures}"
    );
    let text = town.good("alice", "bench connect --count 3");
    assert!(text.contains("3 sessions in") && text.contains("broker CPU"), "{text}");
}

#[test]
fn an_interrupted_run_shows_what_it_has_and_takes_its_topics_away() {
    let town = Town::new();
    let mut bench = town.start("alice", "bench --duration 600 --topics 2 -J");
    // It says how far it is once it runs.
    bench.says("messages published");
    assert_eq!(topics(&town).lines().count(), 2);
    bench.interrupt();
    let figures: Value = serde_json::from_str(&bench.line()).expect("one JSON object");
    assert!(figures["stopped"] == true && figures["published"].as_u64() > Some(0), "{figures}");
    assert_eq!(figures["published"], figures["delivered"], "what was on its way has come");
    bench.says("stopped before its end");
    assert_eq!(bench.wait().code(), Some(1));
    assert_eq!(topics(&town), "");
}

#[test]
fn a_broker_that_goes_and_comes_ends_the_run_and_loses_the_topics() {
    let mut town = Town::new();
    let mut bench = town.start("alice", "bench --duration 600 --topics 2");
    bench.says("messages published");
    town.kill_broker();
    town.start_broker();
    bench.says("messages were published by then");
    assert_ne!(bench.wait().code(), Some(0));
    assert_eq!(topics(&town), "", "they were deleted when it was back");
}

#[test]
fn a_broker_that_stays_away_leaves_topics_and_how_to_delete_them_is_said() {
    let mut town = Town::new();
    let mut bench = town.start("alice", "bench --duration 600 --topics 6");
    bench.says("messages published");
    town.kill_broker();
    bench.says("messages were published by then");
    bench.says("6 topics of this run left");
    let said = bench.says("sealmq delete bench/");
    bench.says("lists all of them");
    assert_ne!(bench.wait().code(), Some(0));
    town.start_broker();
    let by_hand = said.trim().strip_prefix("sealmq ").expect("a command");
    town.good("alice", by_hand);
    assert_eq!(topics(&town).lines().count(), 5);
}

#[test]
fn names_that_other_benchmarks_have_are_understood() {
    let town = Town::new();
    let figures = json(&town, "bench --pub 2 --sub 2 --msgs 4 -J");
    assert_eq!(
        (&figures["pubs"], &figures["subs"], &figures["published"]),
        (&2.into(), &2.into(), &4.into())
    );
}

#[test]
fn topics_may_be_kept_and_have_a_name() {
    let town = Town::new();
    let said = town.good("alice", "bench --count 3 --keep --topic home/speed");
    let left = topics(&town);
    assert!(left.starts_with("home/speed/") && left.ends_with("/0\n"), "{left}");
    assert!(said.contains(left.trim().strip_suffix("/0").expect("it has a number")), "{said}");
    town.good("alice", &format!("delete {} --yes", left.trim()));
}

#[test]
fn too_much_is_refused_before_anything_is_dialled() {
    let mut town = Town::new();
    town.kill_broker();
    for (line, said) in [
        ("bench --size 1MiB --window 1000", "64 MiB is the limit"),
        ("bench --count 10000000 --subs 1000", "1000000000 is the limit"),
        ("bench --size 7", "8 bytes"),
        ("bench --size 2MiB", "1024 KiB"),
        ("bench --pubs 0", "1..=256"),
        ("bench --duration 2h", "an hour"),
        ("bench --duration -1", "above 0"),
        ("bench --duration 1 --count 2", "cannot be used with"),
        ("bench --rate 0", "messages a second above 0"),
        ("bench --rate -5", "messages a second above 0"),
        ("bench --rate fast", "messages a second above 0"),
        ("bench latency --rate nan", "messages a second above 0"),
        ("bench --rate 1e9", "10000000 at most"),
        ("bench --rate 1", "20000 messages at 1/s take 5h33m"),
        ("bench connect --count 100000", "1..=10000"),
        ("bench --pubs 2 latency", "cannot be used with"),
    ] {
        let ended = town.run("alice", line);
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
        assert!(ended.err.contains(said), "{line}: {}", ended.err);
    }
    assert_eq!(town.run("alice", "bench").code, 3);
}
