//! What was measured, as text for people, as one JSON object, or as two lines of CSV.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::host;
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
    warning: Option<String>,
}

/// CPU time of the broker and of this process, between two points.
pub struct CpuTimes {
    broker: Result<u32, &'static str>,
    broker_before: Option<Duration>,
    own_before: Option<Duration>,
}

impl Times {
    pub fn new() -> Times {
        Times(Histogram::new_with_bounds(1, TIME_MAX_US, 3).expect("the bounds are sound"))
    }

    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    fn line(&self) -> String {
        let at = |name: &str, us: u64| format!("{name} {}", show_us(us as f64));
        let quantiles = QUANTILES.iter().map(|(name, q)| at(name, self.0.value_at_quantile(*q)));
        quantiles.chain([at("max", self.0.max())]).collect::<Vec<_>>().join("  ")
    }
}

impl CpuTimes {
    /// Begins; `port` is where our connections lead to.
    pub fn begin(port: u16) -> CpuTimes {
        let broker = host::broker(port);
        let broker_before = broker.ok().and_then(host::cpu);
        CpuTimes { broker, broker_before, own_before: host::cpu(std::process::id()) }
    }

    /// What was used since, `units` of work having been done.
    pub fn end(self, report: &mut Report, elapsed: Duration, units: u64, unit: &str) {
        let since = |before: Option<Duration>, pid| Some(host::cpu(pid)?.saturating_sub(before?));
        let share = |used: Duration| used.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        let used = self.broker.ok().and_then(|pid| since(self.broker_before, pid));
        let each_us = used.map(|used| used.as_secs_f64() * 1e6 / units.max(1) as f64);
        report.figure(&format!("broker_cpu_us_per_{unit}"), json!(each_us.map(round)));
        report.figure("broker_cpu_share", json!(used.map(|used| round(share(used)))));
        report.line(
            "broker CPU",
            match (used, each_us) {
                (Some(used), Some(each)) => {
                    let (each, percent) = (show_us(each), share(used) * 100.0);
                    format!("{each} per {unit}, {percent:.0} % of a core")
                }
                _ => {
                    let why = self.broker.err().unwrap_or("the system does not say");
                    format!("cannot be seen: {why}")
                }
            },
        );
        let own = since(self.own_before, std::process::id()).map(share);
        report.figure("own_cpu_share", json!(own.map(round)));
        if let Some(own) = own {
            report.line("own CPU", format!("{:.0} % of a core", own * 100.0));
            if own > OWN_SHARE_MAX {
                report.warning = Some(format!(
                    "this program used {:.0} % of a core: the broker could do more. Its own CPU per {unit} holds all \
                     the same; several `sealmq bench` at once load it more",
                    own * 100.0
                ));
            }
        }
        report.figure("own_cpu_is_bottleneck", json!(own.map(|own| own > OWN_SHARE_MAX)));
    }
}

impl Report {
    pub fn line(&mut self, name: &str, text: impl std::fmt::Display) {
        self.lines.push(format!("{name:<12}{text}"));
    }

    pub fn figure(&mut self, name: &str, value: Value) {
        self.figures.push((name.to_owned(), value));
    }

    /// Percentiles under `name`, if there are any.
    pub fn times(&mut self, name: &str, of: &str, times: &Times) {
        if times.0.is_empty() {
            return;
        }
        self.line(name, format!("{}  {of}", times.line()));
        for (quantile, q) in QUANTILES {
            self.figure(
                &format!("{name}_{}_us", quantile.replace('.', "_")),
                json!(times.0.value_at_quantile(*q)),
            );
        }
        self.figure(&format!("{name}_max_us"), json!(times.0.max()));
        self.figure(&format!("{name}_mean_us"), json!(round(times.0.mean())));
    }

    pub fn print(&self, form: Form) -> Result<(), CliError> {
        let mut output = Output::new();
        if form.json {
            let object: Map<String, Value> = self.figures.iter().cloned().collect();
            output.line(&Value::Object(object).to_string())?;
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
        if let Some(warning) = &self.warning {
            note(warning);
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

/// Microseconds for people: `0.53 us`, `157 us`, `1.32 ms`, `2.1 s`.
fn show_us(us: f64) -> String {
    match us {
        us if us < 100.0 => format!("{us:.2} us"),
        us if us < 1e3 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

const QUANTILES: &[(&str, f64)] = &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// An hour: nothing is waited for as long.
const TIME_MAX_US: u64 = 3_600_000_000;
/// Above this the figures are as much ours as the broker's.
const OWN_SHARE_MAX: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_units_that_fit() {
        let shown: Vec<String> = [0.53, 157.0, 1320.0, 2.1e6].into_iter().map(show_us).collect();
        assert_eq!(shown, ["0.53 us", "157 us", "1.32 ms", "2.10 s"]);
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::new();
        (1..=1000).for_each(|us| times.record(Duration::from_micros(us)));
        times.record(Duration::from_secs(86_400));
        let mut report = Report::default();
        report.times("delivery", "", &times);
        let figure =
            |name: &str| report.figures.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        assert_eq!(figure("delivery_p50_us"), Some(json!(501)));
        assert_eq!(figure("delivery_p99_us"), Some(json!(991)));
        assert!(figure("delivery_max_us").is_some_and(|max| max.as_u64() >= Some(TIME_MAX_US)));
    }

    #[test]
    fn nothing_measured_is_an_empty_cell() {
        assert_eq!([&json!(null), &json!("disk"), &json!(1.5)].map(cell), ["", "disk", "1.5"]);
    }
}
