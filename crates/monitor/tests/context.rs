//! What a session did decides about its next action: over servers, restarts and replays. The adversary takes
//! harmless steps, tells itself what it may do, or changes afterwards what it did.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::fs;
use std::sync::Arc;

use tipstaff_context::{Distance, Measure as Kind};
use tipstaff_core::action::Salt;
use tipstaff_core::receipt::{Door, Signed, Status};
use tipstaff_core::{Action, Json, Label, Labels, Verdict};
use tipstaff_identity::{HomeKeys, Peer};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{LogReader, SealingKey};
use tipstaff_monitor::replay::{Replay, replay};
use tipstaff_monitor::{
    Ended, Home, ListedTool, Measure, Member, Monitor, Permit, Refusal, Tell, Told, Untold,
};
use tipstaff_store::{Disk, NativeDisk};

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

struct World {
    _folder: tempfile::TempDir,
    home: Home,
}

impl World {
    fn new(policies: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        home.create().unwrap();
        fs::write(home.root().join("config.toml"), config).unwrap();
        fs::write(home.policies().join("tipstaff.cedar"), policies).unwrap();
        Self { _folder: folder, home }
    }

    fn reader(&self) -> (LogReader, SealingKey) {
        let keys = HomeKeys::open(self.home.root()).unwrap();
        let verifier = NoteVerifier::new(keys.origin(), keys.public().log).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(self.home.root()));
        (LogReader::open(disk, &verifier).unwrap(), SealingKey::new(keys.home_key()).unwrap())
    }

    fn receipts(&self) -> Vec<Signed> {
        let receipts = self.reader().0.receipts().unwrap();
        receipts.into_iter().map(|(_, signed)| signed).collect()
    }

    fn replay(&self) -> Replay {
        let (reader, sealing) = self.reader();
        replay(&self.home, &reader, &sealing, &mut |_| {}).unwrap()
    }

    fn told(&self, monitor: &Monitor, member: &Member, tell: Tell) -> Result<(), Untold> {
        let key = HomeKeys::approver(self.home.root()).unwrap();
        let log = monitor.ledger().identity().origin.clone();
        let told = Told { tell, session: member.chain(), log, salt: Salt([3; 16]) };
        monitor.tell(&told.sign(&key), Door::Cli).map(|_| ())
    }
}

fn join(monitor: &Arc<Monitor>, server: &str, tools: &[&str]) -> Arc<Member> {
    let peer = Peer::of_process(std::process::id(), 1000);
    let member = monitor.join(&peer, None, server, Door::McpStdio).unwrap();
    let listed = tools.iter().map(|name| ListedTool {
        name: (*name).to_owned(),
        definition: format!("{{\"name\":\"{name}\",\"inputSchema\":{{\"type\":\"object\"}}}}"),
    });
    monitor.tools_listed(&member, &listed.collect::<Vec<_>>()).unwrap();
    member
}

fn action(server: &str, tool: &str, arguments: &str) -> Action {
    let arguments = Json::parse(arguments.as_bytes()).unwrap();
    Action::new(server, tool, "tools/call", arguments, None).unwrap()
}

fn done(monitor: &Monitor, member: &Member, permit: Permit, found: Labels) {
    let settlement = permit.start().settle(Ended::of(Status::Ok, b"{}").with(found));
    monitor.settle(member, settlement).unwrap();
}

fn refused(answer: Result<Permit, Refusal>) -> Refusal {
    answer.err().unwrap_or_else(|| panic!("it is permitted"))
}

const MEANINGS: &str = "session_grace_s = 0
[meaning.\"vault/get\"]
gives = [\"secret\"]
sink = \"none\"
tier = 1
[meaning.\"web/page\"]
gives = [\"untrusted\"]
sink = \"none\"
tier = 1
[meaning.\"chat/post\"]
gives = []
sink = \"external\"
tier = 4
named = [\"/to\"]
acts = [\"post\", \"tell\"]
";

#[test]
fn a_secret_a_foreign_page_and_a_way_out_are_stopped_by_the_sequence() {
    let world = World::new(ALL, MEANINGS);
    let monitor = Monitor::open(&world.home).unwrap();
    let vault = join(&monitor, "vault", &["get"]);
    let web = join(&monitor, "web", &["page"]);
    let chat = join(&monitor, "chat", &["post"]);
    let post = || action("chat", "post", "{\"to\":\"#all\"}");
    let permit = monitor.admit(&chat, post()).unwrap();
    done(&monitor, &chat, permit, Labels::NONE);
    let secret = monitor.admit(&vault, action("vault", "get", "{}")).unwrap();
    let secret_receipt = secret.receipt();
    done(&monitor, &vault, secret, Labels::NONE);
    let permit = monitor.admit(&chat, post()).unwrap();
    done(&monitor, &chat, permit, Labels::NONE);
    let page = monitor.admit(&web, action("web", "page", "{}")).unwrap();
    let page_receipt = page.receipt();
    done(&monitor, &web, page, Labels::NONE);

    let refusal = refused(monitor.admit(&chat, post()));
    assert_eq!(refusal.verdict, Some(Verdict::Deny));
    // It names the two earlier actions.
    for receipt in [secret_receipt, page_receipt] {
        assert!(refusal.text.contains(&receipt.short()), "{}", refusal.text);
    }
    // What stays inside goes on.
    let permit = monitor.admit(&vault, action("vault", "get", "{}")).unwrap();
    done(&monitor, &vault, permit, Labels::NONE);

    // A restart forgets nothing.
    drop((vault, web, chat));
    drop(monitor);
    let monitor = Monitor::open(&world.home).unwrap();
    let chat = join(&monitor, "chat", &["post"]);
    assert_eq!(refused(monitor.admit(&chat, post())).verdict, Some(Verdict::Deny));
    // A person may say that the page was harmless; that is a receipt, and it is for this session alone.
    let untrusted = Labels::NONE.with(Label::Untrusted);
    world.told(&monitor, &chat, Tell::Declassify(untrusted)).unwrap();
    let permit = monitor.admit(&chat, post()).unwrap();
    done(&monitor, &chat, permit, Labels::NONE);
    monitor.shut_down().unwrap();
    drop((chat, monitor));
    let report = world.replay();
    assert_eq!((report.differ, report.expired), (0, 0), "{report:?}");
    let labelled = world.receipts().iter().any(|signed| {
        let labels = signed.receipt().context.as_ref().and_then(|context| context.labels.clone());
        labels.is_some_and(|labels| labels == ["external", "secret", "untrusted"])
    });
    assert!(labelled);
}

#[test]
fn what_was_found_in_a_result_counts_for_the_next_action() {
    let world = World::new(ALL, MEANINGS);
    let monitor = Monitor::open(&world.home).unwrap();
    let web = join(&monitor, "web", &["page"]);
    let chat = join(&monitor, "chat", &["post"]);
    let permit = monitor.admit(&web, action("web", "page", "{}")).unwrap();
    let found = Labels::NONE.with(Label::Secret);
    let receipt = permit.receipt();
    done(&monitor, &web, permit, found);
    let refusal = refused(monitor.admit(&chat, action("chat", "post", "{}")));
    assert!(refusal.text.contains(&receipt.short()), "{}", refusal.text);
    let outcome = world.receipts().into_iter().find_map(|s| s.receipt().outcome.clone()?.labels);
    assert_eq!(outcome, Some(vec!["secret".to_owned()]));
    monitor.shut_down().unwrap();
    drop((web, chat, monitor));
    assert_eq!(world.replay().differ, 0);
}

#[test]
fn an_effect_of_which_nobody_knows_brought_the_worst() {
    let world = World::new(ALL, MEANINGS);
    let monitor = Monitor::open(&world.home).unwrap();
    let chat = join(&monitor, "chat", &["post"]);
    drop(monitor.admit(&chat, action("chat", "post", "{}")).unwrap());
    let _ = monitor.admit(&chat, action("chat", "post", "{}")).map(|permit| {
        done(&monitor, &chat, permit, Labels::NONE);
    });
    let last = world.receipts().into_iter().rev().find_map(|signed| {
        let receipt = signed.receipt();
        let labels = receipt.context.as_ref()?.labels.clone()?;
        (receipt.kind == tipstaff_core::receipt::Kind::Verdict).then_some(labels)
    });
    assert_eq!(last.unwrap(), ["external", "unclassified", "untrusted"]);
}

#[derive(Debug)]
struct Fixed(u32, Kind);

impl Measure for Fixed {
    fn distance(&self, requests: &[String], _: &Action) -> Option<Distance> {
        assert!(!requests.is_empty());
        Some(Distance { ppm: self.0, measure: self.1, method: "fixed".to_owned() })
    }

    fn carries(&self, action: &Action) -> Labels {
        let secret = action.parameters().to_canonical().contains("hunter2");
        if secret { Labels::NONE.with(Label::Secret) } else { Labels::NONE }
    }
}

#[test]
fn a_request_is_signed_and_what_it_names_and_how_far_an_action_is_decide() {
    let named = "@id(\"users-words\") permit (principal, action, resource) when { context.named && context.asked };
        @id(\"near\") @step_up_if_aligned permit (principal, action, resource);";
    let config = format!("{MEANINGS}\n[context]\naligned_ppm = 500000\ndrift_limit_ppm = 900000");
    let world = World::new(named, &config);
    let monitor = Monitor::open(&world.home).unwrap();
    let chat = join(&monitor, "chat", &["post"]);
    let post = |to: &str| action("chat", "post", &format!("{{\"to\":\"{to}\"}}"));
    assert_eq!(refused(monitor.admit(&chat, post("#team"))).verdict, Some(Verdict::Defer));

    // Not signed by an approver, or for another session: it counts for nothing.
    let log = monitor.ledger().identity().origin.clone();
    let tell = Tell::Request("Tell #team that the build is green.".to_owned());
    let stranger = tipstaff_core::key::SigningKey::from_seed(&[9; 32].into()).unwrap();
    let own = Told { tell: tell.clone(), session: chat.chain(), log, salt: Salt([1; 16]) };
    assert_eq!(monitor.tell(&own.clone().sign(&stranger), Door::Cli), Err(Untold::NotSigned));
    let key = HomeKeys::approver(world.home.root()).unwrap();
    let other = Told { session: "s-0".to_owned(), ..own };
    assert_eq!(monitor.tell(&other.sign(&key), Door::Cli), Err(Untold::Unknown));
    assert_eq!(refused(monitor.admit(&chat, post("#team"))).verdict, Some(Verdict::Defer));

    world.told(&monitor, &chat, tell).unwrap();
    monitor.measure_with(Arc::new(Fixed(700_000, Kind::Semantic)));
    let permit = monitor.admit(&chat, post("#team")).unwrap();
    done(&monitor, &chat, permit, Labels::NONE);
    assert_eq!(refused(monitor.admit(&chat, post("#evil"))).verdict, Some(Verdict::Deny));
    monitor.measure_with(Arc::new(Fixed(400_000, Kind::Semantic)));
    assert_eq!(refused(monitor.admit(&chat, post("#evil"))).verdict, Some(Verdict::StepUp));
    monitor.measure_with(Arc::new(Fixed(400_000, Kind::Lexical)));
    assert_eq!(refused(monitor.admit(&chat, post("#evil2"))).verdict, Some(Verdict::Deny));
    monitor.measure_with(Arc::new(Fixed(900_001, Kind::Lexical)));
    let drifted = refused(monitor.admit(&chat, post("#team")));
    assert!(drifted.text.contains("too far"), "{}", drifted.text);
    let distances: Vec<u32> = world
        .receipts()
        .iter()
        .filter_map(|signed| signed.receipt().context.as_ref()?.distance_ppm)
        .collect();
    assert_eq!(distances, [700_000, 700_000, 400_000, 400_000, 900_001]);
    monitor.shut_down().unwrap();
    drop((chat, monitor));
    let report = world.replay();
    assert_eq!((report.differ, report.expired), (0, 0), "{report:?}");
}

#[test]
fn what_an_action_carries_counts_like_what_its_session_met() {
    let rule = "@id(\"no-secrets\") forbid (principal, action, resource) when { \
        context.carries.contains(\"secret\") && context.tier < 4 };";
    let world = World::new(&format!("{ALL}{rule}"), MEANINGS);
    let monitor = Monitor::open(&world.home).unwrap();
    monitor.measure_with(Arc::new(Fixed(0, Kind::Lexical)));
    let web = join(&monitor, "web", &["page"]);
    let chat = join(&monitor, "chat", &["post"]);
    let secret = "{\"text\":\"hunter2\"}";
    let post = |text| monitor.admit(&chat, action("chat", "post", text));
    done(&monitor, &chat, post(secret).unwrap(), Labels::NONE);
    let refusal = refused(monitor.admit(&web, action("web", "page", secret)));
    assert_eq!(refusal.rule.as_deref(), Some("no-secrets"));
    let permit = monitor.admit(&web, action("web", "page", "{}")).unwrap();
    done(&monitor, &web, permit, Labels::NONE);
    done(&monitor, &chat, post("{}").unwrap(), Labels::NONE);
    assert!(refused(post(secret)).text.contains("untrusted"));
    monitor.shut_down().unwrap();
    assert_eq!(world.replay().differ, 0);
}

#[test]
fn what_is_given_is_read_and_an_unknown_name_is_not() {
    let text = "permit (principal, action, resource) when { context.given_ticket == \"CHG-1\" };";
    let world = World::new(text, MEANINGS);
    let monitor = Monitor::open(&world.home).unwrap();
    let chat = join(&monitor, "chat", &["post"]);
    let verdict = || match monitor.admit(&chat, action("chat", "post", "{}")) {
        Ok(permit) => {
            done(&monitor, &chat, permit, Labels::NONE);
            Verdict::Allow
        }
        Err(refusal) => refusal.verdict.unwrap(),
    };
    let give = |value: &str| {
        let (name, value) = ("given_ticket".to_owned(), value.to_owned());
        world.told(&monitor, &chat, Tell::Give { name, value })
    };
    assert_eq!(verdict(), Verdict::Defer);
    give("CHG-2").unwrap();
    assert_eq!(verdict(), Verdict::Deny);
    give("CHG-1").unwrap();
    assert_eq!(verdict(), Verdict::Allow);
    monitor.shut_down().unwrap();
    let report = world.replay();
    assert_eq!((report.differ, report.expired), (0, 0), "{report:?}");
}

/// What is posted where the user said takes a label away, and nothing else may be posted.
fn cleaning() -> String {
    format!(
        "{ALL}@id(\"clean\") @rank(\"1\") @declassify(\"untrusted\") permit (principal, \
         action in Action::\"call\", resource in Server::\"chat\");\n\
         @id(\"no\") forbid (principal, action, resource in Server::\"chat\") when {{ !context.named }};"
    )
}

/// For each verdict, whether its session had the label of foreign text.
fn was_untrusted(world: &World) -> Vec<bool> {
    let receipts = world.receipts();
    let verdicts = receipts.iter().filter(|signed| signed.receipt().decision.is_some());
    let labels = verdicts.filter_map(|signed| signed.receipt().context.as_ref()?.labels.clone());
    labels.map(|labels| labels.contains(&"untrusted".to_owned())).collect()
}

#[test]
fn a_refused_call_takes_no_label_away() {
    let world = World::new(&cleaning(), MEANINGS);
    let monitor = Monitor::open(&world.home).unwrap();
    let web = join(&monitor, "web", &["page"]);
    let chat = join(&monitor, "chat", &["post"]);
    let page = monitor.admit(&web, action("web", "page", "{}")).unwrap();
    done(&monitor, &web, page, Labels::NONE);
    let post = || monitor.admit(&chat, action("chat", "post", "{\"to\":\"#team\"}"));
    assert_eq!(refused(post()).rule.as_deref(), Some("no"));
    world.told(&monitor, &chat, Tell::Request("Post to #team.".to_owned())).unwrap();
    done(&monitor, &chat, post().unwrap(), Labels::NONE);
    done(&monitor, &chat, post().unwrap(), Labels::NONE);
    assert_eq!(was_untrusted(&world), [false, true, true, false]);
    monitor.shut_down().unwrap();
    drop((web, chat, monitor));
    assert_eq!(world.replay().differ, 0);
}

#[test]
fn a_refused_call_takes_no_label_away_where_it_is_only_watched() {
    let world = World::new(&cleaning(), &format!("observe = true\n{MEANINGS}"));
    let monitor = Monitor::open(&world.home).unwrap();
    let web = join(&monitor, "web", &["page"]);
    let chat = join(&monitor, "chat", &["post"]);
    let page = monitor.admit(&web, action("web", "page", "{}")).unwrap();
    done(&monitor, &web, page, Labels::NONE);
    // Nothing is stopped here: it runs, and its receipt says what would have been.
    for _ in 0..2 {
        let post = monitor.admit(&chat, action("chat", "post", "{\"to\":\"#team\"}")).unwrap();
        assert_eq!(post.verdict(), Verdict::Deny);
        done(&monitor, &chat, post, Labels::NONE);
    }
    assert_eq!(was_untrusted(&world), [false, true, true]);
    monitor.shut_down().unwrap();
    drop((web, chat, monitor));
    assert_eq!(world.replay().differ, 0);
}
