//! The default configuration and the code agree, and faults are named with their line.

use std::time::Duration;

use super::*;

fn fault(text: &str) -> String {
    Config::parse(text).expect_err(text).to_string()
}

#[test]
fn the_printed_default_is_the_default() {
    assert_eq!(Config::parse(DEFAULT), Ok(Config::default()));
    assert_eq!(Config::parse(""), Ok(Config::default()));
    assert_eq!(Config::default().broker(), BrokerConfig::default());
}

/// A key without a comment in the default file would be one that nobody finds.
#[test]
fn the_printed_default_lists_every_key() {
    fn paths(prefix: &str, table: &toml::Table, out: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                // A time, as serde writes it: a value, no section.
                toml::Value::Table(inner) if !inner.contains_key("secs") => {
                    out.push(format!("{prefix}[{key}]"));
                    paths(&format!("{key}."), inner, out);
                }
                _ => out.push(format!("{prefix}{key}")),
            }
        }
        out.sort();
    }
    let (mut printed, mut known) = (Vec::new(), Vec::new());
    paths("", &toml::from_str(DEFAULT).expect("the default is TOML"), &mut printed);
    paths("", &toml::Table::try_from(Config::default()).expect("it can be written"), &mut known);
    assert_eq!(printed, known);
}

#[test]
fn what_is_written_is_taken() {
    let text = r#"
        listen = ["0.0.0.0:1", "[::]:1"]
        [log]
        level = "debug"
        [limits]
        keepalive = "1m30s"
        tail = "8 MiB"
        connections = 5
        [sessions]
        seal_bodies = true
        [create]
        "home/door" = ["carol"]
        "home/#" = ["alice", "bob"]
        "a/#" = []
    "#;
    let config = Config::parse(text).expect("a good configuration");
    assert_eq!(config.listen, ["0.0.0.0:1", "[::]:1"]);
    assert_eq!(config.log.level.0, log::LevelFilter::Debug);
    let broker = config.broker();
    assert_eq!(broker.keepalive, Duration::from_secs(90));
    assert_eq!(broker.tail_bytes_max, 8 << 20);
    assert_eq!(broker.connections_max, 5);
    assert!(broker.seal_bodies);
    let filters: Vec<&str> = broker.create_rules.iter().map(|(filter, _)| filter.as_str()).collect();
    assert_eq!(filters, ["home/door", "home/#", "a/#"], "the order is as written: the first match decides");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert_eq!(
        fault("\nlisten = []\nlissen = []"),
        r#"line 3: unknown key "lissen"; did you mean "listen"?"#
    );
    assert_eq!(
        fault("[limits]\nkeepalife = \"3s\""),
        r#"line 2: unknown key "keepalife"; did you mean "keepalive"?"#
    );
    assert_eq!(
        fault("keepalive = \"3s\""),
        r#"line 1: unknown key "keepalive"; did you mean "keepalive" in the section [limits]?"#
    );
    assert_eq!(
        fault("[limits]\nhome = \"x\""),
        r#"line 2: unknown key "home"; did you mean "home", before the first section?"#
    );
    assert_eq!(fault("[limit]"), r#"line 1: unknown key "limit"; did you mean "limits"?"#);
    assert!(fault("zzzzzz = 1").ends_with("lists all keys"));
}

#[test]
fn a_bad_value_names_its_line_and_what_was_expected() {
    for (text, expected) in [
        ("[limits]\nkeepalive = 60", r#"line 2: invalid type: integer `60`, expected a time with its unit"#),
        ("[limits]\nkeepalive = \"60\"", "line 2: \"60\": expected a number with a unit"),
        ("[limits]\ntail = \"x\"", "line 2: \"x\": expected"),
        ("[limits]\n\nmessage = \"2 MiB\"", "line 3: message: must be 1 to 1048576, is 2097152"),
        ("[limits]\nkeepalive = \"0s\"", "line 2: keepalive: must be"),
        ("[limits]\nconnections = 0", "line 2: connections: must be 1 to"),
        ("[limits]\nconnections = -1", "line 2: "),
        ("[log]\nlevel = \"loud\"", "line 2: \"loud\": expected error, warn"),
        ("listen = []", "line 1: listen: must be 1 to"),
        ("listen = 7", "line 1: invalid type"),
        ("[create]\n\"a/#/b\" = [\"alice\"]", "[create]: the filter \"a/#/b\""),
        ("[create]\n\"a\" = [\"al ice\"]", "[create]: the name \"al ice\""),
        ("listen = [", "line 1: "),
        ("a = 1\na = 2", "line 2: duplicate key"),
    ] {
        let fault = fault(text);
        assert!(fault.contains(expected), "{text:?} gives {fault:?}");
    }
}
