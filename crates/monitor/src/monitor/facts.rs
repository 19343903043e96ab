//! What the world is like when an action is judged.
//!
//! The adversary is whoever changes it between two looks: it is looked at once, and what was seen is kept with the
//! receipt.

use std::collections::BTreeMap;
use std::sync::Arc;

use tipstaff_context::Distance;
use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Labels, Millis, Tier};
use tipstaff_identity::{Kind, Name, Speaker};
use tipstaff_policy::InWords;

use super::admit::{After, Law};
use super::{Measure, Member, Monitor, Trust, lock};
use crate::class::{Class, ClassLimits, Classes, Counted};
use crate::config::Unproven;
use crate::judge::{Authority, Barred, Facts, Listing, tier};
use crate::policies::Rules;
use crate::sessions::Session;

impl Monitor {
    pub(super) fn facts(
        &self,
        law: &Law<'_>,
        member: &Member,
        session: &mut Session,
        action: &Action,
        after: Option<After>,
    ) -> Facts {
        let now = self.now();
        let speaker = member.proven.as_ref().map(|own| own.now(law.principals, now));
        let silent = matches!(speaker, Some(Err(_)));
        let authority = match (&member.brought, &speaker) {
            (Some(brought), _) => self.worth(brought, law.principals, &session.chain),
            (None, Some(Ok(speaker)))
                if speaker.kind == Kind::Agent && speaker.roles.is_empty() =>
            {
                Authority::Nothing
            }
            (None, _) => Authority::Policies,
        };
        let (agent, user, roles) = match speaker {
            None => (member.agent.clone(), member.user.clone(), Vec::new()),
            Some(Ok(speaker) | Err(speaker)) => named(member, &speaker),
        };
        // It may have been let in by a configuration that is not in force any more.
        let may_unproven = || {
            let config = &law.standing.config;
            config.unproven == Unproven::Tier1
                && tier(law.rules, action, config.meaning_of(action)) == Tier::T1
        };
        let barred = match (law.standing.paused, after) {
            // It has its own reason.
            (_, Some(after)) if after.ends_deferral() => None,
            (true, _) => Some(Barred::Paused),
            (false, _) if silent => Some(Barred::Principal),
            (false, _) if member.trust == Trust::Unproven && !may_unproven() => {
                Some(Barred::Unproven)
            }
            // What waited was counted when it was asked.
            (false, Some(_)) => None,
            (false, None) => session.pace.called(action, now, &law.standing.config.limits),
        };
        Facts {
            now,
            agent,
            user,
            roles,
            listing: listing(member, action, law.rules),
            roots: law.standing.config.roots.clone(),
            home: self.home_path.clone(),
            user_home: self.user_home.clone(),
            resolved: BTreeMap::new(),
            physical: BTreeMap::new(),
            answered: after.and_then(After::answered),
            authority,
            barred,
            class: None,
            deferrals_max: None,
            depends_on: Vec::new(),
            repeat: None,
            said: law.standing.config.meaning_of(action),
            words: InWords::default(),
            distance: None,
            carries: Labels::NONE,
            limits: law.standing.config.context.limits(member.door),
        }
    }

    /// The limits of a door's class.
    pub(super) fn limits_of(&self, member: &Member) -> ClassLimits {
        self.config().classes.of(member.proven.as_ref().map(|own| own.speaker.kind)).1
    }

    /// What the caller's class is held to. What waited was counted when it was asked.
    pub(super) fn class(
        &self,
        law: &Law<'_>,
        member: &Member,
        session: &mut Session,
        (action, after): (&Action, Option<After>),
        now: Millis,
    ) -> Option<Class> {
        let classes = &law.standing.config.classes;
        if *classes == Classes::default() {
            return None;
        }
        // What a principal is never changes.
        let kind = member.proven.as_ref().map(|own| own.speaker.kind);
        let (name, limits) = classes.of(kind);
        let counted = |count: u64, most: u64| Counted { count, most };
        let open = session.open.len() as u64;
        let is_new = after.is_none();
        Some(Class {
            name,
            bytes: limits
                .argument_bytes
                .map(|most| counted(action.parameters().to_canonical().len() as u64, most)),
            calls: limits
                .calls_per_minute
                .filter(|_| is_new)
                .map(|most| counted(session.pace.of_class(now, most), most)),
            open: limits.concurrent.filter(|_| is_new).map(|most| counted(open, most)),
            tier: limits.tier.and_then(Tier::from_number),
        })
    }

    /// How far an action is from what its session was asked for, if somebody wants to know. It may take
    /// long, so nothing is locked meanwhile.
    pub(super) fn distance(
        &self,
        measure: &dyn Measure,
        law: &Law<'_>,
        member: &Member,
        action: &Action,
    ) -> Option<Distance> {
        let requests = Arc::clone(&lock(&member.session).requests);
        let limits = law.standing.config.context.limits(member.door);
        let is_limited = || {
            let tier = tier(law.rules, action, law.standing.config.meaning_of(action));
            limits.drift_ppm.is_some() && tier >= limits.drift_from
        };
        let is_wanted =
            || limits.aligned_ppm.is_some() || law.rules.set.uses_distance() || is_limited();
        if requests.texts.is_empty() || !is_wanted() {
            return None;
        }
        measure.distance(&requests.texts, action)
    }
}

/// A principal in the words of policies. What it owns to nobody, the kernel's word stands for.
fn named(member: &Member, speaker: &Speaker) -> (String, String, Vec<String>) {
    let person = speaker.person.as_ref().map_or_else(|| member.user.clone(), Name::to_string);
    let roles = speaker.roles.iter().map(Name::to_string).collect();
    (speaker.name.to_string(), person, roles)
}

fn listing(member: &Member, action: &Action, rules: &Rules) -> Listing {
    // Those doors have no list: their tools are the client's own, or a program's.
    let listless = matches!(member.door, Door::Api | Door::Hook);
    if listless || action.operation() != "tools/call" {
        return Listing::Accepted;
    }
    let listed = lock(&member.listed);
    let now = listed.as_ref().and_then(|listed| listed.tools.get(action.tool()));
    let pins = rules.pins.servers.get(action.server());
    let pinned = pins.and_then(|pins| pins.tools.get(action.tool()));
    match (now, pinned) {
        (Some(now), Some(pinned)) if now == pinned => Listing::Accepted,
        (Some(_), Some(_)) => {
            let changed = pins.zip(listed.as_ref()).is_some_and(|(pins, listed)| {
                pins.changes(listed).iter().any(|change| change.name == action.tool())
            });
            if changed { Listing::Changed } else { Listing::Accepted }
        }
        _ => Listing::Unlisted,
    }
}
