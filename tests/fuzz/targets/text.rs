//! What people type: names, filters, times and sizes, configuration, lines of the shell.

use sealmq::base::Wall;
use sealmq::base::ids::Fingerprint;
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::cli::daemon::config::{Config, DEFAULT};
use sealmq::cli::shell::{command, words};
use sealmq::cli::units::{self, Place};
use sealmq::crypto::cert::{Host, Serial};

/// A filter and a topic, in two lines.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (filter, topic) = text.split_once('\n').unwrap_or((&text, &text));
    if let Ok(name) = Name::parse(topic) {
        assert_eq!(name.as_str(), topic);
    }
    let (filter, topic) = (TopicFilter::parse(filter), TopicName::parse(topic));
    if let (Ok(filter), Ok(topic)) = (&filter, &topic) {
        let expected = matches(filter.as_str(), topic.as_str());
        assert_eq!(filter.matches(topic), expected, "{filter} {topic}");
        assert_eq!(filter.exact().as_ref() == Some(topic), filter.as_str() == topic.as_str());
    }
    if let Ok(topic) = topic {
        assert!(TopicFilter::from(&topic).matches(&topic), "a topic's own filter");
    }
    if let Some(serial) = Serial::parse_hex(&text) {
        assert_eq!(serial.to_string(), text.to_ascii_lowercase());
    }
    if let Some(fingerprint) = Fingerprint::parse_hex(&text) {
        assert_eq!(Fingerprint::parse_hex(&fingerprint.to_string()), Some(fingerprint));
    }
    let _ = (Host::parse(&text), units::duration(&text), units::seconds(&text));
    if let Ok(n) = units::bytes(&text) {
        let _ = units::show_bytes(n);
    }
    if let Ok(place) = Place::parse(&text) {
        let _ = place.start(Wall(1_800_000_000_000));
    }
}

/// MQTT 3.1.1, 4.7, word by word: slow, and easy to believe.
fn matches(filter: &str, topic: &str) -> bool {
    let (level, filters) = split_level(filter);
    let (name, names) = split_level(topic);
    match (level, filters, names) {
        ("#", _, _) => true,
        (level, None, None) => level == "+" || level == name,
        // "sport/#" also stands for "sport".
        (level, Some("#"), None) => level == "+" || level == name,
        (level, Some(filters), Some(names)) => (level == "+" || level == name) && matches(filters, names),
        _ => false,
    }
}

fn split_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}

pub fn name_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "home/+/t\nhome/kitchen/t",
        "#\nhome",
        "home/#\nhome",
        "+/+\n/",
        "ä/+\nä/ö",
        "00ff",
        "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
        "1h30m",
        "2.5",
        "10MB",
        "since=2026-11-23T08:00:00Z",
        "last=5",
        "192.0.2.1",
        "broker.lan",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// `sealmqd`'s configuration file.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text) {
        Ok(config) => {
            let broker = config.broker();
            assert!(broker.connections_max > 0 && !broker.keepalive.is_zero());
            let caps = config.caps();
            assert!(caps.disk_bytes > 0 && caps.memory_bytes > 0);
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

pub fn setting_seeds() -> Vec<Vec<u8>> {
    let rules = "[create]\n\"home/#\" = [\"alice\"]\n\"#\" = []\n";
    let limits =
        "listen = [\"[::1]:0\", \"127.0.0.1:0\"]\n[limits]\nmessage = \"64KiB\"\nkeepalive = \"30s\"\n";
    [DEFAULT, rules, limits, "[log]\nlevel = \"debug\"\nfile = \"x\"\n"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// A line of the shell, as typed.
pub fn shell_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let quoted = words::quote(&text);
    assert_eq!(words::split(&quoted).as_deref(), Ok(&[text.to_string()][..]), "{quoted}");
    let (start, _) = words::last_word(&text);
    assert!(text.is_char_boundary(start));
    if let Ok(words) = words::split(&text) {
        let again: Vec<String> = words.iter().map(|word| words::quote(word)).collect();
        assert_eq!(words::split(&again.join(" ")), Ok(words));
    }
    let _ = command::parse(&text);
}

pub fn shell_line_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "create home/kitchen --only-me --retain-count 5",
        "subscribe home/# --from last=5",
        "publish home/kitchen 'it is \"warm\"' # a word",
        "publish -m x\\ y home",
        "help publish",
        "topics #",
        "exit",
    ];
    lines.map(|line| line.as_bytes().to_vec()).to_vec()
}
