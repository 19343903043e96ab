//! The R1–R9 technical tests, nine objectives and four structural items as a program.
//!
//! The adversary is a claim: that a gateway does what its page says. Every result here was measured over public
//! interfaces, by one case that has to happen and one that must not; what could not be tried is `not tested`
//! and never counts as met. Nothing in here knows how the other side works.

mod case;
mod client;
mod mcp;
mod report;
mod run;
mod table;
mod tests;
mod tools;
mod transport;

pub use case::{Case, Kind, Outcome};
pub use report::{Build, Measured, MeasuredOn, Report, Summary, Tally};
pub use run::{Exam, Timing, run};
pub use table::{ITEMS, Item, Level, Part};
pub use tools::{CONFIG, PATCH, PATCH_NAME, POLICY, SERVER, serve_tools};
pub use transport::{
    Answer, Approver, Credential, Outage, Outaged, Request, Say, Transport, Unreachable, Word,
};
