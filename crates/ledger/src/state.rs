//! The fold over the log that appending and recovery need: where each open chain stands.
//!
//! The adversary is a crash that leaves a verdict without its outcome, or a start that forgets a chain
//! and begins it again. The state is nothing but the fold of the receipts; a snapshot saves folding
//! them all, and is bound to the log by size and root.

use std::collections::BTreeMap;

use tipstaff_core::json::Object;
use tipstaff_core::receipt::{Kind, Signed};
use tipstaff_core::{Digest, Json};

/// Where the open chains and the control state stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Chains without a close receipt.
    pub chains: BTreeMap<String, ChainState>,
    /// Digest of each kind of control state in force.
    pub control: BTreeMap<String, Digest>,
    /// Number of control receipts.
    pub revision: u64,
}

/// Where one chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainState {
    /// Leaf index of its first receipt.
    pub first: u64,
    /// Hash of its last receipt.
    pub head: Digest,
    /// The next number.
    pub next: u64,
    /// Verdicts that permitted an effect and have no outcome, with their leaf index.
    pub unsettled: BTreeMap<Digest, u64>,
}

impl State {
    /// Folds the receipt at `index` in.
    pub fn apply(&mut self, index: u64, signed: &Signed) {
        let receipt = signed.receipt();
        if !self.chains.contains_key(&receipt.chain) {
            let begun = ChainState {
                first: index,
                head: Digest::ZERO,
                next: 0,
                unsettled: BTreeMap::new(),
            };
            self.chains.insert(receipt.chain.clone(), begun);
        }
        let Some(chain) = self.chains.get_mut(&receipt.chain) else { return };
        chain.head = signed.hash();
        chain.next = receipt.chain_seq + 1;
        match receipt.kind {
            Kind::Verdict if receipt.permits() => {
                chain.unsettled.insert(signed.hash(), index);
            }
            Kind::Outcome => {
                if let Some(of) = receipt.of {
                    chain.unsettled.remove(&of);
                }
            }
            Kind::Control => {
                if let Some(control) = &receipt.control {
                    self.control.insert(control.what.clone(), control.to);
                    self.revision += 1;
                }
            }
            Kind::Session if receipt.action == "session:close" => {
                self.chains.remove(&receipt.chain);
            }
            Kind::Approval | Kind::Deferral | Kind::Session | Kind::Verdict | Kind::Void => {}
        }
    }

    /// Where a chain stands: number and `prev_hash` of its next receipt.
    #[must_use]
    pub fn next(&self, chain: &str) -> (u64, Digest) {
        self.chains.get(chain).map_or((0, Digest::ZERO), |state| (state.next, state.head))
    }

    /// The JSON form of a snapshot.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let chains = self.chains.iter().map(|(name, chain)| {
            let unsettled = chain.unsettled.iter().map(|(hash, at)| (hash.to_hex(), integer(*at)));
            let members = vec![
                ("first".to_owned(), integer(chain.first)),
                ("head".to_owned(), Json::String(chain.head.to_hex())),
                ("next".to_owned(), integer(chain.next)),
                ("unsettled".to_owned(), object(unsettled)),
            ];
            (name.clone(), object(members))
        });
        let control =
            self.control.iter().map(|(what, to)| (what.clone(), Json::String(to.to_hex())));
        object([
            ("chains".to_owned(), object(chains)),
            ("control".to_owned(), object(control)),
            ("revision".to_owned(), integer(self.revision)),
        ])
    }

    /// Reads a snapshot's JSON; `None` if it is not one.
    #[must_use]
    pub fn from_json(json: &Json) -> Option<Self> {
        let number = |json: &Json, name| u64::try_from(json.get(name)?.as_integer()?).ok();
        let digest = |json: &Json| Digest::from_hex(json.as_str()?).ok();
        let mut state = Self { revision: number(json, "revision")?, ..Self::default() };
        for (what, to) in json.get("control")?.as_object()?.iter() {
            state.control.insert(what.to_owned(), digest(to)?);
        }
        for (name, chain) in json.get("chains")?.as_object()?.iter() {
            let mut unsettled = BTreeMap::new();
            for (hash, at) in chain.get("unsettled")?.as_object()?.iter() {
                unsettled
                    .insert(Digest::from_hex(hash).ok()?, u64::try_from(at.as_integer()?).ok()?);
            }
            let chain = ChainState {
                first: number(chain, "first")?,
                head: digest(chain.get("head")?)?,
                next: number(chain, "next")?,
                unsettled,
            };
            state.chains.insert(name.to_owned(), chain);
        }
        Some(state)
    }
}

fn integer(value: u64) -> Json {
    Json::from(i64::try_from(value).unwrap_or(i64::MAX))
}

fn object(members: impl IntoIterator<Item = (String, Json)>) -> Json {
    // Names come from a map or are distinct words, so none is there twice.
    Json::Object(Object::new(members.into_iter().collect()).unwrap_or_default())
}
