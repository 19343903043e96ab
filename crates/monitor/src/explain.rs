//! What the rules would answer, without asking them to: for authors of policies.
//!
//! The adversary is an author's wrong guess. The answer comes from the same judgement that decides.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tipstaff_classify::Catalogue;
use tipstaff_context::Context;
use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Digest, Labels, Millis};
use tipstaff_policy::{InWords, PolicySet, PolicySource, PolicyWarning};

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
        let mut facts = Facts {
            now,
            agent: "explained".to_owned(),
            user: "explained".to_owned(),
            roles: Vec::new(),
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
