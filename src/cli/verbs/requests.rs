//! `requests`: who asks to join the topics that one may change.

use serde::Serialize;

use crate::cli::access::Base;
use crate::cli::args::To;
use crate::cli::args::members::Requests;
use crate::cli::error::CliError;
use crate::cli::link::Link;
use crate::cli::membership::request_lines;
use crate::cli::output::{Output, note};
use crate::client::{Answer, Request};

pub fn run(base: &Base, to: &To<Requests>) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let ticket = link.core().requests(to.what.filter.clone());
    let requests = link.ask(ticket, |answer| match answer {
        Answer::Requests(requests) => Some(requests),
        _ => None,
    })?;
    let mut output = Output::new();
    lines(&to.what, &requests).iter().try_for_each(|line| output.line(line))?;
    output.flush()?;
    if output.is_terminal && !to.what.json {
        note(match requests.is_empty() {
            true => "nobody asks to join",
            false => "`sealmq grant TOPIC NAME` lets somebody in, `sealmq deny TOPIC NAME` does not",
        });
    }
    link.leave();
    Ok(())
}

pub fn lines(what: &Requests, requests: &[Request]) -> Vec<String> {
    match what.json {
        true => requests.iter().map(json_line).collect(),
        false => request_lines(requests),
    }
}

fn json_line(request: &Request) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        topic: &'a str,
        name: &'a str,
        fingerprint: String,
        time: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<&'a str>,
    }
    let line = Line {
        topic: request.topic.as_str(),
        name: request.name.as_str(),
        fingerprint: request.fingerprint.to_string(),
        time: crate::cli::units::show_time(request.asked),
        fault: request.fault.as_deref(),
    };
    serde_json::to_string(&line).expect("strings always serialise")
}
