//! CPU time of processes on this host, and which of them our connections lead to, as `/proc` says.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// Time of all threads of a process that live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// On a processor, in user space and in the kernel.
    pub used: Duration,
    /// Ready to run, while all processors ran something else.
    pub waited: Duration,
}

impl Cpu {
    pub fn since(self, before: Cpu) -> Cpu {
        let Cpu { used, waited } = before;
        Cpu { used: self.used.saturating_sub(used), waited: self.waited.saturating_sub(waited) }
    }
}

/// What a process has used so far, if the system says.
pub fn cpu(pid: u32) -> Option<Cpu> {
    let mut sum = Cpu::default();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread that ended meanwhile has no file any more.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let mut fields = text.split_whitespace().map(|field| field.parse().map(Duration::from_nanos));
        sum.used += fields.next()?.ok()?;
        sum.waited += fields.next()?.ok()?;
    }
    // A kernel without these figures counts nothing at all.
    (!sum.used.is_zero()).then_some(sum)
}

/// The process at the other end of our connections to `port`, or why it cannot be seen.
pub fn broker(port: u16) -> Result<u32, &'static str> {
    let own = sockets_of("self").ok_or("this system has no /proc")?;
    let tables: Vec<String> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|name| fs::read_to_string(format!("/proc/net/{name}")).ok())
        .collect();
    let rows: Vec<Row> = tables.iter().flat_map(|table| table.lines().filter_map(Row::parse)).collect();
    let inode = other_end(&rows, &own, port).ok_or("it does not run on this host")?;
    let processes = fs::read_dir("/proc").map_err(|_| "this system has no /proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter()
        .find(|pid| sockets_of(&pid.to_string()).is_some_and(|sockets| sockets.contains(&inode)))
        .ok_or("it is another user's process")
}

/// A connection, as the kernel's tables have it.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: String,
    remote: String,
    inode: u64,
}

impl Row {
    fn parse(line: &str) -> Option<Row> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (plain(fields.get(1)?), plain(fields.get(2)?));
        let is_established = *fields.get(3)? == "01";
        let inode = fields.get(9)?.parse().ok()?;
        is_established.then_some(Row { local, remote, inode })
    }
}

/// An address of IPv4 that is written as one of IPv6 is the same address.
fn plain(address: &str) -> String {
    address.strip_prefix("0000000000000000FFFF0000").unwrap_or(address).to_owned()
}

/// The socket that one of our own to `port` is connected with, if it is on this host.
fn other_end(rows: &[Row], own: &HashSet<u64>, port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    let ours = rows.iter().find(|row| own.contains(&row.inode) && row.remote.ends_with(&port))?;
    let other = rows.iter().find(|row| row.local == ours.remote && row.remote == ours.local)?;
    Some(other.inode)
}

/// The sockets that a process has open, if we may see them.
fn sockets_of(process: &str) -> Option<HashSet<u64>> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
    let inode = |file: fs::DirEntry| {
        let link = fs::read_link(file.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Some(files.filter_map(inode).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_is_found_across_both_tables() {
        let lines = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "   0: 0100007F:1ECB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1",
            "   1: 0100007F:9C40 0100007F:1ECB 01 00000000:00000000 00:00000000 00000000  1000        0 22 1",
            "   0: 0000000000000000FFFF00000100007F:1ECB 0000000000000000FFFF00000100007F:9C40 01 \
             00000000:00000000 00:00000000 00000000  1000        0 33 1",
        ];
        let rows: Vec<Row> = lines.iter().filter_map(|line| Row::parse(line)).collect();
        assert_eq!(rows.len(), 2);
        let own = HashSet::from([22]);
        assert_eq!(other_end(&rows, &own, 0x1ecb), Some(33));
        assert_eq!(other_end(&rows, &own, 0x1ecc), None);
        assert_eq!(other_end(&rows, &HashSet::new(), 0x1ecb), None);
        assert_eq!(other_end(&rows[..1], &own, 0x1ecb), None, "the broker is on another host");
    }

    #[test]
    fn our_own_time_is_counted() {
        assert!(cpu(std::process::id()).is_some_and(|cpu| cpu.used > Duration::ZERO));
        assert_eq!(cpu(u32::MAX), None);
    }
}
