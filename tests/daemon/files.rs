//! Files, configuration and arguments: what is wrong is named, with what mends it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use sealmq::base::Wall;
use sealmq::crypto::cert::testing::key;
use sealmq::crypto::cert::{Host, Role};

use crate::support::{Home, read};

/// It ended with this code and said all of this.
fn assert_ends(output: &Output, code: i32, expected: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in expected {
        assert!(said.contains(text), "{text:?} is not in {said:?}");
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Both ways to start it come to the same end.
fn assert_refuses(home: &Home, code: i32, expected: &[&str]) {
    assert_ends(&home.output(&["--check"]), code, expected);
    assert_ends(&home.output(&["--listen", "127.0.0.1:0"]), code, expected);
}

#[test]
fn check_says_what_it_found_and_writes_nothing() {
    let home = Home::new();
    fs::write(home.path("certs/junk.crt"), "junk").expect("written");
    let before = home.snapshot();
    let output = home.output(&["--check", "--listen", "localhost:7", "--log-file", "/nowhere/log"]);
    assert_ends(&output, 0, &[]);
    let said = stdout(&output);
    for expected in [
        "broker          broker, fingerprint ",
        "localhost, broker.test, 127.0.0.1, ::1",
        "revocation list number 1",
        "known clients   alice\n",
        "junk.crt",
        "127.0.0.1:7\n",
        "all is well",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    assert!(!said.contains("WARNING"), "{said}");
    assert_eq!(home.snapshot(), before);
}

#[test]
fn what_is_not_there_is_named() {
    let home = Home::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sealmqd"));
    let output = command.args(["--home", "/nowhere/at/all"]).output().expect("it starts");
    assert_ends(&output, 1, &["/nowhere/at/all is not there", "sealmq ca init"]);

    fs::remove_file(home.path("keys/broker.key")).expect("removed");
    assert_refuses(&home, 4, &["keys/broker.key", "sealmq ca issue --broker broker"]);
    fs::remove_file(home.path("certs/broker.crt")).expect("removed");
    assert_refuses(&home, 4, &["certs/broker.crt"]);
    fs::remove_file(home.path("certs/ca.crt")).expect("removed");
    assert_refuses(&home, 4, &["certs/ca.crt", "sealmq ca init"]);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let home = Home::new();
    let path = home.path("keys/broker.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
    assert_refuses(&home, 4, &[&format!("chmod 600 {}", path.display())]);
}

#[test]
fn certificates_at_fault_are_refused() {
    let home = Home::new();
    home.write_key("broker", &key("carol"));
    assert_refuses(&home, 4, &["certs/broker.crt is not the certificate of", "keys/broker.key"]);

    // A client's certificate is no broker's, whatever its file is called.
    let home = Home::new();
    home.write_certificate("broker", home.world.issue("broker", "broker", Role::Client, &[]).der());
    assert_refuses(&home, 4, &["certs/broker.crt"]);

    let old = Home::valid_from(Wall::from_secs(1_600_000_000));
    assert_refuses(&old, 4, &["certs/broker.crt", "expired", "sealmq ca renew broker"]);

    let home = Home::new();
    fs::write(home.path("certs/ca.crl"), "junk").expect("written");
    assert_refuses(&home, 4, &["certs/ca.crl"]);
}

#[test]
fn warnings_do_not_stop_it() {
    let home = Home::new();
    fs::remove_file(home.path("certs/ca.crl")).expect("removed");
    home.write_key("ca", &home.world.ca_key);
    let output = home.output(&["--check"]);
    assert_ends(&output, 0, &[]);
    let said = stdout(&output);
    for expected in
        ["revocation list none", "WARNING         there is no revocation list", "keys/ca.key can be read"]
    {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    let daemon = home.start();
    daemon.expect_log("there is no revocation list", 1);
    daemon.expect_log("keys/ca.key can be read", 1);
}

#[test]
fn the_brokers_name_is_found_or_asked_for() {
    let home = Home::new();
    let host = Host::parse("localhost").expect("a host");
    let second = home.world.issue("second", "carol", Role::Broker, std::slice::from_ref(&host));
    home.write_certificate("second", second.der());
    assert!(stdout(&home.output(&["--check"])).contains("broker          broker,"), "second has no key");

    home.write_key("second", &key("carol"));
    assert!(stdout(&home.output(&["--check"])).contains("broker          broker,"), "the default of two");
    assert!(stdout(&home.output(&["--check", "--name", "second"])).contains("broker          second,"));

    fs::remove_file(home.path("keys/broker.key")).expect("removed");
    assert!(stdout(&home.output(&["--check"])).contains("broker          second,"), "the only one");

    let third = home.world.issue("third", "bob", Role::Broker, &[host]);
    home.write_certificate("third", third.der());
    home.write_key("third", &key("bob"));
    assert_refuses(&home, 1, &["second, third", "--name NAME"]);
}

#[test]
fn the_printed_configuration_is_one() {
    let home = Home::new();
    let printed = home.output(&["--print-default-config"]);
    assert_ends(&printed, 0, &[]);
    let file = home.path("sealmqd.toml");
    fs::write(&file, &printed.stdout).expect("written");
    let output = home.output(&["--check", "-c", file.to_str().expect("a plain path")]);
    assert_ends(&output, 0, &[]);
    assert!(stdout(&output).contains("127.0.0.1:7883"), "{output:?}");
}

#[test]
fn a_configuration_at_fault_names_file_line_and_the_nearest_key() {
    let home = Home::new();
    let file = home.path("sealmqd.toml");
    let path = file.to_str().expect("a plain path");
    fs::write(&file, "listen = [\"127.0.0.1:0\"]\n[limits]\nkeepalife = \"3s\"\n").expect("written");
    for args in [&["-c", path][..], &["-c", path, "--check"]] {
        assert_ends(&home.output(args), 1, &["sealmqd.toml, line 3:", "\"keepalife\"", "\"keepalive\""]);
    }
    let missing = format!("{path}.not");
    assert_ends(&home.output(&["-c", &missing]), 1, &[&missing, "no such file"]);
    assert_ends(&home.output(&["--listen"]), 2, &["--listen"]);
    assert_ends(&home.output(&["--lissen", "x"]), 2, &["--listen"]);
    assert_ends(&home.output(&["--listen", "nonsense", "--check"]), 1, &["nonsense", "HOST:PORT"]);
    assert_ends(&home.output(&["--listen", "nonsense"]), 1, &["nonsense", "HOST:PORT"]);
}

#[test]
fn flag_before_environment_before_file() {
    let (by_flag, by_environment, by_file) = (Home::new(), Home::new(), Home::new());
    let file = by_file.path("sealmqd.toml");
    let home_line =
        format!("home = {:?}\nlisten = [\"127.0.0.1:9\"]\n", by_file.path("").display().to_string());
    fs::write(&file, home_line).expect("written");
    let check = |flag: bool, environment: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sealmqd"));
        command.env_remove("SEALMQ_HOME").arg("--check").arg("-c").arg(&file);
        if environment {
            command.env("SEALMQ_HOME", by_environment.path(""));
        }
        if flag {
            command.arg("--home").arg(by_flag.path("")).args(["--listen", "127.0.0.1:8"]);
        }
        stdout(&command.output().expect("it starts"))
    };
    let shows =
        |said: &str, home: &Home| said.contains(&format!("home            {}", home.path("").display()));
    assert!(shows(&check(false, false), &by_file));
    assert!(shows(&check(false, true), &by_environment));
    assert!(check(false, true).contains("127.0.0.1:9"));
    assert!(shows(&check(true, true), &by_flag));
    assert!(check(true, true).contains("127.0.0.1:8"));
    assert!(!check(true, true).contains("127.0.0.1:9"));
}

#[test]
fn without_a_flag_the_home_is_here_or_in_the_configuration_folder() {
    let home = Home::new();
    let bare = tempfile::tempdir().expect("a scratch folder");
    let check = |folder: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sealmqd"));
        command.env_remove("SEALMQ_HOME").env("XDG_CONFIG_HOME", bare.path());
        command.arg("--check").current_dir(folder).output().expect("it starts")
    };
    assert_ends(&check(&home.path("")), 0, &[]);
    let expected = bare.path().join("sealmq").display().to_string();
    assert_ends(&check(bare.path()), 1, &[&expected, "is not there"]);
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_the_start() {
    let home = Home::new();
    let output = home.output(&["--listen", "127.0.0.1:0", "--log-file", "/nowhere/log"]);
    assert_ends(&output, 1, &["/nowhere/log"]);
    assert_eq!(read(&home.path("data/crl-number")), "", "nothing was begun");
}
