//! Holds our certificate profile against a file of C2SP/x509-limbo, by hand:
//!
//!     cargo run --example limbo -- limbo.json
//!
//! Prints for each case what was expected, what came out, and every rule that it breaks.
//! A wrong accept is a bug, and the exit code 1; a stricter refusal has its reason beside it.
//!
//! The file's certificates are made for the web and valid for centuries, so that two rules of
//! ours would hide all the others: a second count leaves these two aside.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use sealmq::base::Wall;
use sealmq::crypto::cert::{CertFault, Role, Trust, pem};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    validation_kind: String,
    trusted_certs: Vec<String>,
    peer_certificate: String,
    validation_time: Option<String>,
    expected_result: String,
    expected_peer_name: Option<PeerName>,
    #[serde(default)]
    crls: Vec<String>,
}

#[derive(Deserialize)]
struct PeerName {
    value: String,
}

/// A rule that was broken.
struct Reason {
    text: String,
    /// One of the two that nearly every certificate of the web breaks: at most 398 days for a
    /// leaf, and basic constraints written out.
    is_ours_alone: bool,
}

#[derive(Default)]
struct Tally {
    verdicts: BTreeMap<&'static str, u32>,
    stricter: BTreeMap<String, u32>,
}

const WRONG: &str = "ACCEPTED WRONGLY";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: limbo FILE.json")?;
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let (mut whole, mut without) = (Tally::default(), Tally::default());
    for case in &cases {
        let expected = case.expected_result == "SUCCESS";
        let reasons = case.judge()?;
        let all: Vec<&Reason> = reasons.iter().collect();
        let others: Vec<&Reason> = reasons.iter().filter(|r| !r.is_ours_alone).collect();
        println!("{}\n  expected {}", case.id, case.expected_result);
        println!(
            "  {}; without our two rules: {}",
            whole.count(expected, &all),
            without.count(expected, &others)
        );
        for reason in all {
            println!("  - {}", reason.text);
        }
    }
    println!("\n{} cases, by the whole profile", cases.len());
    whole.print();
    println!("\nwithout the rules of 398 days and of written out basic constraints");
    without.print();
    Ok(ExitCode::from(u8::from(whole.verdicts.contains_key(WRONG))))
}

impl Tally {
    fn count(&mut self, expected: bool, reasons: &[&Reason]) -> &'static str {
        let verdict = match (expected, reasons.is_empty()) {
            (true, true) => "accepted, rightly",
            (false, false) => "refused, rightly",
            (true, false) => "refused, more strictly than expected",
            (false, true) => WRONG,
        };
        *self.verdicts.entry(verdict).or_default() += 1;
        if expected {
            for reason in reasons {
                *self.stricter.entry(reason.text.clone()).or_default() += 1;
            }
        }
        verdict
    }

    fn print(&self) {
        for (verdict, count) in &self.verdicts {
            println!("{count:5} {verdict}");
        }
        println!("  rules behind the stricter refusals (a case may break several)");
        for (why, count) in &self.stricter {
            println!("{count:5} {why}");
        }
    }
}

impl Case {
    /// Nothing if one of the trusted CAs leads to it; else the reasons of the CA that has the
    /// fewest against it.
    fn judge(&self) -> Result<Vec<Reason>, Box<dyn Error>> {
        let role = if self.validation_kind == "SERVER" { Role::Broker } else { Role::Client };
        let now = match &self.validation_time {
            Some(time) => time.parse()?,
            None => jiff::Timestamp::now(),
        };
        let now = Wall::from_secs(u64::try_from(now.as_second())?);
        let each = self.trusted_certs.iter().map(|ca| self.judge_under(ca, role, now));
        Ok(each.min_by_key(Vec::len).ok_or("a case without a CA")?)
    }

    fn judge_under(&self, ca: &str, role: Role, now: Wall) -> Vec<Reason> {
        let mut trust = match Trust::from_pem(ca) {
            Ok(trust) => trust,
            Err(fault) => return vec![Reason::new(format!("(CA) {fault}"))],
        };
        for crl in &self.crls {
            let taken = pem::crl_from_pem(crl).and_then(|der| trust.update_crl(&der, now));
            if let Err(fault) = taken {
                return vec![Reason::new(fault.to_string())];
            }
        }
        let leaf = match pem::certificate_from_pem(&self.peer_certificate) {
            Ok(leaf) => leaf,
            Err(fault) => return vec![Reason::new(fault.to_string())],
        };
        let host = self.expected_peer_name.as_ref().map(|name| name.value.as_str());
        let host = host.filter(|_| role == Role::Broker);
        let faults = trust.faults(&leaf, role, host, now);
        // Both ways to judge must agree.
        let verified = trust.verify(&leaf, role, now);
        let accepted = verified.is_ok_and(|c| host.is_none_or(|host| c.matches_host(host)));
        assert_eq!(accepted, faults.is_empty(), "{}", self.id);
        faults.iter().map(Reason::from).collect()
    }
}

impl Reason {
    fn new(text: String) -> Reason {
        Reason { text, is_ours_alone: false }
    }
}

impl From<&CertFault> for Reason {
    fn from(fault: &CertFault) -> Reason {
        let is_ours_alone =
            matches!(fault, CertFault::LifetimeTooLong { .. } | CertFault::NoBasicConstraints);
        Reason { text: fault.to_string(), is_ours_alone }
    }
}
