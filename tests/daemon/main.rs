//! `sealmqd` from outside, through the binary: its files, its configuration, its signals,
//! and what it does with peers that break every rule.

mod caller;
mod clients;
mod crowd;
mod files;
mod limits;
mod peers;
mod search;
mod secrets;
mod session;
mod signals;
mod storage;
mod support;
