//! A broker that lies, against real clients: what it may try, and what each of them says to it.
//!
//! The broker is the real one; its lies are put into its mouth behind all its honest work.
//! The tests are named as the table in `docs/PROTOCOL.md`, section 10, names what it may try.

mod certificates;
mod deeds;
mod forger;
mod membership;
mod memory;
mod messages;
mod news;
mod publishing;
mod records;
mod senders;
mod town;
