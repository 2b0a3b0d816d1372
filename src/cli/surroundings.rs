//! What the process was started into: environment variables and folders, read once.
//!
//! Nothing else of the command line asks the environment, so tests give their own.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The environment that matters.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub sealmq_home: Option<PathBuf>,
    pub sealmq_as: Option<String>,
    pub sealmq_host: Option<String>,
    pub sealmq_port: Option<String>,
    /// Where configuration belongs: `$XDG_CONFIG_HOME` or `~/.config`.
    pub config: Option<PathBuf>,
    /// Where state belongs: `$XDG_STATE_HOME` or `~/.local/state`.
    pub state: Option<PathBuf>,
    pub current_folder: PathBuf,
    /// `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
}

impl Surroundings {
    pub fn read() -> Surroundings {
        let user = variable("HOME").map(PathBuf::from);
        Surroundings {
            sealmq_home: variable("SEALMQ_HOME").map(PathBuf::from),
            sealmq_as: text("SEALMQ_AS"),
            sealmq_host: text("SEALMQ_HOST"),
            sealmq_port: text("SEALMQ_PORT"),
            config: xdg("XDG_CONFIG_HOME", user.clone(), ".config"),
            state: xdg("XDG_STATE_HOME", user, ".local/state"),
            current_folder: env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            no_color: variable("NO_COLOR").is_some(),
        }
    }
}

/// A folder of the XDG base directory specification, which ignores relative paths.
fn xdg(name: &str, user: Option<PathBuf>, below: &str) -> Option<PathBuf> {
    let given = variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| user.map(|home| home.join(below)))
}

/// An empty variable counts as none.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}
