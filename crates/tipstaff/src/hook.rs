//! `hook`: answers the tool hooks of a client, so that its built-in tools are judged and recorded like
//! those of a server.
//!
//! The adversary is this program's own failure: a client lets the call through if its hook crashes, hangs
//! or answers nonsense. So every failure here is exit code 2, which refuses. And a permission must not
//! skip what the client itself would ask its user: what is permitted is left to the client.

mod answer;
pub(crate) mod contract;
mod event;
mod sibling;

use std::io::{Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Labels, Verdict};
use tipstaff_gateway::labels;
use tipstaff_monitor::{
    Answered, Caller, Client, Entrusted, Held, Home, Join, Refusal, Waits, Which,
};

use self::answer::Answer;
use self::contract::{Contract, Form};
use self::event::{After, Before, Event, INPUT_BYTES_MAX, Told};
use crate::home::Place;

/// Longest prompt that is heard, in bytes; of a longer one its beginning.
const PROMPT_BYTES_MAX: usize = 16 * 1024;
/// How long a verdict that asks nobody may take.
const VERDICT_WAIT: Duration = Duration::from_secs(30);
/// How long to wait until an outcome is taken.
const REPORT_WAIT: Duration = Duration::from_secs(10);

/// How to answer.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Who calls.
    pub(crate) contract: Contract,
    pub(crate) permitted: Permitted,
    /// How long to wait for a person.
    pub(crate) wait: Duration,
    /// For whom it acts.
    pub(crate) caller: Caller,
}

/// What is said of a permitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permitted {
    /// Nothing: the client asks its user as it would without the hook.
    Defer,
    /// `allow`: the client doesn't ask.
    Grant,
}

/// Answers one event. The exit code is 0 with an answer, and 2 if there is none.
pub(crate) fn run(at: &Place, options: &Options) -> ExitCode {
    let answered = catch_unwind(AssertUnwindSafe(|| answer(at, options)));
    let written = match answered {
        Ok(Ok((answer, form))) => answer.write(form),
        Ok(Err(why)) => Err(why),
        Err(_) => Err("the hook itself failed".to_owned()),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => refuse(&why),
    }
}

/// Refuses a call that could not be judged, in the way that every version of the contract knows.
pub(crate) fn refuse(why: &str) -> ExitCode {
    // Nobody is left to tell if this can't be written; the exit code says it all.
    let _ = writeln!(
        std::io::stderr(),
        "Tipstaff could not judge this call, so it is refused: {why}\n\
         Do not repeat it. Ask the user to run `tipstaff doctor`."
    );
    ExitCode::from(2)
}

fn answer(at: &Place, options: &Options) -> Result<(Answer, Form), String> {
    let mut input = Vec::with_capacity(16 << 10);
    let limit = u64::try_from(INPUT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut input)
        .map_err(|error| format!("the input can't be read: {error}"))?;
    let Told { event, form } = Told::read(options.contract, &input)?;
    let answer = match event {
        Event::Before(before) => judge(&at.home, *before, form, options)?,
        Event::After(after) => record(&at.home, after, &options.caller)?,
        // Every prompt may go on, whether or not it is heard.
        Event::Prompt { text, .. } => {
            heard(&at.home, text, &options.caller);
            Answer::Nothing
        }
        Event::Other => Answer::Nothing,
    };
    Ok((answer, form))
}

/// What is heard of a call that was submitted.
enum Heard {
    Held(u64, Held),
    Judged(Result<Entrusted, Refusal>),
}

struct Listener(Sender<Heard>);

impl Answered<Entrusted> for Listener {
    fn held(&mut self, number: u64, held: &Held) -> Waits {
        match self.0.send(Heard::Held(number, held.clone())) {
            Ok(()) => Waits::Yes,
            Err(_) => Waits::No,
        }
    }

    fn judged(self: Box<Self>, answer: Result<Entrusted, Refusal>) {
        // Whoever waited may have given up.
        let _ = self.0.send(Heard::Judged(answer));
    }
}

fn judge(home: &Home, before: Before, form: Form, options: &Options) -> Result<Answer, String> {
    if sibling::is_wrapped(&before.of, home.root()) {
        return Ok(Answer::Nothing);
    }
    if let Some(cwd) = &before.cwd {
        // The kernel tells the monitor where this process is: relative paths are read from there.
        std::env::set_current_dir(cwd)
            .map_err(|error| format!("the folder {} of the call: {error}", cwd.display()))?;
    }
    let client = join(home, before.action.server(), &options.caller)?;
    let (tell, heard) = channel();
    let asked = before.action.clone();
    client.entrust(before.action, Some(before.ticket), Box::new(Listener(tell)));
    let mut wait = VERDICT_WAIT;
    let mut held: Option<(u64, Held)> = None;
    let judged = loop {
        match heard.recv_timeout(wait) {
            Ok(Heard::Held(number, now)) => {
                wait = options.wait;
                held = Some((number, now));
            }
            Ok(Heard::Judged(judged)) => break judged,
            Err(RecvTimeoutError::Timeout) => {
                let Some((number, held)) = held else {
                    return Err("the monitor does not answer".to_owned());
                };
                client.withdraw(number);
                client.leave();
                return Ok(Answer::Deny(still_held(&held)));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the monitor's answer was lost".to_owned());
            }
        }
    };
    let answer = match judged {
        Ok(entrusted) => permitted(&asked, &entrusted, form, options.permitted),
        Err(refusal) => Answer::Deny(refusal.text),
    };
    client.leave();
    Ok(answer)
}

fn permitted(asked: &Action, entrusted: &Entrusted, form: Form, permitted: Permitted) -> Answer {
    if entrusted.verdict == Verdict::Modify && entrusted.action != *asked {
        let now = entrusted.action.parameters();
        return Answer::changed(form, permitted, asked.parameters(), now);
    }
    match permitted {
        Permitted::Defer => Answer::Nothing,
        Permitted::Grant => {
            let rule = entrusted.rule.as_deref().unwrap_or("none");
            let receipt = entrusted.receipt.to_hex();
            let short = receipt.get(..8).unwrap_or_default();
            Answer::Allow(format!("Tipstaff: rule {rule}, receipt {short}"))
        }
    }
}

fn still_held(held: &Held) -> String {
    if held.verdict == Verdict::Defer {
        return held.text.clone();
    }
    let receipt = held.receipt.to_hex();
    let id = receipt.get(..8).unwrap_or_default();
    format!(
        "Held as {id}: a person has to approve this call (`tipstaff approve {id}`), and nobody has yet. \
         After approval repeat the same call, with the same arguments. Until then go on with other work."
    )
}

/// What its user typed is what the session's actions are measured against. Who types it can't be told from who
/// starts this program, so it adds no permit that the policies don't tie to it.
fn heard(home: &Home, mut text: String, caller: &Caller) {
    text.truncate(text.floor_char_boundary(PROMPT_BYTES_MAX));
    if text.trim().is_empty() {
        return;
    }
    if let Ok(client) = join(home, "hook", caller) {
        // Without it distances and names stay unknown, which permits nothing.
        let _ = tipstaff_gateway::open_with(&client, home.root(), Some(text));
        client.leave();
    }
}

fn record(home: &Home, after: After, caller: &Caller) -> Result<Answer, String> {
    if sibling::is_wrapped(&after.of, home.root()) {
        return Ok(Answer::Nothing);
    }
    let client = join(home, "hook", caller)?;
    let (tell, heard) = channel();
    let then = Box::new(move |receipt| {
        let _ = tell.send(receipt);
    });
    let result = after.result.as_deref();
    let found = result.map_or(Labels::NONE, |text| labels::of_result(text.as_bytes()));
    client.report(Which::Ticket(after.ticket), (after.status, found), result, then);
    // A call that was never judged here, by a hook that was not there yet, has nothing to settle.
    let taken = heard.recv_timeout(REPORT_WAIT);
    client.leave();
    taken.map(|_| Answer::Nothing).map_err(|_| "its outcome could not be recorded".to_owned())
}

fn join(home: &Home, server: &str, caller: &Caller) -> Result<Client, String> {
    let join = Join {
        server: server.to_owned(),
        door: Door::Hook,
        command: Vec::new(),
        caller: caller.clone(),
    };
    Client::join(home.root(), join).map_err(|error| error.to_string())
}
