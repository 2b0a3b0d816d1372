use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::cli::surroundings::Surroundings;

const ALICE: Fingerprint = Fingerprint([1; 32]);
const BOB: Fingerprint = Fingerprint([2; 32]);

fn file(folder: &tempfile::TempDir) -> PinFile {
    let around = Surroundings { state: Some(folder.path().to_owned()), ..Surroundings::default() };
    PinFile::new(State::open(&around, Fingerprint([9; 32])).expect("a folder"))
}

fn scratch() -> (PinFile, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    (file(&folder), folder)
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

fn topic(number: u32, counter: u64) -> (TopicName, TopicPin) {
    let place = Place { offset: Offset(counter + 2), counter: Counter(counter), hash: [5; 32] };
    let pin = TopicPin {
        id: TopicId([3; 32]),
        owner: ALICE,
        owner_name: name("alice"),
        since: Wall(7),
        former: vec![TopicId([9; 32])],
        number,
        head: RecordHash([number as u8; 32]),
        log: Some(Incarnation(u64::MAX)),
        next: Offset(counter + 3),
        unbroken: Offset(2),
        is_complete: true,
        places: BTreeMap::from([((ALICE, PublisherId([4; 16])), place)]),
    };
    (TopicName::parse("a/\"ü\"").expect("a good name"), pin)
}

fn pins(number: u32, counter: u64) -> Pins {
    let mut pins = Pins::default();
    pins.pin_peer(&name("alice"), ALICE, Wall(5));
    pins.topics.extend([topic(number, counter)]);
    pins
}

#[test]
fn what_is_kept_comes_back() {
    let (file, folder) = scratch();
    assert_eq!(file.read().expect("no file is a first sight"), Pins::default());
    let mut all = pins(3, 4);
    all.replace_peer(&name("alice"), BOB, Wall(6)).expect("known");
    file.keep(&all).expect("written");
    assert_eq!(self::file(&folder).read().expect("readable"), all);
    let path = file.state.path(PIN_FILE);
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn two_programs_of_one_identity_both_keep_what_they_learn() {
    let (one, folder) = scratch();
    let other = file(&folder);
    let (mut ours, mut theirs) = (pins(3, 4), pins(2, 9));
    ours.pin_peer(&name("bob"), BOB, Wall(8));
    theirs.pin_peer(&name("bob"), ALICE, Wall(8));
    theirs.pin_peer(&name("carol"), BOB, Wall(8));
    one.keep(&ours).expect("written");
    other.keep(&theirs).expect("written");
    let kept = one.read().expect("readable");
    let pin = &kept.topics[&topic(0, 0).0];
    assert_eq!((pin.number, pin.head, pin.next), (3, RecordHash([3; 32]), Offset(12)));
    assert_eq!(pin.places.values().map(|place| place.counter.0).collect::<Vec<_>>(), [9]);
    assert_eq!(kept.peers[&name("bob")].fingerprint, BOB, "whoever was first");
    assert!(kept.peers.contains_key(&name("carol")));
    // What a person wants forgotten goes, and what others then learn comes.
    let mut forgetful = one.read().expect("readable");
    assert!(forgetful.forget_topic(&topic(0, 0).0));
    one.keep(&forgetful).expect("written");
    assert!(one.read().expect("readable").topics.is_empty());
    other.keep(&theirs).expect("written");
    assert_eq!(one.read().expect("readable").topics.len(), 1);
}

#[test]
fn a_damaged_file_is_named_and_never_overwritten() {
    let (mut file, _folder) = scratch();
    file.keep(&pins(3, 4)).expect("written");
    let path = file.state.path(PIN_FILE);
    let good = fs::read_to_string(&path).expect("text");
    let damages = [
        good.replace("\"number\": 3", "\"number\": -3"),
        good.replace(&ALICE.to_string(), "rubbish"),
        good.replace(" 6 4 ", " 6 "),
        good.replace("\"next\"", "\"nixt\""),
        good[..good.len() / 2].to_owned(),
        String::new(),
    ];
    for damaged in damages {
        assert_ne!(damaged, good);
        fs::write(&path, &damaged).expect("written");
        let error = file.read().expect_err("damaged").to_string();
        assert!(error.contains("pins.json") && error.contains("line") && error.contains("mv "), "{error}");
        assert!(file.keep(&pins(4, 5)).is_err());
        assert_eq!(fs::read_to_string(&path).expect("text"), damaged, "as it was");
    }
    assert!(!file.try_to_keep(&pins(4, 5)) && file.is_given_up);
    fs::write(&path, &good).expect("written");
    assert!(!file.try_to_keep(&pins(4, 5)), "said once, and not tried again");
}

#[test]
fn a_newer_version_is_left_alone() {
    let (file, _folder) = scratch();
    let path = file.state.path(PIN_FILE);
    let newer = "{\"version\": 2, \"more\": []}";
    fs::write(&path, newer).expect("written");
    let error = file.read().expect_err("not for us").to_string();
    assert!(error.contains("version 2") && error.contains("newer sealmq"), "{error}");
    assert!(file.keep(&pins(1, 1)).is_err());
    assert_eq!(fs::read_to_string(&path).expect("text"), newer);
}

#[test]
fn who_was_seen_before_there_was_this_file_is_known() {
    let (file, _folder) = scratch();
    let seen = file.state.path(SEEN_FILE);
    fs::write(&seen, format!("{ALICE} alice\n{ALICE} bob\n{BOB} bob\n")).expect("written");
    let pins = file.read().expect("readable");
    assert_eq!(pins.peers[&name("alice")].fingerprint, ALICE);
    assert_eq!(pins.peers[&name("bob")].fingerprint, BOB, "the later line");
    file.keep(&Pins::default()).expect("written");
    assert!(!seen.exists(), "it is in the new file now");
    let again = file.read().expect("readable");
    assert_eq!(again.peers[&name("bob")].fingerprint, BOB);
    assert!(again.peers[&name("bob")].former.contains(&ALICE) && again.peers.len() == 2);

    let (file, _folder) = scratch();
    fs::write(file.state.path(SEEN_FILE), format!("{ALICE} alice\nrubbish\n")).expect("written");
    let error = file.read().expect_err("damaged").to_string();
    assert!(error.contains("seen, line 2"), "{error}");
}

#[test]
fn without_a_folder_it_goes_on() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let no_folder = folder.path().join("file");
    fs::write(&no_folder, "").expect("written");
    let around = Surroundings { state: Some(no_folder), ..Surroundings::default() };
    let mut file = PinFile::new(State::open(&around, ALICE).expect("not worth an error"));
    assert_eq!(file.read().expect("nothing"), Pins::default());
    assert!(!file.try_to_keep(&pins(1, 1)));
}
