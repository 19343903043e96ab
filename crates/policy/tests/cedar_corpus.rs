//! The published corpus of cedar-integration-tests, through our index and our entity builder.
//!
//! The adversary here is our own cleverness: a slice that leaves out a policy, or an entity built
//! differently, changes an answer somewhere in 62,472 requests. What is compared is Cedar's answer
//! (decision, reasons, errors), before our rule that an error never allows.
//!
//! `TIPSTAFF_CORPUS=all` runs every case, otherwise every tenth.

#![expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use cedar_policy::{Context, EntityUid, PolicySet, Request, RestrictedExpression, Schema};
use serde_json::Value;
use tipstaff_policy::entity::{EntitySpec, entities, lineage};
use tipstaff_policy::index::{Index, Scope};

fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("TIPSTAFF_REFEREES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/referees"),
        PathBuf::from,
    );
    let archive = root.join("cedar/corpus-tests.tar.gz");
    if archive.is_file() {
        return Some(archive);
    }
    println!("SKIPPED: no Cedar corpus; set TIPSTAFF_REFEREES to the folder that holds cedar/");
    None
}

/// Removes what was unpacked, also when a comparison fails.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn unpack(archive: &Path) -> Unpacked {
    let folder = std::env::temp_dir().join(format!("tipstaff-cedar-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let unpacked = Unpacked(folder);
    let status =
        Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&unpacked.0).status().unwrap();
    assert!(status.success());
    unpacked
}

fn uid(json: &Value) -> EntityUid {
    let json = json.get("__entity").unwrap_or(json);
    EntityUid::from_json(json.clone()).unwrap()
}

/// Cedar's JSON for extension values, as Cedar text.
fn extension(json: &Value) -> String {
    if let Some(text) = json.as_str() {
        return format!("{text:?}");
    }
    let call = &json["__extn"];
    let name = call["fn"].as_str().unwrap();
    match call["args"].as_array() {
        Some(args) => {
            let args: Vec<String> = args.iter().map(extension).collect();
            let (own, rest) = args.split_first().unwrap();
            format!("{own}.{name}({})", rest.join(", "))
        }
        None => format!("{name}({})", extension(&call["arg"])),
    }
}

fn value(json: &Value) -> RestrictedExpression {
    match json {
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::Number(number) => RestrictedExpression::new_long(number.as_i64().unwrap()),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Array(items) => RestrictedExpression::new_set(items.iter().map(value)),
        Value::Object(members) if members.contains_key("__entity") => {
            RestrictedExpression::new_entity_uid(uid(json))
        }
        Value::Object(members) if members.contains_key("__extn") => {
            RestrictedExpression::from_str(&extension(json)).unwrap()
        }
        Value::Object(_) => RestrictedExpression::new_record(values(json)).unwrap(),
        Value::Null => panic!("Cedar has no null"),
    }
}

fn values(json: &Value) -> BTreeMap<String, RestrictedExpression> {
    let members = json.as_object().into_iter().flatten();
    members.map(|(name, member)| (name.clone(), value(member))).collect()
}

fn spec(json: &Value) -> EntitySpec {
    EntitySpec {
        uid: uid(&json["uid"]),
        attrs: values(&json["attrs"]),
        parents: json["parents"].as_array().into_iter().flatten().map(uid).collect(),
        tags: values(&json["tags"]),
    }
}

fn names(json: &Value) -> BTreeSet<String> {
    json.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Runs the requests of one case and returns how many there were.
fn run(case: &Path) -> usize {
    let read = |extension: &str| std::fs::read_to_string(case.with_extension(extension)).unwrap();
    let expected: Value = serde_json::from_str(&read("json")).unwrap();
    let stored: Value = serde_json::from_str(&read("entities.json")).unwrap();
    let (schema, _) = Schema::from_cedarschema_str(&read("cedarschema")).unwrap();
    let policies: PolicySet = read("cedar").parse().unwrap();
    let index = Index::new(policies.policies().cloned().collect());

    let mut specs: Vec<EntitySpec> = stored.as_array().unwrap().iter().map(spec).collect();
    let actions = schema.action_entities().unwrap();
    let groups = actions.iter().map(|action| EntitySpec {
        parents: actions.ancestors(&action.uid()).into_iter().flatten().cloned().collect(),
        ..EntitySpec::new(action.uid())
    });
    let stored: BTreeSet<EntityUid> = specs.iter().map(|spec| spec.uid.clone()).collect();
    specs.extend(groups.filter(|spec| !stored.contains(&spec.uid)).collect::<Vec<_>>());
    let entities = entities(specs).unwrap();

    let requests = expected["requests"].as_array().unwrap();
    for asked in requests {
        let [principal, action, resource] =
            ["principal", "action", "resource"].map(|part| uid(&asked[part]));
        let context = Context::from_pairs(values(&asked["context"])).unwrap();
        let lineages = [&principal, &action, &resource].map(|uid| lineage(&entities, uid));
        let scope = Scope { principal: &lineages[0], action: &lineages[1], resource: &lineages[2] };
        let request = Request::new(principal, action, resource, context, None).unwrap();
        let outcome = index.slice(scope).unwrap().evaluate(&request, &entities);
        assert_eq!(outcome, index.whole().unwrap().evaluate(&request, &entities), "{case:?}");

        let (decision, reasons) = if !outcome.forbids.is_empty() {
            ("deny", outcome.forbids)
        } else if outcome.permits.is_empty() {
            ("deny", Vec::new())
        } else {
            ("allow", outcome.permits)
        };
        let place = format!("{case:?} {}", asked["description"]);
        assert_eq!(asked["decision"].as_str(), Some(decision), "{place}");
        let reasons: BTreeSet<String> = reasons.iter().map(ToString::to_string).collect();
        assert_eq!(reasons, names(&asked["reason"]), "{place}");
        let errors: BTreeSet<String> =
            outcome.errors.iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(errors, names(&asked["errors"]), "{place}");
    }
    requests.len()
}

#[test]
fn the_published_corpus_has_the_published_answers() {
    let Some(archive) = corpus() else { return };
    let unpacked = unpack(&archive);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(unpacked.0.join("corpus-tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cedar"))
        .collect();
    cases.sort();
    let step = if std::env::var("TIPSTAFF_CORPUS").is_ok_and(|all| all == "all") { 1 } else { 10 };
    let (mut ran, mut requests) = (0, 0);
    for case in cases.iter().step_by(step) {
        requests += run(case);
        ran += 1;
    }
    println!("Cedar corpus: {ran} of {} cases, {requests} requests", cases.len());
    assert!(ran > 0 && requests > 0);
}
