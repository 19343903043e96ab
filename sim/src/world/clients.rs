//! What clients do: grant, attenuate, act and revoke, honestly or not.
//!
//! The adversary writes wider scopes into what he makes, and takes what was revoked to every node for as long as it
//! may still pass somewhere.

use serde_json::json;
use tipstaff_core::{Digest, Tier};
use tipstaff_identity::revocation::{BOUND_MS, Entry, Refused};

use super::{Event, World};
use crate::Failure;
use crate::faults::Fault;
use crate::node::Judged;
use crate::plan::{TOKEN_DEPTH, TOKENS_MAX};
use crate::token::{Scope, Token};

impl World {
    pub(super) fn deed(&mut self) -> Result<(), Failure> {
        let wait = self.dice.between(1, 2 * self.weather.deeds);
        self.after(wait, Event::Deed);
        let (token, held) = self.held();
        match (self.dice.below(100), held) {
            (_, None) | (0..7, _) if self.tokens.len() < TOKENS_MAX => {
                let token = Token::granted(Scope::any(&mut self.dice), self.dice.next());
                let id = token.id();
                self.made(token);
                self.order(Entry::Grant { id, parent: None })
            }
            (7..20, Some(held)) if self.tokens.len() < TOKENS_MAX && held.depth() < TOKEN_DEPTH => {
                let token = held.attenuated(
                    held.scope().unwrap_or(Scope::NONE).less(&mut self.dice),
                    self.dice.next(),
                );
                let id = token.id();
                self.made(token);
                // Some are told to the store too.
                if self.dice.chance(25) {
                    return self.order(Entry::Grant { id, parent: Some(held.id()) });
                }
                Ok(())
            }
            (20..24, Some(held)) => self.order(Entry::Revoke { id: held.id() }),
            (24, Some(_)) => {
                let to = Digest::of(&self.dice.next().to_le_bytes());
                self.order(Entry::Other { to })
            }
            (_, Some(_)) => {
                let node = self.dice.below(self.weather.nodes);
                self.act(node, token)
            }
            (_, None) => Ok(()),
        }
    }

    /// Some capability, mostly one that nobody revoked.
    fn held(&mut self) -> (usize, Option<Token>) {
        let mut held = (0, None);
        for _ in 0..8 {
            let at = self.dice.below(self.tokens.len() as u64);
            let at = usize::try_from(at).unwrap_or_default();
            held = (at, self.tokens.get(at).cloned());
            if !held.1.as_ref().is_some_and(|held| held.ids().any(|id| self.ended.contains(&id))) {
                break;
            }
        }
        held
    }

    fn made(&mut self, token: Token) {
        self.say(&json!({ "op": "client" }));
        self.trace.make(&token);
        self.tokens.push(token);
    }

    fn order(&mut self, entry: Entry) -> Result<(), Failure> {
        if !self.store.up {
            return Ok(());
        }
        let Some(place) = self.store.order(self.now.real, entry)? else {
            self.seen.count("an order could not be carried out");
            return Ok(());
        };
        let life = self.store.life;
        let wait = if self.dice.chance(10) { self.dice.below(900) } else { self.dice.below(20) };
        self.after(wait, Event::StoreSynced(life, place));
        if self.plan.fault == Fault::EarlyReceipt {
            let done = self.store.sync(place)?;
            return done.into_iter().try_for_each(|entry| self.ordered(entry, true));
        }
        Ok(())
    }

    /// An order is durable, with a receipt or without.
    pub(super) fn ordered(&mut self, entry: Entry, receipt: bool) -> Result<(), Failure> {
        let (op, id) = match entry {
            Entry::Grant { id, .. } => ("grant", self.trace.id(id)),
            Entry::Revoke { id } => ("revoke", self.trace.id(id)),
            Entry::Other { .. } => ("other", 0),
        };
        self.say(&json!({ "op": op, "id": id }));
        self.check.ordered(self.now, entry, receipt);
        let Entry::Revoke { id } = entry else { return Ok(()) };
        self.seen.count("a capability was revoked");
        self.ended.insert(id);
        // Whoever holds what derives from it tries it everywhere, for as long as it may take.
        let derived = self.tokens.iter().enumerate();
        let derived = derived.filter(|(_, token)| token.ids().any(|above| above == id));
        let derived: Vec<usize> = derived.map(|(at, _)| at).collect();
        for _ in 0..24 {
            let Some(token) = self.dice.pick(&derived).copied() else { break };
            let node = self.dice.below(self.weather.nodes);
            let late = self.dice.chance(60);
            let wait = if late {
                self.dice.between(BOUND_MS - 1_000, BOUND_MS + 1_000)
            } else {
                self.dice.below(BOUND_MS)
            };
            self.after(wait, Event::Act(node, token));
        }
        Ok(())
    }

    pub(super) fn act(&mut self, node: u64, token: usize) -> Result<(), Failure> {
        if !self.node(node)?.is_up() {
            return Ok(());
        }
        let Some(token) = self.tokens.get(token).cloned() else { return Ok(()) };
        let ((tool, tier), real) = (token.deed(&mut self.dice), self.now.real);
        self.acts += 1;
        let number = self.acts;
        let judged = self.node(node)?.judge((number, &token), (tool, tier), real)?;
        let revision = match judged {
            Judged::Permitted(revision) => revision,
            Judged::Outside => {
                self.seen.count("refused: outside of the grant");
                return Ok(());
            }
            Judged::Refused(Refused::Stale) => {
                self.seen.count("refused: stale");
                return Ok(());
            }
            Judged::Refused(Refused::NotInForce(_)) => {
                self.seen.count("refused: not in force");
                return Ok(());
            }
        };
        self.seen.count(if tier >= Tier::T3 { "permitted T3+" } else { "permitted T1, T2" });
        let line = json!({ "op": "judge", "node": node, "act": number, "cap": self.trace.id(token.id()),
            "tool": tool, "tier": tier.number(), "revision": revision });
        self.say(&line);
        let entries = self.store.entries();
        self.check.permitted(self.now, node, (&token, tier), (revision, entries))?;
        let life = self.node(node)?.life;
        let wait = if self.dice.chance(10) { self.dice.below(3_000) } else { self.dice.below(30) };
        if self.plan.fault == Fault::EffectFirst {
            self.after(0, Event::Start(node, life, number));
        }
        self.after(wait, Event::Synced(node, life, number));
        Ok(())
    }

    pub(super) fn synced(&mut self, node: u64, life: u64, number: u64) -> Result<(), Failure> {
        if self.lives(node, life)? {
            self.node(node)?.sync(number)?;
            // Whole machines stand still at times.
            let pause = self.dice.chance(10);
            let wait = if pause { self.dice.below(12_000) } else { self.dice.below(5) };
            self.after(wait, Event::Start(node, life, number));
        }
        Ok(())
    }

    pub(super) fn start(&mut self, node: u64, life: u64, number: u64) -> Result<(), Failure> {
        let real = self.now.real;
        if !self.lives(node, life)? {
            return Ok(());
        }
        let Some((act, starts)) = self.node(node)?.starts(number, real) else { return Ok(()) };
        if !starts {
            self.seen.count("an effect was too late to start");
            return Ok(());
        }
        self.say(&json!({ "op": "start", "node": node, "act": number, "tier": act.tier.number() }));
        self.check.started(self.now, (node, number), &act)
    }
}
