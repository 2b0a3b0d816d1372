//! The client core against a broker that says what the test tells it to.

mod amend;
mod author;
mod create;
mod deliver;
mod keep;
mod peer;
mod pins;
mod publish;
mod renewal;
mod requests;
mod rig;
mod rude;
mod senders;
mod session;
mod subscribe;
mod topic;
mod vectors;
