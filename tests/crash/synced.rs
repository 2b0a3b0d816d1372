//! No answer leaves the broker before the sync that covers it has returned, as strace sees it.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;

use crate::house::House;
use crate::strace::{self, Call, Line, Trace};

const CALLS: &str =
    "trace=fsync,fdatasync,pwrite64,pwritev,write,writev,sendto,sendmsg,read,readv,recvfrom,recvmsg";
/// A sync that strace does not carry out, and says it was.
const NO_SYNC: &str = "inject=fsync,fdatasync:retval=0";
const MESSAGES: usize = 30;

#[test]
fn no_answer_and_no_message_is_written_before_its_sync() {
    if !strace::is_there() {
        return;
    }
    let alone = record(&["-e", CALLS], 1);
    // To the publisher the answer, to a subscriber the message.
    assert_eq!(judge(&alone, true), Ok(2 * MESSAGES));
    let many = record(&["-e", CALLS], 10);
    let answers = judge(&many, false).expect("each write to the client follows a sync");
    assert!((1..=MESSAGES).contains(&answers), "{answers} records of answers");
}

#[test]
fn without_the_sync_the_same_test_fails() {
    if !strace::is_there() {
        return;
    }
    let options = ["-e", CALLS, "-e", NO_SYNC];
    judge(&record(&options, 1), true).expect_err("nothing was synced");
    judge(&record(&options, 10), false).expect_err("nothing was synced");
}

/// What the broker did for messages of a client that sends so many at a time, and for a subscriber if
/// that is one; all that came before them stands in front of a signal.
fn record(options: &[&str], at_once: usize) -> Trace {
    record_many(options, at_once, MESSAGES)
}

fn record_many(options: &[&str], at_once: usize, messages: usize) -> Trace {
    let house = House::new();
    let broker = house.start_under(options).unwrap_or_else(|e| panic!("{e}; {}", house.log()));
    let mut customer = house.customer(&broker);
    let mut subscriber = (at_once == 1).then(|| house.subscriber(&broker));
    broker.signal(Signal::USR1);
    for _ in 0..messages / at_once {
        customer.publish(at_once);
        assert_eq!(customer.wait().stored, at_once);
        subscriber.iter_mut().for_each(|subscriber| subscriber.sees(1));
    }
    broker.kill();
    Trace::of_ended(&house.trace())
}

/// What was seen so far.
#[derive(Default)]
struct Judge {
    /// Lines in which writes to the log ended that no sync covers yet.
    unsynced: Vec<usize>,
    /// A sync has ended that covers some.
    is_ready: bool,
    /// Who has been written to since.
    served: BTreeSet<String>,
    answers: usize,
}

/// Walks through the trace behind the signal: how many writes to clients there are, each behind
/// a sync of its own. With one message at a time that sync is also behind the message's coming.
fn judge(trace: &Trace, alone: bool) -> Result<usize, String> {
    let is_mark = |line: &Line| *line == Line::Signal("SIGUSR1".into());
    let mark = trace.lines.iter().position(is_mark).ok_or("there is no mark")?;
    let mut judge = Judge::default();
    for (number, line) in trace.lines.iter().enumerate().skip(mark) {
        let (Line::Begins(call) | Line::Ends(call)) = line else { continue };
        judge.see(&trace.calls[*call], number, alone)?;
    }
    Ok(judge.answers)
}

impl Judge {
    fn see(&mut self, call: &Call, line: usize, alone: bool) -> Result<(), String> {
        let has_ended = call.span.end == line && call.is_done();
        if call.is_on_socket() && call.is_write() && call.span.start == line {
            let is_first = self.served.insert(call.target().to_owned());
            if !self.is_ready || !is_first || alone && !self.unsynced.is_empty() {
                return Err(format!("line {}: an answer before its sync", line + 1));
            }
            self.answers += 1;
        } else if has_ended && call.is_on_socket() && call.is_read() && call.result > Some(0) && alone {
            *self = Judge { answers: self.answers, ..Judge::default() };
        } else if has_ended && call.is_on_wal() && call.is_write() {
            self.unsynced.push(line);
        } else if has_ended && call.is_on_wal() && call.is_sync() {
            let before = self.unsynced.len();
            self.unsynced.retain(|written| *written > call.span.start);
            if self.unsynced.len() < before {
                self.is_ready = true;
                self.served.clear();
            }
        }
        Ok(())
    }
}

/// `cargo test --test crash what_a_publish_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, for whoever asks"]
fn what_a_publish_costs_in_system_calls() {
    assert!(strace::is_there(), "it needs strace");
    for at_once in [1, 32] {
        let messages = MESSAGES * 32;
        let trace = record_many(&["-e", "trace=all"], at_once, messages);
        let mark = trace.lines.iter().position(|line| *line == Line::Signal("SIGUSR1".into()));
        let behind = |call: &&Call| Some(call.span.start) > mark;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for call in trace.calls.iter().filter(behind) {
            *counts.entry(call.name.as_str()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let each = |count: usize| count as f64 / messages as f64;
        println!("{at_once} at a time: {:.2} calls a publish", each(counts.iter().map(|(_, n)| n).sum()));
        counts.iter().take(8).for_each(|(name, count)| println!("    {name:12} {:.2}", each(*count)));
    }
}

#[test]
fn the_judge_knows_right_from_wrong() {
    let line = |what: &str| match what {
        "read" => "1 recvfrom(9<TCP:[a->b]>, \"x\", 9, 0, NULL, NULL) = 9",
        "write" => "2 pwrite64(7</x-wal>, \"x\", 9, 0) = 9",
        "sync" => "2 fsync(7</x-wal>) = 0",
        "sync begins" => "2 fsync(7</x-wal> <unfinished ...>",
        "sync ends" => "2 <... fsync resumed>) = 0",
        "lie" => "2 fsync(7</x-wal>) = 0 (INJECTED)",
        "failure" => "2 fsync(7</x-wal>) = -1 EIO (Input/output error)",
        "other" => "2 fsync(8</x.db>) = 0",
        "message" => "1 writev(11<TCP:[a->c]>, [{iov_base=\"x\", iov_len=1}], 1) = 1",
        "answer" => "1 writev(9<TCP:[a->b]>, [{iov_base=\"x\", iov_len=1}], 1) = 1",
        other => panic!("{other} is no word"),
    };
    let judged = |words: &str, alone| {
        let lines: Vec<&str> = words.split(", ").map(line).collect();
        judge(&Trace::parse(&format!("1 --- SIGUSR1 {{}} ---\n{}\n", lines.join("\n"))), alone)
    };
    assert_eq!(judged("read, write, sync, answer, read, write, write, sync, answer", true), Ok(2));
    assert_eq!(judged("read, write, sync begins, sync ends, answer", true), Ok(1));
    assert_eq!(judged("read, write, sync, read, write, answer, sync, answer", false), Ok(2));
    assert_eq!(judged("read, write, sync, message, answer, read, write, sync, answer, message", true), Ok(4));
    for wrong in [
        "read, answer",
        "read, message, write, sync, answer",
        "read, write, message, sync, answer",
        "read, write, answer",
        "read, write, sync begins, answer, sync ends",
        "read, write, lie, answer",
        "read, write, failure, answer",
        "read, write, other, answer",
        "write, sync, read, answer",
        "read, write, sync, write, answer",
        "read, write, sync, answer, answer",
    ] {
        judged(wrong, true).expect_err(wrong);
    }
    judged("read, write, sync, answer, write, answer", false).expect_err("one sync for two records");
}
