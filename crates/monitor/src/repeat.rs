//! A yes that also covers later calls of the same kind: what is signed, what is left of it, and what it is not for.
//!
//! The adversary has such a yes and wants it for more: another place, another session, other rules, another day, one
//! call too many, or after it read what a person would have wanted to know of. All of these end it or are outside of
//! it, and then a person is asked again. Pure: a fold over receipts, for the running monitor and a restart alike.

use tipstaff_classify::ActionKind;
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{Kind, Receipt, Signed};
use tipstaff_core::{Digest, Json, Label, Labels, Millis, Tier, digest};

use crate::approval::{Reply, Statement};
use crate::kept::Members;
use crate::wire::{digest_of, number, number_of, object, text_of};

/// Most calls that one yes covers besides its own.
pub const COUNT_MAX: u64 = 100;
/// Longest time that one lasts, in milliseconds.
pub const LASTS_MAX_MS: u64 = 8 * 3600 * 1000;
/// Most of them that a session has; the oldest ends for one more.
const REPEATS_MAX: usize = 16;
/// The reason of a verdict that rests on one.
pub(crate) const REASON: &str = "approved_before";

/// What a yes covers besides the call that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// How many calls.
    pub count: u64,
    /// Salted digest of their kind.
    pub kind: Digest,
    /// What their session had met when a person was asked, and what such calls bring.
    pub labels: Labels,
    /// The policy that asked.
    pub rule: String,
    /// The chain of the session.
    pub session: String,
    /// The highest tier.
    pub tier: Tier,
    /// When it ends.
    pub until: Millis,
}

/// One that a call may rest on, as it was when the call was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covering {
    /// The folder that the call was asked from.
    pub folder: String,
    /// Hash of the receipt of the yes.
    pub of: Digest,
    /// The policy set that it was given under.
    pub policy_set: Digest,
    /// What it covers.
    pub repeat: Repeat,
    /// The salt of its kind.
    pub salt: Salt,
    /// How many calls rested on it before.
    pub used: u64,
}

/// What a call is held against.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) now: Millis,
    pub(crate) labels: Labels,
    pub(crate) carries: Labels,
    pub(crate) kind: Option<&'a ActionKind>,
    pub(crate) tier: Tier,
    pub(crate) rule: Option<&'a str>,
    pub(crate) policy_set: Digest,
}

/// The digest by which a yes names a kind. The log is public, so it has a salt.
#[must_use]
pub fn kind_digest(kind: &ActionKind, salt: Salt) -> Digest {
    Digest::of(kept_kind(kind, salt).as_bytes())
}

/// What is kept of a kind beside the receipt of the yes.
pub(crate) fn kept_kind(kind: &ActionKind, salt: Salt) -> String {
    let salt = Json::String(digest::hex(&salt.0));
    object([("kind", kind.to_json()), ("salt", salt)]).to_canonical()
}

/// Reads a salt of 32 hex digits.
pub(crate) fn salt_of(json: &Json) -> Option<Salt> {
    let hex = text_of(json, "salt").filter(|hex| hex.len() == 32)?;
    let padded = Digest::from_hex(&format!("{hex:0<64}")).ok()?;
    padded.as_bytes().first_chunk::<16>().copied().map(Salt)
}

impl Repeat {
    /// Its members under the signature.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let labels = self.labels.names();
        object([
            ("count", number(self.count)),
            ("kind", Json::String(self.kind.to_hex())),
            ("labels", Json::Array(labels.iter().map(|label| Json::string(label)).collect())),
            ("rule", Json::string(&self.rule)),
            ("session", Json::string(&self.session)),
            ("tier", number(u64::from(self.tier.number()))),
            ("until", number(self.until.0)),
        ])
    }

    /// Reads them.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let labels: Option<Vec<&str>> =
            json.get("labels")?.as_array()?.iter().map(Json::as_str).collect();
        Some(Self {
            count: number_of(json, "count")?,
            kind: digest_of(json, "kind")?,
            labels: Labels::parse(labels?)?,
            rule: text_of(json, "rule")?,
            session: text_of(json, "session")?,
            tier: Tier::from_number(u8::try_from(number_of(json, "tier")?).ok()?)?,
            until: Millis(number_of(json, "until")?),
        })
    }

    /// Whether it is for calls like this one, and no longer or more than one may be.
    pub(crate) fn fits(&self, receipt: &Receipt, asked: Millis) -> bool {
        let rule = receipt.decision.as_ref().and_then(|decision| decision.rule.as_deref());
        let said = (self.session.as_str(), self.tier, Some(self.rule.as_str()));
        said == (receipt.chain.as_str(), receipt.tier, rule) && self.is_bounded(asked)
    }

    /// Whether it ends.
    pub(crate) fn is_bounded(&self, asked: Millis) -> bool {
        (1..=COUNT_MAX).contains(&self.count)
            && self.tier <= Tier::T4
            && self.until > asked
            && self.until.0 <= asked.0.saturating_add(LASTS_MAX_MS)
    }
}

impl Covering {
    /// Why it does not cover a call, if it doesn't.
    pub(crate) fn unfit(&self, seen: &Seen<'_>) -> Option<&'static str> {
        let repeat = &self.repeat;
        let new = seen.labels.minus(repeat.labels).minus(Labels::NONE.with(Label::External));
        let same = seen.kind.is_some_and(|kind| kind_digest(kind, self.salt) == repeat.kind);
        let faults = [
            (!same, "it is of another kind"),
            (seen.now >= repeat.until, "its time is over"),
            (self.used >= repeat.count, "it is used up"),
            (seen.policy_set != self.policy_set, "the policies changed since"),
            (seen.rule != Some(repeat.rule.as_str()), "it is asked for by another rule"),
            (seen.tier > repeat.tier, "this call can change more"),
            (!new.is_empty(), "its session has met other data since"),
            (seen.carries.has(Label::Secret), "it carries what looks like a secret"),
        ];
        faults.into_iter().find(|(is, _)| *is).map(|(_, why)| why)
    }

    /// Writes the form that is kept.
    pub(crate) fn write(&self, out: &mut String) {
        let mut members = Members::open(out);
        members.text("folder", &self.folder);
        members.text("of", &self.of.to_hex());
        members.text("policy_set", &self.policy_set.to_hex());
        members.at("repeat").push_str(&self.repeat.to_json().to_canonical());
        members.text("salt", &digest::hex(&self.salt.0));
        members.number("used", self.used);
        members.close();
    }

    /// Reads what was kept.
    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            folder: text_of(json, "folder")?,
            of: digest_of(json, "of")?,
            policy_set: digest_of(json, "policy_set")?,
            repeat: Repeat::from_json(json.get("repeat")?)?,
            salt: salt_of(json)?,
            used: number_of(json, "used")?,
        })
    }
}

/// Those of a session.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Vec<Known>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Known {
    /// Hash of the receipt of the yes.
    pub(crate) of: Digest,
    pub(crate) statement: Statement,
    /// Thumbprint of the key that signed it.
    pub(crate) by: String,
    pub(crate) repeat: Repeat,
    pub(crate) kind: ActionKind,
    pub(crate) salt: Salt,
    pub(crate) used: u64,
}

impl Repeats {
    /// Folds a receipt in. Without its kept inputs a yes covers nothing more.
    pub(crate) fn fold(&mut self, signed: &Signed, plain: Option<&[u8]>) {
        match event(signed.receipt()) {
            Some(Event::Given(statement)) => {
                let json = plain.and_then(|plain| Json::parse(plain).ok());
                let kind = json.as_ref().and_then(|json| ActionKind::from_json(json.get("kind")?));
                let salt = json.as_ref().and_then(salt_of);
                let (Some(repeat), Some(kind), Some(salt)) = (statement.repeat.clone(), kind, salt)
                else {
                    return;
                };
                if self.0.len() >= REPEATS_MAX {
                    self.0.remove(0);
                }
                let by = signed.receipt().approval.as_ref();
                let by = by.and_then(|approval| text_of(approval, "key_id")).unwrap_or_default();
                let of = signed.hash();
                let statement = *statement;
                self.0.push(Known { of, statement, by, repeat, kind, salt, used: 0 });
            }
            Some(Event::Withdrawn(of)) => self.0.retain(|known| known.of != of),
            Some(Event::Used(of)) => {
                if let Some(known) = self.0.iter_mut().find(|known| known.of == of) {
                    known.used += 1;
                }
            }
            None => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn list(&self) -> &[Known] {
        &self.0
    }

    /// The one that a call of this kind may rest on: the newest with something left, or else the newest. Whose
    /// key doesn't count any more gave none.
    pub(crate) fn covering(
        &self,
        kind: &ActionKind,
        folder: &str,
        now: Millis,
        counts: impl Fn(&str) -> bool,
    ) -> Option<Covering> {
        let is_of_kind = |known: &&Known| known.kind == *kind && counts(&known.by);
        let of_kind = || self.0.iter().rev().filter(is_of_kind);
        let is_live = |known: &&Known| known.used < known.repeat.count && now < known.repeat.until;
        let known = of_kind().find(is_live).or_else(|| of_kind().next())?;
        Some(Covering {
            folder: folder.to_owned(),
            of: known.of,
            policy_set: known.statement.policy_set,
            repeat: known.repeat.clone(),
            salt: known.salt,
            used: known.used,
        })
    }
}

impl Known {
    /// What ends it, when an approver signs it.
    pub(crate) fn withdrawal(&self) -> Statement {
        Statement {
            reply: Reply::Withdraw,
            action: self.repeat.kind,
            expires: self.repeat.until,
            of: self.of,
            repeat: None,
            ..self.statement.clone()
        }
    }
}

/// What a receipt says of such a yes.
pub(crate) enum Event {
    Given(Box<Statement>),
    Withdrawn(Digest),
    Used(Digest),
}

/// What a receipt says of such a yes, if it says something.
pub(crate) fn event(receipt: &Receipt) -> Option<Event> {
    let approval = receipt.approval.as_ref()?;
    match receipt.kind {
        Kind::Approval if approval.get("rejected").is_none() => {
            let statement = Statement::from_json(approval)?;
            match (statement.reply, &statement.repeat) {
                (Reply::Approve, Some(_)) => Some(Event::Given(Box::new(statement))),
                (Reply::Withdraw, None) => Some(Event::Withdrawn(statement.of)),
                _ => None,
            }
        }
        Kind::Verdict => {
            let reason = receipt.decision.as_ref().map(|decision| decision.reason.as_str());
            let of = digest_of(approval, "receipt").filter(|_| reason == Some(REASON));
            of.map(Event::Used)
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
