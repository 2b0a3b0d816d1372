//! The targets: each a function that must come back from any bytes without a panic, and that
//! asserts what else holds whatever comes. `cargo fuzz` compiles this folder too.

mod broker;
mod certificates;
mod chain;
mod client;
mod feed;
mod frames;
mod handshake;
mod records;
mod stage;
mod text;

/// Something that reads what others write.
pub struct Target {
    pub name: &'static str,
    /// Targets of a group run one after the other, groups side by side.
    pub group: &'static str,
    pub run: fn(&[u8]),
    /// Valid values, to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations in an ordinary test run: the number is what takes about a second.
    pub runs: u64,
}

pub const ALL: &[Target] = &[
    target("client_frames", "bytes", frames::client, frames::client_seeds, 4000),
    target("broker_frames", "bytes", frames::broker, frames::broker_seeds, 4000),
    target("sealed_body", "bytes", frames::sealed_body, frames::sealed_body_seeds, 4000),
    target("handshake_messages", "bytes", handshake::messages, handshake::message_seeds, 4000),
    target("names", "bytes", text::names, text::name_seeds, 4000),
    target("settings", "bytes", text::settings, text::setting_seeds, 600),
    target("shell_line", "bytes", text::shell_line, text::shell_line_seeds, 600),
    target("certificate", "certificates", certificates::certificate, certificates::seeds, 600),
    target("signed_certificate", "certificates", certificates::signed, certificates::signed_seeds, 150),
    target("crl", "certificates", certificates::crl, certificates::crl_seeds, 600),
    target("request", "certificates", certificates::request, certificates::request_seeds, 600),
    target("broker_handshake", "sessions", handshake::broker, handshake::broker_seeds, 300),
    target("client_handshake", "sessions", handshake::client, handshake::client_seeds, 150),
    target("records", "sessions", records::run, records::seeds, 600),
    target("chain_record", "sessions", chain::record, chain::record_seeds, 600),
    target("signed_chain_record", "sessions", chain::signed, chain::signed_seeds, 150),
    target("broker_operations", "operations", broker::run, broker::seeds, 60),
    target("client_operations", "operations", client::run, client::seeds, 60),
];

const fn target(
    name: &'static str,
    group: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    runs: u64,
) -> Target {
    Target { name, group, run, seeds, runs }
}
