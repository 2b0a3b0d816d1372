//! `sealmq ca list`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::index::{Index, Issued};
use super::office::{Lock, date, days};
use crate::base::Wall;
use crate::cli::error::CliError;
use crate::cli::home::Home;
use crate::cli::system::now;

/// Show what was issued: for each name and key, the newest certificate
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealmq ca list --expiring 30d")]
pub struct List {
    /// Only those in force that end within this time, as 30d, 2w or 12h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expiring: Option<Duration>,
    /// Every certificate, those that were replaced or have expired too
    #[arg(long, conflicts_with = "expiring")]
    all: bool,
}

impl List {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        let _lock = Lock::take(home)?;
        let index = Index::read(home.issued())?;
        Ok(self.table(&index, now()))
    }

    fn table(&self, index: &Index, now: Wall) -> String {
        let all = index.rows().iter().enumerate();
        let rows: Vec<&Issued> =
            all.filter(|(i, row)| self.shows(index, *i, row, now)).map(|(_, r)| r).collect();
        if rows.is_empty() {
            return match self.expiring {
                Some(_) => "nothing in force ends within that time\n".to_owned(),
                None => "nothing was issued yet; begin with: sealmq ca issue --broker NAME\n".to_owned(),
            };
        }
        let width = rows.iter().map(|row| row.name.as_str().len()).max().unwrap_or(0).max(4);
        let mut text = format!("{:width$}  ROLE    FINGERPRINT       UNTIL       STATE\n", "NAME");
        for row in rows {
            let (key, until) = (row.fingerprint.short(), date(row.not_after));
            let _ =
                writeln!(text, "{:width$}  {:6}  {key}  {until}  {}", row.name, row.role, state(row, now));
        }
        text
    }

    fn shows(&self, index: &Index, place: usize, row: &Issued, now: Wall) -> bool {
        let replaces = |later: &Issued| later.name == row.name && later.fingerprint == row.fingerprint;
        let newest = !index.rows()[place + 1..].iter().any(replaces);
        match self.expiring {
            _ if self.all => true,
            None => newest,
            Some(time) => newest && row.is_live(now) && now + time >= row.not_after,
        }
    }
}

fn state(row: &Issued, now: Wall) -> String {
    let left = row.not_after.since(now);
    match row.revoked {
        Some(at) => format!("revoked on {}", date(at)),
        None if row.is_expired(now) => "expired".to_owned(),
        None if left < days(1) => "ends today".to_owned(),
        None if left < days(30) => format!("ends in {} days", left.as_secs() / 86_400),
        None => "good".to_owned(),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let fault = || format!("{text:?} is not a time as 30d, 2w or 12h");
    let unit = text.chars().last().ok_or_else(fault)?;
    let seconds = match unit {
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(fault()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| fault())?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::Role;
    use crate::crypto::cert::testing::{self, NOON};

    #[test]
    fn the_list_shows_the_newest_and_those_that_end() {
        let mut index = Index::new("issued.tsv".into());
        let (first, second) = (testing::world_at(NOON), testing::world_at(NOON + days(200)));
        for (world, who) in [(&first, "alice"), (&first, "bob"), (&second, "alice")] {
            let (_, der) = world.client(who);
            index.add(&world.verified(&der, Role::Client));
        }
        let list = |expiring, all| List { expiring, all };
        let day = |n| NOON + days(n);
        let all = list(None, true).table(&index, day(201));
        assert_eq!(all.lines().count(), 4, "{all}");
        let newest = list(None, false).table(&index, day(201));
        assert_eq!(newest.lines().count(), 3, "{newest}");
        let soon = list(Some(days(30)), false).table(&index, day(380));
        assert!(soon.contains("bob") && soon.contains("ends in 17 days"), "{soon}");
        assert!(!soon.contains("alice"), "{soon}");
        let past = list(None, false).table(&index, day(398));
        assert!(past.lines().any(|line| line.starts_with("bob") && line.ends_with("expired")), "{past}");
        let none = list(Some(days(30)), false).table(&index, NOON);
        assert!(none.contains("nothing"), "{none}");
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("30d"), Ok(days(30)));
        assert_eq!(parse_time("2w"), Ok(days(14)));
        assert_eq!(parse_time("12h"), Ok(days(1) / 2));
        for bad in ["", "d", "30", "-1d", "1y", "1é", "99999999999d"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
