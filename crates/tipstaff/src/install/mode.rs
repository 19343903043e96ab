//! Whether a home observes or enforces, in its `config.toml`.
//!
//! The adversary is a switch that somebody believes to be on: what is said is read back from the file.

use std::path::Path;

use tipstaff_core::Json;
use tipstaff_monitor::{Client, Config, Home};
use tipstaff_store::{Disk as _, NativeDisk};
use toml::de::DeTable;

use super::Strictness;
use super::edit::{Splice, newline, spliced};

/// What verdicts do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything passes, and receipts say what would have been.
    Observing,
    /// Verdicts bind.
    Enforcing,
}

impl Mode {
    /// The spelling in output.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Observing => "observe",
            Self::Enforcing => "enforce",
        }
    }

    /// The mode of a home.
    ///
    /// # Errors
    /// Why its configuration can't be read.
    pub(crate) fn of(home: &Home) -> Result<Self, String> {
        let config = home.config().map_err(|error| error.to_string())?;
        Ok(if config.observe { Self::Observing } else { Self::Enforcing })
    }
}

/// Makes the home where there is none, which then observes, and switches it over if that is wanted.
///
/// # Errors
/// Why the home is not as it should be.
pub(crate) fn settle(home: &Home, strictness: Strictness) -> Result<Mode, String> {
    let existed = home.root().join("config.toml").exists();
    home.create().map_err(|error| error.to_string())?;
    let observe = match strictness {
        Strictness::Enforce => Some(false),
        Strictness::AsItIs => (!existed).then_some(true),
    };
    if let Some(observe) = observe
        && home.config().map_err(|error| error.to_string())?.observe != observe
    {
        let path = home.root().join("config.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let text = with_observe(&text, observe)?;
        let disk = NativeDisk::new(home.root());
        disk.replace(Path::new("config.toml"), text.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    let mode = Mode::of(home)?;
    in_force(home, mode)?;
    Ok(mode)
}

/// A monitor that runs takes a changed file within a second: what is said to be on has to be on by then.
fn in_force(home: &Home, mode: Mode) -> Result<(), String> {
    let answer = Client::control(home, "flush", None).map_err(|error| error.to_string())?;
    let Some(answer) = answer else { return Ok(()) };
    let observes = answer.get("observe").and_then(Json::as_bool);
    if observes == Some(mode == Mode::Observing) {
        return Ok(());
    }
    Err("the monitor that runs did not take the new configuration; see monitor.log".to_owned())
}

/// The mode that [`settle`] would come to, without doing it.
///
/// # Errors
/// Why the configuration can't be read.
pub(crate) fn would_be(home: &Home, strictness: Strictness) -> Result<Mode, String> {
    if strictness == Strictness::Enforce {
        return Ok(Mode::Enforcing);
    }
    if home.root().join("config.toml").exists() { Mode::of(home) } else { Ok(Mode::Observing) }
}

/// The text of a configuration with `observe` set; every other byte is as it was.
fn with_observe(text: &str, observe: bool) -> Result<String, String> {
    let table = DeTable::parse(text).map_err(|error| error.to_string())?;
    let value = table.get_ref().iter().find(|(key, _)| key.get_ref() == "observe");
    let splice = match value {
        Some((_, value)) => Splice::new(value.span(), observe.to_string()),
        // Before the first table, where every key is one of the file.
        None => {
            let newline = newline(text);
            Splice::insert(0, format!("observe = {observe}{newline}{newline}"))
        }
    };
    let text = spliced(text, vec![splice]);
    let config = Config::parse(&text).map_err(|error| error.to_string())?;
    if config.observe == observe { Ok(text) } else { Err("`observe` can't be set".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_changes_and_nothing_else() {
        for (text, wanted) in [
            ("", "observe = true\n\n"),
            ("# a\r\nroots = []\r\n", "observe = true\r\n\r\n# a\r\nroots = []\r\n"),
            ("observe=false # no\nroots = []", "observe=true # no\nroots = []"),
        ] {
            assert_eq!(with_observe(text, true).unwrap(), wanted);
        }
        assert!(with_observe("observe = [", true).is_err());
    }
}
