//! The host that the program runs on: its clock, its randomness, its name.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::{Entropy, Wall};

/// The operating system's random bytes.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("an operating system that has no randomness can run no program of ours");
    }
}

/// The system's clock; 1970 if it stands before that.
pub fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::default() + since
}

/// What the host calls itself, if it says so.
pub fn host_name() -> Option<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| {
        let output = std::process::Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    })?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
