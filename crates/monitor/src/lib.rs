//! The one path from request to effect: classify, judge, record, permit, settle.
//!
//! The adversary is an agent that acts without asking, a door that forgets to ask, a process that joins a
//! session that is not its own, and a tool that changes after it was looked at. An effect needs a
//! [`Permit`], only this crate makes one, and it makes one only after the verdict's receipt is durable.
//! One process per home holds the log; doors in other processes join it over a Unix socket
//! ([`Client`]).

mod client;
mod config;
mod error;
mod explain;
mod home;
pub mod judge;
mod monitor;
mod permit;
mod pins;
mod policies;
pub mod replay;
mod resolve;
mod server;
mod service;
mod sessions;
mod socket;
mod wire;

pub use client::{Caller, Client, Join};
pub use config::{Config, SEPARATOR, ServerConfig, Servers, Setting, Settings};
pub use error::{ClientError, MonitorError};
pub use explain::{Explainer, check_policies};
pub use home::Home;
pub use monitor::{Member, Monitor};
pub use permit::{Ended, Permit, Refusal, Running, Settlement};
pub use pins::{ListedTool, PinChange, ServerPins, ToolReview, Withheld};
pub use policies::read_policies;
pub use service::{Role, Service, Stopper, serve};
