use std::path::Path;

use super::*;
use crate::cli::system;
use crate::crypto::cert::testing::{self, World};
use crate::crypto::cert::{Host, pem};

/// A home folder, with a state folder beside it.
struct Scratch {
    folder: tempfile::TempDir,
    around: Surroundings,
    world: World,
}

impl Scratch {
    /// With these names' keys and certificates; `broker` is a broker's.
    fn new(names: &[&str]) -> Scratch {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let around = Surroundings { state: Some(folder.path().join("state")), ..Surroundings::default() };
        let scratch = Scratch { folder, around, world: testing::world_at(system::now()) };
        fs::create_dir_all(scratch.path("home/keys")).expect("made");
        fs::create_dir_all(scratch.path("home/certs")).expect("made");
        scratch.put("home/certs/ca.crt", &pem::certificate_to_pem(scratch.world.trust.ca_der()));
        names.iter().for_each(|name| scratch.issue(name));
        scratch
    }

    fn issue(&self, name: &str) {
        let role = if name == "broker" { Role::Broker } else { Role::Client };
        let hosts: &[Host] = if name == "broker" { &[Host::Dns("localhost".to_owned())] } else { &[] };
        let certificate = self.world.issue(name, name, role, hosts);
        self.put(&format!("home/certs/{name}.crt"), &pem::certificate_to_pem(certificate.der()));
        keyfiles::write_private_key(&self.path(&format!("home/keys/{name}.key")), &testing::key(name))
            .expect("written");
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn put(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).expect("written");
    }

    fn base(&self) -> Base {
        Base::find(Some(&self.path("home")), self.around.clone()).expect("a home")
    }

    fn me(&self, flags: &Identity) -> Result<Me, CliError> {
        self.base().me(flags, self.world.now())
    }

    fn refusal(&self, flags: &Identity) -> CliError {
        self.me(flags).err().expect("refused")
    }
}

fn as_name(name: &str) -> Identity {
    Identity { as_name: Some(testing::name(name)), ..Identity::default() }
}

#[test]
fn the_only_client_is_who_one_is() {
    let scratch = Scratch::new(&["alice", "broker"]);
    let me = scratch.me(&Identity::default()).expect("one client");
    assert_eq!(me.certificate.name().as_str(), "alice");
    fs::remove_file(scratch.path("home/keys/alice.key")).expect("removed");
    let error = scratch.refusal(&Identity::default());
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("sealmq ca issue"), "{error}");
}

#[test]
fn several_clients_are_listed() {
    let mut scratch = Scratch::new(&["bob", "alice", "broker"]);
    let error = scratch.refusal(&Identity::default());
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("alice, bob"), "{error}");
    scratch.around.sealmq_as = Some("bob".to_owned());
    assert_eq!(scratch.me(&Identity::default()).expect("named").certificate.name().as_str(), "bob");
}

#[test]
fn flag_before_environment_before_file() {
    let mut scratch = Scratch::new(&["alice"]);
    let address = |scratch: &Scratch, access: &Access| {
        let a = scratch.base().address(access).expect("an address");
        format!("{}:{}", a.host, a.port)
    };
    assert_eq!(address(&scratch, &Access::default()), "localhost:7883");
    scratch.put("home/sealmq.toml", "host = 'file'\nport = 1\nas = 'carol'\n");
    assert_eq!(address(&scratch, &Access::default()), "file:1");
    scratch.around.sealmq_host = Some("environment".to_owned());
    scratch.around.sealmq_port = Some("2".to_owned());
    assert_eq!(address(&scratch, &Access::default()), "environment:2");
    let flags = Access { host: Some("flag".to_owned()), port: Some(3), ..Access::default() };
    assert_eq!(address(&scratch, &flags), "flag:3");

    let name = |scratch: &Scratch, flags: &Identity| {
        let files = scratch.base().identity_files(flags).expect("files");
        files.certificate.file_stem().expect("a name").to_string_lossy().into_owned()
    };
    assert_eq!(name(&scratch, &Identity::default()), "carol");
    scratch.around.sealmq_as = Some("bob".to_owned());
    assert_eq!(name(&scratch, &Identity::default()), "bob");
    assert_eq!(name(&scratch, &as_name("alice")), "alice");
    scratch.around.sealmq_port = Some("x".to_owned());
    assert!(scratch.base().address(&Access::default()).is_err());
}

#[test]
fn files_can_be_named_one_by_one() {
    let scratch = Scratch::new(&["alice", "bob"]);
    let named = |key: &str, cert: &str| Identity {
        key: Some(scratch.path(key)),
        cert: Some(scratch.path(cert)),
        ..Identity::default()
    };
    let me = scratch.me(&named("home/keys/bob.key", "home/certs/bob.crt")).expect("they belong together");
    assert_eq!(me.certificate.name().as_str(), "bob");
    let error = scratch.refusal(&named("home/keys/alice.key", "home/certs/bob.crt"));
    assert!(error.to_string().contains("alice.key is not the key of"), "{error}");
    let flags = Identity { cafile: Some(scratch.path("absent.crt")), ..as_name("alice") };
    assert!(scratch.refusal(&flags).to_string().contains("absent.crt"));
}

#[test]
fn a_certificate_out_of_force_is_named_with_its_remedy() {
    let scratch = Scratch::new(&["alice", "broker"]);
    let later = scratch.world.now() + std::time::Duration::from_secs(500 * 86_400);
    let error = scratch.base().me(&as_name("alice"), later).err().expect("expired").to_string();
    assert!(error.contains("alice.crt") && error.contains("ca renew"), "{error}");
    let error = scratch.refusal(&as_name("broker")).to_string();
    assert!(error.contains("broker.crt") && error.contains("--as"), "{error}");
    assert!(scratch.refusal(&as_name("nobody")).to_string().contains("nobody.crt"));
}

#[test]
fn a_home_that_was_named_must_be_there() {
    let scratch = Scratch::new(&[]);
    let absent = Base::find(Some(&scratch.path("absent")), scratch.around.clone()).expect_err("absent");
    assert!(absent.to_string().contains("absent is not there"), "{absent}");
}

#[test]
fn an_unknown_setting_is_named() {
    let scratch = Scratch::new(&[]);
    scratch.put("home/sealmq.toml", "hots = 'x'\n");
    let error = Base::find(Some(Path::new(&scratch.path("home"))), scratch.around.clone()).err();
    let error = error.expect("unknown").to_string();
    assert!(error.contains("hots") && error.contains("sealmq.toml"), "{error}");
}
