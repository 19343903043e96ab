//! Which calls depend on a deferred one, and what may be judged by now (row A4). Pure: a fold over receipts.
//!
//! The adversary is an order that is lost: a call that runs before the one that it rests on, or after that one
//! was refused, or with a stand-in for a result that never came. What isn't known here is refused.

use tipstaff_core::receipt::{Kind, Receipt};
use tipstaff_core::{Action, Digest, Json, Verdict};

use crate::judge::Barred;
use crate::wire::number_of;

/// What stands for the result of a deferred call, before 16 hex digits of its receipt.
pub(crate) const PLACEHOLDER: &str = "tipstaff:result:";
/// Digits of a receipt in a placeholder.
const DIGITS: usize = 16;
/// Most receipts that one call may name.
pub(crate) const NAMED_MAX: usize = 16;
/// Calls that are over and still known.
const OVER_MAX: usize = 128;

/// What became of a session's deferred calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deferrals {
    /// Oldest first.
    known: Vec<(Digest, Fate)>,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It waits, deferred or held for a person, under this receipt.
    Waiting(Digest),
    /// It was permitted by this receipt, and has no outcome yet.
    Running(Digest),
    /// It has an outcome.
    Settled,
    Denied,
}

/// What a receipt says of a deferred call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was deferred.
    Deferred(Digest),
    /// What waited under `of` waits on under `by`, for a person.
    Held { of: Digest, by: Digest },
    /// What waited under `of` was permitted by `by`.
    Permitted { of: Digest, by: Digest },
    /// What waited under this is refused.
    Denied(Digest),
    /// What was permitted by this has an outcome.
    Settled(Digest),
}

/// Whether what waits may go on by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Stirred {
    Yes,
    No,
}

/// The calls that one depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Links {
    /// Receipts that the caller names.
    pub(crate) named: Vec<Digest>,
    /// First digits of receipts, from the placeholders in its arguments.
    carried: Vec<String>,
}

impl Links {
    /// What a call depends on.
    pub(crate) fn of(action: &Action, named: &[Digest]) -> Self {
        let mut named = named.to_vec();
        named.sort_unstable();
        named.dedup();
        named.truncate(NAMED_MAX + 1);
        let mut carried = Vec::new();
        placeholders(action.parameters(), &mut carried);
        if let Some(resource) = action.resource() {
            placeholders_in(resource, &mut carried);
        }
        Self { named, carried }
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.carried.is_empty()
    }
}

impl Event {
    /// What a receipt says of a deferred call, if it may say something.
    pub(crate) fn of(receipt: &Receipt, hash: Digest) -> Option<Self> {
        if receipt.kind == Kind::Outcome {
            return receipt.of.map(Self::Settled);
        }
        if receipt.kind != Kind::Verdict {
            return None;
        }
        if is_deferred(receipt) {
            return Some(Self::Deferred(hash));
        }
        let of = receipt.continues?;
        let verdict = receipt.decision.as_ref().map(|decision| decision.verdict);
        let expires = receipt.approval.as_ref().and_then(|json| number_of(json, "expires"));
        Some(match verdict {
            _ if receipt.permits() => Self::Permitted { of, by: hash },
            Some(Verdict::StepUp) if expires.is_some() => Self::Held { of, by: hash },
            _ => Self::Denied(of),
        })
    }
}

impl Deferrals {
    /// Folds in what a receipt says.
    pub(crate) fn fold(&mut self, receipt: &Receipt, hash: Digest) -> Stirred {
        Event::of(receipt, hash).map_or(Stirred::No, |event| self.apply(event))
    }

    /// Folds one event in. What is about no call that is known changes nothing.
    pub(crate) fn apply(&mut self, event: Event) -> Stirred {
        let (before, after) = match event {
            Event::Deferred(of) => {
                self.known.push((of, Fate::Waiting(of)));
                self.forget();
                return Stirred::No;
            }
            Event::Held { of, by } => (Fate::Waiting(of), Fate::Waiting(by)),
            Event::Permitted { of, by } => (Fate::Waiting(of), Fate::Running(by)),
            Event::Denied(of) => (Fate::Waiting(of), Fate::Denied),
            Event::Settled(by) => (Fate::Running(by), Fate::Settled),
        };
        let found = self.known.iter_mut().find(|(_, fate)| *fate == before);
        let Some((_, fate)) = found else { return Stirred::No };
        *fate = after;
        match after {
            Fate::Denied | Fate::Settled => Stirred::Yes,
            Fate::Waiting(_) | Fate::Running(_) => Stirred::No,
        }
    }

    /// How many are deferred just now.
    pub(crate) fn waiting(&self) -> usize {
        self.known.iter().filter(|(of, fate)| *fate == Fate::Waiting(*of)).count()
    }

    /// What keeps a call from being judged by itself.
    pub(crate) fn bar(&self, links: &Links) -> Option<Barred> {
        if links.is_empty() {
            return None;
        }
        if links.named.len() > NAMED_MAX {
            return Some(Barred::DependencyUnknown);
        }
        let named: Option<Vec<Fate>> = links.named.iter().map(|of| self.fate(*of)).collect();
        let Some(mut fates) = named else { return Some(Barred::DependencyUnknown) };
        let carried: Option<Vec<Fate>> = links.carried.iter().map(|of| self.carried(of)).collect();
        // What stands for nothing that is known here is never sent on.
        let Some(carried) = carried else { return Some(Barred::Placeholder) };
        fates.extend(carried);
        if fates.contains(&Fate::Denied) {
            return Some(Barred::DependencyDenied);
        }
        if fates.iter().any(|fate| matches!(fate, Fate::Waiting(_) | Fate::Running(_))) {
            return Some(Barred::DependsOn);
        }
        (!links.carried.is_empty()).then_some(Barred::Placeholder)
    }

    /// The calls that a call waits for.
    pub(crate) fn after(&self, links: &Links) -> Vec<Digest> {
        let pending = |fate: &Fate| matches!(fate, Fate::Waiting(_) | Fate::Running(_));
        let depends = |of: &Digest| {
            let hex = of.to_hex();
            links.named.contains(of) || links.carried.iter().any(|digits| hex.starts_with(digits))
        };
        let after = self.known.iter().filter(|(of, fate)| pending(fate) && depends(of));
        let mut after: Vec<Digest> = after.map(|(of, _)| *of).collect();
        after.sort_unstable();
        after
    }

    fn fate(&self, of: Digest) -> Option<Fate> {
        self.known.iter().find(|(known, _)| *known == of).map(|(_, fate)| *fate)
    }

    fn carried(&self, digits: &str) -> Option<Fate> {
        let known = self.known.iter().find(|(known, _)| known.to_hex().starts_with(digits));
        known.map(|(_, fate)| *fate)
    }

    fn forget(&mut self) {
        let over = |fate: &Fate| !matches!(fate, Fate::Waiting(_));
        let mut left = self.known.iter().filter(|(_, fate)| over(fate)).count();
        self.known.retain(|(_, fate)| {
            let drop = over(fate) && left > OVER_MAX;
            left -= usize::from(drop);
            !drop
        });
    }
}

/// Whether a verdict's receipt suspends its call.
pub(crate) fn is_deferred(receipt: &Receipt) -> bool {
    let state = receipt.deferral.as_ref().and_then(|deferral| deferral.get("state"));
    receipt.kind == Kind::Verdict && state.and_then(Json::as_str) == Some("deferred")
}

/// What an agent may write where the result of a deferred call will be needed.
pub(crate) fn placeholder(of: Digest) -> String {
    let hex = of.to_hex();
    format!("{PLACEHOLDER}{}", hex.get(..DIGITS).unwrap_or(&hex))
}

fn placeholders(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::String(text) => placeholders_in(text, found),
        Json::Array(items) => items.iter().for_each(|item| placeholders(item, found)),
        Json::Object(members) => members.iter().for_each(|(name, value)| {
            placeholders_in(name, found);
            placeholders(value, found);
        }),
        _ => {}
    }
}

fn placeholders_in(text: &str, found: &mut Vec<String>) {
    for (_, rest) in
        text.match_indices(PLACEHOLDER).map(|(at, word)| text.split_at(at + word.len()))
    {
        let digits =
            rest.get(..DIGITS).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(digits) = digits.map(str::to_ascii_lowercase)
            && found.len() <= OVER_MAX
            && !found.contains(&digits)
        {
            found.push(digits);
        }
    }
}

#[cfg(test)]
mod tests;
