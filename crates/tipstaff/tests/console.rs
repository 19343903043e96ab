//! The console, end to end: what was given on is drawn as a tree, a revocation is shown before it is done, and what a
//! principal did is listed.

mod support;
use std::fs;

use serde_json::json;
use support::http::Served;
use support::{BINARY, Ran, World, text};

fn done(world: &World, words: &[&str]) -> Ran {
    let done = world.run(words);
    assert_eq!(done.code, 0, "{words:?}: {done:?}");
    done
}

fn key(world: &World, name: &str) -> String {
    done(world, &["principal", "key", &format!("{name}.key")]).out.trim().to_owned()
}

fn page(served: &Served, path: &str) -> (u16, String) {
    let host = format!("127.0.0.1:{}", served.port);
    let answer = served.raw(&format!("GET {path}"), &[("Host", &host)], b"");
    (answer.status, answer.body)
}

#[test]
fn what_was_given_on_is_drawn_and_what_a_revocation_cuts_is_shown_before() {
    let world = World::new();
    world.config("idle_exit_s = 60");
    fs::write(world.work().join("a.md"), "hi").unwrap();
    let (ada, coder, helper) = (key(&world, "ada"), key(&world, "coder"), key(&world, "helper"));
    done(&world, &["principal", "enrol", "ada", "--kind", "human", "--key", &ada]);
    for (name, key) in [("coder", &coder), ("helper", &helper)] {
        let rest = ["--kind", "agent", "--owner", "ada", "--key", key];
        done(&world, &[&["principal", "enrol", name][..], &rest].concat());
    }
    done(&world, &["grant", "--to", "coder", "--tier", "T2", "-o", "coder.cap"]);
    let rest = ["--key", "coder.key", "--to", &helper, "--tier", "T1", "-o", "helper.cap"];
    done(&world, &[&["attenuate", "coder.cap"][..], &rest].concat());
    done(&world, &["group", "convene", "night-shift", "coder", "helper"]);
    done(&world, &["group", "join", "night-shift", "--key", "helper.key"]);

    let mut served = Served::start(&world);
    let work = world.work();
    let (file, capability) = (world.at("helper.key"), world.at("helper.cap"));
    let options = ["--key", file.to_str().unwrap(), "--capability", capability.to_str().unwrap()];
    let server = [BINARY, "notes", work.to_str().unwrap()];
    let mut session = world.wrap_apart_with("notes", &options, &server);
    session.handshake();
    session.list();
    assert_eq!(text(&session.call("read_note", json!({ "name": "a.md" }))), "hi");

    let shown = done(&world, &["--json", "inspect", "helper.cap"]).json();
    let ids: Vec<String> =
        (0..2).map(|n| shown["blocks"][n]["id"].as_str().unwrap().to_owned()).collect();
    let short = |n: usize| ids[n].get(..12).unwrap();
    let (status, plain) = page(&served, "/console");
    assert_eq!(status, 200, "{plain}");
    for part in ["coder", "helper: active", "coder: invited", short(0), short(1), "tier($v)"] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    assert!(!plain.contains("class=\"cut\""), "{plain}");
    let (_, cut) = page(&served, &format!("/console?cut={}", short(0)));
    assert!(cut.contains("would cut 2 that are known"), "{cut}");
    assert_eq!(cut.matches("class=\"cut\"").count(), 2, "{cut}");
    let (_, audit) = page(&served, "/console?principal=helper");
    assert!(audit.contains("What helper did") && audit.contains("ALLOW (permitted)"), "{audit}");
    let (_, nothing) = page(&served, "/console?principal=coder");
    assert!(!nothing.contains("ALLOW"), "{nothing}");

    done(&world, &["revoke", &ids[0]]);
    let (_, revoked) = page(&served, "/console");
    assert!(revoked.contains("<b>revoked</b>"), "{revoked}");
    assert_eq!(revoked.matches("class=\"cut\"").count(), 2, "{revoked}");
    for query in ["cut=xyz", "cut=00", "principal=A%20", "other=1", "cut=00000000&cut=00000000"] {
        assert_eq!(page(&served, &format!("/console?{query}")).0, 400, "{query}");
    }
    // A page of another origin, or under another name, gets nothing.
    let host = format!("127.0.0.1:{}", served.port);
    let foreign = [("Host", host.as_str()), ("Origin", "https://evil.example")];
    assert_eq!(served.raw("GET /console", &foreign, b"").status, 403);
    assert_eq!(served.raw("GET /console", &[("Host", "evil.example")], b"").status, 403);
    drop(session);
    served.end();
}

#[test]
fn principals_are_shown_a_page_at_a_time() {
    let world = World::new();
    let line = |number: u64| {
        let mut seed = [4; 32];
        seed[0] = number as u8;
        let key = tipstaff_core::key::SigningKey::from_seed(&seed.into()).unwrap();
        let did = key.verifying_key().to_did_key();
        format!("{{\"name\":\"p{number:03}\",\"kind\":\"human\",\"key\":\"{did}\"}}\n")
    };
    fs::write(world.at("list"), (0..120).map(line).collect::<String>()).unwrap();
    done(&world, &["principal", "enrol", "--from", world.at("list").to_str().unwrap()]);
    world.settle();
    let mut served = Served::start(&world);
    let (status, first) = page(&served, "/console");
    assert_eq!(status, 200, "{first}");
    assert!(first.contains("p099") && !first.contains("p100"), "{first}");
    assert!(first.contains("120 in all") && first.contains("/console?after=p099"), "{first}");
    let (_, second) = page(&served, "/console?after=p099");
    assert!(second.contains("p100") && second.contains("p119"), "{second}");
    assert!(!second.contains("?principal=p099") && !second.contains("?after="), "{second}");
    assert_eq!(page(&served, "/console?after=A").0, 400);
    assert_eq!(served.end(), 0);
}
