//! Messages between nodes and store, and what crashes do to them.
//!
//! The adversary is the network: it loses, doubles, delays and turns round, and nobody is told.

use serde_json::json;
use tipstaff_identity::revocation::{ASK_EVERY_MS, Answer, Ask, Freshness};

use super::{Event, World};
use crate::Failure;
use crate::faults::Fault;

impl World {
    /// How long a message takes; `None` if it is lost.
    fn travel(&mut self) -> Option<u64> {
        if self.dice.chance(self.weather.lost) {
            self.seen.count("a message was lost");
            return None;
        }
        let slow = self.dice.chance(self.weather.slow);
        Some(if slow { self.dice.below(self.weather.delay) } else { self.dice.between(1, 40) })
    }

    fn copies(&mut self) -> u64 {
        if self.dice.chance(self.weather.doubled) { self.dice.between(2, 3) } else { 1 }
    }

    pub(super) fn ask(&mut self, node: u64, life: u64) -> Result<(), Failure> {
        if !self.lives(node, life)? {
            return Ok(());
        }
        let real = self.now.real;
        let ask = self.node(node)?.ask(real)?;
        let sent: u64 = self.asks.values().map(|asks| asks.len() as u64).sum();
        let number = sent + 1;
        let known = self.asks.entry((node, ask.life.0, ask.round)).or_default();
        known.push((number, self.now.step));
        self.say(&json!({ "op": "ask", "node": node, "ask": number, "have": ask.have.revision }));
        for _ in 0..self.copies() {
            if let (Some(wait), false) = (self.travel(), self.cut.contains(&node)) {
                self.after(wait, Event::AtStore(node, ask, number));
            }
        }
        let wait = self.dice.between(ASK_EVERY_MS - 100, ASK_EVERY_MS + 100);
        self.after(wait, Event::Ask(node, life));
        Ok(())
    }

    pub(super) fn at_store(&mut self, node: u64, ask: Ask, number: u64) -> Result<(), Failure> {
        if !self.store.up || self.cut.contains(&node) {
            return Ok(());
        }
        let answer = self.store.answer(&ask, self.weather.page);
        self.messages += 1;
        let message = self.messages;
        let upto = ask.have.revision + answer.entries.len() as u64;
        self.say(&json!({
            "op": "tell", "node": node, "ask": number, "message": message,
            "upto": upto, "head": answer.head.revision,
        }));
        for _ in 0..self.copies() {
            if let Some(wait) = self.travel() {
                self.after(wait, Event::AtNode(node, answer.clone(), number, message));
            }
        }
        Ok(())
    }

    pub(super) fn at_node(
        &mut self,
        node: u64,
        answer: Answer,
        number: u64,
        message: u64,
    ) -> Result<(), Failure> {
        if self.cut.contains(&node) || !self.node(node)?.is_up() {
            return Ok(());
        }
        self.check.heard(self.now, node);
        let Some(news) = self.node(node)?.news(&answer)? else {
            self.seen.count("an answer came too late or twice");
            return Ok(());
        };
        let life = self.node(node)?.life;
        let wait = if self.dice.chance(10) { self.dice.below(2_000) } else { self.dice.below(15) };
        if self.plan.fault == Fault::Unkept {
            self.after(wait, Event::KeptLate(node, life, news));
            return self.take(node, &answer, (number, message));
        }
        self.after(wait, Event::Kept(node, life, answer, number, message));
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        node: u64,
        answer: &Answer,
        (number, message): (u64, u64),
    ) -> Result<(), Failure> {
        // Another answer to the same request, or a later one, may have come first.
        let Some(news) = self.node(node)?.news(answer)? else { return Ok(()) };
        if self.plan.fault != Fault::Unkept {
            self.node(node)?.keep(&news)?;
        }
        let real = self.now.real;
        let Ok(fresh) = self.node(node)?.take(answer, real)? else {
            self.seen.count("an answer contradicted what was known");
            return Ok(());
        };
        let fresh = match fresh {
            Freshness::Confirmed(_) => "confirmed",
            _ => "behind",
        };
        self.seen.count(fresh);
        let asks = self.asks.get(&(node, answer.life.0, answer.round));
        let ask = asks.and_then(|asks| asks.iter().find(|(ask, _)| *ask == number));
        let sent = ask.map_or(0, |(_, step)| *step);
        let at = usize::try_from(node).unwrap_or(usize::MAX);
        let taker = self.nodes.get(at).ok_or(Failure::Wrong("a node that is not there"))?;
        let known = taker.known()?;
        let revision = known.head().revision;
        self.check.exchanged(self.now, node, sent, (known, self.store.entries()))?;
        let line = json!({ "op": "take", "node": node, "ask": number, "message": message,
            "revision": revision, "fresh": fresh == "confirmed" });
        self.say(&line);
        Ok(())
    }

    pub(super) fn crash(&mut self) -> Result<(), Failure> {
        self.sometime(self.weather.crash, Event::Crash);
        let node = self.dice.below(self.weather.nodes);
        if self.node(node)?.is_up() {
            self.fall(node)?;
            let wait = self.dice.between(50, 6_000);
            self.after(wait, Event::Restart(node));
        }
        Ok(())
    }

    fn fall(&mut self, node: u64) -> Result<(), Failure> {
        self.seen.count("a node crashed");
        let mut dice = self.dice.fork();
        self.node(node)?.crash(&mut dice);
        self.say(&json!({ "op": "crash", "node": node }));
        Ok(())
    }

    /// Everybody crashes and starts again, so that what was promised to be durable is looked for.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        if self.store.up {
            self.store.crash(&mut self.dice);
        }
        let survived = self.store.restart(self.now.real)?;
        survived.into_iter().try_for_each(|entry| self.ordered(entry, false))?;
        for node in 0..self.weather.nodes {
            if self.node(node)?.is_up() {
                self.fall(node)?;
            }
            self.restart(node)?;
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, node: u64) -> Result<(), Failure> {
        let real = self.now.real;
        let mut dice = self.dice.fork();
        if dice.chance(30) {
            // So does its machine.
            self.say(&json!({ "op": "reboot", "node": node }));
            self.node(node)?.clock.boot(&mut dice, real);
            let shown = self.node(node)?.clock.read(real);
            self.trace.reset(node, shown);
        }
        let receipts = self.node(node)?.restart(&mut dice, real)?;
        let at = usize::try_from(node).unwrap_or(usize::MAX);
        let started = self.nodes.get(at).ok_or(Failure::Wrong("a node that is not there"))?;
        let (known, life) = (started.known()?, started.life);
        self.check.restarted(self.now, node, (known, self.store.entries()), &receipts)?;
        self.after(1, Event::Ask(node, life));
        Ok(())
    }
}
