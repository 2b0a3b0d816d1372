//! What a run leaves behind: a line of JSON for each broker, workload and round, and what it ran on.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::broker::{Kind, Program};
use crate::work::Metrics;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub round: u32,
    pub workload: String,
    pub broker: Kind,
    /// Empty if it failed.
    #[serde(default)]
    pub metrics: Metrics,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What each of the two parts ran on: they may be run apart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machines {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Machine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Machine>,
}

/// The machine and the programs of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    /// Of the CPU's features those that matter here.
    pub features: Vec<String>,
    pub memory_mib: u64,
    pub kernel: String,
    /// Of the minute before the run: above some tenths, others were at work too.
    pub load_before: f64,
    pub versions: BTreeMap<Kind, String>,
    pub rounds: u32,
    pub quick: bool,
    pub mqtt_qos: u8,
}

const FEATURES: [&str; 7] = ["aes", "vaes", "pclmulqdq", "vpclmulqdq", "sha_ni", "avx2", "avx512f"];

impl Machines {
    /// What is noted in a folder of results; nothing where there is nothing.
    pub fn read(out: &Path) -> Result<Machines> {
        let path = out.join("machine.json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| path.display().to_string()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Machines::default()),
            Err(e) => Err(e).with_context(|| path.display().to_string()),
        }
    }

    /// Notes one part, and leaves the other; makes the folder if need be.
    pub fn update(out: &Path, change: impl FnOnce(&mut Machines)) -> Result<()> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        let mut machines = Machines::read(out)?;
        change(&mut machines);
        Ok(fs::write(out.join("machine.json"), serde_json::to_string_pretty(&machines)? + "\n")?)
    }
}

impl Machine {
    pub fn describe(programs: &[Program], rounds: u32, quick: bool, mqtt_qos: u8) -> Machine {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
        };
        let flags = field("flags");
        let has = |feature: &&&str| flags.split(' ').any(|flag| flag == **feature);
        let memory = read("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse().ok());
        Machine {
            date: said("date", "-u", "+%Y-%m-%d %H:%M UTC"),
            cpu: field("model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            features: FEATURES.iter().filter(has).map(|feature| (*feature).to_owned()).collect(),
            memory_mib: memory.unwrap_or(0) / 1024,
            kernel: said("uname", "-s", "-r"),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
            versions: programs.iter().map(|program| (program.kind, program.version.clone())).collect(),
            rounds,
            quick,
            mqtt_qos,
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn said(program: &str, first: &str, second: &str) -> String {
    let output = Command::new(program).args([first, second]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
