//! A folder of our own that goes when nobody needs it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub struct TempFolder(PathBuf);

impl TempFolder {
    /// A new folder that only we can read, below `TMPDIR`.
    pub fn new() -> Result<TempFolder> {
        let template = std::env::temp_dir().join("peers-XXXXXX");
        Ok(TempFolder(nix::unistd::mkdtemp(&template).with_context(|| template.display().to_string())?))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    /// What cannot be removed is left to whoever cleans up below `TMPDIR`.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
