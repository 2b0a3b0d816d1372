//! Key, certificate, request and revocation-list files: PEM, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::{CliError, Exit};
use crate::base::limits::CRL_BYTES_MAX;
use crate::crypto::cert::{Trust, pem};
use crate::crypto::key::PrivateKey;

/// PEM is four thirds of DER, and some text may stand around it.
const CRL_FILE_BYTES_MAX: u64 = 2 * CRL_BYTES_MAX as u64;
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Only the owner reads and writes.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Reads a private key from a file that only its owner can read.
pub fn read_private_key(path: &Path) -> Result<PrivateKey, CliError> {
    let mut file = File::open(path).map_err(|e| cannot("read", path, &e))?;
    // Of the open file, so that nobody can change it in between.
    let mode = file.metadata().map_err(|e| cannot("read", path, &e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let problem =
            format!("{} can be read or written by others (mode {:o})", path.display(), mode & 0o777);
        return Err(CliError::new(Exit::Refused, problem).remedy(format!("chmod 600 {}", quoted(path))));
    }
    let text = Zeroizing::new(read_text(&mut file, path, FILE_BYTES_MAX)?);
    PrivateKey::from_pem(&text).map_err(|fault| {
        let error = CliError::new(Exit::Refused, format!("{}: the key {fault}", path.display()));
        if text.contains("BEGIN RSA PRIVATE KEY") || text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            let path = quoted(path);
            error.remedy(format!("umask 077; openssl pkcs8 -topk8 -nocrypt -in {path} -out {path}.new"))
        } else {
            error
        }
    })
}

/// Writes a private key, mode 0600, where no file is yet.
pub fn write_private_key(path: &Path, key: &PrivateKey) -> Result<(), CliError> {
    let made = write_temporary(path, key.to_pem().as_bytes(), PRIVATE).and_then(|temporary| {
        // A link, unlike a rename, never replaces what is there.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        linked.and_then(|()| sync_folder(path))
    });
    made.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => CliError::other(format!("{} is there already", path.display()))
            .remedy(format!("a key is never overwritten; move it away first: mv {0} {0}.old", quoted(path))),
        _ => cannot("write", path, &e),
    })
}

/// Reads a certificate, in DER.
pub fn read_certificate(path: &Path) -> Result<Vec<u8>, CliError> {
    let text = read_file(path, FILE_BYTES_MAX)?;
    pem::certificate_from_pem(&text)
        .map_err(|fault| CliError::new(Exit::Refused, format!("{}: {fault}", path.display())))
}

/// Reads the CA's certificate and trusts it.
pub fn read_ca(path: &Path) -> Result<Trust, CliError> {
    let text = read_file(path, FILE_BYTES_MAX)?;
    Trust::from_pem(&text)
        .map_err(|fault| CliError::new(Exit::Refused, format!("{}: {fault}", path.display())))
}

/// Reads a revocation list, in DER; none if there is no such file.
pub fn read_crl(path: &Path) -> Result<Option<Vec<u8>>, CliError> {
    if let Err(e) = fs::metadata(path)
        && e.kind() == ErrorKind::NotFound
    {
        return Ok(None);
    }
    let text = read_file(path, CRL_FILE_BYTES_MAX)?;
    pem::crl_from_pem(&text)
        .map(Some)
        .map_err(|fault| CliError::new(Exit::Refused, format!("{}: {fault}", path.display())))
}

/// Reads a certificate request, in DER.
pub fn read_request(path: &Path) -> Result<Vec<u8>, CliError> {
    let text = read_file(path, FILE_BYTES_MAX)?;
    pem::request_from_pem(&text).ok_or_else(|| {
        let problem = format!("{}: is not one CERTIFICATE REQUEST block of PEM", path.display());
        CliError::new(Exit::Refused, problem)
    })
}

/// Reads a text file of a bounded size.
pub fn read_file(path: &Path, bytes_max: u64) -> Result<String, CliError> {
    let mut file = File::open(path).map_err(|e| cannot("read", path, &e))?;
    read_text(&mut file, path, bytes_max)
}

/// Writes a file that anybody may read, in place of the one before: whole or not at all.
pub fn write_public(path: &Path, text: &str) -> Result<(), CliError> {
    replace(path, text, PUBLIC)
}

/// The same for a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    replace(path, text, PRIVATE)
}

/// Makes a folder and those above it; only its owner may enter it if it is `private`.
pub fn make_folder(path: &Path, private: bool) -> Result<(), CliError> {
    let mode = if private { 0o700 } else { 0o755 };
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| cannot("make the folder", path, &e))
}

/// Gives a file that is whole and on disk its name, in the same folder.
pub fn put_in_place(temporary: &Path, path: &Path) -> Result<(), CliError> {
    let put = fs::rename(temporary, path)
        .inspect_err(|_| drop(fs::remove_file(temporary)))
        .and_then(|()| sync_folder(path));
    put.map_err(|e| cannot("write", path, &e))
}

/// A file's path for a shell, in quotes if it needs them.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// "cannot read FILE: why".
pub fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    CliError::other(format!("cannot {what} {}: {why}", path.display()))
}

fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let temporary = write_temporary(path, text.as_bytes(), mode).map_err(|e| cannot("write", path, &e))?;
    put_in_place(&temporary, path)
}

/// Writes a file beside `path`, down to the disk, and says where.
fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    // One that a crash left behind, of a process with the same number.
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    match written {
        Ok(()) => Ok(temporary),
        Err(e) => {
            let _ = fs::remove_file(&temporary);
            Err(e)
        }
    }
}

/// A name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn read_text(file: &mut File, path: &Path, bytes_max: u64) -> Result<String, CliError> {
    let size = file.metadata().map_err(|e| cannot("read", path, &e))?.size();
    if size > bytes_max {
        return Err(CliError::other(format!("{} is larger than {bytes_max} bytes", path.display())));
    }
    // The capacity is reserved, so that a key leaves no copies behind in memory.
    let mut text = String::with_capacity(size as usize + 1);
    file.take(bytes_max).read_to_string(&mut text).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => CliError::other(format!("{} is not text", path.display())),
        _ => cannot("read", path, &e),
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::testing;

    #[test]
    fn keys_are_private_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("a.key");
        let key = testing::key("alice");
        write_private_key(&path, &key).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = read_private_key(&path).expect("read back");
        assert_eq!(read.public().fingerprint(), key.public().fingerprint());

        let again = write_private_key(&path, &testing::key("bob")).expect_err("not overwritten");
        assert!(again.to_string().contains("is there already"), "{again}");
        let read = read_private_key(&path).expect("still there");
        assert_eq!(read.public().fingerprint(), key.public().fingerprint());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_mending_command() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("a b.key");
        write_private_key(&path, &testing::key("alice")).expect("written");
        for mode in [0o640, 0o604, 0o620, 0o660, 0o644, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
            let error = read_private_key(&path).expect_err("readable by others");
            assert_eq!(error.exit(), Exit::Refused);
            let command = format!("chmod 600 '{}'", path.display());
            assert!(error.to_string().contains(&command), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("a.key");
        let missing = read_private_key(&path).expect_err("missing");
        assert!(missing.to_string().contains("no such file"), "{missing}");
        write_private(&path, "-----BEGIN RSA PRIVATE KEY-----\n").expect("written");
        let old = read_private_key(&path).expect_err("another form");
        assert!(old.to_string().contains("openssl pkcs8 -topk8"), "{old}");
        fs::write(&path, [0xff; 4]).expect("written");
        assert!(read_private_key(&path).is_err());
        fs::write(&path, vec![b'a'; FILE_BYTES_MAX as usize + 1]).expect("written");
        let large = read_private_key(&path).expect_err("too large");
        assert!(large.to_string().contains("larger"), "{large}");
    }

    #[test]
    fn a_revocation_list_may_be_missing() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        assert_eq!(read_crl(&folder.path().join("ca.crl")), Ok(None));
        let path = folder.path().join("bad.crl");
        write_public(&path, "nonsense").expect("written");
        assert!(read_crl(&path).is_err());
    }
}
