//! The gateway's own look at the tools.
//!
//! The adversary is a server whose tools change silently between the list that was looked at and the
//! call that follows. The shim lists the tools itself: before the first call, whenever the server says
//! that they changed, and again while calls come, so that the monitor always judges by a recent list.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tipstaff_core::Json;
use tipstaff_core::limits::RESULT_BYTES_MAX;
use tipstaff_monitor::{ListedTool, Refusal, ToolReview};

use super::{Shim, Side, Stage, client};
use crate::answer;
use crate::judge::Judge;
use crate::message::{Id, METHOD_NOT_FOUND, OWN_ID};
use crate::raw::Members;
use crate::tools::Page;

/// How long a call waits for the first review.
pub(super) const HOLD: Duration = Duration::from_secs(10);
/// A list older than this is fetched again when a call comes.
const STALE: Duration = Duration::from_secs(20);
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
            Err(text) => {
                table.listing.run = None;
                table.listing.last = Some(Instant::now());
                drop(table);
                self.refuse_held(text);
            }
        }
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
            }
            Err(refusal) => self.refuse_held(&refusal.text),
        }
        if again {
            self.review_tools();
        }
    }

    /// Refuses what waits for the review.
    fn refuse_held(&self, text: &str) {
        let held: Vec<_> = {
            let mut table = self.table();
            table.calls.extract_if(|_, call| matches!(call.stage, Stage::Held(_))).collect()
        };
        for (id, call) in held {
            self.give_up(Side::Client, &id, call, text);
        }
    }
}

fn code(error: &str) -> Option<i64> {
    Members::read(error)?.one("code")?.parse().ok()
}
