//! What the CA has issued: `keys/issued.tsv`.
//!
//! A row is on the disk before its certificate is anywhere else, so that no certificate
//! exists that could not be revoked. The file is replaced as a whole.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::limits::CLOCK_SKEW;
use crate::base::names::Name;
use crate::cli::error::CliError;
use crate::cli::keyfiles;
use crate::crypto::cert::crl::Revocation;
use crate::crypto::cert::{Certificate, Role, Serial};

/// All rows, and the state of the revocation list.
pub(super) struct Index {
    path: PathBuf,
    /// The number of the newest list that was or is about to be written.
    pub crl_number: u64,
    /// When that list is to be replaced.
    pub crl_next_update: Wall,
    rows: Vec<Issued>,
}

/// A certificate that was issued, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub serial: Serial,
    pub name: Name,
    pub role: Role,
    pub fingerprint: Fingerprint,
    pub not_before: Wall,
    pub not_after: Wall,
    pub revoked: Option<Wall>,
}

impl Index {
    /// The index of a CA that has issued nothing.
    pub fn new(path: PathBuf) -> Index {
        Index { path, crl_number: 0, crl_next_update: Wall::default(), rows: Vec::new() }
    }

    pub fn read(path: PathBuf) -> Result<Index, CliError> {
        let text = keyfiles::read_file(&path, INDEX_BYTES_MAX)?;
        Index::parse(path.clone(), &text).map_err(|line| {
            CliError::other(format!("{}: line {line} is damaged", path.display()))
                .remedy("restore the file from a backup: without it, what was issued cannot be revoked")
        })
    }

    /// Writes all of it, down to the disk.
    pub fn write(&self) -> Result<(), CliError> {
        keyfiles::write_private(&self.path, &self.print())
    }

    pub fn add(&mut self, certificate: &Certificate) {
        self.rows.push(Issued {
            serial: *certificate.serial(),
            name: certificate.name().clone(),
            role: certificate.role(),
            fingerprint: certificate.fingerprint(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            revoked: None,
        });
    }

    pub fn rows(&self) -> &[Issued] {
        &self.rows
    }

    /// Every certificate of a name, oldest first.
    pub fn of_name<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Issued> + Clone {
        self.rows.iter().filter(move |row| row.name == *name)
    }

    /// Whether a key was ever revoked: it is not certified again.
    pub fn is_revoked(&self, fingerprint: Fingerprint) -> bool {
        self.rows.iter().any(|row| row.fingerprint == fingerprint && row.revoked.is_some())
    }

    /// Marks every unexpired certificate of a key; returns how many there are.
    pub fn revoke(&mut self, fingerprint: Fingerprint, now: Wall) -> usize {
        let unexpired = |row: &&mut Issued| row.fingerprint == fingerprint && !row.is_expired(now);
        let rows = self.rows.iter_mut().filter(unexpired);
        rows.map(|row| row.revoked.get_or_insert(now)).count()
    }

    /// What a revocation list made now must name.
    pub fn revocations(&self, now: Wall) -> Vec<Revocation> {
        let in_force = self.rows.iter().filter(|row| !row.is_expired(now));
        in_force.filter_map(|row| Some(Revocation { serial: row.serial, at: row.revoked? })).collect()
    }

    fn print(&self) -> String {
        let mut text = format!("{HEAD}\n# crl\t{}\t{}\n", self.crl_number, self.crl_next_update);
        for row in &self.rows {
            let Issued { serial, name, role, fingerprint, not_before, not_after, .. } = row;
            let revoked = row.revoked.map_or("-".to_owned(), |at| at.to_string());
            let _ = writeln!(
                text,
                "{serial}\t{name}\t{role}\t{fingerprint}\t{not_before}\t{not_after}\t{revoked}"
            );
        }
        text
    }

    /// The number of the line that cannot be read is the error.
    fn parse(path: PathBuf, text: &str) -> Result<Index, usize> {
        let mut lines = text.lines().zip(1_usize..);
        let (head, _) = lines.next().ok_or(1_usize)?;
        let crl = lines.next().and_then(|(line, _)| line.strip_prefix("# crl\t")).ok_or(2_usize)?;
        let (number, next_update) = crl.split_once('\t').ok_or(2_usize)?;
        // A file that was cut ends within a line, or has none.
        if head != HEAD || !text.ends_with('\n') {
            return Err(text.lines().count());
        }
        Ok(Index {
            path,
            crl_number: number.parse().map_err(|_| 2_usize)?,
            crl_next_update: time(next_update).ok_or(2_usize)?,
            rows: lines.map(|(line, n)| Issued::parse(line).ok_or(n)).collect::<Result<_, _>>()?,
        })
    }
}

impl Issued {
    /// Past every verifier's tolerance.
    pub fn is_expired(&self, now: Wall) -> bool {
        now > self.not_after + CLOCK_SKEW
    }

    /// Neither expired nor revoked.
    pub fn is_live(&self, now: Wall) -> bool {
        self.revoked.is_none() && !self.is_expired(now)
    }

    fn parse(line: &str) -> Option<Issued> {
        let mut fields = line.split('\t');
        let issued = Issued {
            serial: Serial::parse_hex(fields.next()?)?,
            name: Name::parse(fields.next()?).ok()?,
            role: match fields.next()? {
                "client" => Role::Client,
                "broker" => Role::Broker,
                _ => return None,
            },
            fingerprint: Fingerprint::parse_hex(fields.next()?)?,
            not_before: time(fields.next()?)?,
            not_after: time(fields.next()?)?,
            revoked: match fields.next()? {
                "-" => None,
                at => Some(time(at)?),
            },
        };
        fields.next().is_none().then_some(issued)
    }
}

fn time(text: &str) -> Option<Wall> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_second()).ok().map(Wall::from_secs)
}

const HEAD: &str = "# What this CA has issued. Kept by `sealmq ca`; never edit or lose it.";

/// Some 200 bytes for each of a quarter of a million certificates.
const INDEX_BYTES_MAX: u64 = 50 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::testing::{self, NOON};

    fn index() -> Index {
        let world = testing::world();
        let mut index = Index::new(PathBuf::from("issued.tsv"));
        for who in ["alice", "bob", "alice"] {
            let (_, der) = world.client(who);
            index.add(&world.verified(&der, Role::Client));
        }
        index.crl_number = 7;
        index.crl_next_update = NOON;
        index
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let mut index = index();
        index.revoke(index.rows[1].fingerprint, NOON);
        let read = Index::parse(index.path.clone(), &index.print()).expect("our own print");
        assert_eq!(read.rows, index.rows);
        assert_eq!((read.crl_number, read.crl_next_update), (7, NOON));
        assert_eq!(read.revocations(NOON).len(), 1);
    }

    #[test]
    fn damage_is_found() {
        let text = index().print();
        for cut in 0..text.len() {
            let cut = &text[..cut];
            if !cut.ends_with('\n') || cut.lines().count() < 2 {
                assert!(Index::parse(PathBuf::new(), cut).is_err(), "cut to {} bytes", cut.len());
            }
        }
        let damaged = text.replacen("client", "admin", 1);
        assert_eq!(Index::parse(PathBuf::new(), &damaged).err(), Some(3));
    }

    #[test]
    fn a_key_is_revoked_with_all_its_unexpired_certificates() {
        let mut index = index();
        let alice = index.rows[0].fingerprint;
        assert_eq!(index.revoke(alice, NOON), 2);
        assert!(index.is_revoked(alice));
        assert_eq!(index.revocations(NOON).len(), 2);
        // A second time keeps the first date.
        let later = NOON + std::time::Duration::from_secs(60);
        assert_eq!(index.revoke(alice, later), 2);
        assert!(index.revocations(later).iter().all(|r| r.at == NOON));
        // What has expired need not be named.
        let end = index.rows[0].not_after + CLOCK_SKEW + std::time::Duration::from_secs(1);
        assert_eq!(index.revocations(end), []);
        assert_eq!(index.revoke(alice, end), 0);
    }
}
