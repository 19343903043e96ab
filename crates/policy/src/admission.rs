//! Reads and checks a policy set, all of it or nothing.
//!
//! The adversary is a rule that is not what it looks like: one that overflows the parser, names what
//! doesn't exist, can never match, or turns "not known yet" into "does not match". What is not checked
//! here, before it is in force, would be found out by the first attack.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet as CedarSet, Schema,
    ValidationMode, ValidationWarning, Validator,
};
use tipstaff_core::limits::{BODY_BYTES_MAX, POLICIES_MAX, POLICY_BYTES_MAX};
use tipstaff_core::{Digest, Json, Labels};

use crate::error::{Place, PolicyFault, PolicyWarning};
use crate::index::Index;
use crate::patch::Patch;
use crate::scan::{self, Kind, Token};
use crate::schema::{self, DEFERRABLE, Shape};
use crate::set::{Admitted, Names, Obligation, PolicySet, PolicySource, Rule, ToolPins, Uses};
use crate::words;

/// A policy that Cedar could read.
struct Draft<'a> {
    policy: Policy,
    rule: Rule,
    place: Place<'a>,
    tokens: Vec<Token<'a>>,
}

/// What is known about tools.
struct Known<'a> {
    pins: &'a ToolPins,
    typed: BTreeMap<String, Shape>,
    servers: BTreeSet<&'a str>,
}

#[derive(Default)]
struct Findings {
    faults: Vec<PolicyFault>,
    warnings: Vec<PolicyWarning>,
}

pub(crate) fn admit(
    asked: &PolicySource,
    pins: &ToolPins,
    classes: BTreeSet<String>,
) -> Result<Admitted, Vec<PolicyFault>> {
    let mut findings = Findings::default();
    // What is admitted, named and derived again is the Cedar that access words mean.
    let (source, unread) = words::compiled(asked, &classes);
    let source = source.as_ref();
    findings.faults.extend(unread);
    let patches = patches(source, &mut findings.faults);
    let canonical = canonical(source, &mut findings.faults);
    let mut drafts = Vec::new();
    if canonical.is_some() {
        for (file, text) in &source.files {
            read(file, text, &mut drafts, &mut findings.faults);
        }
    }
    let known = Known::new(pins);
    if drafts.len() > POLICIES_MAX {
        let place = Place::new("policies", "", 0);
        return Err(vec![place.fault(format!("more than {POLICIES_MAX} policies"))]);
    }
    if drafts.is_empty() && findings.faults.is_empty() {
        let place = Place::new("policies", "", 0);
        findings.warnings.push(place.warning("no policy: every action is denied"));
    }
    check_rules(&drafts, source, &mut findings.faults);
    let mut faulty = BTreeSet::new();
    for draft in &drafts {
        let before = findings.faults.len();
        check_names(draft, &known, &mut findings);
        check_guards(draft, &mut findings.faults);
        if findings.faults.len() > before {
            faulty.insert(draft.policy.id());
        }
    }
    let (schema, waiting) = validate(&drafts, &faulty, &known, &classes, &mut findings);
    let (Some(names), Some(canonical), true) =
        (Names::new(), canonical, findings.faults.is_empty())
    else {
        for fault in &mut findings.faults {
            if let Some((file, at)) = traced(source, &fault.file, fault.line) {
                (fault.file, fault.line, fault.column) = (file, at.line, at.column);
            }
        }
        findings.faults.sort();
        findings.faults.dedup();
        return Err(findings.faults);
    };
    for warning in &mut findings.warnings {
        if let Some((file, at)) = traced(source, &warning.file, warning.line) {
            (warning.file, warning.line, warning.column) = (file, at.line, at.column);
        }
    }
    findings.warnings.sort();
    findings.warnings.dedup();

    let mut pending = BTreeMap::new();
    let (mut policies, mut rules, mut numbers) = (Vec::new(), Vec::new(), HashMap::new());
    for draft in drafts {
        if waiting.contains(draft.policy.id()) {
            if draft.policy.effect() == Effect::Forbid {
                for tool in scope_calls(&draft.policy).into_iter().flatten() {
                    pending.insert(tool, draft.rule.id.clone());
                }
            }
            continue;
        }
        numbers.insert(draft.policy.id().clone(), rules.len());
        rules.push(draft.rule);
        policies.push(draft.policy);
    }
    let digest = Digest::of(canonical.as_bytes());
    let index = Index::new(policies);
    let typed = known.typed;
    let set = PolicySet {
        index,
        rules,
        numbers,
        patches,
        typed,
        pending,
        names,
        canonical,
        digest,
        schema,
    };
    Ok(Admitted { set, warnings: findings.warnings })
}

/// Where in access words a line of a file of the set comes from.
fn traced(source: &PolicySource, file: &str, line: usize) -> Option<(String, words::At)> {
    words::trace(file, source.files.get(file)?, line)
}

impl<'a> Known<'a> {
    fn new(pins: &'a ToolPins) -> Self {
        let typed = pins
            .tools
            .iter()
            .filter_map(|(name, schema)| Some((name.clone(), Shape::of_tool(schema.as_ref()?)?)))
            .collect();
        let servers = pins.tools.keys().filter_map(|name| Some(name.split_once('/')?.0)).collect();
        Self { pins, typed, servers }
    }
}

fn canonical(source: &PolicySource, faults: &mut Vec<PolicyFault>) -> Option<String> {
    let folder = Place::new("policies", "", 0);
    let bytes: usize = source.files.values().chain(source.patches.values()).map(String::len).sum();
    if bytes > POLICY_BYTES_MAX {
        faults.push(folder.fault(format!("more than {POLICY_BYTES_MAX} bytes of policies")));
        return None;
    }
    for name in source.files.keys() {
        let stem = name.strip_suffix(".cedar").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if stem.is_empty() || name.len() > 128 || !name.chars().all(plain) {
            let hint = "NAME.cedar, of letters, digits, `_`, `.` and `-`";
            faults.push(Place::new(name, "", 0).hinted("not a name of a policy file", hint));
        }
    }
    // A patch that is not JSON has its own fault, with its name.
    let text = source.to_canonical().ok()?;
    if text.len() > BODY_BYTES_MAX {
        faults.push(folder.fault("too many characters that need an escape in JSON"));
        return None;
    }
    Some(text)
}

fn patches(source: &PolicySource, faults: &mut Vec<PolicyFault>) -> BTreeMap<String, Patch> {
    let mut patches = BTreeMap::new();
    for (name, text) in &source.patches {
        let file = format!("patches/{name}");
        let place = Place::new(&file, text, 0);
        if !is_id(name) {
            faults
                .push(place.hinted("not a name of a patch", "1 to 64 of a-z, 0-9, `_`, `.`, `-`"));
        }
        match Json::parse(text.as_bytes()) {
            Err(fault) => {
                let at = match fault {
                    tipstaff_core::CoreError::Json { at, .. } => at,
                    _ => 0,
                };
                faults.push(Place::new(&file, text, at).fault(fault.to_string()));
            }
            Ok(json) => match Patch::new(&json) {
                Ok(patch) => {
                    patches.insert(name.clone(), patch);
                }
                Err(fault) => faults.push(place.fault(fault.to_string())),
            },
        }
    }
    patches
}

/// Reads one file into drafts, or says what is wrong with it.
fn read<'a>(file: &'a str, text: &'a str, out: &mut Vec<Draft<'a>>, faults: &mut Vec<PolicyFault>) {
    let statements = match scan::statements(text) {
        Ok(statements) => statements,
        Err((at, fault)) => {
            return faults.push(Place::new(file, text, at).fault(fault.to_string()));
        }
    };
    if statements.len() > POLICIES_MAX {
        let place = Place::new(file, text, 0);
        return faults.push(place.fault(format!("more than {POLICIES_MAX} policies")));
    }
    let parsed: CedarSet = match text.parse() {
        Ok(parsed) => parsed,
        Err(errors) => return flatten(DetailedError::from(&errors), file, text, 0, faults),
    };
    let start = |tokens: &[Token<'_>]| tokens.first().map_or(0, |token| token.at);
    if let Some(template) = parsed.templates().next() {
        let number = template.id().to_string();
        let at = number.strip_prefix("policy").and_then(|n| n.parse::<usize>().ok());
        let at = at.and_then(|n| statements.get(n)).map_or(0, |tokens| start(tokens));
        let place = Place::new(file, text, at);
        faults
            .push(place.hinted("templates can't be linked here", "write `==` or `in` with a name"));
        return;
    }
    for (number, tokens) in statements.into_iter().enumerate() {
        let place = Place::new(file, text, start(&tokens));
        // Cedar numbers the policies of a text in their order.
        let Some(policy) = parsed.policy(&PolicyId::new(format!("policy{number}"))) else {
            faults.push(place.fault("this policy can't be told from its neighbours"));
            continue;
        };
        let rule = rule(policy, &tokens, place, number, faults);
        let policy = policy.new_id(PolicyId::new(&rule.id));
        out.push(Draft { policy, rule, place, tokens });
    }
}

fn flatten(
    error: DetailedError,
    file: &str,
    text: &str,
    otherwise: usize,
    faults: &mut Vec<PolicyFault>,
) {
    let at = error.source_locations.first().map_or(otherwise, |label| label.loc.start);
    let mut fault = Place::new(file, text, at).fault(error.message);
    fault.hint = error.help;
    faults.push(fault);
    for related in error.related {
        flatten(related, file, text, otherwise, faults);
    }
}

/// What the annotations say, as far as it can be said.
fn rule(
    policy: &Policy,
    tokens: &[Token<'_>],
    place: Place<'_>,
    number: usize,
    faults: &mut Vec<PolicyFault>,
) -> Rule {
    let mut rule = Rule {
        id: format!("{}#{}", place.file, number + 1),
        uses: uses(tokens),
        ..Rule::default()
    };
    let mut obligations = 0;
    let mut annotations: Vec<_> = policy.annotations().collect();
    annotations.sort_unstable();
    for (name, value) in annotations {
        let at = annotation_at(tokens, name).unwrap_or(place.at);
        let here = Place { at, ..place };
        let mut oblige = |obligation: Obligation| {
            obligations += 1;
            rule.obligation = obligation;
        };
        match name {
            "id" if is_id(value) => rule.id = value.to_owned(),
            "id" => faults.push(here.hinted("not an id", "1 to 64 of a-z, 0-9, `_`, `.`, `-`")),
            "advice" => rule.advice = Some(value.to_owned()),
            "rank" => match value.parse() {
                Ok(rank) => rule.rank = Some(rank),
                Err(_) => faults.push(here.hinted("rank is not an integer", "@rank(\"10\")")),
            },
            "step_up" => oblige(Obligation::StepUp(value.to_owned())),
            "step_up_if_aligned" => {
                oblige(Obligation::StepUpIfAligned);
                rule.uses.distance = true;
            }
            "label" => match labels(value) {
                Some(labels) => rule.label = labels,
                None => faults.push(here.hinted("not labels", LABELS_HINT)),
            },
            "declassify" => match labels(value) {
                Some(labels) => rule.declassify = labels,
                None => faults.push(here.hinted("not labels", LABELS_HINT)),
            },
            "modify" => oblige(Obligation::Modify(value.to_owned())),
            _ => faults.push(here.hinted(
                format!("unknown annotation @{name}"),
                "known: @id, @advice, @rank, @step_up, @step_up_if_aligned, @modify, @label, @declassify",
            )),
        }
    }
    if obligations > 1 {
        faults.push(place.fault("more than one of @step_up, @step_up_if_aligned, @modify"));
    }
    let speaks = obligations > 0 || !rule.label.is_empty() || !rule.declassify.is_empty();
    if speaks && policy.effect() == Effect::Forbid {
        faults.push(place.hinted("a forbid can't carry an obligation", "put it on a permit"));
    }
    rule
}

const LABELS_HINT: &str =
    "of confidential, external, internal, personal, secret, unclassified, untrusted, with spaces";

fn labels(text: &str) -> Option<Labels> {
    Labels::parse(text.split_ascii_whitespace()).filter(|labels| !labels.is_empty())
}

fn check_rules(drafts: &[Draft<'_>], source: &PolicySource, faults: &mut Vec<PolicyFault>) {
    let mut seen = BTreeSet::new();
    for Draft { rule, place, tokens, .. } in drafts {
        let here = |name| Place { at: annotation_at(tokens, name).unwrap_or(place.at), ..*place };
        if !seen.insert(&rule.id) {
            faults.push(here("id").fault(format!("a second policy with the id `{}`", rule.id)));
        }
        if let Obligation::Modify(patch) = &rule.obligation
            && !source.patches.contains_key(patch)
        {
            faults.push(here("modify").fault(format!("there is no patch `{patch}`")));
        }
    }
}

/// Names of tools and servers: a warning if not seen yet, a fault if no tool could ever have them.
fn check_names(draft: &Draft<'_>, known: &Known<'_>, findings: &mut Findings) {
    if let ActionConstraint::Eq(action) = draft.policy.action_constraint()
        && action.id().unescaped() == "call"
    {
        let here = literal(draft, &action);
        let hint = "write `action in Action::\"call\"`: each tool has an action of its own in it";
        findings.faults.push(here.hinted("no action is exactly Action::\"call\"", hint));
    }
    for uid in draft.policy.entity_literals() {
        let kind = uid.type_name().to_string();
        let id = uid.id().unescaped();
        let here = literal(draft, &uid);
        let seen = match (kind.as_str(), id.strip_prefix("call:")) {
            ("Server", _) => known.servers.contains(id),
            ("Tool", _) => tool_name(id, here, known, &mut findings.faults),
            ("Action", Some(tool)) => tool_name(tool, here, known, &mut findings.faults),
            _ => true,
        };
        if !seen {
            findings.warnings.push(here.warning(format!("{kind}::\"{id}\" is not seen yet")));
        }
    }
}

fn tool_name(
    name: &str,
    here: Place<'_>,
    known: &Known<'_>,
    faults: &mut Vec<PolicyFault>,
) -> bool {
    if name.split_once('/').is_none_or(|(server, tool)| server.is_empty() || tool.is_empty()) {
        faults
            .push(here.hinted(format!("`{name}` can't be a tool"), "tools are named server/tool"));
        return true;
    }
    known.pins.tools.contains_key(name)
}

/// `context has distance_ppm` is false while the distance is unknown, so that a rule would not match where
/// the decision must wait.
fn check_guards(draft: &Draft<'_>, faults: &mut Vec<PolicyFault>) {
    for (at, token) in draft.tokens.iter().enumerate() {
        if (token.kind, token.text) != (Kind::Word, "has") {
            continue;
        }
        let Some(name) = draft.tokens.get(at + 1) else { continue };
        let plain = name.text.trim_matches('"');
        let deferrable = DEFERRABLE.contains(&plain) || is_given(plain);
        let hidden = name.kind == Kind::Text && name.text.contains('\\');
        if (deferrable || hidden) && !within_arguments(&draft.tokens, at) {
            let here = Place { at: name.at, ..draft.place };
            faults.push(here.hinted(
                format!("`has {}` would turn \"not known yet\" into \"does not match\"", name.text),
                "leave the guard out: while it is unknown, the decision is deferred",
            ));
        }
    }
}

/// The attributes from outside that policies look at: `context.given_NAME`.
fn given(drafts: &[Draft<'_>]) -> BTreeSet<String> {
    let tokens = drafts.iter().flat_map(|draft| draft.tokens.windows(3));
    let named = tokens.filter_map(|three| match three {
        [context, dot, name] if (context.text, dot.text) == ("context", ".") => Some(name.text),
        _ => None,
    });
    named.filter(|name| is_given(name)).map(str::to_owned).collect()
}

/// Whether a name is that of an attribute from outside: `given_` and 1 to 40 of `a-z`, `0-9`, `_`.
#[must_use]
pub fn is_given(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let rest = name.strip_prefix(schema::GIVEN).unwrap_or_default();
    (1..=40).contains(&rest.len()) && rest.bytes().all(plain)
}

fn within_arguments(tokens: &[Token<'_>], has: usize) -> bool {
    let mut path = tokens.get(..has).unwrap_or_default().iter().rev();
    while let Some(word) = path.next().filter(|token| token.kind == Kind::Word) {
        if word.text == "arguments" {
            return true;
        }
        if path.next().is_none_or(|token| token.text != ".") {
            return false;
        }
    }
    false
}

/// Strict validation. Returns the schema, and the policies that wait for a tool's input schema.
fn validate(
    drafts: &[Draft<'_>],
    faulty: &BTreeSet<&PolicyId>,
    known: &Known<'_>,
    classes: &BTreeSet<String>,
    findings: &mut Findings,
) -> (String, BTreeSet<PolicyId>) {
    let named: BTreeSet<String> = drafts
        .iter()
        .flat_map(|draft| draft.policy.entity_literals())
        .filter(|uid| uid.type_name().to_string() == "Action")
        .filter_map(|uid| uid.id().unescaped().strip_prefix("call:").map(str::to_owned))
        .filter(|tool| tool.contains('/'))
        .collect();
    // A policy that doesn't look at typed arguments means the same for all tools, so that it need not
    // be checked once for each of them.
    let given = given(drafts);
    let plain = schema::text(classes, &given, named.iter().map(|tool| (tool.as_str(), None)));
    let all: BTreeSet<&String> = named.iter().chain(known.pins.tools.keys()).collect();
    let all = all.into_iter().map(|tool| (tool.as_str(), known.typed.get(tool)));
    let full = schema::text(classes, &given, all);
    let mut waiting = BTreeSet::new();
    for (text, arguments) in [(&plain, false), (&full, true)] {
        let schema = match Schema::from_cedarschema_str(text) {
            Ok((schema, _)) => schema,
            Err(error) => {
                let place = Place::new("policies", "", 0);
                findings.faults.push(place.fault(format!("no schema can be made: {error}")));
                continue;
            }
        };
        let chosen: BTreeMap<&PolicyId, &Draft<'_>> = drafts
            .iter()
            .filter(|draft| draft.rule.uses.arguments == arguments)
            .map(|draft| (draft.policy.id(), draft))
            .collect();
        let policies = chosen.values().map(|draft| draft.policy.clone());
        // Only a second policy of one id fails here, and that has its own fault.
        let Ok(policies) = CedarSet::from_policies(policies) else { continue };
        let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        // Cedar says the same once for each action that a policy covers: the author needs it once.
        let mut errors = BTreeMap::new();
        for error in result.validation_errors() {
            let detail = DetailedError::from(error);
            let at = detail.source_locations.first().map(|label| label.loc.start);
            let first = errors.entry((error.policy_id(), at)).or_insert_with(|| detail.clone());
            if detail < *first {
                *first = detail;
            }
        }
        let mut reported: BTreeSet<&PolicyId> = faulty.iter().copied().collect();
        for ((id, _), error) in errors {
            reported.insert(id);
            let Some(draft) = chosen.get(id) else { continue };
            if draft.rule.uses.arguments && waits(&draft.policy, known) {
                let message = "waits for the input schema of a tool that is not seen yet";
                findings.warnings.push(draft.place.warning(message));
                waiting.insert(id.clone());
            } else {
                mistake(error, draft, &mut findings.faults);
            }
        }
        for warning in result.validation_warnings() {
            let Some(draft) = chosen.get(warning.policy_id()) else { continue };
            if !reported.contains(warning.policy_id()) {
                doubt(warning, draft, findings);
            }
        }
    }
    (full, waiting)
}

fn mistake(mut error: DetailedError, draft: &Draft<'_>, faults: &mut Vec<PolicyFault>) {
    let prefix = format!("for policy `{}`, ", draft.rule.id);
    let message = error.message.strip_prefix(&prefix).unwrap_or(&error.message);
    error.message = message.replace(" for Action::\"call:*\"", "");
    if error.message.contains("arguments") && scope_calls(&draft.policy).is_none() {
        error.help = Some("name the tool: `action == Action::\"call:server/tool\"`".into());
    }
    let Place { file, text, at } = draft.place;
    flatten(error, file, text, at, faults);
}

fn doubt(warning: &ValidationWarning, draft: &Draft<'_>, findings: &mut Findings) {
    let detail = DetailedError::from(warning);
    let at = detail.source_locations.first().map_or(draft.place.at, |label| label.loc.start);
    let here = Place { at, ..draft.place };
    match warning {
        ValidationWarning::MixedScriptString(_) => {
            findings.warnings.push(here.warning(detail.message));
        }
        ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
            let hint = "its conditions or its scope exclude each other";
            findings.faults.push(here.hinted("this policy can never match", hint));
        }
        _ => findings.faults.push(here.fault(detail.message)),
    }
}

/// Whether the scope names only tools that are not seen yet.
fn waits(policy: &Policy, known: &Known<'_>) -> bool {
    scope_calls(policy).is_some_and(|tools| {
        !tools.is_empty() && tools.iter().all(|tool| !known.pins.tools.contains_key(tool))
    })
}

/// The tools that the scope names as actions, `None` if it allows other actions.
fn scope_calls(policy: &Policy) -> Option<Vec<String>> {
    let tool = |uid: &EntityUid| uid.id().unescaped().strip_prefix("call:").map(str::to_owned);
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(uid) => Some(vec![tool(&uid)?]),
        ActionConstraint::In(uids) => uids.iter().map(tool).collect(),
    }
}

/// Says too much rather than too little: any string with an escape may spell any attribute.
fn uses(tokens: &[Token<'_>]) -> Uses {
    let mut uses = Uses::default();
    for token in tokens {
        match (token.kind, token.text) {
            (Kind::Word, "hasTag" | "getTag") => uses.tags = true,
            (Kind::Word, "in") => uses.hierarchy = true,
            (Kind::Word, "arguments") | (Kind::Text, "\"arguments\"") => uses.arguments = true,
            (Kind::Word, "now") | (Kind::Text, "\"now\"") => uses.now = true,
            (Kind::Word, text) if text.starts_with("distance_") => uses.distance = true,
            (Kind::Text, text) if text.starts_with("\"distance_") => uses.distance = true,
            (Kind::Text, text) if text.contains('\\') => {
                uses.arguments = true;
                uses.now = true;
                uses.distance = true;
            }
            _ => {}
        }
    }
    uses
}

fn annotation_at(tokens: &[Token<'_>], name: &str) -> Option<usize> {
    tokens.windows(2).find_map(|pair| match pair {
        [mark, word] if mark.text == "@" && word.text == name => Some(mark.at),
        _ => None,
    })
}

fn literal<'a>(draft: &Draft<'a>, uid: &EntityUid) -> Place<'a> {
    let spelled = schema::quoted(uid.id().unescaped());
    let kind = uid.type_name().to_string();
    let at = draft.tokens.windows(3).find_map(|three| match three {
        [name, mark, id] if name.text == kind && mark.text == "::" && id.text == spelled => {
            Some(name.at)
        }
        _ => None,
    });
    Place { at: at.unwrap_or(draft.place.at), ..draft.place }
}

fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}
