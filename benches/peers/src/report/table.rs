//! The tables, in Markdown.

use std::fmt::Write;

use super::figures::{Figures, Spread};
use crate::broker::Kind;
use crate::plan::{CLIENT_LINES, LINES, Line, Reach, WORKLOADS, Work};
use crate::sample::Machine;

/// What stands below every table, so that nobody compares what is not alike.
const NOTES: &str = "\
CPU time is that of the broker's whole process over the measured messages, divided by deliveries (messages times \
subscribers). Brackets hold the lowest and the highest round. A ratio is taken within each round, to the best peer \
of that round; the median of the ratios counts. A row counts only if every message arrived at every subscriber, \
in order.

What each side guarantees differs, and is part of what is paid for:

- **mosquitto, rumqttd**: MQTT 3.1.1 over mutual TLS 1.3 (AES-128-GCM). Publishes of QoS 1, answered one by one; \
deliveries of QoS {qos}. Messages are held in memory, not kept for who comes later; the broker reads them. \
rumqttd leaves Nagle's algorithm on, so its clients acknowledge at once.
- **NATS**: core NATS over mutual TLS 1.3 (AES-128-GCM). Publishes are not answered; what a slow subscriber does not \
take is dropped with its connection. Nothing is kept. The broker reads the messages.
- **sealmq, memory**: publishes are answered one by one; each message is kept in a log of the topic (10,000 messages or \
64 MiB) and delivered with its offset to whoever reads from where. Messages are signed by their sender and sealed end to \
end, some 210 bytes each; the broker cannot read them. The figures are of what goes over the wire with that, per \
message of the size that the user publishes.
- **sealmq, disk**: the same, answered and delivered once it is on the disk.
";

pub fn write(machine: &Machine, figures: &Figures) -> String {
    let mut out = String::from("# sealmq beside its peers\n\n");
    describe(machine, &mut out);
    let _ = writeln!(out, "\n## What it costs the broker\n");
    summary(figures, &mut out);
    reaches(LINES, figures, &mut out);
    let notes = NOTES.replace("{qos}", &machine.mqtt_qos.to_string());
    let _ = writeln!(out, "\n{notes}\n## What it costs the clients, and on the wire\n");
    plain(CLIENT_LINES, figures, &mut out);
    let _ = writeln!(
        out,
        "\nA sealmq subscriber is here the library's client, which verifies and opens every message; the peers' \
         decrypts TLS and parses, for there is nothing to verify. Bytes are those of TCP's payload, at the clients' \
         sockets.\n\n## Who was busy\n\n\
         Shares of one core. Where the generator is at 100 % and the broker is not, the broker got smaller batches \
         than it might have, and costs more per message than it would.\n"
    );
    shares(figures, &mut out);
    errors(figures, &mut out);
    out
}

/// How many of the goals are reached, and which are not.
fn summary(figures: &Figures, out: &mut String) {
    let judged: Vec<(&Line, bool)> =
        LINES.iter().filter_map(|line| Some((line, figures.is_reached(line)?))).collect();
    let missed: Vec<&str> = judged.iter().filter(|(_, yes)| !yes).map(|(line, _)| line.title).collect();
    if judged.is_empty() {
        return;
    }
    let _ = write!(out, "{} of {} goals are reached", judged.len() - missed.len(), judged.len());
    let _ = match missed.is_empty() {
        true => writeln!(out, ".\n"),
        false => writeln!(out, "; missed: {}.\n", missed.join("; ")),
    };
}

pub fn describe(machine: &Machine, out: &mut String) {
    let Machine { date, cpu, cores, kernel, memory_mib, rounds, .. } = machine;
    let features = machine.features.join(", ");
    let _ = writeln!(
        out,
        "{date}; {cpu}, {cores} cores ({features}), {memory_mib} MiB, {kernel}; medians of {rounds} rounds."
    );
    let _ = writeln!(out, "The load of the minute before was {:.2}.", machine.load_before);
    if machine.quick {
        let _ = writeln!(out, "**A quick run: an eighth of the work, once. No figures to quote.**");
    }
    let _ = writeln!(out);
    for (kind, version) in &machine.versions {
        let _ = writeln!(out, "- {}: {version}", kind.title());
    }
}

fn reaches(lines: &[Line], figures: &Figures, out: &mut String) {
    let brokers = figures.brokers();
    head(&brokers, &["sealmq to the best peer", "goal", "reached"], out);
    for line in lines.iter().filter(|line| is_measured(line, figures)) {
        cells(line, &brokers, figures, out);
        let ratio =
            figures.ratio(line, line.judged).map_or("-".into(), |ratio| format!("{} x", spread(ratio)));
        let reach = match line.reach {
            Reach::TimesBest(times) => format!("<= {times} x"),
            Reach::AtMost(most) => format!("<= {most} {}", line.unit),
            Reach::Nothing => "-".into(),
        };
        let reached = figures.is_reached(line).map_or("-", |yes| if yes { "yes" } else { "**no**" });
        let _ = writeln!(out, " {ratio} | {reach} | {reached} |");
    }
}

fn plain(lines: &[Line], figures: &Figures, out: &mut String) {
    let brokers = figures.brokers();
    head(&brokers, &[], out);
    for line in lines.iter().filter(|line| is_measured(line, figures)) {
        cells(line, &brokers, figures, out);
        let _ = writeln!(out);
    }
}

/// Whether the generator kept up: where it is busier than the broker, the broker saw smaller batches
/// than it might have.
fn shares(figures: &Figures, out: &mut String) {
    let brokers = figures.brokers();
    head(&brokers, &[], out);
    for workload in WORKLOADS.iter().filter(|workload| !matches!(workload.work, Work::Idle { .. })) {
        let share = |metric, kind| figures.spread(workload.id, metric, kind).map(|s| s.median * 100.0);
        let cell = |kind: &Kind| match (share("broker_share", *kind), share("generator_share", *kind)) {
            (Some(broker), Some(generator)) => {
                let kernel = share("broker_kernel_share", *kind).unwrap_or(0.0);
                format!("{broker:.0} % ({kernel:.0} % of it in the kernel), generator {generator:.0} %")
            }
            _ => "-".into(),
        };
        let cells: Vec<String> = brokers.iter().map(cell).collect();
        if cells.iter().any(|cell| cell != "-") {
            let _ = writeln!(out, "| {} | {} |", workload.id, cells.join(" | "));
        }
    }
}

fn errors(figures: &Figures, out: &mut String) {
    let errors = figures.errors();
    if !errors.is_empty() {
        let _ = writeln!(out, "\n## What did not count\n");
    }
    for (workload, kind, error) in errors {
        let _ = writeln!(out, "- {workload}, {}: {error}", kind.title());
    }
}

fn is_measured(line: &Line, figures: &Figures) -> bool {
    figures.brokers().iter().any(|kind| figures.spread(line.workload, line.metric, *kind).is_some())
}

fn head(brokers: &[Kind], more: &[&str], out: &mut String) {
    let titles: Vec<&str> = brokers.iter().map(|kind| kind.title()).chain(more.iter().copied()).collect();
    let _ = writeln!(out, "| work | {} |", titles.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(titles.len()));
}

fn cells(line: &Line, brokers: &[Kind], figures: &Figures, out: &mut String) {
    let _ = write!(out, "| {}, {} |", line.title, line.unit);
    for kind in brokers {
        let cell = figures.spread(line.workload, line.metric, *kind).map_or("-".into(), spread);
        let _ = write!(out, " {cell} |");
    }
}

fn spread(s: Spread) -> String {
    match s.low == s.high {
        true => figure(s.median),
        false => format!("{} ({} to {})", figure(s.median), figure(s.low), figure(s.high)),
    }
}

/// Two or three digits that mean something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
