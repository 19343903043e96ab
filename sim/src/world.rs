//! The scheduler: one thing after another, in an order that the seed decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use serde_json::{Value, json};
use tipstaff_core::{Digest, Tier};
use tipstaff_identity::revocation::{
    ASK_EVERY_MS, Answer, Ask, BOUND_MS, Entry, Freshness, Refused,
};

use crate::Failure;
use crate::check::{Check, Now};
use crate::dice::Dice;
use crate::faults::Fault;
use crate::node::{Judged, Node};
use crate::plan::{MILLIS_MAX, Plan, World as Weather};
use crate::store::Store;
use crate::token::{Scope, Token};
use crate::trace::Trace;

/// Capabilities that clients have at most.
const TOKENS_MAX: usize = 120;
/// How deep they derive.
const DEPTH: usize = 8;

/// How often what happened, so that a run which spares everybody is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<&'static str, u64>);

/// A run, over or broken off.
#[derive(Debug)]
pub struct Run {
    /// Whether everything held.
    pub outcome: Result<(), Failure>,
    /// What happened.
    pub trace: Trace,
    /// How often.
    pub seen: Seen,
}

#[derive(Debug, Clone)]
enum Event {
    Ask(u64, u64),
    ToStore(u64, Ask, u64),
    ToNode(u64, Answer, u64, u64),
    /// A node has written what an answer brings.
    Kept(u64, u64, Answer, u64, u64),
    /// The same of a node that went on before.
    KeptLate(u64, u64, Vec<Entry>),
    StoreSynced(u64, u64),
    Deed,
    Act(u64, usize),
    Synced(u64, u64, u64),
    Start(u64, u64, u64),
    Crash,
    Restart(u64),
    StoreCrash,
    StoreRestart,
    Cut,
    Heal(u64),
    Clock,
}

struct World {
    plan: Plan,
    weather: Weather,
    dice: Dice,
    now: Now,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    store: Store,
    nodes: Vec<Node>,
    cut: BTreeSet<u64>,
    tokens: Vec<Token>,
    ended: BTreeSet<Digest>,
    /// The number of each request, and the step at which it was sent.
    asks: BTreeMap<(u64, Digest, u64), Vec<(u64, u64)>>,
    /// Counts events, messages and actions.
    planned: u64,
    messages: u64,
    acts: u64,
    check: Check,
    trace: Trace,
    seen: Seen,
}

/// Runs a seed.
#[must_use]
pub fn run(plan: Plan) -> Run {
    match World::new(plan) {
        Ok(mut world) => {
            let outcome = world.run();
            Run { outcome, trace: world.trace, seen: world.seen }
        }
        Err(failure) => {
            Run { outcome: Err(failure), trace: Trace::default(), seen: Seen::default() }
        }
    }
}

impl Seen {
    /// How often something happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, often)| (*what, *often))
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (what, often) in other.iter() {
            *self.0.entry(what).or_default() += often;
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

impl World {
    fn new(plan: Plan) -> Result<Self, Failure> {
        let mut dice = Dice::new(plan.seed);
        let weather = Weather::of(&mut dice);
        let store = Store::new(plan.fault, &mut dice)?;
        let mut nodes = Vec::new();
        let mut trace = Trace::default();
        for name in 1..=weather.nodes {
            let node = Node::new(name.to_le_bytes()[0], plan.fault, &mut dice)?;
            trace.reset(name - 1, node.clock.read(0));
            nodes.push(node);
        }
        trace.say(&json!({ "op": "begin", "seed": plan.seed, "nodes": weather.nodes }));
        let mut world = Self {
            plan,
            weather,
            dice,
            now: Now { real: 0, step: 0 },
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            store,
            nodes,
            cut: BTreeSet::new(),
            tokens: Vec::new(),
            ended: BTreeSet::new(),
            asks: BTreeMap::new(),
            planned: 0,
            messages: 0,
            acts: 0,
            check: Check::default(),
            trace,
            seen: Seen::default(),
        };
        for node in 0..weather.nodes {
            let wait = world.dice.below(ASK_EVERY_MS);
            world.after(wait, Event::Ask(node, 0));
        }
        world.after(1, Event::Deed);
        for (often, event) in [
            (weather.crash, Event::Crash),
            (weather.store_crash, Event::StoreCrash),
            (weather.cut, Event::Cut),
            (weather.clock, Event::Clock),
        ] {
            world.sometime(often, event);
        }
        Ok(world)
    }

    fn run(&mut self) -> Result<(), Failure> {
        let end = self.plan.millis.min(MILLIS_MAX);
        while let Some(Reverse((real, number))) = self.queue.pop() {
            if real > end {
                break;
            }
            let Some(event) = self.events.remove(&number) else { continue };
            self.now = Now { real, step: self.now.step + 1 };
            self.happen(event)?;
        }
        Ok(())
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.planned += 1;
        let number = self.planned;
        self.events.insert(number, event);
        self.queue.push(Reverse((self.now.real.saturating_add(wait), number)));
    }

    /// At some time, on average after `often`.
    fn sometime(&mut self, often: u64, event: Event) {
        if often < u64::MAX {
            let wait = self.dice.between(1, 2 * often);
            self.after(wait, event);
        }
    }

    fn say(&mut self, line: &Value) {
        let shown = self.nodes.iter().map(|node| node.clock.read(self.now.real)).collect();
        self.trace.pass(self.now.real, shown);
        self.trace.say(line);
    }

    fn node(&mut self, node: u64) -> Result<&mut Node, Failure> {
        let at = usize::try_from(node).unwrap_or(usize::MAX);
        self.nodes.get_mut(at).ok_or(Failure::Wrong("a node that is not there"))
    }

    fn lives(&mut self, node: u64, life: u64) -> Result<bool, Failure> {
        let node = self.node(node)?;
        Ok(node.is_up() && node.life == life)
    }

    fn happen(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Ask(node, life) => self.ask(node, life),
            Event::ToStore(node, ask, number) => self.to_store(node, ask, number),
            Event::ToNode(node, answer, number, message) => {
                self.to_node(node, answer, number, message)
            }
            Event::Kept(node, life, answer, number, message) => {
                if self.lives(node, life)? {
                    self.take(node, &answer, (number, message))?;
                }
                Ok(())
            }
            Event::KeptLate(node, life, news) => {
                if self.lives(node, life)? {
                    self.node(node)?.keep(&news)
                } else {
                    Ok(())
                }
            }
            Event::StoreSynced(life, place) => {
                if self.store.life != life {
                    return Ok(());
                }
                let done = self.store.sync(place)?;
                done.into_iter().try_for_each(|entry| self.ordered(entry, true))
            }
            Event::Deed => self.deed(),
            Event::Act(node, token) => self.act(node, token),
            Event::Synced(node, life, number) => self.synced(node, life, number),
            Event::Start(node, life, number) => self.start(node, life, number),
            Event::Crash => self.crash(),
            Event::Restart(node) => self.restart(node),
            Event::StoreCrash => {
                if self.store.up {
                    self.seen.count("the store crashed");
                    self.store.crash(&mut self.dice);
                    let wait = self.dice.between(20, 6_000);
                    self.after(wait, Event::StoreRestart);
                }
                self.sometime(self.weather.store_crash, Event::StoreCrash);
                Ok(())
            }
            Event::StoreRestart => {
                let survived = self.store.restart(self.now.real)?;
                survived.into_iter().try_for_each(|entry| self.ordered(entry, false))
            }
            Event::Cut => {
                let node = self.dice.below(self.weather.nodes);
                if self.cut.insert(node) {
                    self.seen.count("a node was cut off");
                    let wait = self.dice.between(500, 25_000);
                    self.after(wait, Event::Heal(node));
                }
                self.sometime(self.weather.cut, Event::Cut);
                Ok(())
            }
            Event::Heal(node) => {
                self.cut.remove(&node);
                Ok(())
            }
            Event::Clock => {
                let (at, real) = (self.dice.below(self.weather.nodes), self.now.real);
                let mut dice = self.dice.fork();
                self.node(at)?.clock.trouble(&mut dice, real);
                self.sometime(self.weather.clock, Event::Clock);
                Ok(())
            }
        }
    }
}

/// The network and the feed.
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

    fn ask(&mut self, node: u64, life: u64) -> Result<(), Failure> {
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
                self.after(wait, Event::ToStore(node, ask, number));
            }
        }
        let wait = self.dice.between(ASK_EVERY_MS - 100, ASK_EVERY_MS + 100);
        self.after(wait, Event::Ask(node, life));
        Ok(())
    }

    fn to_store(&mut self, node: u64, ask: Ask, number: u64) -> Result<(), Failure> {
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
                self.after(wait, Event::ToNode(node, answer.clone(), number, message));
            }
        }
        Ok(())
    }

    fn to_node(
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

    fn take(
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

    fn crash(&mut self) -> Result<(), Failure> {
        self.sometime(self.weather.crash, Event::Crash);
        let node = self.dice.below(self.weather.nodes);
        if self.node(node)?.is_up() {
            self.seen.count("a node crashed");
            let mut dice = self.dice.fork();
            self.node(node)?.crash(&mut dice);
            self.say(&json!({ "op": "crash", "node": node }));
            let wait = self.dice.between(50, 6_000);
            self.after(wait, Event::Restart(node));
        }
        Ok(())
    }

    fn restart(&mut self, node: u64) -> Result<(), Failure> {
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

/// What clients do.
impl World {
    fn deed(&mut self) -> Result<(), Failure> {
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
            (7..20, Some(held)) if self.tokens.len() < TOKENS_MAX && held.depth() < DEPTH => {
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
    fn ordered(&mut self, entry: Entry, receipt: bool) -> Result<(), Failure> {
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

    fn act(&mut self, node: u64, token: usize) -> Result<(), Failure> {
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

    fn synced(&mut self, node: u64, life: u64, number: u64) -> Result<(), Failure> {
        if self.lives(node, life)? {
            self.node(node)?.sync(number)?;
            // Whole machines stand still at times.
            let pause = self.dice.chance(10);
            let wait = if pause { self.dice.below(12_000) } else { self.dice.below(5) };
            self.after(wait, Event::Start(node, life, number));
        }
        Ok(())
    }

    fn start(&mut self, node: u64, life: u64, number: u64) -> Result<(), Failure> {
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
