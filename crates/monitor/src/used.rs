//! How often capabilities were used and what came together, as a fold of receipts: for the running monitor and for a
//! replay alike.
//!
//! The adversary hopes that a restart forgets, that a helper's use is not the giver's, or that deleting inputs gives a
//! budget back. Every block above counts; a sum whose parts are no longer kept is spent.

use std::collections::HashMap;

use tipstaff_core::receipt::{Kind, Receipt};
use tipstaff_core::{Action, Digest, Json};
use tipstaff_identity::capability::Meter;

use crate::authority::Authority;
use crate::judge::Facts;

/// What the receipt of an action says whose capability counts something.
pub(crate) const METERED: &str = "\"metered\":true";
/// More than any budget, and exact in JSON.
pub(crate) const SPENT: i64 = 1 << 52;

/// By block, and the argument that is summed up; `None` for the number of uses.
#[derive(Debug, Default)]
pub(crate) struct Used(HashMap<(Digest, Option<String>), i64>);

impl Used {
    /// How far a meter of a capability with these blocks has come.
    pub(crate) fn of(&self, ids: &[Digest], meter: &Meter) -> i64 {
        let Some(id) = ids.get(meter.block) else { return SPENT };
        let known = self.0.get(&(*id, meter.at.clone())).copied();
        // Nobody knows what was spent where inputs are gone.
        let lost = || self.0.get(&(*id, Some(String::new()))).copied().unwrap_or(0);
        known.unwrap_or_else(|| if meter.at.is_some() { lost() } else { 0 }).min(SPENT)
    }

    /// Counts an action that was permitted.
    pub(crate) fn add<'a>(
        &mut self,
        ids: &[Digest],
        meters: impl Iterator<Item = &'a Meter>,
        action: &Action,
    ) {
        for id in ids {
            self.more(*id, None, 1);
        }
        for meter in meters {
            if let (Some(at), Some(id)) = (&meter.at, ids.get(meter.block)) {
                let amount = action.parameters().pointer(at).and_then(Json::as_integer);
                // What is no amount was not permitted by a budget, but by observing.
                self.more(*id, Some(at.clone()), amount.map_or(0, |amount| amount.max(0)));
            }
        }
    }

    /// Counts what a receipt says was permitted.
    pub(crate) fn fold(&mut self, receipt: &Receipt, inputs: Option<(Facts, Action, Action)>) {
        let authority = receipt.authority.as_ref();
        let is_metered = authority.and_then(|json| json.get("metered")) == Some(&Json::from(true));
        if receipt.kind != Kind::Verdict || !receipt.permits() || !is_metered {
            return;
        }
        let named = authority.and_then(|json| json.get("capability"));
        let ids = named.and_then(crate::wire::digests).unwrap_or_default();
        match inputs {
            Some((Facts { authority: Authority::Capability(presented), .. }, _, executed)) => {
                let meters = presented.metered.iter().map(|metered| &metered.meter);
                self.add(&ids, meters, &executed);
            }
            _ => self.lose(&ids),
        }
    }

    /// Uses are counted all the same; of sums the worst is assumed.
    fn lose(&mut self, ids: &[Digest]) {
        for id in ids {
            self.more(*id, None, 1);
            self.0.insert((*id, Some(String::new())), SPENT);
            for ((of, at), sum) in &mut self.0 {
                if of == id && at.is_some() {
                    *sum = SPENT;
                }
            }
        }
    }

    fn more(&mut self, id: Digest, at: Option<String>, amount: i64) {
        let lost = at.as_ref().and_then(|_| self.0.get(&(id, Some(String::new())))).copied();
        let sum = self.0.entry((id, at)).or_insert(lost.unwrap_or(0));
        *sum = sum.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_counts_and_what_is_lost_is_spent() {
        let id = |byte: u8| Digest::from_bytes([byte; 32]);
        let (uses, sum) =
            (Meter { block: 1, at: None }, Meter { block: 0, at: Some("/n".to_owned()) });
        let pay = |amount: i64| {
            let arguments = Json::object(vec![("n".to_owned(), Json::from(amount))]).unwrap();
            Action::new("s", "t", "tools/call", arguments, None).unwrap()
        };
        let mut used = Used::default();
        let (giver, helper) = ([id(1)], [id(1), id(2)]);
        used.add(&giver, [&sum].into_iter(), &pay(4));
        used.add(&helper, [&sum, &uses].into_iter(), &pay(3));
        used.add(&helper, [&sum, &uses].into_iter(), &pay(-5));
        assert_eq!(used.of(&helper, &uses), 2);
        assert_eq!(used.of(&giver, &Meter { block: 0, at: None }), 3, "the helper's count too");
        assert_eq!(used.of(&giver, &sum), 7, "and nothing gives back");
        assert_eq!(used.of(&giver, &uses), SPENT, "there is no such block");
        used.lose(&helper);
        assert_eq!(used.of(&helper, &uses), 3);
        assert_eq!(used.of(&giver, &sum), SPENT);
        let other = Meter { block: 1, at: Some("/n".to_owned()) };
        assert_eq!(used.of(&helper, &other), SPENT, "of any sum");
        used.add(&helper, [&other].into_iter(), &pay(1));
        assert_eq!(used.of(&helper, &other), SPENT);
    }
}
