//! Tools that changed since they were accepted.

use tipstaff_core::Json;
use tipstaff_monitor::Client;

use crate::home::Place;
use crate::outcome::{Failure, Outcome};

pub(crate) fn diff(at: &Place) -> Outcome {
    let Some(answer) = ask(at, "tools-diff", None)? else {
        if at.json {
            println!("{}", serde_json::json!({ "ok": true, "monitor": false, "servers": [] }));
            return Ok(());
        }
        println!(
            "No monitor runs, so no server lists its tools now: start your client and try again."
        );
        return Ok(());
    };
    if at.json {
        println!("{}", answer.to_canonical());
        return Ok(());
    }
    let servers = answer.get("servers").and_then(Json::as_array).unwrap_or_default();
    if servers.is_empty() {
        println!("All tools are as they were accepted.");
    }
    let word =
        |json: &Json, name: &str| json.get(name).and_then(Json::as_str).unwrap_or("?").to_owned();
    for server in servers {
        let name = word(server, "server");
        println!("server {name}:");
        for change in server.get("changes").and_then(Json::as_array).unwrap_or_default() {
            println!("  tool {}\n{}", word(change, "tool"), word(change, "difference"));
        }
        println!("  accept with: tipstaff tools accept {name}");
    }
    Ok(())
}

pub(crate) fn accept(at: &Place, server: &str) -> Outcome {
    let next =
        "See `tipstaff tools diff`, and accept in a terminal that no agent's client started.";
    let what = format!("The tools of {server} were not accepted.");
    let Some(answer) = ask(at, "tools-accept", Some(server))? else {
        return Err(Failure::undone(&what, "no monitor runs", "Start your client and try again."));
    };
    if answer.get("ok").and_then(Json::as_bool) != Some(true) {
        let cause = answer.get("text").and_then(Json::as_str).unwrap_or("no reason given");
        return Err(Failure::undone(&what, cause, next));
    }
    let tools = answer.get("tools").and_then(Json::as_integer).unwrap_or(0);
    if at.json {
        println!("{}", serde_json::json!({ "server": server, "tools": tools }));
    } else {
        println!("Accepted {tools} tools of {server}; the change is a receipt.");
    }
    Ok(())
}

fn ask(at: &Place, what: &str, server: Option<&str>) -> Result<Option<Json>, Failure> {
    Client::control(&at.home, what, server)
        .map_err(|e| Failure::undone("The monitor did not answer.", e, "Try again."))
}
