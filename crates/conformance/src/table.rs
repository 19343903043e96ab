//! What is tested: the rows of the published test table, the nine objectives and the four structural items.
//!
//! The rows are numbered in their order below each requirement. What they ask is said in our own words.

/// What an item belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A row of the test table of R1 to R9.
    Test,
    /// One of the nine objectives.
    Objective,
    /// One of the four structural items.
    Structural,
}

/// How the specification asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It must.
    Must,
    /// It should.
    Should,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Its name, such as `R3.2`.
    pub id: &'static str,
    /// What it belongs to.
    pub part: Part,
    /// How it is asked for.
    pub level: Level,
    /// What it asks.
    pub what: &'static str,
    /// The tests whose results it follows from; a test has its own cases.
    pub from: &'static [&'static str],
}

const fn must(id: &'static str, what: &'static str) -> Item {
    Item { id, part: Part::Test, level: Level::Must, what, from: &[] }
}

const fn should(id: &'static str, what: &'static str) -> Item {
    Item { id, part: Part::Test, level: Level::Should, what, from: &[] }
}

const fn objective(id: &'static str, what: &'static str, from: &'static [&'static str]) -> Item {
    Item { id, part: Part::Objective, level: Level::Must, what, from }
}

const fn structural(id: &'static str, what: &'static str, from: &'static [&'static str]) -> Item {
    Item { id, part: Part::Structural, level: Level::Must, what, from }
}

/// Everything that is measured, in the order of the tables.
pub const ITEMS: &[Item] = &[
    must("R1.1", "A denied action does not run, and leaves a receipt"),
    must(
        "R1.2",
        "A deferred action is suspended without effect, and leaves a receipt that says so",
    ),
    must("R1.3", "When what judges is away, the action fails"),
    must("R2.1", "At step N the policy sees all prior actions and data classifications"),
    should("R2.2", "A changed entry of the context is found"),
    must("R3.1", "A forbidden action is denied at once, whatever the context"),
    must("R3.2", "An allowed action is denied after access to sensitive data"),
    must("R3.3", "A denied action with confirming context is allowed or asked for"),
    must("R3.4", "An action with conflicting context is deferred"),
    must("R4.1", "Each of the five decisions is enforced"),
    must("R4.2", "A call that nobody approves in time is denied"),
    must("R4.3", "A deferral that nothing resolves in time is denied"),
    must("R5.1", "Receipts of all five decisions have requester, delegation and policy hash"),
    must("R5.2", "Signatures verify offline"),
    must("R5.3", "A changed requester or policy hash breaks the signature"),
    must("R5.4", "The receipt of a deferral has reason, way and time of its resolution"),
    must("R6.1", "Receipts tell principals, sessions, roles and scopes apart"),
    must("R6.2", "Who asked stays the same from deferral to resolution"),
    should("R7.1", "Actions that drift from the request beyond the limit are stopped or asked for"),
    should("R8.1", "Events of all decisions are exported in a documented schema"),
    should("R9.1", "A credential issued for reading can't write"),
    objective("O1", "Interception before execution", &["R1.1", "R1.3"]),
    objective("O2", "Compliance with policy", &["R3.1", "R4.1"]),
    objective("O3", "Evaluation in context", &["R2.1", "R3.2", "R3.3"]),
    objective("O4", "Decisions by classification", &[]),
    objective("O5", "Inline enforcement", &["R4.1"]),
    objective("O6", "Escalation to a person", &["R4.1", "R4.2"]),
    objective("O7", "Least privilege", &[]),
    objective("O8", "Forensic completeness", &["R2.2", "R5.1", "R5.2", "R5.3"]),
    objective("O9", "Attribution to identities", &["R6.1"]),
    structural("S3.1", "Placement as a protocol gateway", &[]),
    structural("S4", "Hash-chained, tamper-evident receipts", &["R2.2", "R5.2", "R5.3"]),
    structural("S5", "Semantic distance", &["R7.1"]),
    structural("S6", "Accumulation of context", &["R2.1", "R2.2"]),
];

impl Item {
    /// The item of a name.
    #[must_use]
    pub fn find(id: &str) -> Option<&'static Self> {
        ITEMS.iter().find(|item| item.id.eq_ignore_ascii_case(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_21_tests_nine_objectives_and_four_items_and_each_can_be_measured() {
        let count = |part| ITEMS.iter().filter(|item| item.part == part).count();
        assert_eq!(
            (count(Part::Test), count(Part::Objective), count(Part::Structural)),
            (21, 9, 4)
        );
        for item in ITEMS {
            assert!(item.from.iter().all(|id| Item::find(id).unwrap().part == Part::Test));
            let own = crate::tests::of(item.id).is_some();
            assert_eq!(own, item.from.is_empty(), "{}", item.id);
        }
    }
}
