//! Who imports whom, and who may name what: the map in `docs/ARCHITECTURE.md`, held by a test.
//!
//! Reads the sources as text, without tests, comments and what stands in quotes. A new room
//! needs a row in [`MAY_IMPORT`]; an exception needs one in [`MAY_NAME`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it may import. What is not said is not allowed.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("crypto", &["base", "wire"]),
    ("store", &["base"]),
    ("session", &["base", "wire", "crypto"]),
    ("chain", &["base", "wire", "crypto"]),
    ("broker", &["base", "wire", "crypto", "store", "session", "chain"]),
    ("client", &["base", "wire", "crypto", "session", "chain"]),
    ("net", &["base", "wire", "crypto", "store", "session", "chain", "broker", "client"]),
    ("sim", &["base", "wire", "crypto", "store", "session", "chain", "broker", "client"]),
    ("cli", &["base", "wire", "crypto", "store", "session", "chain", "broker", "client", "net"]),
    // The two programs: parse, run, exit code.
    ("bin", &["cli"]),
];

/// The command processor is synchronous, and knows neither connections nor how they are kept secret.
const PROCESSOR_MAY_IMPORT: &[&str] = &[
    "base::",
    "wire::",
    "store::",
    "chain::",
    "crypto::cert::",
    "crypto::digest::",
    "crypto::key::",
    "session::budget::",
];

/// Words that only some may say: each a path from `src` on, or the beginning of one.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("mio", &["net/", "cli/verbs/publish.rs", "cli/shell/input.rs"]),
    ("TcpStream", &["net/"]),
    ("TcpListener", &["net/"]),
    ("UdpSocket", &["net/"]),
    // The cores take time as an argument; a person's patience is the terminal's own.
    ("Instant", &["net/", "cli/shell/input.rs", "cli/ca/office.rs"]),
    ("SystemTime", &["net/", "cli/system.rs"]),
    ("getrandom", &["net/", "cli/system.rs"]),
    ("std::env", &["net/", "cli/", "bin/"]),
    // The disk engine's folder, and its thread; SQLite itself opens the files in it.
    ("std::fs", &["net/", "cli/", "store/disk/folder.rs"]),
    ("std::thread", &["net/", "cli/", "store/disk/mod.rs"]),
    ("rusqlite", &["store/disk/"]),
    // Traps of the crate are kept in one file.
    ("fernet::Fernet", &["client/body.rs"]),
    // Topic keys, and the ways to one.
    ("BodyKey", &["client/"]),
    ("EpochKey", &["client/"]),
    ("wrap_label", &["client/", "chain/"]),
    ("BODY_LABEL", &["client/", "chain/"]),
    ("COMMITMENT_LABEL", &["client/", "chain/"]),
    ("PREVIOUS_EPOCH_LABEL", &["client/", "chain/"]),
    ("envelope::open", &["client/", "session/"]),
    // A panic of ours says which invariant did not hold.
    (".unwrap()", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
];

/// A long file; longer ones are named, for somebody to split.
const LINES_LONG: usize = 500;

struct Source {
    /// From `src` on, with `/`.
    path: String,
    text: String,
    /// What is compiled into the programs: no tests, no comments, nothing in quotes.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: code(text) }
    }

    fn room(&self) -> &str {
        self.path.split_once('/').map_or("", |(room, _)| room)
    }

    /// The paths of other rooms that it names, without `crate::`.
    fn imports(&self) -> Vec<&str> {
        let own = if self.room() == "bin" { "sealmq::" } else { "crate::" };
        let outside = self.code.match_indices(own).filter(|(at, _)| !continues_word(&self.code, *at));
        let path = |(at, _): (usize, &str)| {
            let rest = &self.code[at + own.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
            &rest[..end.unwrap_or(rest.len())]
        };
        outside.map(path).filter(|path| path.split("::").next() != Some(self.room())).collect()
    }

    /// Whether `super` after `super` leads out of its room.
    fn climbs_out(&self) -> bool {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let depth = stem.strip_suffix("/mod").unwrap_or(stem).split('/').count();
        self.code.contains(&"super::".repeat(depth))
    }
}

/// Everything that is compiled into the library and the programs.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be read") {
            let path: PathBuf = entry.expect("src can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("file names are plain");
            let for_tests = matches!(name, "tests" | "tests.rs" | "testing" | "testing.rs" | "contract.rs");
            if for_tests || name == "contract" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let inside = path.strip_prefix(&root).expect("it was found there");
                let inside = inside.to_str().expect("file names are plain").replace('\\', "/");
                found.push(Source::new(&inside, &fs::read_to_string(&path).expect("sources are text")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "the sources are not where they should be");
    found
}

/// The code alone. Relies on rustfmt: an item ends where a line closes at its own indentation.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        if bare.starts_with("#[cfg(test)]") {
            skip_item(&mut lines, line.len() - bare.len());
        } else if !bare.starts_with("//") {
            out.push_str(&without_quotes(line));
            out.push('\n');
        }
    }
    out
}

fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, indent: usize) {
    for line in lines {
        let own = line.len() - line.trim_start().len() == indent;
        let ends = line.ends_with(';') || line.ends_with('}') || line.ends_with(',');
        if own && ends && !line.trim_start().starts_with('#') {
            return;
        }
    }
}

/// A line without what stands in double quotes, and without the comment at its end.
fn without_quotes(line: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => _ = chars.next(),
            // A quote as a character: '"'.
            '"' if !quoted && out.ends_with('\'') && chars.peek() == Some(&'\'') => out.push(c),
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            c if !quoted => out.push(c),
            _ => {}
        }
    }
    out
}

fn continues_word(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether `code` says `word`, not only a longer one.
fn names(code: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let longer_before = |at: usize| word.starts_with(in_word) && continues_word(code, at);
    let longer_behind = |at: usize| word.ends_with(in_word) && code[at + word.len()..].starts_with(in_word);
    code.match_indices(word).any(|(at, _)| !longer_before(at) && !longer_behind(at))
}

fn import_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room()) else {
        return vec![format!("{}: the room has no row in MAY_IMPORT", source.path)];
    };
    for import in source.imports() {
        let room = import.split("::").next().unwrap_or_default();
        if !allowed.contains(&room) {
            faults.push(format!("{}: {} may not import {import:?}", source.path, source.room()));
        }
        let processor = source.path.starts_with("broker/processor/");
        if processor && !PROCESSOR_MAY_IMPORT.iter().any(|p| format!("{import}::").starts_with(p)) {
            faults.push(format!("{}: the processor may not import {import:?}", source.path));
        }
    }
    if source.climbs_out() {
        faults.push(format!("{}: leaves its room by super; say crate::", source.path));
    }
    faults
}

fn naming_faults(source: &Source) -> Vec<String> {
    let forbidden = MAY_NAME.iter().filter(|(_, places)| !places.iter().any(|p| source.path.starts_with(p)));
    let said = forbidden.filter(|(word, _)| names(&source.code, word));
    said.map(|(word, _)| format!("{}: may not name {word}", source.path)).collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rooms_import_only_what_lies_below() {
    let sources = sources();
    let rooms: BTreeSet<&str> = sources.iter().map(Source::room).collect();
    // The map is no wish list: but for the simulator, which only tests have, each row is a room.
    for (room, _) in MAY_IMPORT {
        assert!(rooms.contains(room) || *room == "sim", "there is no room {room}");
    }
    let faults: Vec<String> = sources.iter().filter(|s| s.path != "lib.rs").flat_map(import_faults).collect();
    assert_none(&faults);
}

#[test]
fn clocks_sockets_randomness_and_topic_keys_are_named_in_their_rooms_alone() {
    let sources = sources();
    let faults: Vec<String> = sources.iter().flat_map(naming_faults).collect();
    assert_none(&faults);
    // An exception that nobody needs any more is to go.
    for (word, places) in MAY_NAME.iter().filter(|(word, _)| *word != "UdpSocket") {
        for place in places.iter().filter(|place| place.ends_with(".rs")) {
            let needed = sources.iter().any(|s| s.path == *place && names(&s.code, word));
            assert!(needed, "{place} does not name {word}: strike it from MAY_NAME");
        }
    }
}

#[test]
fn no_code_is_unsafe() {
    let lib = sources().into_iter().find(|s| s.path == "lib.rs").expect("the library has a root");
    assert!(lib.code.contains("#![forbid(unsafe_code)]"));
    let faults: Vec<String> =
        sources().iter().filter(|s| names(&s.code, "unsafe")).map(|s| s.path.clone()).collect();
    assert_none(&faults);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mute = |s: &&Source| s.room() != "bin" && !s.text.starts_with("//! ");
    let faults: Vec<String> =
        sources().iter().filter(mute).map(|s| format!("{}: has no //! at its head", s.path)).collect();
    assert_none(&faults);
    for long in sources().iter().filter(|s| s.text.lines().count() > LINES_LONG) {
        println!("{} has {} lines: is it still one subject?", long.path, long.text.lines().count());
    }
}

/// The scanner itself: a rule that sees nothing would hold for ever.
#[test]
fn breaches_are_seen() {
    let faults = |path: &str, text: &str| {
        let source = Source::new(path, text);
        import_faults(&source).len() + naming_faults(&source).len()
    };
    for (path, text) in [
        ("wire/x.rs", "use crate::crypto::sign;\n"),
        ("wire/x.rs", "fn f() -> crate::store::Ticket {\n"),
        ("session/x.rs", "use crate::{chain, store};\n"),
        ("session/x.rs", "use super::super::chain::Chain;\n"),
        ("session/mod.rs", "use super::chain::Chain;\n"),
        ("broker/processor/x.rs", "use crate::session::Sealer;\n"),
        ("broker/processor/x.rs", "use crate::crypto::fernet::SealingKey;\n"),
        ("broker/x.rs", "use std::time::Instant;\n"),
        ("client/x.rs", "let t = std::time::SystemTime::now();\n"),
        ("client/x.rs", "use fernet::Fernet;\n"),
        ("crypto/fernet.rs", "let c = fernet::Fernet::new(k);\n"),
        ("broker/x.rs", "let key = EpochKey::random();\n"),
        ("cli/x.rs", "let x = y.unwrap();\n"),
        ("bin/x.rs", "use sealmq::net::Clock;\n"),
        ("attic/x.rs", "use crate::base::Wall;\n"),
        // Behind a test, a comment with a quote, and a quote as a character.
        ("base/x.rs", "#[cfg(test)]\nmod tests {\n    use a::B;\n}\nuse std::net::TcpStream;\n"),
        ("base/x.rs", "fn f() {\n    let a = 1; // it's \"x\n    let b = crate::wire::X;\n}\n"),
        ("base/x.rs", "let a = ['\"', 'b']; use crate::wire::X;\n"),
    ] {
        assert!(faults(path, text) > 0, "{path}: {text}");
    }
    for (path, text) in [
        ("session/x.rs", "use super::record::Sealer;\nuse crate::wire::Reader;\n"),
        ("session/a/x.rs", "use super::super::record::Sealer;\n"),
        ("broker/processor/x.rs", "use crate::session::budget::RsaBudget;\nuse crate::chain;\n"),
        ("wire/x.rs", "// crate::crypto knows.\n/// [`crate::net`]\nlet text = \"crate::net\";\n"),
        ("wire/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::crypto::X;\n}\n"),
        (
            "wire/x.rs",
            "    #[cfg(test)]\n    pub fn at(\n        x: u8,\n    ) {\n        y.unwrap();\n    }\n",
        ),
        ("wire/x.rs", "struct Instantaneous;\nlet minstant = 1;\n"),
    ] {
        assert_eq!(faults(path, text), 0, "{path}: {text}");
    }
}
