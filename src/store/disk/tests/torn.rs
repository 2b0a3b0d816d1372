//! Write-ahead logs that were cut off, and such that were spoiled in the middle.

use super::damage::copy;
use super::*;

/// A folder as a killed process leaves it: one transaction for each of so many appends, none of
/// which the database has yet.
fn killed(appends: u64) -> (TempDir, Vec<Arc<Entry>>) {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    for counter in 0..appends {
        store.run(append(LOG, counter)).expect("there is room");
    }
    let entries = store.read_all(LOG).expect("it can be read");
    let path = folder.path().to_owned();
    (store.probe(move |_| copy(&path)), entries)
}

fn wal(folder: &Path) -> std::path::PathBuf {
    folder.join("sealmq.db-wal")
}

#[test]
fn one_cut_anywhere_leaves_a_beginning() {
    let (whole, entries) = killed(20);
    let bytes = fs::read(wal(whole.path())).expect("it is there");
    let mut lengths = Vec::new();
    for cut in (0..=bytes.len()).rev().step_by(bytes.len() / 40 + 7) {
        let torn = copy(whole.path());
        fs::write(wal(torn.path()), &bytes[..cut]).expect("it can be cut");
        let (mut again, contents) = reopen(torn.path());
        let Recovered { frames, bytes: taken, torn_bytes } = again.recovered;
        assert_eq!(taken, frames * (4096 + 24), "cut at {cut}");
        assert!(taken + torn_bytes <= cut as u64);
        // A header of a frame that was cut off says nothing.
        assert!(taken + torn_bytes + 32 + 24 > cut as u64 || cut < 32, "all is told: cut at {cut}");
        if contents.logs.is_empty() {
            lengths.push(0);
            continue;
        }
        let left = again.read_all(LOG).expect("it can be read");
        assert_eq!(left, entries[..left.len()], "cut at {cut}");
        lengths.push(left.len());
    }
    assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    assert_eq!((lengths.first(), lengths.last()), (Some(&21), Some(&0)));
}

#[test]
fn one_spoiled_anywhere_loses_no_answer_in_silence() {
    let (whole, entries) = killed(20);
    let bytes = fs::read(wal(whole.path())).expect("it is there");
    let (mut refused, mut torn, mut intact) = (0, 0, 0);
    for (flip, at) in (0..bytes.len()).step_by(1499).enumerate() {
        let spoiled = copy(whole.path());
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (flip % 8);
        fs::write(wal(spoiled.path()), bytes).expect("it can be written");
        let mut again = match open(spoiled.path(), ROOMY) {
            Ok((again, _)) => again,
            Err(OpenError::Damaged(what)) => {
                assert!(what.contains("write-ahead log"), "{what}");
                refused += 1;
                continue;
            }
            Err(other) => panic!("flipped at {at}: {other:?}"),
        };
        let left = again.read_all(LOG).expect("it can be read");
        assert_eq!(left, entries[..left.len()], "flipped at {at}");
        if left.len() == entries.len() {
            intact += 1;
        } else {
            // The last transaction looks as if power had gone while it was written.
            assert_eq!(left.len(), entries.len() - 1, "flipped at {at}");
            assert!(again.recovered.torn_bytes > 0, "flipped at {at}");
            torn += 1;
        }
    }
    assert!(refused > 100 && torn > 0, "{refused} refused, {torn} torn, {intact} intact");
}

#[test]
fn one_that_was_used_before_is_told_from_what_is_old_in_it() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run_all((0..30).map(|counter| append_of(LOG, 0, counter, 3000)));
    store.probe(|database| database.checkpoint("PASSIVE")).expect("the disk works");
    store.run(append(LOG, 30)).expect("there is room");
    let path = folder.path().to_owned();
    let copied = store.probe(move |_| copy(&path));
    let size = fs::metadata(wal(copied.path())).expect("it is there").len();
    let (mut again, _) = reopen(copied.path());
    assert!(again.recovered.frames > 0 && again.recovered.torn_bytes == 0, "{:?}", again.recovered);
    assert!(again.recovered.bytes < size / 2, "what is old is not counted");
    assert_eq!(again.read_all(LOG).expect("it can be read").len(), 32);
    // After an end in good order there is nothing to tell.
    drop(again);
    assert_eq!(reopen(copied.path()).0.recovered, Recovered::default());
}
