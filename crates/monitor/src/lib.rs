//! The one path from request to effect: classify, judge, record, permit, settle.
//!
//! The adversary is an agent that acts without asking, a door that forgets to ask, a process that joins a
//! session that is not its own, and a tool that changes after it was looked at. An effect needs a
//! [`Permit`], only this crate makes one, and it makes one only after the verdict's receipt is durable.
//! One process per home holds the log; doors in other processes join it over a Unix socket
//! ([`Client`]).

mod approval;
mod authority;
mod class;
mod client;
mod config;
mod deferral;
mod error;
mod explain;
mod fold;
mod home;
pub mod judge;
mod kept;
mod monitor;
mod pace;
mod permit;
mod pins;
mod policies;
mod proof;
mod queue;
mod repeat;
pub mod replay;
mod required;
mod resolve;
mod server;
mod service;
mod sessions;
mod socket;
mod standing;
mod tails;
mod told;
mod used;
mod wire;

pub use approval::{Reply, Statement};
pub use class::{Class, ClassLimits, Classes, Counted};
pub use client::{Answered, Caller, Client, Entrusted, Join, Waits};
pub use config::{
    Config, ContextConfig, Embedding, Issuer, Limits, LoginConfig, OauthConfig, OverRiskConfig,
    SEPARATOR, ServerConfig, Servers, Setting, Settings, Unproven,
};
pub use error::{ClientError, Disobeyed, MonitorError, Rejection, Untold};
pub use explain::{Acting, Explainer, Supposed, check_policies};
pub use home::Home;
pub use monitor::{Held, Measure, Member, Monitor, Switch, Wanted, Which};
pub use permit::{Ended, Permit, Refusal, Running, Settlement};
pub use pins::{ListedTool, PinChange, ServerPins, ToolReview, Withheld};
pub use policies::read_policies;
pub use proof::{ProofKey, Proved};
pub use repeat::{COUNT_MAX, Covering, LASTS_MAX_MS, Repeat, kind_digest};
pub use required::{PoliciesConfig, Requirements};
pub use service::{Role, Service, Stopper, serve};
pub use tails::Watch;
pub use told::{SignedTold, Tell, Told};
