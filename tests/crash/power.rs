//! A power cut, as far as one can be had without pulling a plug: what a recorded run wrote to its
//! files, put together as a disk may have it that keeps what was synced and, of the rest, any part.
//!
//! The trace has every byte. At a cut each file is what its last whole sync covered; of the writes
//! behind it some have reached the disk, some not, some of their sectors only. The engine opens
//! that, and all that was answered before the cut is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::house::House;
use crate::load::dice::Dice;
use crate::load::engine;
use crate::strace::{self, Call, Line, Trace};

/// What a file's call did, in the order of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
    Removed,
}

/// All that a broker did to one file.
#[derive(Default)]
struct History {
    /// With the lines of the trace in which each began and ended.
    deeds: Vec<(usize, usize, Deed)>,
    /// Lines in which whole syncs began and ended.
    syncs: Vec<(usize, usize)>,
}

/// A recorded run.
struct Recording {
    files: BTreeMap<String, History>,
    lines: usize,
    /// After which line how many messages had been answered, and with which offsets.
    answered: Vec<(usize, BTreeSet<u64>)>,
}

const CALLS: &str = "trace=fsync,fdatasync,pwrite64,pwritev,write,writev,ftruncate,fallocate,unlink,rename";
const FILES: [&str; 2] = ["sealmq.db", "sealmq.db-wal"];
/// `SEALMQ_POWER_CUTS` says how many it shall be instead.
const CUTS: u64 = 40;
const SECTOR: usize = 512;

#[test]
fn a_power_cut_loses_nothing_that_was_answered() {
    if !strace::is_there() {
        return;
    }
    let recording = Recording::make();
    let cuts = std::env::var("SEALMQ_POWER_CUTS").map_or(CUTS, |text| text.parse().expect("a number"));
    let mut dice = Dice::new(7);
    let mut whole = 0;
    for cut in 0..cuts {
        let line = dice.below(recording.lines as u64) as usize;
        match recording.judge(line, &mut dice, false) {
            Ok(answered) => whole += u64::from(answered > 0),
            Err(what) => panic!("cut {cut} at line {line} of {}: {what}", recording.lines),
        }
    }
    assert!(whole > cuts / 3, "most cuts have something to lose, {whole} had");
    println!("{cuts} cuts, {whole} of them with answers that could be lost");
}

/// A disk that only says it has synced loses what was answered, and that is seen.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    if !strace::is_there() {
        return;
    }
    let recording = Recording::make();
    let mut dice = Dice::new(8);
    let found = (0..20).filter(|_| {
        let line = dice.below(recording.lines as u64) as usize;
        recording.judge(line, &mut dice, true).is_err()
    });
    assert!(found.count() > 3, "answers are lost with their writes");
}

impl Recording {
    /// A broker that serves bursts of messages, with checkpoints among them, and is killed.
    fn make() -> Recording {
        let house = House::new();
        // Its tables are made before: a start that is cut has answered nothing.
        let broker = house.start();
        let mut customer = house.customer(&broker);
        broker.kill();
        customer.see_the_end();
        let before: Vec<(String, Vec<u8>)> = FILES
            .iter()
            .map(|file| ((*file).to_owned(), fs::read(house.data().join(file)).expect("it is there")))
            .collect();
        let broker = house
            .start_under(&["--seccomp-bpf", "-s", "2000000", "-e", CALLS])
            .unwrap_or_else(|e| panic!("{e}; {}", house.log()));
        let mut bursts = Vec::new();
        for burst in 0..BURSTS {
            // Large ones now and then, so that the log is checkpointed and begun anew.
            customer.pad(if burst % 4 == 3 { 48 * 1024 } else { burst * 10 });
            customer.publish(1 + burst as usize % 9);
            assert_eq!(customer.wait_while_connected().unanswered, 0, "{}", house.log());
            broker.signal(Signal::USR1);
            bursts.push(customer.answered.clone());
        }
        // Whoever answers this has taken the last signal.
        customer.publish(1);
        customer.wait();
        broker.kill();
        Recording::read(&Trace::of_ended(&house.trace()), before, &bursts)
    }

    fn read(trace: &Trace, before: Vec<(String, Vec<u8>)>, bursts: &[BTreeSet<u64>]) -> Recording {
        let mut files: BTreeMap<String, History> = BTreeMap::new();
        for (name, bytes) in before {
            let history = files.entry(name).or_default();
            history.deeds.push((0, 0, Deed::Write { at: 0, bytes }));
            history.syncs.push((0, 0));
        }
        for call in trace.calls.iter().filter(|call| call.is_done()) {
            let Some(file) = FILES.iter().find(|file| is_about(call, file)) else { continue };
            let history = files.entry((*file).to_owned()).or_default();
            if call.is_sync() {
                history.syncs.push((call.span.start, call.span.end));
            } else {
                history.deeds.push((call.span.start, call.span.end, deed(call)));
            }
        }
        let marks =
            trace.lines.iter().enumerate().filter(|(_, line)| **line == Line::Signal("SIGUSR1".into()));
        let answered: Vec<_> = marks.map(|(line, _)| line).zip(bursts.iter().cloned()).collect();
        assert_eq!(answered.len(), bursts.len(), "each burst has its mark");
        Recording { files, lines: trace.lines.len(), answered }
    }

    /// Cuts behind this line: how many messages had been answered, all of which are there.
    fn judge(&self, line: usize, dice: &mut Dice, syncs_lie: bool) -> Result<usize, String> {
        let folder = scratch();
        for (name, history) in &self.files {
            history.write(&folder.path().join(name), line, dice, syncs_lie);
        }
        let copy = crate::load::copy_of(folder.path());
        self.judge_files(folder.path(), line).map_err(|what| match syncs_lie {
            true => what,
            // To be looked into.
            false => format!("{what}; the files are kept in {}", copy.keep().display()),
        })
    }

    fn judge_files(&self, folder: &Path, line: usize) -> Result<usize, String> {
        let logs = engine::read(folder)?;
        let log = logs.values().next().ok_or("the topic is gone")?;
        let nothing = BTreeSet::new();
        let answered =
            self.answered.iter().rev().find(|(mark, _)| *mark < line).map_or(&nothing, |(_, all)| all);
        let there = log.offsets();
        let lost: Vec<u64> = answered.difference(&there).copied().collect();
        match (lost.first(), log.hole()) {
            (Some(first), _) => Err(format!("{} of {} are lost, first {first}", lost.len(), answered.len())),
            (None, Some(hole)) => Err(format!("nothing is at {hole}")),
            (None, None) => Ok(answered.len()),
        }
    }
}

/// A folder in RAM, where there is one: nobody cuts the power of this one.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a scratch folder")
}

impl History {
    /// The file as a disk may have it.
    fn write(&self, path: &Path, line: usize, dice: &mut Dice, syncs_lie: bool) {
        let syncs = self.syncs.iter().filter(|(_, end)| *end <= line && (*end == 0 || !syncs_lie));
        let covered = syncs.map(|(begin, _)| *begin).max().unwrap_or(0);
        let mut bytes: Option<Vec<u8>> = Some(Vec::new());
        // What a disk does with writes that wait differs: all may be lost, or none, or a part.
        let chance = [0, 30, 50, 80, 100][dice.below(5) as usize];
        for (begin, end, deed) in &self.deeds {
            if *begin > line {
                break;
            }
            let is_synced = *end <= covered;
            if is_synced || dice.percent(chance) {
                let torn = !is_synced && dice.percent(30);
                apply(&mut bytes, deed, torn.then_some(&mut *dice));
            }
        }
        if let Some(bytes) = bytes {
            fs::write(path, bytes).expect("a file is written");
        }
    }
}

/// Does it to a file, `None` if that is not there; with dice, only some sectors are written.
fn apply(file: &mut Option<Vec<u8>>, deed: &Deed, dice: Option<&mut Dice>) {
    match deed {
        Deed::Removed => *file = None,
        Deed::Length(length) => file.get_or_insert_default().resize(*length as usize, 0),
        Deed::Write { at, bytes } => {
            let file = file.get_or_insert_default();
            let (begin, end) = (*at as usize, *at as usize + bytes.len());
            if file.len() < end {
                file.resize(end, 0);
            }
            let Some(dice) = dice else {
                file[begin..end].copy_from_slice(bytes);
                return;
            };
            let mut from = begin;
            while from < end {
                let to = ((from / SECTOR + 1) * SECTOR).min(end);
                if dice.percent(50) {
                    file[from..to].copy_from_slice(&bytes[from - begin..to - begin]);
                }
                from = to;
            }
        }
    }
}

/// Whether a call is about the file of this name.
fn is_about(call: &Call, file: &str) -> bool {
    let path = match call.name.as_str() {
        "unlink" => call.args.trim_matches('"'),
        _ => call.target(),
    };
    Path::new(path).file_name().is_some_and(|name| name == file)
}

fn deed(call: &Call) -> Deed {
    match call.name.as_str() {
        "pwrite64" => {
            let (data, place) = call.args.rsplit_once("\", ").expect("a string and two numbers");
            let (count, at) = place.split_once(", ").expect("two numbers");
            let (_, quoted) = data.split_once(", \"").expect("a string behind the descriptor");
            let mut bytes = unescaped(quoted);
            assert_eq!(Ok(bytes.len()), count.parse(), "the string is whole");
            // A short write is what it says it is.
            bytes.truncate(usize::try_from(call.result.unwrap_or(0)).unwrap_or(0));
            Deed::Write { at: at.parse().expect("a number"), bytes }
        }
        "ftruncate" => {
            let length = call.args.rsplit(", ").next().and_then(|text| text.parse().ok());
            Deed::Length(length.expect("a length"))
        }
        "unlink" => Deed::Removed,
        other => panic!("the database is not written by {other}: {}", &call.args[..call.args.len().min(99)]),
    }
}

/// The bytes of a C string as strace writes it.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("something behind a backslash") {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            digit @ b'0'..=b'7' => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(next) = rest.next_if(|b| (b'0'..=b'7').contains(b)) else { break };
                    value = value * 8 + u32::from(next - b'0');
                }
                u8::try_from(value).expect("an octal byte")
            }
            other => other,
        });
    }
    bytes
}

const BURSTS: u64 = 80;

#[test]
fn strings_of_strace_are_bytes() {
    assert_eq!(unescaped(r#"a\0\1\0012\377\"\\\n\t7"#), b"a\0\x01\x012\xff\"\\\n\t7");
}

#[test]
fn only_what_a_sync_covers_is_sure() {
    let write = |begin, end, at, byte| (begin, end, Deed::Write { at, bytes: vec![byte; 4] });
    let history = History {
        deeds: vec![write(1, 1, 0, 1), write(4, 4, 4, 2), (9, 9, Deed::Length(6)), write(11, 12, 8, 3)],
        syncs: vec![(3, 6), (10, 13)],
    };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("file");
    let states = |line: usize| -> BTreeSet<Vec<u8>> {
        let mut dice = Dice::new(1);
        let mut state = || {
            history.write(&path, line, &mut dice, false);
            fs::read(&path).expect("it was written")
        };
        (0..200).map(|_| state()).collect()
    };
    assert_eq!(states(0), [vec![]].into(), "nothing was done yet");
    assert!(states(2).contains(&vec![]), "what was written may be lost");
    assert!(states(7).iter().all(|file| file.starts_with(&[1, 1, 1, 1])), "the first is synced");
    assert!(states(7).contains(&vec![1; 4]), "the second began behind the sync");
    assert!(states(13).iter().all(|file| file[..6] == [1, 1, 1, 1, 2, 2]), "and now is synced");
    assert!(states(13).len() > 1, "the last is not: it began behind the second sync");
}
