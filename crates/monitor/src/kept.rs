//! The form in which a judgement's inputs are kept beside its receipt: RFC 8785 text, written and read back.
//!
//! The adversary is an input that is lost or changed between the verdict and its replay. The text is written member
//! by member in its final order, because it is written for every action; what is read back has to write the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tipstaff_classify::Meaning;
use tipstaff_context::Distance;
use tipstaff_core::json::write_string;
use tipstaff_core::{Json, Labels, Millis, Sink, Tier};
use tipstaff_policy::{InWords, Limits, OverRisk};

use crate::authority::Authority;
use crate::class::Class;
use crate::judge::{Answered, Barred, Facts, Said};
use crate::pins::Listing;
use crate::repeat::Covering;
use crate::wire::{digests, number_of};

/// What is kept of one verdict: what was judged, what the world was like, what the action means.
pub(crate) fn kept_inputs(
    facts: &Facts,
    inputs: &str,
    means: Meaning,
    requested: Option<&str>,
) -> Vec<u8> {
    let mut out = String::with_capacity(768 + inputs.len() + requested.map_or(0, str::len));
    out.push_str("{\"facts\":");
    facts.write(&mut out);
    out.push_str(",\"inputs\":");
    out.push_str(inputs);
    out.push_str(",\"means\":");
    write_meaning(&mut out, means);
    out.push_str(",\"requested\":");
    out.push_str(requested.unwrap_or("null"));
    out.push('}');
    out.into_bytes()
}

/// The members of one object, in their order.
pub(crate) struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    /// Where the value of the next member goes.
    pub(crate) fn at(&mut self, name: &str) -> &mut String {
        self.out.push_str(if self.first { "\"" } else { ",\"" });
        self.first = false;
        self.out.push_str(name);
        self.out.push_str("\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        write_string(self.at(name), value);
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        let _ = write!(self.at(name), "{value}");
    }

    fn optional(&mut self, name: &str, value: Option<u32>) {
        match value {
            Some(value) => self.number(name, u64::from(value)),
            None => self.at(name).push_str("null"),
        }
    }

    fn texts<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        write_texts(self.at(name), values);
    }

    /// Keys are written in the order of their UTF-8 bytes, which only for text outside the basic plane differs
    /// from the order of RFC 8785; nothing is hashed by this text.
    fn map(&mut self, name: &str, map: &BTreeMap<String, String>) {
        let out = self.at(name);
        out.push('{');
        for (at, (from, to)) in map.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            write_string(out, from);
            out.push(':');
            write_string(out, to);
        }
        out.push('}');
    }

    pub(crate) fn close(self) {
        self.out.push('}');
    }
}

fn write_texts<'t>(out: &mut String, values: impl IntoIterator<Item = &'t str>) {
    out.push('[');
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(out, value);
    }
    out.push(']');
}

impl Facts {
    /// Writes the form that is kept. Members that are rare are left out where they say nothing.
    fn write(&self, out: &mut String) {
        let mut members = Members::open(out);
        members.text("agent", &self.agent);
        if let Some(answered) = self.answered {
            members.text("answered", answered.as_str());
        }
        if self.words.asked {
            members.at("asked").push_str("true");
        }
        if self.authority != Authority::Policies {
            self.authority.write(members.at("authority"));
        }
        if let Some(barred) = self.barred {
            members.text("barred", barred.as_str());
        }
        if !self.carries.is_empty() {
            members.texts("carries", self.carries.iter().map(|label| label.as_str()));
        }
        if let Some(class) = &self.class {
            class.write(members.at("class"));
        }
        if let Some(max) = self.deferrals_max {
            members.number("deferrals_max", max);
        }
        if !self.depends_on.is_empty() {
            let named: Vec<String> = self.depends_on.iter().map(|of| of.to_hex()).collect();
            members.texts("depends_on", named.iter().map(String::as_str));
        }
        if let Some(distance) = &self.distance {
            members.at("distance").push_str(&distance.to_json().to_canonical());
        }
        members.text("home", &self.home);
        if self.limits != Limits::default() {
            write_limits(members.at("limits"), &self.limits);
        }
        members.text("listing", self.listing.as_str());
        if self.words.named {
            members.at("named").push_str("true");
        }
        members.number("now", self.now.0);
        if !self.physical.is_empty() {
            members.map("physical", &self.physical);
        }
        if let Some(repeat) = &self.repeat {
            repeat.write(members.at("repeat"));
        }
        members.map("resolved", &self.resolved);
        if !self.roles.is_empty() {
            members.texts("roles", self.roles.iter().map(String::as_str));
        }
        members.texts("roots", self.roots.iter().map(String::as_str));
        if let Some(said) = self.said {
            write_meaning(members.at("said"), said.meaning);
            members.optional("said_tier", said.tier.map(|tier| u32::from(tier.number())));
        }
        members.text("user", &self.user);
        members.text("user_home", &self.user_home);
        members.close();
    }

    /// Reads what was kept.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let text = |name| Some(json.get(name)?.as_str()?.to_owned());
        let holds = |name| json.get(name) == Some(&Json::from(true));
        let roots =
            json.get("roots")?.as_array()?.iter().map(|root| Some(root.as_str()?.to_owned()));
        let roles = match json.get("roles") {
            None => Some(Vec::new()),
            Some(roles) => {
                let roles = roles.as_array()?.iter();
                roles.map(|role| Some(role.as_str()?.to_owned())).collect::<Option<Vec<_>>>()
            }
        };
        let map = |map: &Json| -> Option<BTreeMap<String, String>> {
            let members = map.as_object()?.iter();
            members.map(|(from, to)| Some((from.to_owned(), to.as_str()?.to_owned()))).collect()
        };
        Some(Self {
            now: Millis(u64::try_from(json.get("now")?.as_integer()?).ok()?),
            agent: text("agent")?,
            user: text("user")?,
            roles: roles?,
            listing: Listing::parse(&text("listing")?)?,
            roots: roots.collect::<Option<_>>()?,
            home: text("home")?,
            user_home: text("user_home")?,
            resolved: map(json.get("resolved")?)?,
            physical: json.get("physical").map_or(Some(BTreeMap::new()), map)?,
            answered: match json.get("answered") {
                None => None,
                Some(word) => {
                    let word = word.as_str()?;
                    Some(Answered::ALL.into_iter().find(|answered| answered.as_str() == word)?)
                }
            },
            authority: json
                .get("authority")
                .map_or(Some(Authority::Policies), Authority::from_json)?,
            barred: match json.get("barred") {
                None => None,
                Some(word) => {
                    let word = word.as_str()?;
                    Some(Barred::ALL.into_iter().find(|barred| barred.as_str() == word)?)
                }
            },
            class: match json.get("class") {
                None => None,
                Some(kept) => Some(Class::from_json(kept)?),
            },
            deferrals_max: match json.get("deferrals_max") {
                None => None,
                Some(_) => Some(number_of(json, "deferrals_max")?),
            },
            depends_on: json.get("depends_on").map_or(Some(Vec::new()), digests)?,
            repeat: match json.get("repeat") {
                None => None,
                Some(kept) => Some(Covering::from_json(kept)?),
            },
            said: match json.get("said") {
                None => None,
                Some(kept) => Some(Said {
                    meaning: meaning_from_json(kept)?,
                    tier: match json.get("said_tier")? {
                        Json::Null => None,
                        tier => Tier::from_number(u8::try_from(tier.as_integer()?).ok()?),
                    },
                }),
            },
            words: InWords { named: holds("named"), asked: holds("asked") },
            distance: json
                .get("distance")
                .map(|kept| Distance::from_json(kept).ok_or(()))
                .transpose()
                .ok()?,
            carries: match json.get("carries") {
                None => Labels::NONE,
                Some(names) => {
                    let names: Option<Vec<&str>> =
                        names.as_array()?.iter().map(Json::as_str).collect();
                    Labels::parse(names?)?
                }
            },
            limits: json.get("limits").map_or(Some(Limits::default()), limits_from_json)?,
        })
    }
}

fn write_meaning(out: &mut String, means: Meaning) {
    let mut members = Members::open(out);
    members.texts("gives", means.gives.iter().map(|label| label.as_str()));
    members.text("sink", means.sink.as_str());
    members.close();
}

/// Reads a kept meaning.
pub(crate) fn meaning_from_json(json: &Json) -> Option<Meaning> {
    let gives: Option<Vec<&str>> =
        json.get("gives")?.as_array()?.iter().map(Json::as_str).collect();
    let sink = Sink::parse(json.get("sink")?.as_str()?)?;
    Some(Meaning { gives: Labels::parse(gives?)?, sink })
}

const fn over_risk(over: OverRisk) -> &'static str {
    match over {
        OverRisk::Ask => "ask",
        OverRisk::Deny => "deny",
    }
}

fn write_limits(out: &mut String, limits: &Limits) {
    let mut members = Members::open(out);
    members.optional("aligned_ppm", limits.aligned_ppm);
    members.number("confidence", u64::from(limits.confidence));
    members.number("drift_from", u64::from(limits.drift_from.number()));
    members.optional("drift_ppm", limits.drift_ppm);
    members.text("over_risk", over_risk(limits.over_risk));
    members.optional("risk", limits.risk);
    members.close();
}

fn limits_from_json(json: &Json) -> Option<Limits> {
    let number = |name| u32::try_from(json.get(name)?.as_integer()?).ok();
    let optional = |name| match json.get(name)? {
        Json::Null => Some(None),
        _ => number(name).map(Some),
    };
    Some(Limits {
        aligned_ppm: optional("aligned_ppm")?,
        confidence: number("confidence")?,
        drift_from: Tier::from_number(u8::try_from(number("drift_from")?).ok()?)?,
        drift_ppm: optional("drift_ppm")?,
        over_risk: match json.get("over_risk").map(Json::as_str) {
            None => OverRisk::Deny,
            Some(word) => *[OverRisk::Ask, OverRisk::Deny]
                .iter()
                .find(|over| Some(over_risk(**over)) == word)?,
        },
        risk: optional("risk")?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use tipstaff_core::{Digest, Label};
    use tipstaff_identity::capability::{Fault, Meter, Metered};

    use super::*;
    use crate::authority::{Kept, Presented};
    use crate::class::Counted;

    /// Facts of nothing in particular.
    pub(crate) fn plain() -> Facts {
        Facts {
            now: Millis(1_795_272_154_009),
            agent: "a".to_owned(),
            user: "u".to_owned(),
            roles: Vec::new(),
            listing: Listing::Accepted,
            roots: Vec::new(),
            home: "/h".to_owned(),
            user_home: "/home/\"me\"\n".to_owned(),
            resolved: BTreeMap::new(),
            physical: BTreeMap::new(),
            answered: None,
            authority: Authority::Policies,
            barred: None,
            class: None,
            deferrals_max: None,
            depends_on: Vec::new(),
            repeat: None,
            said: None,
            words: InWords::default(),
            distance: None,
            carries: Labels::NONE,
            limits: Limits::default(),
        }
    }

    #[test]
    fn what_is_kept_is_canonical_and_read_back_as_it_was() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let full = Facts {
            roles: vec!["reader".to_owned()],
            roots: vec!["/srv".to_owned(), "/tmp/\u{1}".to_owned()],
            resolved: BTreeMap::from([pair("b", "/b"), pair("a\\", "/a")]),
            physical: BTreeMap::from([pair("b", "/c")]),
            answered: Some(Answered::Approved),
            barred: Some(Barred::Cascade),
            class: Some(Class {
                name: "local",
                bytes: None,
                calls: Some(Counted { count: 1, most: 2 }),
                open: None,
                tier: Some(Tier::T3),
            }),
            deferrals_max: Some(16),
            depends_on: vec![Digest::of(b"1"), Digest::of(b"2")],
            repeat: Some(crate::repeat::tests::covering()),
            said: Some(Said {
                meaning: Meaning { gives: Labels::NONE.with(Label::Secret), sink: Sink::External },
                tier: Some(Tier::T4),
            }),
            words: InWords { named: true, asked: true },
            carries: Labels::NONE.with(Label::Personal).with(Label::Secret),
            limits: Limits { risk: Some(3), over_risk: OverRisk::Ask, ..Limits::default() },
            ..plain()
        };
        let metered = |at: Option<&str>, value| Metered {
            meter: Meter { block: 1, at: at.map(str::to_owned) },
            value,
        };
        let held = |metered| {
            let (token, session) = (Kept::Named(Digest::of(b"t")), "s-1".to_owned());
            let held = Presented { token, position: 7, session, metered };
            Facts { authority: Authority::Capability(held), ..plain() }
        };
        let bare = Facts { authority: Authority::Nothing, ..plain() };
        let refused = Facts { authority: Authority::Refused(Fault::Revoked), ..plain() };
        let counted = held(vec![metered(None, 3), metered(Some("/a\"b"), 9)]);
        let untold = Facts { said: full.said.map(|said| Said { tier: None, ..said }), ..plain() };
        for facts in [plain(), full, untold, bare, refused, held(Vec::new()), counted] {
            let mut out = String::new();
            facts.write(&mut out);
            let json = Json::parse(out.as_bytes()).unwrap();
            assert_eq!(json.to_canonical(), out);
            assert_eq!(Facts::from_json(&json), Some(facts));
        }
    }

    #[test]
    fn a_meaning_has_one_text() {
        for gives in [Labels::NONE, Label::ALL.into_iter().collect()] {
            for sink in Sink::ALL {
                let (means, mut out) = (Meaning { gives, sink }, String::new());
                write_meaning(&mut out, means);
                let json = Json::parse(out.as_bytes()).unwrap();
                assert_eq!(json.to_canonical(), out);
                assert_eq!(meaning_from_json(&json), Some(means));
            }
        }
    }
}
