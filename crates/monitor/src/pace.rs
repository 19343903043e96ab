//! How fast a session acts (row A11, first form).
//!
//! The adversary is an agent in a loop: it calls one tool without end, uses up what its owner pays for,
//! or repeats what was refused. Counts are of fixed size whatever it does.

use std::collections::HashMap;

use tipstaff_core::action::Salt;
use tipstaff_core::{Action, Digest, Millis};

use crate::config::Limits;
use crate::judge::Barred;

/// Length of the window that is counted in.
const WINDOW_MS: u64 = 60_000;
/// Most tools and calls that are told apart; beyond, they share one count.
const KEYS_MAX: usize = 1024;

/// The counts of one session.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    calls: u64,
    /// The calls of a minute, of all tools.
    all: Window,
    tools: HashMap<String, Window>,
    refused: HashMap<Digest, Window>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    since: u64,
    count: u64,
}

impl Window {
    /// The count of the window that `now` is in, without `now`.
    fn at(&mut self, now: Millis) -> u64 {
        if now.0.saturating_sub(self.since) >= WINDOW_MS {
            *self = Self { since: now.0, count: 0 };
        }
        self.count
    }
}

impl Pace {
    /// Counts a call, unless something bars it.
    pub(crate) fn called(
        &mut self,
        action: &Action,
        now: Millis,
        limits: &Limits,
    ) -> Option<Barred> {
        if limits.calls_per_session.is_some_and(|most| self.calls >= most) {
            return Some(Barred::Budget);
        }
        if let Some(most) = limits.repeats_per_minute {
            let refused = self.refused.get_mut(&key(action)).map_or(0, |window| window.at(now));
            if refused >= most {
                return Some(Barred::Repeated);
            }
        }
        let tool = action.qualified_tool();
        let most = limits.tools.get(&tool).copied().or(limits.calls_per_minute);
        if let Some(most) = most {
            let window = entry(&mut self.tools, tool, String::new(), now);
            if window.at(now) >= most {
                return Some(Barred::Rate);
            }
            window.count += 1;
        }
        self.calls += 1;
        None
    }

    /// Counts a call among those of its class within a minute, unless there are `most`. What was counted before it.
    pub(crate) fn of_class(&mut self, now: Millis, most: u64) -> u64 {
        let count = self.all.at(now);
        if count < most {
            self.all.count += 1;
        }
        count
    }

    /// Counts a refusal.
    pub(crate) fn refused(&mut self, action: &Action, now: Millis) {
        let window = entry(&mut self.refused, key(action), Digest::ZERO, now);
        window.at(now);
        window.count += 1;
    }
}

/// The window of a key. When there are too many, those of the past go; else a window is shared.
fn entry<K: std::hash::Hash + Eq>(
    windows: &mut HashMap<K, Window>,
    key: K,
    shared: K,
    now: Millis,
) -> &mut Window {
    if windows.len() >= KEYS_MAX && !windows.contains_key(&key) {
        windows.retain(|_, window| now.0.saturating_sub(window.since) < WINDOW_MS);
    }
    let full = windows.len() >= KEYS_MAX && !windows.contains_key(&key);
    windows.entry(if full { shared } else { key }).or_default()
}

fn key(action: &Action) -> Digest {
    action.inputs_digest(Salt([0; 16]))
}

#[cfg(test)]
mod tests {
    use tipstaff_core::Json;

    use super::*;

    fn call(tool: &str, argument: i64) -> Action {
        Action::new("s", tool, "tools/call", Json::from(argument), None).unwrap()
    }

    fn limits(minute: Option<u64>, session: Option<u64>, repeats: Option<u64>) -> Limits {
        Limits {
            calls_per_minute: minute,
            calls_per_session: session,
            repeats_per_minute: repeats,
            tools: [("s/slow".to_owned(), 1)].into(),
        }
    }

    #[test]
    fn a_tool_is_called_so_often_within_a_minute_and_no_more() {
        let (mut pace, limits) = (Pace::default(), limits(Some(2), None, None));
        let mut at = |tool, second: u64| {
            pace.called(&call(tool, 0), Millis(1_000_000 + second * 1000), &limits)
        };
        assert_eq!([at("t", 0), at("t", 1), at("t", 2)], [None, None, Some(Barred::Rate)]);
        assert_eq!([at("u", 3), at("slow", 3), at("slow", 4)], [None, None, Some(Barred::Rate)]);
        assert_eq!([at("t", 59), at("t", 60)], [Some(Barred::Rate), None]);
    }

    #[test]
    fn a_budget_ends_and_what_was_refused_again_and_again_is_barred() {
        let (mut pace, now) = (Pace::default(), Millis(5));
        let budget = limits(None, Some(2), None);
        let spent = [0, 1, 2].map(|n| pace.called(&call("t", n), now, &budget));
        assert_eq!(spent, [None, None, Some(Barred::Budget)]);
        let damped = limits(None, None, Some(2));
        for _ in 0..2 {
            assert_eq!(pace.called(&call("r", 1), now, &damped), None);
            pace.refused(&call("r", 1), now);
        }
        assert_eq!(pace.called(&call("r", 1), now, &damped), Some(Barred::Repeated));
        assert_eq!(pace.called(&call("r", 2), now, &damped), None);
        assert_eq!(pace.called(&call("r", 1), Millis(60_005), &damped), None);
    }

    #[test]
    fn the_counts_stay_bounded_whatever_is_called() {
        let (mut pace, limits) = (Pace::default(), limits(Some(1), None, Some(1)));
        for n in 0..5000 {
            let _ = pace.called(&call(&format!("t{n}"), n), Millis(1), &limits);
            pace.refused(&call("t", n), Millis(1));
        }
        assert!(pace.tools.len() <= KEYS_MAX + 1 && pace.refused.len() <= KEYS_MAX + 1);
    }
}
