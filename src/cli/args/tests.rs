use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(std::iter::once("sealmq").chain(line.split_whitespace()))
}

fn sub(line: &str) -> Subscribe {
    match parse(line).unwrap_or_else(|e| panic!("{line}: {e}")).verb {
        Verb::Sub(sub) => *sub,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_tables_hold_together() {
    Args::command().debug_assert();
}

#[test]
fn every_verb_has_examples() {
    for verb in Args::command().get_subcommands() {
        let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let count = examples.lines().filter(|l| l.starts_with("  ") && l.contains("sealmq ")).count();
        assert!((1..=6).contains(&count), "{}: {count} examples", verb.get_name());
    }
}

#[test]
fn every_example_parses() {
    for text in [
        examples::SEALMQ,
        examples::CREATE,
        examples::PUB,
        examples::SUB,
        examples::EXPORT,
        examples::TOPICS,
        examples::MEMBERS,
        examples::REQUESTS,
        examples::GRANT,
        examples::DENY,
        examples::REVOKE,
        examples::ROTATE,
        examples::POLICY,
        examples::RETENTION,
        examples::DELETE,
        examples::FORGET,
        examples::RESUME,
        examples::STEWARD,
        examples::PING,
        examples::FINGERPRINT,
        examples::TRUST,
        examples::BENCH,
        examples::STATS,
        examples::SHELL,
        examples::COMPLETIONS,
        examples::CA,
    ] {
        for line in text.lines().filter(|l| l.starts_with("  ")) {
            let from = line.find("sealmq ").expect("an example runs sealmq");
            let command = line[from..].split(" | ").next().expect("the part before a pipe");
            let command = command.split(" && ").next().expect("the part before &&");
            let command = command.split(" > ").next().expect("the part before a redirection");
            // What stands behind three spaces is the comment.
            let command = command.split("   ").next().expect("the part before the comment");
            let words = crate::cli::shell::words::split(command).expect("balanced quotes");
            Args::try_parse_from(&words).unwrap_or_else(|e| panic!("{command}: {e}"));
        }
    }
}

#[test]
fn h_is_the_host() {
    let sub = sub("sub -t a -h broker.lan -p 1");
    assert_eq!(sub.access.host.as_deref(), Some("broker.lan"));
    assert_eq!(sub.access.port, Some(1));
    let help = parse("sub --help").expect_err("help is an early exit");
    assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
}

#[test]
fn a_publish_has_exactly_one_source() {
    for good in ["-m x", "-m -5", "-f -", "-l", "-s", "-n", "--spool d --flush", "--spool d -l --strict"] {
        assert!(parse(&format!("pub -t a {good}")).is_ok(), "{good}");
    }
    for bad in ["", "-m x -l", "-n -s", "-f a -m b", "--flush", "--spool d", "-l --strict"] {
        assert!(parse(&format!("pub -t a {bad}")).is_err(), "{bad}");
    }
    for bad in ["pub -m x", "pub -t a+b -m x", "pub -t $a -m x"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn mosquittos_flags_are_taken_or_explained() {
    let both = "-i me -u user -P secret -V 5 -k 60 -q 1 --tls-version tlsv1.3";
    let sub = sub(&format!("sub -t a -t b -C 2 -W 3 -v -N -d --quiet {both} --cafile ca --cert c --key k"));
    let notes = sub.foreign.0;
    assert_eq!(notes.ignored.len(), 7);
    assert!(
        !notes.ignored.iter().any(|n| n.contains("secret") || n.contains("user ")),
        "{:?}",
        notes.ignored
    );
    assert_eq!(notes.verdict(), Ok([].as_slice()));
    let Verb::Pub(publish) = parse("pub -t a -m x -r -q 2").expect("taken").verb else { panic!("pub") };
    assert_eq!(publish.foreign.0.verdict().map(<[String]>::len), Ok(2));
    let Verb::Pub(publish) = parse("pub -t a -m x --insecure --repeat 3").expect("taken").verb else {
        panic!("pub")
    };
    let refused = publish.foreign.0.verdict().expect_err("refused");
    assert!(refused.contains("--insecure") && refused.contains("--repeat"), "{refused}");
}

#[test]
fn a_filter_may_stand_with_or_without_its_flag() {
    for (line, count) in [("sub a", 1), ("sub a -t b", 2), ("sub -t a -t b", 2), ("sub a b -e", 2)] {
        let sub = sub(line);
        assert_eq!(sub.positional.len() + sub.topics.len(), count, "{line}");
    }
    assert!(parse("sub -e").is_err());
}

#[test]
fn members_are_changed_by_topic_and_name() {
    for good in [
        "grant a bob carol --admin",
        "deny a bob --because no",
        "revoke a bob carol",
        "revoke --everywhere bob carol",
        "rotate a",
        "policy a closed",
        "retention a",
        "delete a --yes",
        "forget a",
        "requests",
        "requests home/# -J",
        "create a --recovery one.crt --recovery two.crt --only-me",
        "steward -W 3",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in
        ["grant a", "grant a/# bob", "deny a", "revoke", "revoke a", "revoke a --everywhere bob", "policy a"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (bad, word) in [
        ("sub -t a#", "misplaced wildcard"),
        ("sub -t a --from yesterday", "earliest"),
        ("sub -t a -C 0", "1.."),
        ("sub -t a -W 0", "seconds above 0"),
        ("sub -t a -F %q", "%q"),
        ("create a --retain-age 10", "unit"),
        ("create a --to alice --only-me", "cannot be used with"),
        ("create a --to al/ice", "not allowed"),
        ("pub -t a -m x --key k", "--cert"),
        ("ping -p 99999", "99999"),
    ] {
        let error = parse(bad).expect_err(bad).to_string();
        assert!(error.contains(word), "{bad}: {error}");
    }
}
