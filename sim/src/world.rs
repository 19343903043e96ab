//! The scheduler: one thing after another, in an order that the seed decides.

mod clients;
mod feed;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use serde_json::{Value, json};
use tipstaff_core::Digest;
use tipstaff_identity::revocation::{ASK_EVERY_MS, Answer, Ask, Entry};

use crate::Failure;
use crate::check::{Check, Now};
use crate::dice::Dice;
use crate::node::Node;
use crate::plan::{MILLIS_MAX, Plan, World as Weather};
use crate::store::Store;
use crate::token::Token;
use crate::trace::Trace;

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
    AtStore(u64, Ask, u64),
    AtNode(u64, Answer, u64, u64),
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
        self.end()
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
            Event::AtStore(node, ask, number) => self.at_store(node, ask, number),
            Event::AtNode(node, answer, number, message) => {
                self.at_node(node, answer, number, message)
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
