//! What the rules would answer, without asking them to: for authors of policies.
//!
//! The adversary is an author's wrong guess. The answer comes from the same judgement that decides.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tipstaff_classify::{Catalogue, meaning};
use tipstaff_context::Context;
use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Digest, Labels, Millis, Sink, Tier};
use tipstaff_policy::paths::{Bounds, PathFacts, Place, facts};
use tipstaff_policy::{
    Classified, Decision, InWords, PolicySet, PolicySource, PolicyWarning, Request, SessionContext,
};

use crate::config::Config;
use crate::error::MonitorError;
use crate::home::Home;
use crate::judge::{Authority, Facts, Judged, Listing, judge};
use crate::pins::Pins;
use crate::policies::Rules;
use crate::resolve::{real_path, resolve};

/// A policy set, ready to be asked.
#[derive(Debug)]
pub struct Explainer {
    rules: Rules,
    roots: Vec<String>,
    config: Config,
    home: String,
    user_home: String,
}

impl Explainer {
    /// The answers of `source`, with a home's roots and its pins of `pins`.
    ///
    /// # Errors
    /// [`MonitorError::Policies`] with every fault.
    pub fn new(
        home: &Home,
        source: &PolicySource,
        pins: Option<Digest>,
    ) -> Result<Self, MonitorError> {
        let catalogue = Arc::new(Catalogue::builtin().clone());
        let pins = read_pins(home, pins)?;
        let config = home.config()?;
        let user_home = std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
        Ok(Self {
            rules: Rules::admit(source, &pins, &catalogue).map_err(MonitorError::Policies)?,
            roots: config.roots.clone(),
            config,
            home: real_path(home.root()).to_string_lossy().into_owned(),
            user_home: real_path(user_home.as_ref()).to_string_lossy().into_owned(),
        })
    }

    /// The judgement on an action that was recorded, as if it came now: with the roots of now, and as if
    /// its tool were accepted and nothing barred it.
    #[must_use]
    pub fn again(&self, action: &Action, recorded: &Facts) -> Judged {
        let mut facts = Facts {
            listing: Listing::Accepted,
            roots: self.roots.clone(),
            answered: None,
            authority: Authority::Policies,
            barred: None,
            class: None,
            deferrals_max: None,
            depends_on: Vec::new(),
            repeat: None,
            ..recorded.clone()
        };
        judge(&self.rules, action, &mut facts, &Context::new([0; 16]), &mut |_, _| {})
    }

    /// Declares another folder in which changes are allowed.
    pub fn add_root(&mut self, folder: &str) {
        self.roots.push(folder.to_owned());
    }

    /// The judgement on one action as if its tool were accepted and its session new.
    #[must_use]
    pub fn explain(&self, action: &Action, cwd: &Path, now: Millis) -> (Judged, Facts) {
        let nobody = "explained".to_owned();
        self.explain_as(
            action,
            cwd,
            now,
            &Acting { agent: nobody.clone(), user: nobody, roles: Vec::new() },
        )
    }

    /// The same, as somebody.
    #[must_use]
    pub fn explain_as(
        &self,
        action: &Action,
        cwd: &Path,
        now: Millis,
        who: &Acting,
    ) -> (Judged, Facts) {
        let mut facts = Facts {
            now,
            agent: who.agent.clone(),
            user: who.user.clone(),
            roles: who.roles.clone(),
            listing: Listing::Accepted,
            roots: self.roots.clone(),
            home: self.home.clone(),
            user_home: self.user_home.clone(),
            resolved: BTreeMap::new(),
            physical: BTreeMap::new(),
            answered: None,
            authority: Authority::Policies,
            barred: None,
            class: None,
            deferrals_max: None,
            depends_on: Vec::new(),
            repeat: None,
            said: self.config.meaning_of(action),
            words: InWords::default(),
            distance: None,
            carries: Labels::NONE,
            limits: self.config.context.limits(Door::Cli),
        };
        let cwd = cwd.to_string_lossy();
        let new = Context::new([0; 16]);
        let judged = judge(&self.rules, action, &mut facts, &new, &mut |facts, paths| {
            resolve(facts, paths, &cwd);
        });
        (judged, facts)
    }

    /// What the rules answer to an action of which only the class is given, in a new session.
    #[must_use]
    pub fn suppose(&self, supposed: &Supposed, who: &Acting, now: Millis) -> Decision {
        let Supposed { action, class, tier, paths, sink } = supposed;
        let unclassified = class == tipstaff_classify::UNCLASSIFIED;
        let session = SessionContext { labels: Some(Labels::NONE), ..SessionContext::default() };
        self.rules.set.decide(&Request {
            action,
            tier: *tier,
            class,
            classified: if unclassified { Classified::Unclassified } else { Classified::Known },
            paths: *paths,
            principal: &who.agent,
            user: &who.user,
            roles: &who.roles,
            sink: sink.unwrap_or_else(|| meaning(class, *tier).sink),
            carries: Labels::NONE,
            words: InWords { named: *tier <= Tier::T2, asked: false },
            session: &session,
            limits: self.config.context.limits(Door::Cli),
            now,
        })
    }

    /// What a path touches, from a folder.
    #[must_use]
    pub fn place(&self, path: &str, cwd: &Path) -> PathFacts {
        let cwd = cwd.to_string_lossy();
        let spelled = tipstaff_classify::paths::absolute(path, &cwd, &self.user_home);
        let found = spelled.map(|spelled| {
            let spelled = tipstaff_classify::paths::normalize(&spelled);
            real_path(spelled.as_ref()).to_string_lossy().into_owned()
        });
        let place = found.map(|path| Place { pointer: "/path".to_owned(), path });
        let places: Vec<Place> = place.into_iter().collect();
        let (roots, home, user_home) = (&self.roots, &self.home, &self.user_home);
        facts(&places, &Bounds { roots, home, user_home })
    }

    /// The set that answers.
    #[must_use]
    pub const fn set(&self) -> &PolicySet {
        &self.rules.set
    }

    /// The accepted tools, as `server` and `tool`.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &str)> {
        let servers = self.rules.pins.servers.iter();
        servers.flat_map(|(server, pins)| {
            pins.tools.keys().map(move |tool| (server.as_str(), tool.as_str()))
        })
    }
}

/// As whom an action is asked for, in the words of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// The agent.
    pub agent: String,
    /// The user.
    pub user: String,
    /// The agent's roles.
    pub roles: Vec<String>,
}

/// An action of which only the class is given.
#[derive(Debug, Clone)]
pub struct Supposed {
    /// Stands for it; its tool is one that no policy names, unless it is.
    pub action: Action,
    /// Its class.
    pub class: String,
    /// Its tier.
    pub tier: Tier,
    /// What its paths touch.
    pub paths: PathFacts,
    /// Where what it carries ends up, if not where its class leads.
    pub sink: Option<Sink>,
}

/// Checks a policy set as a start would.
///
/// # Errors
/// [`MonitorError::Policies`] with every fault.
pub fn check_policies(
    home: &Home,
    source: &PolicySource,
    pins: Option<Digest>,
) -> Result<(usize, Vec<PolicyWarning>), MonitorError> {
    let pins = read_pins(home, pins)?;
    let classes = Catalogue::builtin().classes();
    let admitted = PolicySet::admit(source, &pins.tool_pins(), classes);
    let admitted = admitted.map_err(MonitorError::Policies)?;
    Ok((admitted.set.len(), admitted.warnings))
}

fn read_pins(home: &Home, digest: Option<Digest>) -> Result<Pins, MonitorError> {
    let Some(digest) = digest else { return Ok(Pins::default()) };
    Pins::from_canonical(&home.kept(digest)?)
        .ok_or_else(|| MonitorError::Inconsistent("the tool pins are unreadable".to_owned()))
}
