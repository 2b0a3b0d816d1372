//! Every parser and every state machine, fed with what nobody should send.
//!
//! Each target runs over its seeds (valid values), over the kept inputs in
//! `tests/fuzz/corpus/TARGET/`, and over a fixed number of mutations of both, the same in every
//! run. What breaks a target is written to a file, whose name is printed; put it into the
//! target's folder, and every run tries it from then on.
//!
//! `SEALMQ_FUZZ_RUNS=100` does a hundred times as many mutations, `SEALMQ_FUZZ_SEED` begins
//! elsewhere. `fuzz/README.md` says how to search with coverage.

mod mutate;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mutate::{Dice, mutant};
use targets::{ALL, Target};

/// An input that takes longer has hung its target. Generous, for a machine that is busy.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn bytes() {
    run_group("bytes");
}

#[test]
fn certificates() {
    run_group("certificates");
}

#[test]
fn sessions() {
    run_group("sessions");
}

#[test]
fn operations() {
    run_group("operations");
}

#[test]
fn every_target_is_in_a_group_and_has_kept_inputs() {
    let kept: Vec<String> = fs::read_dir(corpus_folder(""))
        .expect("the corpus is there")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("a plain name"))
        .collect();
    for target in ALL {
        assert!(
            ["bytes", "certificates", "sessions", "operations"].contains(&target.group),
            "{}",
            target.name
        );
        assert!(!inputs_kept(target).is_empty(), "{} has no kept inputs", target.name);
    }
    for folder in kept {
        assert!(ALL.iter().any(|target| target.name == folder), "{folder} is no target");
    }
}

/// `cargo fuzz` builds one program for each.
#[test]
fn every_target_is_known_to_cargo_fuzz() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the fuzzing package has a manifest");
    for target in ALL {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), ALL.len());
}

/// Writes the seeds of each target as kept inputs: after a format has changed.
#[test]
#[ignore = "writes into the source tree"]
fn write_corpus() {
    for target in ALL {
        fs::create_dir_all(corpus_folder(target.name)).expect("a folder is made");
        for (i, seed) in (target.seeds)().iter().enumerate() {
            fs::write(corpus_folder(target.name).join(format!("seed-{i:02}")), seed)
                .expect("it can be written");
        }
    }
}

fn run_group(group: &str) {
    for target in ALL.iter().filter(|target| target.group == group) {
        run(target);
    }
}

fn run(target: &Target) {
    let (current, done) = (Arc::new(Mutex::new(Vec::new())), channel::<()>());
    let watched = current.clone();
    let (done, watch) = done;
    let name = target.name;
    std::thread::spawn(move || watch_for_a_hang(name, &watch, &watched));
    let attempt = |data: &[u8], how: &str| {
        *current.lock().expect("nobody panics while holding it") = data.to_vec();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(data))) {
            let file = save(name, data);
            eprintln!("{name} failed on {how}; the input is in {}", file.display());
            std::panic::resume_unwind(panic);
        }
        done.send(()).expect("the watch ends last");
    };
    let mut corpus = (target.seeds)();
    corpus.extend(inputs_kept(target));
    for (i, input) in corpus.iter().enumerate() {
        attempt(input, &format!("input {i}, unchanged"));
    }
    let (first, times) = (number("SEALMQ_FUZZ_SEED", 0), number("SEALMQ_FUZZ_RUNS", 1));
    for seed in first..first + target.runs * times {
        attempt(&mutant(&corpus, &mut Dice::new(seed)), &format!("mutation SEALMQ_FUZZ_SEED={seed}"));
    }
}

/// A thread cannot be stopped from outside, so that a hang ends the whole program.
fn watch_for_a_hang(name: &str, done: &Receiver<()>, current: &Mutex<Vec<u8>>) {
    loop {
        match done.recv_timeout(HANG) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let file = save(name, &current.lock().expect("nobody panics while holding it"));
                eprintln!("{name} hangs; the input is in {}", file.display());
                std::process::abort();
            }
        }
    }
}

fn inputs_kept(target: &Target) -> Vec<Vec<u8>> {
    let Ok(folder) = fs::read_dir(corpus_folder(target.name)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("it can be read")).collect()
}

fn corpus_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

fn save(target: &str, data: &[u8]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
    fs::write(&file, data).expect("cargo made the folder");
    file
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => default,
    }
}
