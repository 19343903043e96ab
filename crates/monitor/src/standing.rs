//! What the operator has set, as it is in force.
//!
//! The adversary is a change that takes effect unseen: each one is a control receipt, and a judgement is
//! made under what the receipts before it say.

use std::sync::Arc;

use tipstaff_core::receipt::{Door, Enforcement};

use crate::config::Config;

/// Configuration and switches in force.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) config: Arc<Config>,
    /// Whether everything is stopped.
    pub(crate) paused: bool,
}

/// The texts whose digests the control receipts of the kill switch carry.
pub(crate) const PAUSED: &str = "{\"paused\":true}";
pub(crate) const RUNNING: &str = "{\"paused\":false}";

impl Standing {
    /// How strongly a verdict on a call at this door binds.
    pub(crate) fn enforcement(&self, door: Door, server: &str) -> Enforcement {
        let observed =
            self.config.observe || self.config.observe_servers.iter().any(|s| s == server);
        match door {
            // A kill switch that only watches would be none.
            _ if observed && !self.paused => Enforcement::Observe,
            Door::Api | Door::Hook => Enforcement::Cooperative,
            Door::Cli | Door::McpHttp | Door::McpStdio | Door::Monitor => Enforcement::Inline,
        }
    }

    /// How long a person has to answer, in milliseconds. `None`: no person is asked.
    pub(crate) fn wait_ms(&self) -> Option<u64> {
        let wait = self.config.approval_wait_s;
        (wait > 0).then(|| wait.saturating_mul(1000))
    }

    /// How long a call waits for context, in milliseconds. `None`: none does.
    pub(crate) fn deferral_ms(&self) -> Option<u64> {
        let wait = self.config.deferral_wait_s;
        (wait > 0).then(|| wait.saturating_mul(1000))
    }
}
