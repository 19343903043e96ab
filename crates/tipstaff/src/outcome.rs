//! What a command answers when it isn't simply done.

use std::io::Write as _;

/// Writes to standard output. Nobody is left to tell when it is closed: the command ends.
pub(crate) fn emit(text: std::fmt::Arguments<'_>) {
    if std::io::stdout().write_fmt(text).is_err() {
        std::process::exit(0);
    }
}

/// So many, with the word for one or for more.
pub(crate) fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Nothing, or why not.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command did not succeed, by what the user can do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer is no; it was printed already.
    No,
    /// The command was used wrongly.
    Usage(String),
    /// It could not be done: what, why, and what to do next.
    Undone { what: String, cause: String, next: String },
    /// Another monitor has the home; said to the process that started this one.
    AlreadyRunning,
}

impl Failure {
    pub(crate) fn undone(what: &str, cause: impl ToString, next: &str) -> Self {
        Self::Undone { what: what.to_owned(), cause: cause.to_string(), next: next.to_owned() }
    }

    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::No => 1,
            Self::Usage(_) => 2,
            Self::Undone { .. } => 3,
            Self::AlreadyRunning => 4,
        }
    }

    pub(crate) fn print(&self, json: bool) {
        match self {
            Self::No => {}
            Self::AlreadyRunning => eprintln!("tipstaff: another monitor runs on this home"),
            Self::Usage(what) if json => println!("{}", serde_json::json!({ "error": what })),
            Self::Usage(what) => eprintln!("tipstaff: {what}"),
            Self::Undone { what, cause, next } if json => {
                let error = serde_json::json!({ "error": what, "cause": cause, "next": next });
                println!("{error}");
            }
            Self::Undone { what, cause, next } => {
                eprintln!("tipstaff: {what}\n  because: {cause}\n  next:    {next}");
            }
        }
    }
}
