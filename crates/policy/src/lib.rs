//! Whether an action may happen: what an action's paths touch, Cedar's rules, and the order of the verdicts.
//!
//! The adversary is an agent, steered by text that it has read, that looks for a call which no rule
//! foresaw; and an author whose rule is weaker than it reads. What is not permitted is denied, what
//! errs is never allowed, and a rule that can't do what it says is not admitted.
//!
//! Pure: no clock, no file, no socket, no random source. Time and session context are inputs, so that
//! a decision can be re-derived later by someone else.

mod admission;
pub mod decide;
pub mod entity;
pub mod error;
pub mod index;
mod memo;
mod never;
pub mod patch;
pub mod paths;
pub mod ranked;
pub mod risk;
mod scan;
pub mod schema;
pub mod set;
pub mod words;

pub use admission::is_given;
pub use decide::{Classified, Decision, InWords, Reason, Request, SessionContext};
pub use error::{PatchFault, PolicyError, PolicyFault, PolicyWarning};
pub use ranked::{Does, Ranked};
pub use risk::{Distances, Limits, OverRisk};
pub use set::{Admitted, PolicySet, PolicySource, ToolPins};
pub use words::Words;

/// The policy set that a new home starts with.
#[must_use]
pub fn default_source() -> PolicySource {
    let text = include_str!("../default/tipstaff.cedar").to_owned();
    let files = [("tipstaff.cedar".to_owned(), text)].into();
    PolicySource { files, ..PolicySource::default() }
}
