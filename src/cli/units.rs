//! What people type for sizes, durations, times and places in a log, parsed into values.
//!
//! Knows no clock: a time of day that has passed is counted back from the `Wall` it is given.

use std::time::Duration;

use crate::base::ids::Offset;
use crate::base::time::Wall;
use crate::wire::values::Start;

/// Where `sub` begins, as typed; [`Place::start`] gives it a meaning at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Earliest,
    Latest,
    Last(u64),
    Since(Since),
    Offset(u64),
}

/// A time as typed: on the calendar, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    At(Wall),
    Ago(Duration),
}

impl Place {
    /// Parses `earliest`, `latest`, `last=N`, `since=TIME` or `offset=N`.
    pub fn parse(text: &str) -> Result<Place, String> {
        match text.split_once('=') {
            None if text == "earliest" => Ok(Place::Earliest),
            None if text == "latest" => Ok(Place::Latest),
            Some(("last", n)) => whole(n).map(Place::Last),
            Some(("offset", n)) => whole(n).map(Place::Offset),
            Some(("since", time)) => Since::parse(time).map(Place::Since),
            _ => Err("expected earliest, latest, last=N, since=TIME or offset=N".to_owned()),
        }
    }

    /// The same for the protocol, `now` being the time that "ago" counts from.
    pub fn start(self, now: Wall) -> Start {
        match self {
            Place::Earliest => Start::Earliest,
            Place::Latest => Start::Latest,
            Place::Last(count) => Start::Last(count),
            Place::Since(since) => Start::Since(since.at(now)),
            Place::Offset(offset) => Start::Offset(Offset(offset)),
        }
    }
}

/// Where `export` ends, as typed: that message is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Time(Since),
    Offset(u64),
}

impl Until {
    /// Parses `offset=N` or a time.
    pub fn parse(text: &str) -> Result<Until, String> {
        match text.strip_prefix("offset=") {
            Some(offset) => whole(offset).map(Until::Offset),
            None => Since::parse(text).map(Until::Time),
        }
    }
}

impl Since {
    /// The time itself, `now` being what "ago" counts from.
    pub fn at(self, now: Wall) -> Wall {
        match self {
            Since::At(time) => time,
            Since::Ago(ago) => Wall(now.0.saturating_sub(millis(ago))),
        }
    }

    /// Parses RFC 3339 (`2026-11-23T08:00:00Z`), a duration ago (`10m`) or Unix seconds.
    pub fn parse(text: &str) -> Result<Since, String> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return whole(text).map(|secs| Since::At(Wall::from_secs(secs)));
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            let ms = u64::try_from(time.as_millisecond()).map_err(|_| "lies before 1970".to_owned())?;
            return Ok(Since::At(Wall(ms)));
        }
        duration(text).map(Since::Ago).map_err(|_| {
            "expected a time such as 2026-11-23T08:00:00Z, a time ago such as 10m or 2h, or Unix seconds"
                .to_owned()
        })
    }
}

/// A duration with its unit: `90s`, `10m`, `1h30m`, `7d`, `2w`, `250ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with a unit: 250ms, 90s, 10m, 2h, 7d or 1h30m".to_owned();
    let mut rest = text;
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit_ms = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = number.checked_mul(unit_ms).ok_or("is too long a time")?;
        total_ms = total_ms.checked_add(part).ok_or("is too long a time")?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Seconds for a timeout, a fraction allowed, as in `-W 2.5`; also with a unit, as in `-W 2m`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(secs) => match Duration::try_from_secs_f64(secs) {
            Ok(time) if !time.is_zero() => Ok(time),
            _ => Err("expected a number of seconds above 0".to_owned()),
        },
        Err(_) => {
            duration(text).map_err(|_| "expected seconds, or a number with a unit such as 2m".to_owned())
        }
    }
}

/// A size: `65536`, `64k`, `64KiB`, `10MB`. `k` and `KiB` are 1024, `kB` is 1000, and so on.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err("expected a size such as 65536, 64KiB, 10MB or 1G".to_owned()),
    };
    whole(number)?.checked_mul(unit_bytes).ok_or_else(|| "is too large".to_owned())
}

/// `n` bytes for people: `512 B`, `1.5 KiB`, `64 MiB`.
pub fn show_bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value.fract() < 0.05 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A duration for people, in its two largest units: `7d`, `1h30m`, `250ms`.
pub fn show_duration(time: Duration) -> String {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = millis(time);
    let mut out = String::new();
    let mut shown = 0;
    for (name, size) in UNITS {
        let count = rest / size;
        if shown < 2 && (count > 0 || shown > 0) {
            shown += 1;
            if count > 0 {
                out += &format!("{count}{name}");
            }
        }
        rest %= size;
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// A time in RFC 3339 with milliseconds, in UTC: `2026-11-23T08:00:00.250Z`.
pub fn show_time(time: Wall) -> String {
    let text = time.to_string();
    let whole = text.strip_suffix('Z').unwrap_or(&text);
    format!("{whole}.{:03}Z", time.0 % 1000)
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number, not {text:?}"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_log() {
        let now = Wall::from_secs(1_000_000);
        let cases = [
            ("earliest", Start::Earliest),
            ("latest", Start::Latest),
            ("last=5", Start::Last(5)),
            ("offset=7", Start::Offset(Offset(7))),
            ("since=10m", Start::Since(Wall::from_secs(999_400))),
            ("since=2h", Start::Since(Wall::from_secs(992_800))),
            ("since=100w", Start::Since(Wall(0))),
            ("since=1795419197", Start::Since(Wall::from_secs(1_795_419_197))),
            ("since=2026-11-23T07:33:17Z", Start::Since(Wall::from_secs(1_795_419_197))),
            ("since=2026-11-23T08:33:17.5+01:00", Start::Since(Wall(1_795_419_197_500))),
        ];
        for (text, start) in cases {
            assert_eq!(Place::parse(text).map(|f| f.start(now)), Ok(start), "{text}");
        }
        for bad in
            ["", "first", "last", "last=", "last=-1", "offset=x", "since=", "since=yesterday", "latest=1"]
        {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in
            [("250ms", 250), ("90s", 90_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "h", "-1s", "1y", "1.5h", "99999999999999w", "1ü"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        for bad in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, n) in
            [("0", 0), ("64k", 65_536), ("64KiB", 65_536), ("10MB", 10_000_000), ("1 GiB", 1 << 30)]
        {
            assert_eq!(bytes(text), Ok(n), "{text}");
        }
        for bad in ["", "k", "1.5M", "-1", "1 parsec", "99999999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_for_people() {
        assert_eq!(show_bytes(512), "512 B");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(64 << 20), "64 MiB");
        for (text, shown) in
            [("0s", "0s"), ("90s", "1m30s"), ("1d3s", "1d"), ("61m", "1h1m"), ("250ms", "250ms")]
        {
            assert_eq!(show_duration(duration(text).expect("a good duration")), shown);
        }
        assert_eq!(show_time(Wall(1_795_419_197_007)), "2026-11-23T07:33:17.007Z");
    }
}
