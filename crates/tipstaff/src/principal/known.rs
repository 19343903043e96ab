//! What the monitor knows of principals, asked for by name, by key or a page at a time.
//!
//! The adversary is a home with so many principals that a list of all is no answer any more.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tipstaff_core::{Digest, Json, Millis};
use tipstaff_identity::Name;
use tipstaff_monitor::{Client, Wanted};

use super::text;
use crate::home::Place;
use crate::outcome::Failure;

/// How often a monitor that is just ending is passed over.
pub(super) const TRIES: u32 = 20;
/// Principals that are asked for at a time.
pub(super) const PAGE_MAX: usize = 1000;

/// What the monitor knows.
pub(crate) struct Known {
    pub(crate) json: Json,
    pub(crate) now: Millis,
}

impl Known {
    /// That of it which is wanted.
    pub(crate) fn of(at: &Place, wanted: &Wanted) -> Result<Self, Failure> {
        let undone = "The principals can't be looked at.";
        let failed = |error: tipstaff_monitor::ClientError| {
            Failure::undone(undone, error, "Run `tipstaff doctor`.")
        };
        // One that was just ending takes the connection with it: the next one knows the same.
        let mut tries = 0;
        let json = loop {
            Client::ensure_monitor(&at.home).map_err(failed)?;
            match Client::principals(&at.home, wanted) {
                Ok(Some(json)) if json.get("ok").and_then(Json::as_bool) != Some(true) => {
                    return Err(Failure::undone(undone, text(&json, "text"), "Try again."));
                }
                Ok(Some(json)) => break json,
                Ok(None) | Err(_) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(None) => {
                    let cause = "the monitor has just ended";
                    return Err(Failure::undone(undone, cause, "Try again."));
                }
                Err(error) => return Err(failed(error)),
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { json, now: Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)) })
    }

    /// Everybody, with the groups: a page at a time, so that a long list is no long answer.
    pub(crate) fn everybody(at: &Place) -> Result<Vec<Self>, Failure> {
        let mut pages = Vec::new();
        let mut wanted = Wanted { limit: PAGE_MAX, groups: true, ..Wanted::default() };
        loop {
            let page = Self::of(at, &wanted)?;
            let next = page.next();
            pages.push(page);
            match next {
                Some(next) => {
                    wanted = Wanted { limit: PAGE_MAX, after: Some(next), ..Wanted::default() };
                }
                None => return Ok(pages),
            }
        }
    }

    /// After whom the next page begins, if there is one.
    pub(super) fn next(&self) -> Option<Name> {
        let more = self.json.get("more").and_then(Json::as_bool) == Some(true);
        let last = self.principals().last().filter(|_| more)?;
        Name::parse(&text(last, "name"))
    }

    /// The last order, which the next one follows.
    pub(super) fn head(&self) -> Result<Option<Digest>, Failure> {
        let head = Some(self.text("head")).filter(|head| !head.is_empty());
        let head = head.map(|head| Digest::from_hex(&head)).transpose();
        head.map_err(|error| Failure::undone("Nothing was changed.", error, "Try again."))
    }

    pub(super) fn text(&self, name: &str) -> String {
        text(&self.json, name)
    }

    fn entries(&self) -> &[Json] {
        self.json.get("known").and_then(Json::as_array).unwrap_or_default()
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = &Json> {
        self.entries().iter().filter_map(|entry| entry.get("principal"))
    }

    pub(crate) fn entry(&self, name: &Name) -> Option<&Json> {
        let is = |entry: &&Json| {
            entry.get("principal").is_some_and(|found| text(found, "name") == name.as_str())
        };
        self.entries().iter().find(is)
    }

    /// Who has a key of this thumbprint.
    pub(crate) fn with_key(&self, key_id: &str) -> Option<&Json> {
        let has = |principal: &&Json| {
            let keys = principal.get("keys").and_then(Json::as_array).unwrap_or_default();
            keys.iter().any(|key| text(key, "key_id") == key_id)
        };
        self.principals().find(has)
    }

    /// The groups in which somebody is there.
    pub(crate) fn groups_of(&self, name: &str) -> impl Iterator<Item = String> {
        let groups = self.json.get("groups").and_then(Json::as_array).unwrap_or_default();
        groups.iter().filter_map(move |group| {
            let members = group.get("members").and_then(Json::as_array).unwrap_or_default();
            let is_in = members
                .iter()
                .any(|member| text(member, "name") == name && text(member, "standing") == "active");
            is_in.then(|| text(group.get("group").unwrap_or(&Json::Null), "group"))
        })
    }

    /// Whether one principal has, or had, both keys.
    pub(crate) fn is_one_principals(&self, one: Option<&str>, other: Option<&str>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return false };
        self.principals().any(|principal| {
            let keys = principal.get("keys").and_then(Json::as_array).unwrap_or_default();
            let has = |id: &str| keys.iter().any(|key| text(key, "key_id") == id);
            has(one) && has(other)
        })
    }

    pub(super) fn only_key(&self, name: &Name) -> Result<String, Failure> {
        let keys =
            self.entry(name).and_then(|entry| entry.get("principal")?.get("keys")?.as_array());
        match keys {
            Some([key]) => Ok(text(key, "key_id")),
            Some(_) => Err(Failure::Usage(format!(
                "{name} has several keys: name one with --key-id (`tipstaff principal show {name}`)"
            ))),
            None => Err(Failure::undone(
                "Nothing was changed.",
                "nobody of this name is enrolled",
                "See `tipstaff principal list`.",
            )),
        }
    }
}
