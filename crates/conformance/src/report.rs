//! What was measured, for programs and for people.
//!
//! The adversary is a reader in a hurry: what was not tried is counted apart and never as met.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::case::{Case, Outcome};
use crate::table::{Item, Level, Part};

/// What is claimed, and no more.
pub(crate) const CLAIM: &str = "This shows which of the R1-R9 technical tests an instance passed when they \
were run against it. It is no certificate and no claim to any designation of the specification's authors, \
who have further conditions.";

/// Which program was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Build {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit that it was built from, where the build says so.
    pub commit: Option<String>,
    /// SHA-256 of the executable, where it is at hand.
    pub executable: Option<String>,
    /// The procedure of its decisions, as its receipts say.
    pub engine: Option<String>,
}

/// Which instance was measured.
#[derive(Debug, Clone, Serialize)]
pub struct MeasuredOn {
    /// `own` for one that the runner started and removed, `target` for one that was named.
    pub instance: &'static str,
    /// The name of its log, where it has one.
    pub log: Option<String>,
}

/// How many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Met.
    pub met: usize,
    /// Not met.
    pub not_met: usize,
    /// Not tested.
    pub not_tested: usize,
    /// All.
    pub of: usize,
}

/// A measured item.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Its name.
    pub id: &'static str,
    /// What it asks.
    pub what: &'static str,
    /// Whether it must or should.
    pub level: &'static str,
    /// What it came to.
    pub result: Outcome,
    /// Why it is not met or not tested; from which tests it follows.
    pub why: String,
    /// Its cases.
    pub cases: Vec<Case>,
    #[serde(skip)]
    pub(crate) item: &'static Item,
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The form of this.
    pub form: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// When, in RFC 3339.
    pub measured_at: String,
    /// The program.
    pub build: Build,
    /// The instance.
    pub measured_on: MeasuredOn,
    /// Counts.
    pub summary: Summary,
    /// The rows of the test table.
    pub tests: Vec<Measured>,
    /// The nine objectives.
    pub objectives: Vec<Measured>,
    /// The four structural items.
    pub structural: Vec<Measured>,
}

/// Counts of each part.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Summary {
    /// Of the test table.
    pub tests: Tally,
    /// Of the objectives.
    pub objectives: Tally,
    /// Of the structural items.
    pub structural: Tally,
    /// Requirements all of whose tests are met.
    pub requirements: Tally,
}

impl Report {
    pub(crate) fn of(
        all: Vec<Measured>,
        measured_at: String,
        on: MeasuredOn,
        build: Build,
    ) -> Self {
        let part = |part: Part| -> Vec<Measured> {
            all.iter().filter(|measured| measured.item.part == part).cloned().collect()
        };
        let (tests, objectives, structural) =
            (part(Part::Test), part(Part::Objective), part(Part::Structural));
        let summary = Summary {
            tests: tally(tests.iter().map(|measured| measured.result)),
            objectives: tally(objectives.iter().map(|measured| measured.result)),
            structural: tally(structural.iter().map(|measured| measured.result)),
            requirements: requirements(&tests),
        };
        Self {
            form: "tipstaff-conformance-1",
            claim: CLAIM,
            measured_at,
            build,
            measured_on: on,
            summary,
            tests,
            objectives,
            structural,
        }
    }

    /// Whether every test of the table that was chosen is met.
    #[must_use]
    pub const fn is_met(&self) -> bool {
        self.summary.tests.met == self.summary.tests.of
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As a table for people.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut text = String::new();
        for (title, part) in [
            ("Tests", &self.tests),
            ("Objectives", &self.objectives),
            ("Structural items", &self.structural),
        ] {
            if part.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}\n");
            for measured in part {
                let (id, word) = (measured.id, measured.result.as_str());
                let _ =
                    writeln!(text, "  {id:<5} {word:<11} {:<6} {}", measured.level, measured.what);
                if measured.result != Outcome::Met && !measured.why.is_empty() {
                    let _ = writeln!(text, "        {}", measured.why);
                }
            }
            text.push('\n');
        }
        let Summary { tests, objectives, structural, requirements } = self.summary;
        for (name, tally) in [
            ("technical tests", tests),
            ("requirements R1-R9 with all their tests", requirements),
            ("objectives", objectives),
            ("structural items", structural),
        ] {
            if tally.of > 0 {
                let Tally { met, not_met, not_tested, of } = tally;
                let _ = writeln!(
                    text,
                    "{met} of {of} {name} met, {not_met} not met, {not_tested} not tested"
                );
            }
        }
        text
    }
}

impl Measured {
    pub(crate) fn of(item: &'static Item, cases: Vec<Case>) -> Self {
        let result = cases.iter().map(|case| case.result).max().unwrap_or(Outcome::NotTested);
        let worst = cases.iter().find(|case| case.result == result && result != Outcome::Met);
        let why = worst.map(why).unwrap_or_default();
        Self { result, why, cases, ..Self::bare(item) }
    }

    /// What follows from tests. One that was not chosen leaves it not tested.
    pub(crate) fn from(item: &'static Item, tests: &[Self]) -> Self {
        let of = |id: &&str| tests.iter().find(|measured| measured.id == *id);
        let results = item.from.iter().map(|id| of(id).map_or(Outcome::NotTested, |m| m.result));
        let result = results.max().unwrap_or(Outcome::NotTested);
        let blame = item.from.iter().filter(|id| {
            of(id).map_or(Outcome::NotTested, |measured| measured.result) != Outcome::Met
        });
        let blame: Vec<&str> = blame.copied().collect();
        let why = match result {
            Outcome::Met => format!("follows from {}", item.from.join(", ")),
            _ => format!("because of {}", blame.join(", ")),
        };
        Self { result, why, ..Self::bare(item) }
    }

    fn bare(item: &'static Item) -> Self {
        let level = match item.level {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
        };
        let (id, what) = (item.id, item.what);
        Self {
            id,
            what,
            level,
            result: Outcome::NotTested,
            why: String::new(),
            cases: Vec::new(),
            item,
        }
    }
}

/// The first thing that did not hold, else everything that was said.
fn why(case: &Case) -> String {
    let mut parts = case.came.split("; ");
    let first = parts.find(|part| part.starts_with("NOT: "));
    let text = first.and_then(|part| part.strip_prefix("NOT: ")).unwrap_or(&case.came);
    if first.is_some() { format!("did not hold: {text}") } else { text.to_owned() }
}

fn tally(results: impl Iterator<Item = Outcome>) -> Tally {
    results.fold(Tally::default(), |mut tally, result| {
        tally.of += 1;
        match result {
            Outcome::Met => tally.met += 1,
            Outcome::NotMet => tally.not_met += 1,
            Outcome::NotTested => tally.not_tested += 1,
        }
        tally
    })
}

fn requirements(tests: &[Measured]) -> Tally {
    let mut names: Vec<&str> = tests.iter().filter_map(|test| test.id.split('.').next()).collect();
    names.dedup();
    tally(names.into_iter().map(|name| {
        let own = tests.iter().filter(|test| test.id.split('.').next() == Some(name));
        own.map(|test| test.result).max().unwrap_or(Outcome::NotTested)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(holds: bool) -> Case {
        let mut case = Case::positive("x");
        case.check(holds, "it held");
        case
    }

    #[test]
    fn what_was_not_tried_is_never_met_and_what_failed_once_failed() {
        let item = Item::find("R1.1").unwrap();
        let mut untested = Case::negative("y");
        untested.untested("no key");
        let of = |cases| Measured::of(item, cases);
        assert_eq!(of(vec![]).result, Outcome::NotTested);
        assert_eq!(of(vec![case(true), case(true)]).result, Outcome::Met);
        assert_eq!(of(vec![case(true), untested.clone()]).result, Outcome::NotTested);
        let failed = of(vec![case(false), untested]);
        assert_eq!(
            (failed.result, failed.why.as_str()),
            (Outcome::NotMet, "did not hold: it held")
        );
        let objective = Item::find("O1").unwrap();
        assert_eq!(Measured::from(objective, &[of(vec![case(true)])]).result, Outcome::NotTested);
        let mut both = case(true);
        both.check(false, "b");
        both.check(true, "c");
        both.untested("d");
        assert_eq!(both.result, Outcome::NotMet);
    }
}
