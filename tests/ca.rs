//! The CA verbs through the real binary: what they write, say and refuse.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sealmq::cli::keyfiles;
use sealmq::cli::system::now;
use sealmq::crypto::cert::{CertFault, Role, Trust};

/// A scratch home folder and the program run on it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a scratch folder") }
    }

    /// A place with a CA. A small key is enough for tests, and soon made.
    fn with_ca() -> Place {
        let place = Place::new();
        place.good("ca init --bits 2048");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealmq"));
        command.args(arguments.split(' ')).env("SEALMQ_HOME", self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs it, expects success, returns what it said.
    fn good(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs it, expects this exit code, returns what it complained of.
    fn bad(&self, arguments: &str, code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn trust(&self) -> Trust {
        let mut trust = keyfiles::read_ca(&self.path("certs/ca.crt")).expect("the CA");
        let list = keyfiles::read_crl(&self.path("certs/ca.crl")).expect("readable").expect("there");
        trust.update_crl(&list, now()).expect("a good list");
        trust
    }

    fn certificate(&self, name: &str) -> Vec<u8> {
        keyfiles::read_certificate(&self.path(&format!("certs/{name}.crt"))).expect("a certificate")
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn from_nothing_to_members() {
    let place = Place::with_ca();
    assert_eq!(mode(&place.path("keys/ca.key")), 0o600);
    assert_eq!(mode(&place.path("keys")), 0o700);
    let said = place.good("ca issue --broker hub --san hub.lan,192.168.1.7,localhost");
    assert!(said.contains("hub (broker)") && said.contains("hub.lan, 192.168.1.7, localhost"), "{said}");
    let said = place.good("ca issue alice");
    assert!(said.contains("alice (client)") && said.contains("wrote"), "{said}");
    assert_eq!(mode(&place.path("keys/alice.key")), 0o600);

    let trust = place.trust();
    assert_eq!(trust.crl_number(), Some(1));
    let hub = trust.verify(&place.certificate("hub"), Role::Broker, now()).expect("a broker");
    assert!(hub.matches_host("192.168.1.7") && !hub.matches_host("127.0.0.1"));
    let alice = trust.verify(&place.certificate("alice"), Role::Client, now()).expect("a client");
    let key = keyfiles::read_private_key(&place.path("keys/alice.key")).expect("her key");
    assert_eq!(alice.fingerprint(), key.public().fingerprint());
    assert!(said.contains(&alice.fingerprint().to_string()), "{said}");

    let list = place.good("ca list");
    assert!(list.lines().count() == 3 && list.contains(&alice.fingerprint().short()), "{list}");
    assert!(place.good("ca list --expiring 30d").contains("nothing"));
    assert!(place.good("ca list --expiring 57w").contains("alice"));
}

#[test]
fn a_broker_has_the_names_of_its_host_by_default() {
    let place = Place::with_ca();
    place.good("ca issue --broker hub");
    let hub = place.trust().verify(&place.certificate("hub"), Role::Broker, now()).expect("a broker");
    for host in ["localhost", "127.0.0.1", "::1"] {
        assert!(hub.matches_host(host), "{host}");
    }
}

#[test]
fn a_key_that_never_leaves_its_host() {
    let (ca, client) = (Place::with_ca(), Place::new());
    let made = client.good("keygen bob");
    assert!(!client.path("certs/bob.crt").exists());
    let request = client.path("bob.csr");
    let said = ca.good(&format!("ca sign {}", request.display()));
    let fingerprint = said.lines().find(|line| line.contains("fingerprint")).expect("it is said");
    assert!(made.contains(fingerprint), "{made}{said}");
    assert!(!ca.path("keys/bob.key").exists());
    assert!(ca.trust().verify(&ca.certificate("bob"), Role::Client, now()).is_ok());
    // The same key again is asked for again, and not overwritten.
    let again = client.good("keygen bob");
    assert!(again.contains("kept") && again.contains(fingerprint), "{again}");

    // Name and role are the CA's to say.
    let other = Place::with_ca();
    other.good(&format!("ca sign {} --name hub --broker --san hub.lan", request.display()));
    assert!(other.trust().verify(&other.certificate("hub"), Role::Broker, now()).is_ok());

    std::fs::write(&request, "no request").expect("written");
    assert!(ca.bad(&format!("ca sign {}", request.display()), 4).contains("bob.csr"));
}

#[test]
fn renewing_keeps_the_key() {
    let place = Place::with_ca();
    place.good("ca issue --broker hub --san hub.lan");
    let before = place.trust().verify(&place.certificate("hub"), Role::Broker, now()).expect("good");
    place.good("ca renew hub");
    let after = place.trust().verify(&place.certificate("hub"), Role::Broker, now()).expect("good");
    assert_eq!(before.fingerprint(), after.fingerprint());
    assert_ne!(before.serial(), after.serial());
    assert!(after.matches_host("hub.lan"));
    place.good("ca renew hub --san other.lan");
    let moved = place.trust().verify(&place.certificate("hub"), Role::Broker, now()).expect("good");
    assert!(moved.matches_host("other.lan") && !moved.matches_host("hub.lan"));
    assert_eq!(place.good("ca list").lines().count(), 2);
    assert_eq!(place.good("ca list --all").lines().count(), 4);

    // A lost certificate is made anew from the key.
    std::fs::remove_file(place.path("certs/hub.crt")).expect("it was there");
    place.good("ca renew hub");
    assert!(place.trust().verify(&place.certificate("hub"), Role::Broker, now()).is_ok());
}

#[test]
fn revoking_names_every_certificate_of_the_key() {
    let place = Place::with_ca();
    place.good("ca issue alice");
    let old = place.certificate("alice");
    place.good("ca renew alice");
    let new = place.certificate("alice");
    let said = place.good("ca revoke alice");
    assert!(said.contains("2 certificates") && said.contains("list number 2"), "{said}");
    let trust = place.trust();
    for der in [&old, &new] {
        assert_eq!(trust.verify(der, Role::Client, now()).err(), Some(CertFault::Revoked));
    }
    // Again: the list is written again, under a higher number.
    let said = place.good("ca revoke alice");
    assert!(said.contains("revoked before") && said.contains("list number 3"), "{said}");
    assert!(place.good("ca crl").contains("list number 4"));
    assert_eq!(place.trust().crl_number(), Some(4));
    assert!(place.good("ca list").contains("revoked on"));

    // The key is never certified again; a new one is.
    assert!(place.bad("ca issue alice", 4).contains("mv "));
    assert!(place.bad("ca renew alice", 1).contains("was revoked"));
    std::fs::rename(place.path("keys/alice.key"), place.path("keys/alice.key.revoked")).expect("moved");
    place.good("ca issue alice");
    assert!(place.trust().verify(&place.certificate("alice"), Role::Client, now()).is_ok());
}

#[test]
fn nothing_is_overwritten_silently() {
    let place = Place::with_ca();
    let ca = std::fs::read(place.path("keys/ca.key")).expect("the CA's key");
    assert!(place.bad("ca init", 1).contains("already"));
    assert_eq!(std::fs::read(place.path("keys/ca.key")).expect("still there"), ca);
    place.good("ca issue alice");
    let key = std::fs::read(place.path("keys/alice.key")).expect("her key");
    assert!(place.bad("ca issue alice", 1).contains("ca renew alice"));
    assert_eq!(std::fs::read(place.path("keys/alice.key")).expect("still there"), key);
    // Another key under the same name would be a second identity.
    let elsewhere = Place::new();
    elsewhere.good("keygen alice");
    let said = place.bad(&format!("ca sign {}", elsewhere.path("alice.csr").display()), 1);
    assert!(said.contains("another key") && said.contains("ca revoke alice"), "{said}");
}

#[test]
fn wrong_use_is_said_with_its_remedy() {
    let place = Place::new();
    assert!(place.bad("ca issue alice", 1).contains("ca init"));
    place.good("ca init --bits 2048");
    for (arguments, code, expected) in [
        ("ca issue ca", 2, "is taken"),
        ("ca issue a/b", 2, "not allowed"),
        ("ca issue x --days 399", 2, "1..=398"),
        ("ca issue x --bits 1024", 2, "2048 to 4096"),
        ("ca issue x --san a.lan", 2, "--broker"),
        ("ca issue --broker x --san a_b", 2, "neither a host name nor an address"),
        ("ca sign nowhere.csr", 1, "no such file"),
        ("ca renew nobody", 1, "nothing was ever issued"),
        ("ca revoke nobody", 1, "ca list"),
        ("ca init -h", 2, "--help"),
        ("ca list --expiring 30", 2, "30d"),
    ] {
        let said = place.bad(arguments, code);
        assert!(said.contains(expected), "{arguments}: {said}");
    }
    let wide = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path("keys/ca.key"), wide).expect("our own file");
    let said = place.bad("ca issue alice", 4);
    assert!(said.contains(&format!("chmod 600 {}", place.path("keys/ca.key").display())), "{said}");
    assert!(!place.path("keys/alice.key").exists());
}

#[test]
fn commands_at_once_lose_nothing() {
    let place = Place::with_ca();
    let names: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    let spawn = |name: &String| place.command(&format!("ca issue {name}")).stdout(Stdio::null()).spawn();
    let running: Vec<_> = names.iter().map(|name| spawn(name).expect("it runs")).collect();
    for mut child in running {
        assert!(child.wait().expect("it ends").success());
    }
    let list = place.good("ca list");
    assert_eq!(list.lines().count(), 1 + names.len(), "{list}");
}

#[test]
fn what_a_crash_leaves_behind_is_mended_by_the_next_command() {
    let place = Place::new();
    // A key without a certificate: of the CA, then of a client.
    place.good("keygen helper");
    std::fs::rename(place.path("keys/helper.key"), place.path("keys/ca.key")).expect("moved");
    let key = std::fs::read(place.path("keys/ca.key")).expect("a key");
    place.good("ca init");
    assert_eq!(std::fs::read(place.path("keys/ca.key")).expect("a key"), key);
    place.good("keygen alice");
    assert!(place.good("ca issue alice").contains("kept"));
    // Issued, but the certificate was not written.
    std::fs::remove_file(place.path("certs/alice.crt")).expect("it was there");
    place.good("ca issue alice");
    // A list that was lost.
    std::fs::remove_file(place.path("certs/ca.crl")).expect("it was there");
    assert!(place.good("ca issue bob").contains("ca.crl"));
    assert_eq!(place.trust().crl_number(), Some(2));
}

#[test]
fn home_is_here_or_in_the_configuration_folder() {
    let place = Place::with_ca();
    let run = |config: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealmq"));
        command.args(["ca", "list"]).env_remove("SEALMQ_HOME").env("XDG_CONFIG_HOME", config);
        command.current_dir(config).output().expect("the program runs")
    };
    // The current folder has keys/ and certs/.
    assert!(run(place.folder.path()).status.success());
    // It has not, but its sealmq/ has, which is the configuration folder's.
    let config = tempfile::tempdir().expect("a scratch folder");
    assert_eq!(run(config.path()).status.code(), Some(1));
    std::os::unix::fs::symlink(place.folder.path(), config.path().join("sealmq")).expect("a link");
    assert!(run(config.path()).status.success());
}
