//! `login` and `logout`: a person's access to servers elsewhere.
//!
//! The adversary is whoever makes a person open an address or paste a command: what is printed was checked before, and
//! no token is ever among it.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tipstaff_core::Millis;
use tipstaff_gateway::{LoggedIn, LoggedOut, LoginFault, LoginOptions, ToOpen};
use tipstaff_monitor::{Config, ServerConfig};

use crate::home::Place;
use crate::outcome::{Failure, Outcome};

/// How to log in.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) no_browser: bool,
    pub(crate) scope: Vec<String>,
    pub(crate) port: u16,
    pub(crate) wait: u64,
}

pub(crate) fn login(at: &Place, name: &str, wanted: &Wanted) -> Outcome {
    let undone = format!("There is no login to {name}.");
    let config = config(at, &undone)?;
    let Some(server) = config.servers.get(name) else {
        let cause = format!("no server of the configuration is called `{name}`");
        let next = "Write [servers.NAME] with its `url` into config.toml of the home.";
        return Err(Failure::undone(&undone, cause, next));
    };
    let options = LoginOptions {
        home: at.home.root(),
        name,
        server,
        scopes: &wanted.scope,
        port: wanted.port,
        wait: Duration::from_secs(wanted.wait),
    };
    let open = |to: ToOpen<'_>| {
        if at.json {
            println!("{}", json!({ "open": to.url, "issuer": to.issuer, "server": name }));
        } else {
            println!(
                "Log in to {name} at {}, in a browser on this machine:\n\n{}\n",
                to.issuer, to.url
            );
        }
        if !wanted.no_browser {
            browse(to.url);
        }
    };
    let done = tipstaff_gateway::login(&options, open).map_err(|fault| {
        let next = match &fault {
            LoginFault::NoLogin => {
                "Use it as it is; a server that takes a fixed token gets it by `headers`."
            }
            LoginFault::Configuration(_) => {
                "Mend the server's table in config.toml; docs/servers-login.md has it."
            }
            LoginFault::Untrusted(_) => "Don't go on; tell whoever runs the server, or its issuer.",
            LoginFault::Kept(_) => "Mend that and try again.",
            _ => "Try again.",
        };
        match fault {
            LoginFault::Refused(why) => refused(at, name, why),
            fault => Failure::undone(&undone, fault, next),
        }
    })?;
    if at.json {
        println!("{}", shown(&done));
    } else {
        println!("Logged in to {name}{}.", until(&done));
    }
    Ok(())
}

pub(crate) fn logout(at: &Place, name: &str) -> Outcome {
    let undone = format!("The login to {name} could not be ended.");
    if !ServerConfig::is_name(name) {
        return Err(Failure::Usage(format!("`{name}` is no server's name")));
    }
    // Whatever the configuration says by now, a login can be ended.
    let config = at.home.config().ok();
    let server = config.as_ref().and_then(|config| config.servers.get(name));
    let ended = tipstaff_gateway::logout(at.home.root(), name, server)
        .map_err(|fault| Failure::undone(&undone, fault, "Mend that and try again."))?;
    let (state, why) = match &ended {
        LoggedOut::None => ("none", None),
        LoggedOut::Revoked => ("revoked", None),
        LoggedOut::Forgotten(why) => ("forgotten", Some(why.as_str())),
    };
    if at.json {
        println!("{}", json!({ "server": name, "login": state, "because": why }));
        return Ok(());
    }
    match ended {
        LoggedOut::None => println!("There was no login to {name}."),
        LoggedOut::Revoked => {
            println!("Logged out of {name}; the issuer has taken the tokens back.")
        }
        LoggedOut::Forgotten(why) => {
            println!(
                "Logged out of {name}: its tokens are forgotten here, and not taken back ({why})."
            );
        }
    }
    Ok(())
}

pub(crate) fn list(at: &Place) -> Outcome {
    let found = found(at)?;
    if at.json {
        found.iter().for_each(|login| println!("{}", shown(login)));
    } else if found.is_empty() {
        println!("There is no login. `tipstaff login SERVER` makes one.");
    } else {
        for login in &found {
            let LoggedIn { server, issuer, .. } = login;
            if login.is_over {
                println!("{server}: over; `tipstaff login {server}` makes a new one ({issuer})");
            } else {
                println!("{server}: logged in{} ({issuer})", until(login));
            }
        }
    }
    Ok(())
}

/// The logins of a home.
pub(crate) fn found(at: &Place) -> Result<Vec<LoggedIn>, Failure> {
    tipstaff_gateway::logins(at.home.root()).map_err(|fault| {
        Failure::undone("The logins can't be read.", fault, "Mend that and try again.")
    })
}

fn config(at: &Place, undone: &str) -> Result<Config, Failure> {
    at.home
        .config()
        .map_err(|error| Failure::undone(undone, error, "Mend config.toml and try again."))
}

fn refused(at: &Place, name: &str, why: &str) -> Failure {
    if at.json {
        println!("{}", json!({ "server": name, "refused": why }));
    } else {
        eprintln!("tipstaff: there is no login to {name}: the issuer answered no ({why}).");
    }
    Failure::No
}

fn until(login: &LoggedIn) -> String {
    let end = login.ends.map(|end| Millis(end.saturating_mul(1000)));
    match (end, login.renews) {
        (Some(end), true) => format!(" until {end}, and renewed by itself"),
        (Some(end), false) => format!(" until {end}"),
        (None, _) => ", without an end that is known".to_owned(),
    }
}

fn shown(login: &LoggedIn) -> Value {
    let LoggedIn { server, url, issuer, scopes, since, ends, renews, is_over } = login;
    json!({
        "server": server, "url": url, "issuer": issuer, "scopes": scopes, "since": since,
        "ends": ends, "renews": renews, "over": is_over,
    })
}

/// The desktop's browser. Where there is none, the printed address is all.
#[expect(clippy::disallowed_methods, reason = "a person logs in with the desktop's browser")]
fn browse(url: &str) {
    let has_screen = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if has_screen("DISPLAY") || has_screen("WAYLAND_DISPLAY") {
        "xdg-open"
    } else {
        return;
    };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.spawn();
}
