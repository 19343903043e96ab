//! The gateway's own look at the tools.
//!
//! The adversary is a server whose tools change silently between the list that was looked at and the
//! call that follows. The shim lists the tools itself: before the first call, whenever the server says
//! that they changed, and again while calls come, so that the monitor always judges by a recent list.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tipstaff_core::Json;
use tipstaff_core::limits::RESULT_BYTES_MAX;
use tipstaff_monitor::{ListedTool, Refusal, ToolReview};

use super::{Pages, Shim, Side, Stage, Table, client};
use crate::answer::{self, Failure};
use crate::judge::Judge;
use crate::message::{Id, METHOD_NOT_FOUND, OWN_ID};
use crate::raw::Members;
use crate::request::Form;
use crate::tools::Page;

/// How long a call waits for the first review.
pub(super) const HOLD: Duration = Duration::from_secs(10);
/// A list older than this is fetched again when a call comes.
const STALE: Duration = Duration::from_secs(20);
/// Most parts of lists that wait for the first whole one.
const PARTS_MAX: usize = 16;
/// Most pages of one list.
const PAGES_MAX: u32 = 100;

/// The state of the review.
#[derive(Debug, Default)]
pub(super) struct Listing {
    reviewed: bool,
    last: Option<Instant>,
    count: u64,
    run: Option<Run>,
    again: bool,
    /// The last whole list.
    whole: Vec<ListedTool>,
    /// Parts of lists for the client, which wait for the first whole one: alone they would be taken for it.
    parts: Vec<Part>,
}

/// A part of a list that the client asked for.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: Id,
    pub(super) line: String,
}

/// A list that is being fetched.
#[derive(Debug)]
struct Run {
    /// The id of the request for the page that is awaited; `None` while the monitor reviews.
    awaited: Option<String>,
    tools: Vec<ListedTool>,
    bytes: usize,
    pages: u32,
    until: Instant,
}

impl Listing {
    /// Whether calls need not wait.
    pub(super) const fn is_reviewed(&self) -> bool {
        self.reviewed
    }

    /// Whether the list should be fetched again.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.run.is_none() && self.last.is_none_or(|last| now.duration_since(last) >= STALE)
    }

    /// Gives up a list that the server doesn't send; whether there was one.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let over = self.run.as_ref().is_some_and(|run| now >= run.until);
        if over {
            self.run = None;
            self.last = Some(now);
        }
        over
    }

    /// Keeps a part of a list until there is a whole one, if there is room.
    pub(super) fn hold(&mut self, part: Part) -> Result<(), Part> {
        if self.parts.len() >= PARTS_MAX {
            return Err(part);
        }
        self.parts.push(part);
        Ok(())
    }

    /// What was kept.
    pub(super) fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    /// Adds the tools that a part of a list doesn't name.
    pub(super) fn complete(&self, part: &mut Vec<ListedTool>) {
        let missing =
            self.whole.iter().filter(|tool| part.iter().all(|other| other.name != tool.name));
        let missing: Vec<_> = missing.cloned().collect();
        part.extend(missing);
    }

    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("{OWN_ID}{}", self.count)
    }
}

impl<J: Judge> Shim<J> {
    /// Fetches the tool list for the monitor, now or after the fetch that is under way.
    pub(super) fn review_tools(self: &Arc<Self>) {
        let id = {
            let mut table = self.table();
            if table.listing.run.is_some() {
                table.listing.again = table.listing.reviewed;
                return;
            }
            let id = table.listing.next_id();
            table.listing.run = Some(Run {
                awaited: Some(id.clone()),
                tools: Vec::new(),
                bytes: 0,
                pages: 0,
                until: Instant::now() + HOLD,
            });
            id
        };
        self.tell(Side::Server, &answer::request(Some(&Id::Text(id)), "tools/list", None));
    }

    /// The server's answer to a request of our own.
    pub(super) fn listed(self: &Arc<Self>, id: &str, answer: Result<&str, &str>) {
        let mut table = self.table();
        let next_id = table.listing.next_id();
        let Some(run) = table.listing.run.as_mut().filter(|run| run.awaited.as_deref() == Some(id))
        else {
            drop(table);
            self.complain("the server answered a tool list that nobody waits for; dropped");
            return;
        };
        let next = match answer {
            // A server without tools may not know the method.
            Err(error) if code(error) == Some(METHOD_NOT_FOUND) => Ok(None),
            Err(_) => Err(
                "The server would not list its tools, so its tools can't be checked. Try again later.",
            ),
            Ok(result) => match Page::read(result) {
                None => Err("The server's tool list can't be read, so its tools can't be checked."),
                Some(page) => {
                    run.tools.extend(page.listed());
                    run.bytes = run.bytes.saturating_add(result.len());
                    run.pages += 1;
                    Ok(page.next)
                }
            },
        };
        let next = match next {
            Ok(Some(_)) if run.pages >= PAGES_MAX || run.bytes > RESULT_BYTES_MAX => {
                Err("The server's tool list is too long, so its tools can't be checked.")
            }
            next => next,
        };
        match next {
            Ok(Some(cursor)) => {
                run.awaited = Some(next_id.clone());
                drop(table);
                let params = Json::object(vec![("cursor".to_owned(), Json::string(&cursor))]);
                let line = answer::request(Some(&Id::Text(next_id)), "tools/list", params.as_ref());
                self.tell(Side::Server, &line);
            }
            Ok(None) => {
                run.awaited = None;
                let tools = std::mem::take(&mut run.tools);
                table.listing.whole.clone_from(&tools);
                drop(table);
                let shim = Arc::clone(self);
                self.judge.tools_listed(tools, Box::new(move |review| shim.reviewed(review)));
            }
            Err(text) => self.give_up_list(table, text),
        }
    }

    /// The gateway's own word why a list that it wanted was not asked for. What a server says instead of a list is not
    /// repeated: it is not the gateway's advice.
    pub(crate) fn unlisted(&self, id: &str, why: &str) {
        let table = self.table();
        if table.listing.run.as_ref().is_some_and(|run| run.awaited.as_deref() == Some(id)) {
            let text =
                format!("The server's tools can't be listed, so they can't be checked. {why}");
            self.give_up_list(table, &text);
        }
    }

    fn give_up_list(&self, mut table: MutexGuard<'_, Table<J>>, text: &str) {
        table.listing.run = None;
        table.listing.last = Some(Instant::now());
        drop(table);
        self.refuse_held(text);
    }

    fn reviewed(self: &Arc<Self>, review: Result<ToolReview, Refusal>) {
        let again = {
            let mut table = self.table();
            table.listing.run = None;
            table.listing.last = Some(Instant::now());
            table.listing.reviewed |= review.is_ok();
            std::mem::take(&mut table.listing.again)
        };
        match review {
            Ok(review) => {
                for tool in review.withheld {
                    let name: String =
                        tool.name.chars().filter(|c| !c.is_control()).take(80).collect();
                    self.complain(&format!(
                        "the tool `{name}` is not as accepted; see `tipstaff tools diff`"
                    ));
                }
                client::release(self);
                let parts = self.table().listing.take_parts();
                for Part { id, line } in parts {
                    if let Some(result) = Members::read(&line).and_then(|m| m.one("result")) {
                        self.show_tools(&id, Pages::Later, &line, result);
                    }
                }
            }
            Err(refusal) => self.refuse_held(&refusal.text),
        }
        if again {
            self.review_tools();
        }
    }

    /// Refuses what waits for the review.
    fn refuse_held(&self, text: &str) {
        let (held, parts): (Vec<_>, _) = {
            let mut table = self.table();
            let parts = table.listing.take_parts();
            let held = table.calls.extract_if(|_, call| matches!(call.stage, Stage::Held(_)));
            (held.collect(), parts)
        };
        self.refuse_parts(parts, text);
        for (id, call) in held {
            self.give_up(Side::Client, &id, call, text);
        }
    }
}

impl<J: Judge> Shim<J> {
    /// Answers lists that can't be shown, because the whole one did not come.
    pub(super) fn refuse_parts(&self, parts: Vec<Part>, text: &str) {
        for Part { id, .. } in parts {
            let failure = Failure { text, receipt: None };
            self.tell(Side::Client, &answer::failure(&id, Form::Error, failure));
        }
    }
}

fn code(error: &str) -> Option<i64> {
    Members::read(error)?.one("code")?.parse().ok()
}
