//! What a salvage makes of good and of damaged databases.

use super::damage::{filled, folder_with};
use super::*;

fn salvage_to(old: &Path) -> (TempDir, Result<SalvageReport, SalvageError>) {
    let to = folder();
    let mut told = (0, 0);
    let report = salvage(old, &to.path().join("new"), &mut |done, all| told = (done, all));
    assert!(report.is_err() || told.0 == told.1, "{told:?}");
    (to, report)
}

/// Everything in a folder, to see that it stays as it is.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).expect("it is there").map(|file| file.expect("it can be read").path());
    let mut files: Vec<_> =
        files.map(|path| (path.clone(), fs::read(path).expect("it can be read"))).collect();
    files.sort();
    files
}

#[test]
fn of_a_good_database_it_makes_the_same() {
    let (folder, good, _) = filled();
    let (mut store, _) = reopen(folder.path());
    store.run(trim(LOG, 40)).expect("it is there");
    store.run(Op::Forget { log: LOG, sender: 2 }).expect("it is there");
    store.durability = Durability::Memory;
    store.run_all([create(Incarnation(6), 2), append(Incarnation(6), 0)]);
    drop(store);
    let (store, before) = reopen(folder.path());
    let used = store.used_bytes();
    drop(store);
    let old = files(folder.path());
    let (to, report) = salvage_to(folder.path());
    let report = report.expect("it is good");
    assert_eq!(files(folder.path()), old, "the old one is only read");
    assert!(report.topics.iter().all(|topic| topic.lost.is_empty() && topic.lost_publishers == 0));
    assert_eq!((report.topics.len(), report.notes, report.bad_frames), (3, 1, 0));
    assert_eq!((report.lost_topics.len(), report.lost_notes, report.nameless_topics), (0, 0, 0));
    let (mut store, after) = reopen(&to.path().join("new"));
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(store.used_bytes(), used);
    assert_eq!(store.read_all(Incarnation(5)).expect("it can be read"), good[1]);
    let left = store.read_all(LOG).expect("it can be read");
    assert_eq!(left[3..], good[0][24..]);
    let again = salvage(folder.path(), &to.path().join("new"), &mut |_, _| {});
    assert!(matches!(again, Err(SalvageError::NotEmpty { .. })));
}

#[test]
fn of_a_damaged_one_it_keeps_all_that_is_good() {
    let (folder, good, note) = filled();
    let bytes = fs::read(folder.path().join("sealmq.db")).expect("it can be read");
    let (mut lost_messages, mut lost_topics, mut whole) = (0, 0, 0);
    for (flip, at) in (0..bytes.len()).step_by(2003).enumerate() {
        let bad = folder_with(&bytes, at, 1 << (flip % 8));
        let what = format!("flipped at {at}");
        let (to, report) = salvage_to(bad.path());
        let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (mut store, contents) = reopen(&to.path().join("new"));
        let gone = report.lost_topics.len() as u64 + report.nameless_topics;
        assert_eq!(
            (contents.logs.len() as u64 + gone, report.topics.len()),
            (2, contents.logs.len()),
            "{what}"
        );
        assert_eq!(contents.notes.len() as u64 + report.lost_notes, 1, "{what}");
        assert!(contents.notes.is_empty() || contents.notes[0] == note);
        lost_topics += gone;
        whole += u32::from(gone == 0 && report.topics.iter().all(|topic| topic.lost.is_empty()));
        for (stored, topic) in contents.logs.iter().zip(&report.topics) {
            let good = if stored.log == LOG { &good[0] } else { &good[1] };
            assert!(topic.name == stored.settings.name && stored.next == Offset(64), "{what}");
            let entries = store.read_all(stored.log).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(entries.iter().all(|entry| good.contains(entry)), "{what}");
            let lost: u64 = topic.lost.iter().map(|(from, to)| to.0 - from.0).sum();
            assert_eq!(entries.len() as u64 + lost, good.len() as u64, "{what}");
            let is_lost = |offset| topic.lost.iter().any(|(from, to)| (from..to).contains(&offset));
            assert!(entries.iter().all(|entry| !is_lost(&entry.offset)), "{what}");
            assert!(lost < 40, "{what}: {lost} messages for one bit");
            lost_messages += lost;
            let next = store.run(append_of(stored.log, 1, 100, 10));
            assert!(matches!(next, Ok(Outcome::Appended { entry }) if entry.offset == Offset(64)), "{what}");
            let end = store.run(Op::Find { log: stored.log, what: Find::Last(1) });
            assert_eq!(end, Ok(Outcome::Found(Offset(64))), "{what}");
        }
    }
    assert!(lost_messages > 0 && lost_topics > 0 && whole > 10, "{lost_messages} {lost_topics} {whole}");
}

#[test]
fn a_topic_without_all_its_records_is_left_out_and_named() {
    let (folder, good, _) = filled();
    let (mut store, _) = reopen(folder.path());
    store.probe(|database| {
        let spoil = "UPDATE records SET wraps = zeroblob(length(wraps)) WHERE place = 1";
        assert_eq!(database.connection.execute(spoil, []).expect("a good sentence"), 1);
    });
    drop(store);
    let error = open(folder.path(), ROOMY).err().expect("it is refused");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    let (to, report) = salvage_to(folder.path());
    let report = report.expect("the other one is good");
    let name = TopicName::parse(&format!("home/{LOG}")).expect("a good name");
    assert_eq!(report.lost_topics, [LostTopic { name, lost_records: 1, messages: 61 }]);
    let (mut store, contents) = reopen(&to.path().join("new"));
    assert_eq!(contents.logs.len(), 1);
    assert_eq!(store.read_all(Incarnation(5)).expect("it can be read"), good[1]);
    store.run(create(LOG, 1)).expect("its name and number are free");
}

#[test]
fn frames_behind_a_bad_one_are_not_lost() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    for counter in 0..40 {
        store.run(append(LOG, counter)).expect("there is room");
    }
    let good = store.read_all(LOG).expect("it can be read");
    let path = folder.path().to_owned();
    let killed = store.probe(move |_| damage::copy(&path));
    let wal = killed.path().join("sealmq.db-wal");
    let mut bytes = fs::read(&wal).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wal, &bytes).expect("it can be written");
    let error = open(killed.path(), ROOMY).err().expect("answers would be lost");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    let (to, report) = salvage_to(killed.path());
    let report = report.expect("most of it is good");
    assert_eq!((report.bad_frames, report.topics[0].messages), (1, 40), "{report:?}");
    let (mut store, _) = reopen(&to.path().join("new"));
    assert_eq!(store.read_all(LOG).expect("it can be read"), good);
}

#[test]
fn what_is_no_database_and_what_a_broker_has_is_refused() {
    let (folder, _, _) = filled();
    let (store, _) = reopen(folder.path());
    let (_to, refused) = salvage_to(folder.path());
    assert!(matches!(refused, Err(SalvageError::Old(OpenError::Locked { .. }))));
    drop(store);
    let other = super::folder();
    fs::write(other.path().join("sealmq.db"), [13; 20_000]).expect("it can be written");
    let (_to, refused) = salvage_to(other.path());
    assert!(matches!(refused, Err(SalvageError::Nothing { .. })));
    let (_to, refused) = salvage_to(&other.path().join("none"));
    assert!(matches!(refused, Err(SalvageError::Old(OpenError::File { .. }))));
}
