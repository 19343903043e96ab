//! What sender and receiver keep on disk: which numbers were used, and which were seen.
//!
//! The adversary is a crash at any moment, and whoever waits for one: a number is durable before it is signed, and
//! what was seen is durable before the message is handed out. A crash may lose a message, never repeat one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipstaff_core::key::SigningKey;
use tipstaff_core::{Json, Millis};
use tipstaff_store::{Disk, StoreError};

use super::{BODY_MAX, Envelope, Reader, Refused, SignedEnvelope, Window};
use crate::principal::{Name, number, object};

const SENT: &str = "tipstaff-sent-1";
const RECEIVED: &str = "tipstaff-received-1";

/// Why nothing was sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The message is not handed out.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The body is too long.
    #[error("a message has at most {BODY_MAX} bytes")]
    TooLong,
    /// The file of numbers is not what was written.
    #[error("the numbers in {0} are unreadable")]
    Unreadable(PathBuf),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A sender's numbers, by audience.
#[derive(Debug)]
pub struct Outbox {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    last: BTreeMap<Name, u64>,
}

/// A receiver's windows, by sender.
#[derive(Debug)]
pub struct Inbox {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    windows: BTreeMap<Name, Window>,
}

impl Outbox {
    /// The numbers that a file keeps; none if it isn't there. Whoever opens it has locked it.
    ///
    /// # Errors
    /// [`DeskError`]
    pub fn open(disk: Arc<dyn Disk>, file: &Path) -> Result<Self, DeskError> {
        let read =
            read(disk.as_ref(), file, SENT, "to", |json| u64::try_from(json.as_integer()?).ok())?;
        Ok(Self { disk, file: file.to_owned(), last: read })
    }

    /// Signs a message with a number that was never used for this audience. The first is taken from the clock, so
    /// that a file that was lost doesn't begin where the receivers were long ago.
    ///
    /// # Errors
    /// [`DeskError`]
    pub fn seal(
        &mut self,
        key: &SigningKey,
        from: &Name,
        (to, log): (&Name, &str),
        now: Millis,
        body: &[u8],
    ) -> Result<SignedEnvelope, DeskError> {
        if body.len() > BODY_MAX {
            return Err(DeskError::TooLong);
        }
        let counter = self.last.get(to).map_or(now.0.max(1), |last| last.saturating_add(1));
        self.last.insert(to.clone(), counter);
        let last = self.last.iter().map(|(name, last)| (name.as_str(), number(*last)));
        let text = kept(SENT, "to", last.collect());
        self.disk.replace(&self.file, text.as_bytes())?;
        let (from, to, log) = (from.clone(), to.clone(), log.to_owned());
        Ok(Envelope { from, to, log, counter, at: now, body: body.to_vec() }.sign(key))
    }
}

impl Inbox {
    /// The windows that a file keeps; none if it isn't there. Whoever opens it has locked it.
    ///
    /// # Errors
    /// [`DeskError`]
    pub fn open(disk: Arc<dyn Disk>, file: &Path) -> Result<Self, DeskError> {
        let windows = read(disk.as_ref(), file, RECEIVED, "from", |json| {
            let highest = u64::try_from(json.get("highest")?.as_integer()?).ok()?;
            Window::of(highest, json.get("seen")?.as_str()?)
        })?;
        Ok(Self { disk, file: file.to_owned(), windows })
    }

    /// Hands a message out, once.
    ///
    /// # Errors
    /// [`DeskError::Refused`] with why not.
    pub fn take(&mut self, text: &str, reader: &Reader<'_>) -> Result<Envelope, DeskError> {
        let signed = SignedEnvelope::from_canonical(text)?;
        signed.check(reader)?;
        let envelope = signed.envelope;
        let mut window = self.windows.get(&envelope.from).cloned().unwrap_or_default();
        window.take(envelope.counter)?;
        self.windows.insert(envelope.from.clone(), window);
        let windows = self.windows.iter().map(|(name, window)| {
            let (highest, seen) = window.parts();
            let window = object(vec![("highest", number(highest)), ("seen", Json::String(seen))]);
            (name.as_str(), window)
        });
        let text = kept(RECEIVED, "from", windows.collect());
        self.disk.replace(&self.file, text.as_bytes())?;
        Ok(envelope)
    }
}

fn kept(form: &str, by: &'static str, members: Vec<(&str, Json)>) -> String {
    object(vec![(by, object(members)), ("form", Json::string(form))]).to_canonical()
}

fn read<T>(
    disk: &dyn Disk,
    file: &Path,
    form: &str,
    by: &str,
    value: impl Fn(&Json) -> Option<T>,
) -> Result<BTreeMap<Name, T>, DeskError> {
    let bytes = match disk.read(file) {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let known = || {
        let json = Json::parse(&bytes).ok()?;
        if json.get("form")?.as_str()? != form {
            return None;
        }
        let members = json.get(by)?.as_object()?.iter();
        members.map(|(name, json)| Some((Name::parse(name)?, value(json)?))).collect()
    };
    // What can't be read is not begun anew: numbers would be used, or taken, twice.
    known().ok_or_else(|| DeskError::Unreadable(file.to_owned()))
}
