//! What the process was started into: environment variables, read once.
//!
//! Few others of the command line ask the environment, so tests give their own.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The environment that matters.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub sealmq_as: Option<String>,
    pub sealmq_host: Option<String>,
    pub sealmq_port: Option<String>,
    /// Where state belongs: `$XDG_STATE_HOME` or `~/.local/state`.
    pub state: Option<PathBuf>,
    /// `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
}

impl Surroundings {
    pub fn read() -> Surroundings {
        // The XDG base directory specification ignores relative paths.
        let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let user = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        Surroundings {
            sealmq_as: text("SEALMQ_AS"),
            sealmq_host: text("SEALMQ_HOST"),
            sealmq_port: text("SEALMQ_PORT"),
            state: state.or_else(user),
            no_color: variable("NO_COLOR").is_some(),
        }
    }
}

/// An empty variable counts as none.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}
