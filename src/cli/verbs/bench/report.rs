//! What was measured, as text for people, as one JSON object, or as two lines of CSV.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::host::{self, Cpu};
use crate::cli::args::Form;
use crate::cli::error::CliError;
use crate::cli::output::{Output, note};

/// Times in microseconds, to three digits.
pub struct Times(Histogram<u64>);

/// Lines for people, and the same as named figures in their order.
#[derive(Default)]
pub struct Report {
    lines: Vec<String>,
    figures: Vec<(String, Value)>,
    /// What makes the figures say less than they seem to.
    warnings: Vec<String>,
    was_stopped: bool,
}

/// CPU time of the broker and of this process, between two points.
pub struct CpuTimes {
    broker: Result<u32, &'static str>,
    broker_before: Option<Cpu>,
    own_before: Option<Cpu>,
}

impl Times {
    pub fn new() -> Times {
        Times(Histogram::new_with_bounds(1, TIME_MAX_US, 3).expect("the bounds are sound"))
    }

    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The percentiles and the longest, in microseconds.
    fn figures(&self) -> Vec<u64> {
        let quantiles = QUANTILES.iter().map(|(_, q)| self.0.value_at_quantile(*q));
        quantiles.chain([self.0.max()]).collect()
    }
}

impl CpuTimes {
    /// Begins; `port` is where our connections lead to.
    pub fn begin(port: u16) -> CpuTimes {
        let broker = host::broker(port);
        let broker_before = broker.ok().and_then(host::cpu);
        CpuTimes { broker, broker_before, own_before: host::cpu(std::process::id()) }
    }

    /// What was used since; `done` are units of work and how many there were of each, the last that there were
    /// any of being what people are shown.
    pub fn end(self, report: &mut Report, elapsed: Duration, done: &[(&str, u64)]) {
        let since = |before: Option<Cpu>, pid| Some(host::cpu(pid)?.since(before?));
        let share = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        let used = self.broker.ok().and_then(|pid| since(self.broker_before, pid)).map(|cpu| cpu.used);
        let mut shown = None;
        for (unit, count) in done {
            let each_us = used.filter(|_| *count > 0).map(|used| used.as_secs_f64() * 1e6 / *count as f64);
            report.figure(&format!("broker_cpu_us_per_{unit}"), json!(each_us.map(round)));
            shown = each_us.map(|each_us| (each_us, *unit)).or(shown);
        }
        report.figure("broker_cpu_share", json!(used.map(|used| round(share(used)))));
        report.line(
            "broker CPU",
            match (used, shown) {
                (Some(used), Some((each_us, unit))) => {
                    format!("{} per {unit}, {} of a core", show_us(each_us), show_share(share(used)))
                }
                _ => format!("cannot be seen: {}", self.broker.err().unwrap_or("the system does not say")),
            },
        );
        let own = since(self.own_before, std::process::id());
        report.own(own.map(|own| (share(own.used), share(own.waited))));
    }
}

impl Report {
    pub fn line(&mut self, name: &str, text: impl std::fmt::Display) {
        self.lines.push(format!("{name:<12}{text}"));
    }

    pub fn figure(&mut self, name: &str, value: Value) {
        self.figures.push((name.to_owned(), value));
    }

    /// Ctrl-C has ended it: what is shown is of a part.
    pub fn stopped(&mut self, was_stopped: bool) {
        self.was_stopped = was_stopped;
        self.figure("stopped", json!(was_stopped));
    }

    /// Messages a second: what was asked for, if anything was, and what came of it.
    pub fn rate(&mut self, asked: Option<f64>, reached: Option<f64>) {
        self.figure("rate_reached_per_s", json!(reached.map(round)));
        let (Some(asked), Some(reached)) = (asked, reached) else { return };
        let (shown, shown_asked) = (show_rate(reached), show_rate(asked));
        self.line("rate", format!("asked for {shown_asked}, published {shown}"));
        if reached < asked * RATE_REACHED_MIN {
            self.warnings.push(format!(
                "the rate was not reached: asked for {shown_asked}, got {shown}. A message waits until its publisher's \
                 window has room, and its times count from when it was due: they are those of a queue that grows"
            ));
        }
    }

    /// What this process used and waited for, as shares of a core.
    fn own(&mut self, shares: Option<(f64, f64)>) {
        self.figure("own_cpu_share", json!(shares.map(|(used, _)| round(used))));
        self.figure("own_cpu_is_bottleneck", json!(shares.map(|(used, _)| used > OWN_SHARE_MAX)));
        self.figure("own_wait_share", json!(shares.map(|(_, waited)| round(waited))));
        let Some((used, waited)) = shares else { return };
        let (shown, shown_wait) = (show_share(used), show_share(waited));
        self.line(
            "own CPU",
            format!("{shown} of a core for all clients of this run; {shown_wait} waiting for one"),
        );
        if used > OWN_SHARE_MAX {
            self.warnings.push(format!(
                "this program itself was busy ({shown} of a core): rates and times are its own as much as the \
                 broker's. The broker's CPU time for each holds all the same; several `sealmq bench` at once load it \
                 more"
            ));
        }
        if waited > WAIT_SHARE_MAX {
            self.warnings.push(format!(
                "this host was busy with other things: the clients of this run waited for a processor {shown_wait} of \
                 the time. Rates and times are the host's; the broker's CPU time for each says more"
            ));
        }
    }

    /// Percentiles of each, as rows of one table; none where nothing was measured.
    pub fn times(&mut self, all: &[(&str, &Times)]) {
        let row = |cells: Vec<String>| cells.iter().map(|cell| format!("{cell:>11}")).collect::<String>();
        let heads = QUANTILES.iter().map(|(name, _)| *name).chain(["max"]);
        let shown: Vec<_> = all.iter().filter(|(_, times)| !times.is_empty()).collect();
        if !shown.is_empty() {
            self.line("", row(heads.map(str::to_owned).collect()));
        }
        for (name, times) in shown {
            self.line(name, row(times.figures().iter().map(|us| show_us(*us as f64)).collect()));
        }
        for (name, times) in all {
            let heads = QUANTILES.iter().map(|(name, _)| name.replace('.', "_")).chain(["max".to_owned()]);
            for (head, us) in heads.zip(times.figures()) {
                self.figure(&format!("{name}_{head}_us"), json!((!times.is_empty()).then_some(us)));
            }
            let mean = (!times.is_empty()).then(|| round(times.0.mean()));
            self.figure(&format!("{name}_mean_us"), json!(mean));
        }
    }

    pub fn print(&self, form: Form) -> Result<(), CliError> {
        let mut output = Output::new();
        if form.json {
            // In the order of the CSV: a map would sort the names.
            let figures = self.figures.iter().map(|(name, value)| format!("{}:{value}", json!(name)));
            output.line(&format!("{{{}}}", figures.collect::<Vec<_>>().join(",")))?;
        } else if form.csv {
            let join = |cells: Vec<String>| cells.join(",");
            output.line(&join(self.figures.iter().map(|(name, _)| name.clone()).collect()))?;
            output.line(&join(self.figures.iter().map(|(_, value)| cell(value)).collect()))?;
        } else {
            for line in &self.lines {
                output.line(line)?;
            }
        }
        output.flush()?;
        self.warnings.iter().for_each(|warning| note(warning));
        if self.was_stopped {
            return Err(CliError::other("stopped before its end; the figures are of what was done by then"));
        }
        Ok(())
    }
}

/// Our texts hold neither commas nor quotes; what is not known is an empty cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// To three digits behind the point.
pub fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A second's worth for people: `1191/s`, `2.5/s`, `0.125/s`.
pub fn show_rate(per_second: f64) -> String {
    let steps = if per_second >= 100.0 {
        1.0
    } else if per_second >= 1.0 {
        10.0
    } else {
        1000.0
    };
    format!("{}/s", (per_second * steps).round() / steps)
}

/// Microseconds for people: `0.53 us`, `157 us`, `1.32 ms`, `2.1 s`.
fn show_us(us: f64) -> String {
    match us {
        us if us < 100.0 => format!("{us:.2} us"),
        us if us < 1e3 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// `0.4 %`, `37 %`.
fn show_share(share: f64) -> String {
    if share < 0.0995 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

const QUANTILES: &[(&str, f64)] = &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// An hour: nothing is waited for as long.
const TIME_MAX_US: u64 = 3_600_000_000;
/// Above this the figures are as much ours as the broker's.
const OWN_SHARE_MAX: f64 = 0.8;
/// What a moment's delay of the last message may take off the rate of a short run.
const RATE_REACHED_MIN: f64 = 0.98;
/// Above this they are those of whatever else runs here. The broker of a run on this host is some of it.
const WAIT_SHARE_MAX: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_units_that_fit() {
        let shown: Vec<String> = [0.53, 157.0, 1320.0, 2.1e6].into_iter().map(show_us).collect();
        assert_eq!(shown, ["0.53 us", "157 us", "1.32 ms", "2.10 s"]);
        assert_eq!([0.004, 0.0994, 0.37, 1.5].map(show_share), ["0.4 %", "9.9 %", "37 %", "150 %"]);
    }

    #[test]
    fn rates_are_shown_to_what_can_be_told_apart() {
        let shown: Vec<String> = [1190.7, 99.96, 2.5, 30.0, 0.125, 0.0].into_iter().map(show_rate).collect();
        assert_eq!(shown, ["1191/s", "100/s", "2.5/s", "30/s", "0.125/s", "0/s"]);
    }

    #[test]
    fn a_rate_that_was_not_reached_is_said() {
        for (asked, reached, line, warned) in [
            (None, None, false, false),
            (Some(1000.0), Some(999.9), true, false),
            (Some(1000.0), Some(700.0), true, true),
        ] {
            let mut report = Report::default();
            report.rate(asked, reached);
            assert_eq!(
                (report.lines.len(), report.warnings.len()),
                (line.into(), warned.into()),
                "{asked:?}"
            );
            assert_eq!(report.figures, [("rate_reached_per_s".to_owned(), json!(reached))]);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::new();
        (1..=1000).for_each(|us| times.record(Duration::from_micros(us)));
        times.record(Duration::from_secs(86_400));
        let mut report = Report::default();
        report.times(&[("delivery", &times), ("answer", &Times::new())]);
        let figure =
            |name: &str| report.figures.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        assert_eq!(figure("delivery_p50_us"), Some(json!(501)));
        assert_eq!(figure("delivery_p99_us"), Some(json!(991)));
        assert!(figure("delivery_max_us").is_some_and(|max| max.as_u64() >= Some(TIME_MAX_US)));
        assert_eq!(figure("answer_p50_us"), Some(Value::Null), "a column is there for nothing, too");
        assert_eq!(report.lines.len(), 2, "{:?}", report.lines);
        assert!(report.lines[0].ends_with("max") && report.lines[0].len() == report.lines[1].len());
    }

    #[test]
    fn nothing_measured_is_an_empty_cell() {
        assert_eq!([&json!(null), &json!("disk"), &json!(1.5)].map(cell), ["", "disk", "1.5"]);
    }
}
