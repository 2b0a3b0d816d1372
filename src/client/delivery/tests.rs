//! Offsets, counters and what is remembered of them.

use super::*;

const WHO: Publisher = (Fingerprint([1; 32]), PublisherId([2; 16]));
const OTHER: Publisher = (Fingerprint([1; 32]), PublisherId([3; 16]));
const LOG: Incarnation = Incarnation(7);

fn at(start: u64) -> Delivery {
    Delivery::new(LOG, Offset(start))
}

/// A message whose body is its own for each place and counter.
fn place(offset: u64, counter: u64) -> Place {
    Place { offset: Offset(offset), counter: Counter(counter), hash: [(offset * 16 + counter) as u8; 32] }
}

type Counted = Result<Option<IntegrityFault>, IntegrityFault>;

/// A message comes; there may be no records.
fn come(d: &mut Delivery, who: Publisher, offset: u64, counter: u64) -> Counted {
    let none = Records::default();
    assert_eq!(d.reach(Offset(offset), &none), Ok(None), "nothing was left out");
    d.count(who, place(offset, counter), &none)
}

/// The delivery that begins at `start` with what another one remembered.
fn again(d: &Delivery, start: u64) -> Delivery {
    Delivery::with_memory(LOG, Offset(start), d.memory())
}

fn missing(expected: u64, got: u64) -> Counted {
    Ok(Some(IntegrityFault::Missing { expected: Counter(expected), got: Counter(got) }))
}

fn replayed(counter: u64) -> Counted {
    Err(IntegrityFault::Replayed { counter: Counter(counter) })
}

fn rewritten(counter: u64) -> Counted {
    Err(IntegrityFault::Rewritten { counter: Counter(counter) })
}

#[test]
fn offsets_come_once_and_in_order() {
    let (mut d, none) = (at(2), Records::default());
    assert_eq!(d.reach(Offset(2), &none), Ok(None));
    assert_eq!(d.reach(Offset(3), &none), Ok(None));
    assert_eq!(d.reach(Offset(3), &none), Err(Reached));
    assert_eq!(d.reach(Offset(0), &none), Err(Reached));
    let left_out = IntegrityFault::Skipped { from: Offset(4), to: Offset(9) };
    assert_eq!(d.reach(Offset(9), &none), Ok(Some(left_out)));
    assert_eq!(d.next, Offset(10));
}

#[test]
fn a_gap_that_is_told_is_no_omission() {
    let (mut d, none) = (at(0), Records::default());
    assert_eq!(d.gap(Offset(0), Offset(5), &none), None);
    assert_eq!(d.reach(Offset(5), &none), Ok(None));
    assert_eq!(d.pass(Offset(6), &none), None);
    let left_out = IntegrityFault::Skipped { from: Offset(6), to: Offset(8) };
    assert_eq!(d.pass(Offset(8), &none), Some(left_out));
    assert_eq!(d.pass(Offset(3), &none), None);
    assert_eq!(d.next, Offset(8), "never back");
}

#[test]
fn counters_grow_by_one() {
    let mut d = at(10);
    assert_eq!(come(&mut d, WHO, 10, 5), Ok(None), "the first may be any where delivery begins");
    assert_eq!(come(&mut d, WHO, 11, 6), Ok(None));
    assert_eq!(come(&mut d, WHO, 12, 6), replayed(6));
    assert_eq!(come(&mut d, WHO, 13, 0), replayed(0));
    assert_eq!(come(&mut d, WHO, 14, 9), missing(7, 9));
    assert_eq!(come(&mut d, WHO, 15, 8), replayed(8));
    assert_eq!(come(&mut d, OTHER, 16, 0), Ok(None));
    assert_eq!(come(&mut d, WHO, 17, 10), Ok(None));
}

#[test]
fn across_gaps_and_what_could_not_be_opened_counters_may_jump() {
    let passes: [fn(&mut Delivery); 3] = [
        |d| assert_eq!(d.gap(Offset(2), Offset(6), &Records::default()), None),
        |d| {
            assert_eq!(d.pass(Offset(5), &Records::default()), Some(skipped(2, 5)));
            assert_eq!(d.reach(Offset(5), &Records::default()), Ok(None));
        },
        |d| {
            for offset in 2..6 {
                assert_eq!(d.reach(Offset(offset), &Records::default()), Ok(None));
                d.could_not_open();
            }
        },
    ];
    for pass in passes {
        let mut d = at(0);
        assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
        assert_eq!(come(&mut d, OTHER, 1, 0), Ok(None));
        pass(&mut d);
        assert_eq!(come(&mut d, WHO, 6, 4), Ok(None));
        assert_eq!(come(&mut d, (WHO.0, PublisherId([9; 16])), 7, 3), Ok(None), "a new one too");
        assert_eq!(come(&mut d, WHO, 8, 6), missing(5, 6), "but once only");
        assert_eq!(come(&mut d, OTHER, 9, 0), replayed(0), "and never back");
    }
}

fn skipped(from: u64, to: u64) -> IntegrityFault {
    IntegrityFault::Skipped { from: Offset(from), to: Offset(to) }
}

#[test]
fn where_nothing_was_passed_over_a_new_publisher_begins_at_zero() {
    let mut d = at(0);
    assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
    assert_eq!(come(&mut d, OTHER, 1, 1), missing(0, 1));
    // Two that were swapped.
    let third = (WHO.0, PublisherId([4; 16]));
    assert_eq!(come(&mut d, third, 2, 1), missing(0, 1));
    assert_eq!(come(&mut d, third, 3, 0), replayed(0));
    let mut d = at(1);
    assert_eq!(come(&mut d, WHO, 1, 3), Ok(None), "something may have been below");
}

#[test]
fn the_same_id_of_another_client_is_another_publisher() {
    let mut d = at(0);
    assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
    assert_eq!(come(&mut d, (Fingerprint([8; 32]), WHO.1), 1, 0), Ok(None));
}

#[test]
fn in_another_log_publishers_may_count_anew() {
    let mut d = at(5);
    assert_eq!(come(&mut d, WHO, 5, 3), Ok(None));
    d.move_to(LOG, Offset(9));
    assert_eq!(come(&mut d, WHO, 9, 0), replayed(0));
    d.move_to(Incarnation(8), Offset(0));
    assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
}

#[test]
fn a_log_that_begins_again_before_what_was_read_is_still_what_it_was() {
    let mut d = at(0);
    (0..4).for_each(|n| assert_eq!(come(&mut d, WHO, n, n), Ok(None)));
    d.move_to(LOG, Offset(0));
    (0..4).for_each(|n| assert_eq!(come(&mut d, WHO, n, n), Ok(None), "read again"));
    d.move_to(LOG, Offset(3));
    let other = Place { hash: [0xee; 32], ..place(3, 3) };
    assert_eq!(d.reach(Offset(3), &Records::default()), Ok(None));
    assert_eq!(d.count(WHO, other, &Records::default()), rewritten(3));
}

#[test]
fn reading_goes_on_from_memory_as_if_it_had_not_stopped() {
    let mut d = at(0);
    assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
    assert_eq!(come(&mut d, WHO, 1, 1), Ok(None));
    let mut d = again(&d, 2);
    assert_eq!(come(&mut d, WHO, 2, 1), replayed(1));
    assert_eq!(come(&mut d, WHO, 3, 3), missing(2, 3));
    assert_eq!(come(&mut d, OTHER, 4, 2), missing(0, 2), "all that there was has been read");
    assert_eq!(again(&d, 5).memory(), d.memory());

    // Who began late has not seen each publisher.
    let mut late = at(100);
    assert_eq!(come(&mut late, WHO, 100, 7), Ok(None));
    let mut late = again(&late, 101);
    assert_eq!(come(&mut late, OTHER, 101, 12), Ok(None));
    assert_eq!(come(&mut late, WHO, 102, 9), missing(8, 9));
}

#[test]
fn who_does_not_know_what_was_unbroken_accuses_nobody() {
    let mut d = at(0);
    assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
    let memory = d.memory();
    let careful = Memory { unbroken: memory.next, is_complete: false, ..memory };
    let mut d = Delivery::with_memory(LOG, Offset(1), careful);
    assert_eq!(come(&mut d, WHO, 1, 4), Ok(None));
    assert_eq!(come(&mut d, OTHER, 2, 4), Ok(None));
    assert_eq!(come(&mut d, WHO, 3, 0), replayed(0));
}

#[test]
fn history_is_read_again_without_complaint() {
    let mut d = at(0);
    (0..6).for_each(|n| assert_eq!(come(&mut d, WHO, n, n), Ok(None)));
    for start in 0..7 {
        let mut d = again(&d, start);
        for n in start..8 {
            assert_eq!(come(&mut d, WHO, n, n), Ok(None), "from {start}, at {n}");
        }
        assert_eq!((d.memory().next, d.memory().unbroken), (Offset(8), Offset(0)));
    }
    let mut part = again(&d, 2);
    assert_eq!(come(&mut part, WHO, 2, 2), Ok(None));
    assert_eq!(part.memory(), d.memory(), "what was read before is still known");
}

#[test]
fn history_that_is_not_what_it_was_is_found_out() {
    let mut d = at(0);
    (0..4).for_each(|n| assert_eq!(come(&mut d, WHO, n, n), Ok(None)));
    let none = Records::default();
    // Another body at the remembered place, another publisher there, the same message elsewhere.
    let mut other = again(&d, 3);
    assert_eq!(other.reach(Offset(3), &none), Ok(None));
    assert_eq!(other.count(WHO, Place { hash: [0xee; 32], ..place(3, 3) }, &none), rewritten(3));
    let mut other = again(&d, 3);
    assert_eq!(come(&mut other, OTHER, 3, 0), rewritten(3));
    let mut other = again(&d, 2);
    assert_eq!(come(&mut other, WHO, 2, 3), rewritten(3), "before its place");
    let mut other = again(&d, 9);
    assert_eq!(come(&mut other, WHO, 9, 3), replayed(3), "behind its place");
    assert_eq!(come(&mut other, WHO, 10, 6), Ok(None), "what lay between was not read");
}

#[test]
fn what_was_not_read_between_two_runs_is_not_missed_later() {
    let mut d = at(0);
    assert_eq!(come(&mut d, WHO, 0, 0), Ok(None));
    // The second run begins at the latest, the third goes on from there.
    let mut second = again(&d, 20);
    assert_eq!(come(&mut second, OTHER, 20, 4), Ok(None));
    let mut third = again(&second, 21);
    assert_eq!(come(&mut third, WHO, 21, 9), Ok(None));
    assert_eq!(come(&mut third, OTHER, 22, 6), missing(5, 6));
}

#[test]
fn the_memory_of_publishers_is_bounded() {
    let mut d = at(0);
    let nth = |i: u64| (WHO.0, PublisherId(u128::from(i).to_be_bytes()));
    let max = PUBLISHERS_MAX as u64;
    for i in 0..max {
        assert_eq!(come(&mut d, nth(i), i, 0), Ok(None));
    }
    assert_eq!(come(&mut d, nth(0), max, 1), Ok(None), "the first is heard of again");
    assert_eq!(come(&mut d, nth(max), max + 1, 0), Ok(None), "and the second is forgotten");
    assert_eq!((d.seen.by_publisher.len(), d.seen.by_offset.len()), (PUBLISHERS_MAX, PUBLISHERS_MAX));
    assert_eq!(come(&mut d, nth(1), max + 2, 5), Ok(None), "who was forgotten may go on anywhere");
    assert_eq!(come(&mut d, nth(0), max + 3, 1), replayed(1));
    let memory = d.memory();
    assert_eq!((memory.places.len(), memory.is_complete), (REMEMBERED_MAX, false));
    assert!(memory.places.contains_key(&nth(0)) && memory.places.contains_key(&nth(max)));
}
