//! That the books find what a broker could do wrong.

use crate::load::ledger::{Id, Kind, Ledger};

fn id(publisher: usize, number: u64) -> Id {
    Id { publisher, topic: 0, number }
}

fn ledger(kind: Kind) -> Ledger {
    let mut ledger = Ledger::new(&[("t", kind)], 2, 1);
    for (offset, message) in [(2, id(0, 0)), (3, id(1, 0)), (5, id(0, 1))] {
        ledger.answer(message, offset);
        ledger.show(0, offset, message);
    }
    ledger
}

/// What a check says of a ledger after something was done to it.
fn faults(kind: Kind, deed: impl FnOnce(&mut Ledger)) -> usize {
    let mut ledger = ledger(kind);
    deed(&mut ledger);
    ledger.settle();
    ledger.violations.len()
}

#[test]
fn a_content_says_which_message_it_is() {
    let message = Id { publisher: 3, topic: 1, number: 77 };
    let mut content = message.content();
    assert_eq!(Id::of(&content), Some(message));
    content.pop();
    assert_eq!(Id::of(&content), None);
}

#[test]
fn what_fits_is_no_violation() {
    assert_eq!(faults(Kind::Disk, |_| ()), 0);
    let read = [(2, id(0, 0)), (3, id(1, 0)), (5, id(0, 1))];
    assert_eq!(faults(Kind::Disk, |l| l.compare(0, 0, &read)), 0);
    assert_eq!(faults(Kind::Disk, |l| l.compare(0, 3, &read[1..])), 0);
    assert_eq!(faults(Kind::Short { count: 1 }, |l| l.compare(0, 0, &read[2..])), 0);
    assert_eq!(faults(Kind::Memory, |l| l.compare(0, 0, &[])), 0);
    assert_eq!(faults(Kind::Disk, |l| l.compare_files(0, 0, &[2, 3, 5, 6].into(), 7)), 0);
}

#[test]
fn each_kind_of_loss_is_found() {
    let all = [(2, id(0, 0)), (3, id(1, 0)), (5, id(0, 1))];
    let lost = [all[0], all[2]];
    assert_ne!(faults(Kind::Disk, |l| l.compare(0, 0, &lost)), 0, "one is lost");
    assert_ne!(faults(Kind::Disk, |l| l.compare(0, 0, &all[..2])), 0, "the last is lost");
    let twice = [all[0], all[1], all[2], (6, id(0, 1))];
    assert_ne!(faults(Kind::Disk, |l| l.compare(0, 0, &twice)), 0, "one is there twice");
    let moved = [all[0], (4, id(1, 0)), all[2]];
    assert_ne!(faults(Kind::Disk, |l| l.compare(0, 0, &moved)), 0, "one is elsewhere");
    let more = [all[0], all[1], all[2], (6, id(1, 1))];
    assert_ne!(faults(Kind::Disk, |l| l.compare(0, 0, &more)), 0, "one was never answered");
    assert_ne!(faults(Kind::Short { count: 2 }, |l| l.compare(0, 0, &all[2..])), 0, "too few are kept");
    assert_ne!(faults(Kind::Short { count: 2 }, |l| l.compare(0, 0, &lost)), 0, "a hole");
    assert_ne!(faults(Kind::Disk, |l| l.compare_files(0, 0, &[2, 3].into(), 4)), 0, "not in the files");
    assert_ne!(faults(Kind::Memory, |l| l.compare_files(0, 0, &[].into(), 5)), 0, "5 is given out anew");
}

#[test]
fn answers_that_contradict_are_found() {
    assert_ne!(faults(Kind::Memory, |l| l.answer(id(1, 1), 5)), 0, "another's offset");
    assert_ne!(faults(Kind::Disk, |l| l.answer(id(0, 1), 6)), 0, "a second answer");
    assert_ne!(faults(Kind::Disk, |l| l.answer(id(1, 1), 1)), 0, "behind an earlier one");
}

#[test]
fn what_a_subscriber_sees_has_to_fit() {
    assert_ne!(faults(Kind::Disk, |l| l.show(0, 5, id(0, 1))), 0, "twice");
    assert_ne!(faults(Kind::Memory, |l| l.show(0, 4, id(1, 1))), 0, "backwards");
    assert_ne!(faults(Kind::Disk, |l| l.show(0, 6, id(1, 1))), 0, "never answered");
    assert_ne!(faults(Kind::Disk, |l| l.answer(id(1, 1), 6)), 0, "not shown");
    assert_ne!(faults(Kind::Disk, |l| l.gap(0, 0, 2, 3)), 0, "a gap");
    assert_eq!(faults(Kind::Memory, |l| l.gap(0, 0, 6, 9)), 0, "RAM may lose");
}
