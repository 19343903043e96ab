//! Who is known, a page at a time, for the operator's eyes.
//!
//! The adversary is a list that is merely long: what is asked for is bounded, and found by name or key without looking
//! at everybody.

use std::sync::PoisonError;

use tipstaff_core::Json;
use tipstaff_identity::Name;

use super::Monitor;
use crate::wire::{number, number_of, object, text, text_of};

/// Principals that are shown at a time.
const SHOWN_MAX: usize = 1000;

/// What is asked about principals.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those with these names, in their order.
    pub names: Vec<Name>,
    /// Those who have or had keys with these thumbprints.
    pub keys: Vec<String>,
    /// Whom these act for, too.
    pub owners: bool,
    /// So many of all, in the order of their names.
    pub limit: usize,
    /// After this one.
    pub after: Option<Name>,
    /// All groups.
    pub groups: bool,
    /// All that was granted and revoked.
    pub grants: bool,
    /// The digest of everything that is known.
    pub digest: bool,
}

impl Wanted {
    /// The members of a request.
    pub(crate) fn to_json(&self) -> Json {
        let texts = |texts: Vec<&str>| Json::Array(texts.into_iter().map(Json::string).collect());
        object([
            ("after", text(self.after.as_ref().map(Name::as_str))),
            ("digest", Json::from(self.digest)),
            ("grants", Json::from(self.grants)),
            ("groups", Json::from(self.groups)),
            ("keys", texts(self.keys.iter().map(String::as_str).collect())),
            ("limit", number(self.limit as u64)),
            ("names", texts(self.names.iter().map(Name::as_str).collect())),
            ("owners", Json::from(self.owners)),
        ])
    }

    /// Reads them; `None` if they are none.
    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        let texts = |name| {
            let texts = json.get(name)?.as_array()?.iter();
            texts.map(|text| Some(text.as_str()?.to_owned())).collect::<Option<Vec<_>>>()
        };
        let is = |name| json.get(name)?.as_bool();
        Some(Self {
            names: texts("names")?.iter().map(|name| Name::parse(name)).collect::<Option<_>>()?,
            keys: texts("keys")?,
            owners: is("owners")?,
            limit: usize::try_from(number_of(json, "limit")?).ok()?,
            after: match json.get("after")? {
                Json::Null => None,
                _ => Some(Name::parse(&text_of(json, "after")?)?),
            },
            groups: is("groups")?,
            grants: is("grants")?,
            digest: is("digest")?,
        })
    }
}

impl Monitor {
    /// Who is known, as far as it is wanted, for the operator's eyes.
    #[must_use]
    pub fn principals_shown(&self, wanted: &Wanted) -> Json {
        let known = self.principals.read().unwrap_or_else(PoisonError::into_inner);
        let (origin, now) = (&self.ledger.identity().origin, self.now());
        let limit = wanted.limit.min(SHOWN_MAX);
        let mut rest = known.after(wanted.after.as_ref());
        let mut shown: Vec<&Name> = rest.by_ref().take(limit).map(|(name, _)| name).collect();
        let more = limit > 0 && rest.next().is_some();
        let owners = wanted.keys.iter().filter_map(|key| known.owner_of(key));
        for name in wanted.names.iter().chain(owners).take(SHOWN_MAX) {
            let Some((name, principal)) = known.entry(name) else { continue };
            shown.push(name);
            let mut above = principal.owner.as_ref().filter(|_| wanted.owners);
            // INVARIANT: owners are enrolled before what they own, so this ends.
            while let Some((name, principal)) = above.and_then(|name| known.entry(name)) {
                shown.push(name);
                above = principal.owner.as_ref();
            }
        }
        let shown = shown.into_iter().filter_map(|name| known.entry(name)).map(|(name, found)| {
            let document = known.document(origin, name, now).unwrap_or(Json::Null);
            object([("document", document), ("principal", found.to_json(name))])
        });
        let groups = known.groups().filter(|_| wanted.groups).map(|(name, group)| {
            let standing = group.members().filter_map(|member| {
                let standing = group.standing(member, now)?;
                Some(object([
                    ("name", Json::string(member.as_str())),
                    ("standing", Json::string(standing.as_str())),
                ]))
            });
            let standing = Json::Array(standing.collect());
            object([("group", group.to_json(name)), ("members", standing)])
        });
        let digest = wanted.digest.then(|| known.digest().to_hex());
        let grants = wanted.grants.then(|| known.grants().to_json());
        object([
            ("count", number(known.count() as u64)),
            ("digest", digest.map_or(Json::Null, Json::String)),
            ("groups", Json::Array(groups.collect())),
            ("grants", grants.unwrap_or(Json::Null)),
            ("head", known.head().map_or(Json::Null, |head| Json::String(head.to_hex()))),
            ("known", Json::Array(shown.collect())),
            ("log", Json::string(origin)),
            ("more", Json::from(more)),
            ("now", number(now.0)),
            ("ok", Json::from(true)),
            ("size", number(self.ledger.position().0)),
        ])
    }
}
