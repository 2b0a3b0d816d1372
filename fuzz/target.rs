//! One target under libFuzzer: which one is in the program's name. The targets themselves are those
//! of `tests/fuzz`.
#![no_main]

#[allow(dead_code)]
#[path = "../tests/fuzz/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let name = env!("CARGO_BIN_NAME");
    let target = targets::ALL.iter().find(|target| target.name == name).expect("Cargo.toml names a target");
    (target.run)(data);
});
