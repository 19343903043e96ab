//! What a class of callers may do at most, whatever the policies say (row J8).
//!
//! The adversary is an agent that takes as much as a person may: floods, calls side by side, sends heaps of data, or
//! reaches for a tier that is not for its kind. A class is the kind of the principal that a caller proved to be;
//! whoever proved none is `local`. What was counted, and the limits it was compared with, are inputs of the judgement,
//! so that a replay arrives at the same answer.

use std::fmt::Write as _;

use serde::Deserialize;
use tipstaff_core::{Json, Tier};
use tipstaff_identity::Kind;

use crate::wire::{number_of, text_of};

/// The limits of each class. Without any, nothing is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Classes {
    /// People.
    pub human: ClassLimits,
    /// Programs that run for many.
    pub service: ClassLimits,
    /// Language-model agents.
    pub agent: ClassLimits,
    /// CI, formatters, analyses.
    pub system: ClassLimits,
    /// Machines of a cluster.
    pub node: ClassLimits,
    /// Whoever proved to be none of these.
    pub local: ClassLimits,
}

/// The limits of one class. `None`: without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassLimits {
    /// Calls of a session within a minute.
    pub calls_per_minute: Option<u64>,
    /// Permitted calls of a session that have not ended.
    pub concurrent: Option<u64>,
    /// Bytes of a call's arguments in their canonical form.
    pub argument_bytes: Option<u64>,
    /// The highest tier, 1 to 5.
    pub tier: Option<u8>,
    /// Mebibytes of data of each process of a server that a door of this class starts.
    pub server_memory_mib: Option<u64>,
}

/// One limit and what was counted, without this call but for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// What was counted.
    pub count: u64,
    /// The most.
    pub most: u64,
}

/// What a class is held to at one judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The class, in the word of the configuration.
    pub name: &'static str,
    /// The size of the arguments.
    pub bytes: Option<Counted>,
    /// The calls of this minute.
    pub calls: Option<Counted>,
    /// The calls that have not ended.
    pub open: Option<Counted>,
    /// The highest tier.
    pub tier: Option<Tier>,
}

/// The class of a caller that proved nothing.
const LOCAL: &str = "local";

impl Classes {
    /// The word for a class and its limits.
    #[must_use]
    pub fn of(&self, kind: Option<Kind>) -> (&'static str, ClassLimits) {
        let limits = match kind {
            Some(Kind::Human) => self.human,
            Some(Kind::Service) => self.service,
            Some(Kind::Agent) => self.agent,
            Some(Kind::System) => self.system,
            Some(Kind::Node) => self.node,
            None => self.local,
        };
        (kind.map_or(LOCAL, Kind::as_str), limits)
    }

    /// What can't be meant, in words.
    pub(crate) fn fault(&self) -> Option<String> {
        let all = [None].into_iter().chain(Kind::ALL.map(Some)).map(|kind| self.of(kind));
        let mut wrong = all.filter(|(_, limits)| {
            limits.tier.is_some_and(|tier| Tier::from_number(tier).is_none())
                || limits.server_memory_mib == Some(0)
        });
        wrong.next().map(|(name, _)| {
            format!("`classes.{name}`: a tier is 1 to 5, and `server_memory_mib` at least 1")
        })
    }
}

impl Class {
    /// What it exceeds, as the reason in receipts. A call of this tier is one more than was counted.
    #[must_use]
    pub fn exceeded(&self, tier: Tier) -> Option<&'static str> {
        let full = |counted: Option<Counted>| counted.is_some_and(|c| c.count >= c.most);
        if self.tier.is_some_and(|most| tier > most) {
            Some("class_tier")
        } else if self.bytes.is_some_and(|bytes| bytes.count > bytes.most) {
            Some("class_size")
        } else if full(self.open) {
            Some("class_concurrent")
        } else if full(self.calls) {
            Some("class_rate")
        } else {
            None
        }
    }

    /// Writes the form that is kept with a judgement.
    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        for (name, counted) in [("bytes", self.bytes), ("calls", self.calls)] {
            if let Some(Counted { count, most }) = counted {
                let _ = write!(out, "\"{name}\":[{count},{most}],");
            }
        }
        let _ = write!(out, "\"name\":\"{}\"", self.name);
        if let Some(Counted { count, most }) = self.open {
            let _ = write!(out, ",\"open\":[{count},{most}]");
        }
        if let Some(tier) = self.tier {
            let _ = write!(out, ",\"tier\":{}", tier.number());
        }
        out.push('}');
    }

    /// Reads what was kept.
    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        let counted = |name| match json.get(name) {
            None => Some(None),
            Some(pair) => {
                let [count, most] = pair.as_array()? else { return None };
                let number = |json: &Json| u64::try_from(json.as_integer()?).ok();
                Some(Some(Counted { count: number(count)?, most: number(most)? }))
            }
        };
        let word = text_of(json, "name")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
        let name = kind.map_or(LOCAL, Kind::as_str);
        (name == word).then_some(())?;
        Some(Self {
            name,
            bytes: counted("bytes")?,
            calls: counted("calls")?,
            open: counted("open")?,
            tier: match json.get("tier") {
                None => None,
                Some(_) => Some(Tier::from_number(u8::try_from(number_of(json, "tier")?).ok()?)?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted() -> impl Strategy<Value = Option<Counted>> {
        proptest::option::of((0..9_u64, 0..9_u64).prop_map(|(count, most)| Counted { count, most }))
    }

    proptest! {
        #[test]
        fn what_is_kept_is_canonical_and_read_back(
            bytes in counted(), calls in counted(), open in counted(),
            tier in proptest::option::of(1..6_u8), kind in 0..6_usize,
        ) {
            let name = Kind::ALL.get(kind).map_or(LOCAL, |kind| kind.as_str());
            let class = Class { name, bytes, calls, open, tier: tier.and_then(Tier::from_number) };
            let mut text = String::new();
            class.write(&mut text);
            let json = Json::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(&json.to_canonical(), &text);
            prop_assert_eq!(Class::from_json(&json), Some(class));
        }
    }

    #[test]
    fn each_limit_is_exceeded_by_one_more() {
        let free = Class { name: LOCAL, bytes: None, calls: None, open: None, tier: None };
        assert_eq!(free.exceeded(Tier::T5), None);
        let at = |count| Some(Counted { count, most: 3 });
        let sized = |count| Class { bytes: at(count), ..free.clone() }.exceeded(Tier::T1);
        assert_eq!((sized(3), sized(4)), (None, Some("class_size")));
        let called = |count| Class { calls: at(count), ..free.clone() }.exceeded(Tier::T1);
        assert_eq!((called(2), called(3)), (None, Some("class_rate")));
        let open = |count| Class { open: at(count), ..free.clone() }.exceeded(Tier::T1);
        assert_eq!((open(2), open(3)), (None, Some("class_concurrent")));
        let low = Class { tier: Some(Tier::T2), ..free };
        assert_eq!((low.exceeded(Tier::T2), low.exceeded(Tier::T3)), (None, Some("class_tier")));
    }

    #[test]
    fn what_was_kept_by_nobody_is_not_read() {
        for text in [
            r#"{"name":"king"}"#,
            r#"{"name":"agent","calls":[1]}"#,
            r#"{"name":"agent","tier":9}"#,
        ] {
            assert_eq!(Class::from_json(&Json::parse(text.as_bytes()).unwrap()), None, "{text}");
        }
    }
}
