//! Runs the chosen items, each by itself, and says what each came to.
//!
//! The adversary is a test that stands on what an earlier one left behind: each opens sessions of its own and
//! marks its calls, so that any selection gives the same results.

use std::sync::Mutex;
use std::time::Duration;

use crate::case::{Case, Outcome};
use crate::client::Stop;
use crate::report::{Build, Measured, MeasuredOn, Report};
use crate::table::{ITEMS, Item};
use crate::tests;
use crate::transport::{Approver, Outage, Transport};

/// How long the tests wait for what only time brings.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For a call that nobody approves, and for a deferral that nothing resolves.
    pub expiry: Duration,
    /// For what should come at once, but by way of another thread.
    pub soon: Duration,
}

/// An implementation under test, and what can be done to it.
pub struct Exam<'a> {
    pub(crate) transport: &'a dyn Transport,
    pub(crate) approver: Option<&'a dyn Approver>,
    pub(crate) outage: Option<&'a dyn Outage>,
    /// How many principals the transport signs for.
    pub(crate) principals: usize,
    pub(crate) timing: Timing,
    pub(crate) name: String,
    pub(crate) markers: Mutex<u64>,
}

impl std::fmt::Debug for Exam<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exam").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Exam<'a> {
    /// An exam over `transport`. `name` keeps its markers apart from those of other runs.
    #[must_use]
    pub fn new(transport: &'a dyn Transport, timing: Timing, name: &str) -> Self {
        Self {
            transport,
            approver: None,
            outage: None,
            principals: 0,
            timing,
            name: name.to_owned(),
            markers: Mutex::new(0),
        }
    }

    /// Whether the fixture's tools are there to test with.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn ready(&self) -> Result<(), String> {
        tests::seat(self).map(drop).map_err(|stop| stop.why)
    }

    /// With a person's key.
    #[must_use]
    pub fn with_approver(mut self, approver: &'a dyn Approver) -> Self {
        self.approver = Some(approver);
        self
    }

    /// With so many principals that the transport signs for.
    #[must_use]
    pub const fn with_principals(mut self, principals: usize) -> Self {
        self.principals = principals;
        self
    }

    /// With a way to take what judges away.
    #[must_use]
    pub fn with_outage(mut self, outage: &'a dyn Outage) -> Self {
        self.outage = Some(outage);
        self
    }
}

/// Runs the items of these names, or all. `each` hears of each as it is done.
pub fn run(
    exam: &Exam<'_>,
    only: &[String],
    (measured_at, on, build): (String, MeasuredOn, Build),
    each: &mut dyn FnMut(&str, Outcome),
) -> Report {
    let chosen =
        |item: &Item| only.is_empty() || only.iter().any(|name| name.eq_ignore_ascii_case(item.id));
    let mut all: Vec<Measured> = Vec::new();
    for item in ITEMS.iter().filter(|item| chosen(item)) {
        let measured = match tests::of(item.id) {
            Some(test) => Measured::of(item, tried(test, exam)),
            None => Measured::from(item, &all),
        };
        each(item.id, measured.result);
        all.push(measured);
    }
    let engine = tests::engine(exam);
    let on = MeasuredOn { log: on.log.or_else(|| tests::log(exam)), ..on };
    Report::of(all, measured_at, on, Build { engine: build.engine.clone().or(engine), ..build })
}

fn tried(test: tests::Test, exam: &Exam<'_>) -> Vec<Case> {
    let (positive, negative) = test;
    let case = |mut case: Case, body: fn(&Exam<'_>, &mut Case) -> Result<(), Stop>| {
        if let Err(Stop { outcome, why }) = body(exam, &mut case) {
            match outcome {
                Outcome::NotTested => case.untested(&why),
                _ => case.check(false, &why),
            }
        }
        case
    };
    vec![case(Case::positive(positive.0), positive.1), case(Case::negative(negative.0), negative.1)]
}
