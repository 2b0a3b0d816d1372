use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// A file that remembers what was done to it.
#[derive(Clone, Default)]
struct Tape(Rc<RefCell<Vec<Deed>>>);

#[derive(Clone)]
enum Deed {
    Write(Vec<u8>, u64),
    Sync,
}

impl Medium for Tape {
    fn write_at(&mut self, bytes: &[u8], place: u64) -> io::Result<()> {
        self.0.borrow_mut().push(Deed::Write(bytes.to_vec(), place));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.borrow_mut().push(Deed::Sync);
        Ok(())
    }
}

const TODAY: Boot = Boot(Some([1; 16]));
const TOMORROW: Boot = Boot(Some([2; 16]));

fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a good name")
}

fn mark(next: u64) -> Mark {
    Mark { topic: Some(TopicId([7; 32])), stand: Stand { incarnation: Incarnation(9), next: Offset(next) } }
}

fn write(content: &mut Vec<u8>, bytes: &[u8], place: u64) {
    let place = usize::try_from(place).expect("small");
    content.resize(content.len().max(place + bytes.len()), 0);
    content[place..place + bytes.len()].copy_from_slice(bytes);
}

fn place(content: &[u8], boot: Boot, topic: &str) -> Option<u64> {
    let slots = Slots::read(content, Tape::default(), boot).expect("understood");
    slots.marks().find(|(n, _)| **n == name(topic)).map(|(_, mark)| mark.stand.next.0)
}

/// A run that notes 1 to 10 in two topics and keeps every third place.
fn run() -> (Vec<Deed>, Vec<u64>) {
    let tape = Tape::default();
    let mut slots = Slots::read(&header(), tape.clone(), TODAY).expect("a new file");
    let mut noted = Vec::new();
    for next in 1..=10 {
        for topic in ["a", "b/c"] {
            slots.note(&name(topic), mark(next)).expect("written");
            noted.push(next);
        }
        if next % 3 == 0 {
            slots.keep().expect("kept");
        }
    }
    let deeds = tape.0.borrow().clone();
    (deeds, noted)
}

#[test]
fn a_killed_program_s_place_is_the_last_that_was_noted() {
    let (deeds, _) = run();
    let mut content = header().to_vec();
    let mut last = 0;
    for deed in &deeds {
        if let Deed::Write(bytes, at) = deed {
            write(&mut content, bytes, *at);
            let is_live = (at - HEADER_BYTES).is_multiple_of(ENTRY_BYTES as u64);
            let is_first_topic = at - HEADER_BYTES < ENTRY_BYTES as u64;
            last += u64::from(is_live && is_first_topic);
        }
        assert_eq!(place(&content, TODAY, "a"), Some(last).filter(|n| *n > 0));
    }
    assert_eq!(last, 10);
    assert_eq!(place(&content, TODAY, "b/c"), Some(10));
}

#[test]
fn after_a_power_cut_the_place_is_one_that_was_kept_whatever_reached_the_disk() {
    let (deeds, _) = run();
    for end in 0..=deeds.len() {
        let synced = deeds[..end].iter().rposition(|deed| matches!(deed, Deed::Sync)).map_or(0, |at| at + 1);
        let (mut safe, mut kept) = (header().to_vec(), 0);
        for deed in &deeds[..synced] {
            match deed {
                Deed::Write(bytes, at) => write(&mut safe, bytes, *at),
                Deed::Sync => kept += 3,
            }
        }
        // What was not synced got there or did not, a sector at a time, one of them half written.
        let unsynced: Vec<_> = deeds[synced..end]
            .iter()
            .filter_map(|deed| match deed {
                Deed::Write(bytes, at) => Some((bytes, *at)),
                Deed::Sync => None,
            })
            .flat_map(|(bytes, at)| {
                bytes.chunks(SLOT_BYTES).enumerate().map(move |(i, c)| (c, at + (i * SLOT_BYTES) as u64))
            })
            .collect();
        for pattern in 0..1u32 << unsynced.len().min(8) {
            let mut content = safe.clone();
            for (i, (bytes, at)) in unsynced.iter().enumerate() {
                if pattern >> (i % 8) & 1 == 1 {
                    write(&mut content, bytes, *at);
                }
            }
            let found = place(&content, TOMORROW, "a").unwrap_or(0);
            // A kept place may have reached the disk before its sync has returned.
            assert!(found == kept || found == kept + 3, "{found} after {kept} were kept");
        }
    }
}

#[test]
fn a_torn_slot_gives_way_to_the_one_before() {
    let (deeds, _) = run();
    let mut content = header().to_vec();
    for deed in &deeds {
        if let Deed::Write(bytes, at) = deed {
            write(&mut content, bytes, *at);
        }
    }
    // Kept were 3, 6 and 9, in turns: the first slot of the two has 9.
    let torn = usize::try_from(place_of(0, 1)).expect("small");
    content[torn + 70] ^= 1;
    assert_eq!(place(&content, TOMORROW, "a"), Some(6));
    assert_eq!(place(&content, TODAY, "a"), Some(10));
    content[usize::try_from(place_of(0, 2)).expect("small") + 1] ^= 1;
    assert_eq!(place(&content, TODAY, "a"), Some(10));
    let damaged = Slots::read(&content, Tape::default(), TOMORROW).err();
    assert_eq!(damaged, Some(NotUnderstood::Damaged { place: HEADER_BYTES }));
}

#[test]
fn numbers_go_on_from_a_slot_that_does_not_count() {
    let (deeds, _) = run();
    let mut content = header().to_vec();
    for deed in &deeds {
        if let Deed::Write(bytes, at) = deed {
            write(&mut content, bytes, *at);
        }
    }
    let tape = Tape::default();
    let mut slots = Slots::read(&content, tape.clone(), TOMORROW).expect("understood");
    slots.note(&name("a"), mark(11)).expect("written");
    slots.keep().expect("kept");
    for deed in tape.0.borrow().iter() {
        if let Deed::Write(bytes, at) = deed {
            write(&mut content, bytes, *at);
        }
    }
    for boot in [TODAY, TOMORROW, Boot(None)] {
        assert_eq!(place(&content, boot, "a"), Some(11), "{boot:?}");
    }
}

#[test]
fn where_boots_cannot_be_told_apart_only_what_was_kept_counts() {
    let tape = Tape::default();
    let mut slots = Slots::read(&header(), tape.clone(), Boot(None)).expect("a new file");
    slots.note(&name("a"), mark(5)).expect("written");
    slots.keep().expect("kept");
    slots.note(&name("a"), mark(6)).expect("written");
    let mut content = header().to_vec();
    for deed in tape.0.borrow().iter() {
        if let Deed::Write(bytes, at) = deed {
            write(&mut content, bytes, *at);
        }
    }
    assert_eq!(place(&content, Boot(None), "a"), Some(5));
}

#[test]
fn what_is_not_such_a_file_is_told_apart() {
    let read = |content: &[u8]| Slots::read(content, Tape::default(), TODAY).err();
    assert_eq!(read(b""), Some(NotUnderstood::Foreign));
    assert_eq!(read(&[0; 600]), Some(NotUnderstood::Foreign));
    let mut newer = header();
    newer[MAGIC.len() + 3] = 2;
    assert_eq!(read(&newer), Some(NotUnderstood::Newer(2)));
    assert_eq!(read(&header()), None);
}
