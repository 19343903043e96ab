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
