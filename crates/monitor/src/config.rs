//! `config.toml`: what an operator sets, with a default for everything.

mod context;
mod login;
mod oauth;
mod servers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::class::Classes;
use crate::error::MonitorError;
use crate::required::PoliciesConfig;
pub use context::{ContextConfig, Embedding, MeaningConfig, OverRiskConfig};
pub use login::LoginConfig;
pub use oauth::{Issuer, OauthConfig};
use servers::setting_fault;
pub use servers::{SEPARATOR, ServerConfig, Servers, Setting};

/// The text of a new home's `config.toml`.
pub(crate) const DEFAULT_TEXT: &str = "\
# Folders in which an agent may change files without asking. Relative paths are refused.
# Empty: every change is held for approval.
roots = []

# Whether an allowed result carries the id of its receipt in `_meta`.
receipt_in_meta = true

# Environment variables that `wrap` passes to servers beside the safe ones (PATH, HOME, LANG, ...).
env_allow = []

# Seconds until a call that got no answer counts as ambiguous.
call_timeout_s = 600

# Seconds that a session waits for its client before it is closed.
session_grace_s = 3

# Seconds that a monitor without clients stays.
idle_exit_s = 60

# Seconds that a held call waits for a person. Then it is refused. 0: nobody is asked, and what a
# person would have to approve is refused at once.
approval_wait_s = 900

# Seconds that a call waits for context that is not known yet (docs/deferral.md). Then it is refused. 0: it
# is refused at once. `deferrals_max`: how many calls of a session may wait so; one more is refused.
deferral_wait_s = 300
deferrals_max = 16

# Where to post a notice of each held call, such as \"http://127.0.0.1:9000/held\". An address that is a
# secret goes by reference: \"file:NAME\" in the home's secrets folder, \"env:VARIABLE\", or
# \"keyring:SERVICE/ACCOUNT\".
# approval_webhook = \"file:webhook\"

# Observe: nothing is stopped, and each receipt says what would have been. For getting to know a new
# set-up; `observe_servers` names single servers.
observe = false
observe_servers = []

# Callers of the network that prove nothing: \"refuse\", or \"tier-1\", which lets them do what changes
# nothing, where policies permit it (docs/network.md).
unproven = \"refuse\"

# Whether tools that no policy could ever allow are left out of the lists that agents see.
hide_forbidden = true

# Against loops. A refused call that is repeated more often within a minute is not judged again.
# Calls of one tool a minute and calls of one session have no limit unless one is set:
#   calls_per_minute = 60
#   calls_per_session = 5000
#   tools = { \"server/tool\" = 5 }
[limits]
repeats_per_minute = 20

# What a class of callers may do at most: human, service, agent, system or node, as principals are enrolled, and
# local for whoever proved to be none of them. Calls are those of a session.
#   [classes.agent]
#   calls_per_minute = 120
#   concurrent = 8               # permitted and not ended
#   argument_bytes = 65536
#   tier = 4                     # nothing above, whatever the policies say
#   server_memory_mib = 1024     # data of each process of a server that such a door starts

# What a session's context decides; docs/context.md has the numbers.
#   risk_limit: an action of this risk is refused (secrets, untrusted text and a way out together: 110)
#   hook_over_risk: a client's own tools are not refused then, a person is asked; \"deny\" refuses them too
#   drift_limit_ppm, from drift_from_tier on: what is farther from the request is refused
#   aligned_ppm: what nothing permits may be asked for when it is as near, where a policy says so
#   confidence: what is known with less (catalogue 100, by name 50, not at all 0) is deferred
#   embedding: what measures distances; without one words are compared, which proves less
#     { folder = \"/models/all-MiniLM-L6-v2\" } or { url = \"https://…/v1\", model = \"…\", key = \"env:KEY\" }
[context]
risk_limit = 100

# Statements that a policy set has to keep before it is in force, proved over all requests by cvc5
# (docs/access-words.md). A set that breaks one is refused, and the old one stays.
# [policies]
# require = [\"no agent can ever do T5 without approval\"]
# solver = \"/usr/bin/cvc5\"

# What a tool means for the data of its session, where the catalogue can't know:
# [meaning.\"crm/*\"]
# gives = [\"personal\", \"untrusted\"]
# sink = \"none\"       # external, local, none or unknown
# tier = 1            # instead of what its name says
# [meaning.\"crm/invite\"]
# sink = \"external\"
# named = [\"/email\"]  # arguments that only the user may choose: `context.named` says if they stand in the request
# acts = [\"invite\"]   # words that ask for it: `context.asked`

# Whose access tokens are taken for which principals (OAuth; docs/network.md):
# [oauth.issuers.login]
# url = \"https://login.example\"
# keys = \"https://login.example/jwks.json\"
# subjects = { \"248289761001\" = \"ada\" }

# The servers that `tipstaff serve` stands in front of. Credentials go by reference: this text is kept.
# [servers.files]
# command = [\"npx\", \"-y\", \"@modelcontextprotocol/server-filesystem@2026.8.31\", \"/home/me/notes\"]
# [servers.tickets]
# url = \"https://tickets.example/mcp\"
# headers = { Authorization = \"file:tickets\" }   # a file of mode 600 in the home's secrets folder
# [servers.wiki]
# url = \"https://wiki.example/mcp\"                # `tipstaff login wiki` asks you in the browser
";

/// Most calls of a session that any home lets wait for context: each is named in a receipt.
const DEFERRALS_MAX: u64 = 64;

/// The configuration of a home.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Absolute folders in which T3 changes are allowed.
    pub roots: Vec<String>,
    /// Whether allowed results carry their receipt's id.
    pub receipt_in_meta: bool,
    /// Names of environment variables for servers.
    pub env_allow: Vec<String>,
    /// Seconds until a call is given up.
    pub call_timeout_s: u64,
    /// Seconds that a session outlives its last door.
    pub session_grace_s: u64,
    /// Seconds that the monitor outlives its last client.
    pub idle_exit_s: u64,
    /// Seconds that a held call waits for a person. 0: nobody is asked.
    pub approval_wait_s: u64,
    /// Seconds that a call waits for context. 0: it is refused at once.
    pub deferral_wait_s: u64,
    /// How many calls of a session may wait for context.
    pub deferrals_max: u64,
    /// Where to post a notice of each held call.
    pub approval_webhook: Option<Setting>,
    /// Whether nothing is stopped and everything is only recorded.
    pub observe: bool,
    /// Servers that are only observed.
    pub observe_servers: Vec<String>,
    /// What becomes of callers of the network that prove nothing.
    pub unproven: Unproven,
    /// Whether tools that can never be allowed are hidden.
    pub hide_forbidden: bool,
    /// Against loops.
    pub limits: Limits,
    /// What each class of callers may do at most.
    pub classes: Classes,
    /// What a session's context decides.
    pub context: ContextConfig,
    /// What tools mean, by `server/tool`, where `*` stands for all tools of a server.
    pub meaning: BTreeMap<String, MeaningConfig>,
    /// Whose access tokens are taken for which principals.
    pub oauth: OauthConfig,
    /// What policies have to keep.
    pub policies: PoliciesConfig,
    /// The servers behind the HTTP door.
    pub servers: Servers,
}

/// What becomes of callers of the network that prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Unproven {
    /// They are refused.
    #[default]
    #[serde(rename = "refuse")]
    Refuse,
    /// They may do what changes nothing (T1), where policies permit it. Each receipt says that they proved nothing.
    #[serde(rename = "tier-1")]
    Tier1,
}

/// How often something may be asked for. `None`: without limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls of one tool within a minute.
    pub calls_per_minute: Option<u64>,
    /// Calls of one session.
    pub calls_per_session: Option<u64>,
    /// Refusals of one call within a minute, after which it is not judged any more.
    pub repeats_per_minute: Option<u64>,
    /// Calls within a minute of single tools, by `server/tool`.
    pub tools: BTreeMap<String, u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_minute: None,
            calls_per_session: None,
            repeats_per_minute: Some(20),
            tools: BTreeMap::new(),
        }
    }
}

/// What a door needs to know of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether allowed results carry their receipt's id.
    pub receipt_in_meta: bool,
    /// Names of environment variables for servers.
    pub env_allow: Vec<String>,
    /// Time until a call is given up.
    pub call_timeout: Duration,
    /// Most mebibytes of data of each process of a server.
    pub server_memory_mib: Option<u64>,
    /// Where servers' standard error is kept.
    pub stderr_folder: PathBuf,
    /// The chain of the door's session, once it has joined.
    pub session: String,
    /// Origin of the log.
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            receipt_in_meta: true,
            env_allow: Vec::new(),
            call_timeout_s: 600,
            session_grace_s: 3,
            idle_exit_s: 60,
            approval_wait_s: 900,
            deferral_wait_s: 300,
            deferrals_max: 16,
            approval_webhook: None,
            observe: false,
            observe_servers: Vec::new(),
            unproven: Unproven::Refuse,
            hide_forbidden: true,
            limits: Limits::default(),
            classes: Classes::default(),
            context: ContextConfig::default(),
            meaning: BTreeMap::new(),
            oauth: OauthConfig::default(),
            policies: PoliciesConfig::default(),
            servers: Servers::new(),
        }
    }
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`MonitorError::Config`] with the line and what is wrong.
    pub fn parse(text: &str) -> Result<Self, MonitorError> {
        let config: Self =
            toml::from_str(text).map_err(|error| MonitorError::Config(error.to_string()))?;
        for root in &config.roots {
            if !Path::new(root).is_absolute() {
                let what = format!("root `{root}` is not absolute; write its whole path");
                return Err(MonitorError::Config(what));
            }
        }
        if config.deferrals_max > DEFERRALS_MAX {
            let what = format!("`deferrals_max` is over {DEFERRALS_MAX}");
            return Err(MonitorError::Config(what));
        }
        let webhook = config.approval_webhook.as_ref();
        let webhook = webhook.and_then(|setting| setting_fault("approval_webhook", setting));
        let fault = webhook
            .or_else(|| config.classes.fault())
            .or_else(|| context::fault(&config))
            .or_else(|| oauth::fault(&config.oauth))
            .or_else(|| config.policies.fault());
        match fault.or_else(|| servers::fault(&config.servers)) {
            Some(fault) => Err(MonitorError::Config(fault)),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_new_home_is_the_default() {
        assert_eq!(Config::parse(DEFAULT_TEXT).unwrap(), Config::default());
        assert!(Config::parse("roots = [\"here\"]").is_err());
        assert!(Config::parse("rooots = []").is_err());
        assert!(Config::parse("deferrals_max = 65").is_err());
        assert!(Config::parse("[classes.agent]\ntier = 6").is_err());
        assert!(Config::parse("[classes.king]\ntier = 5").is_err());
    }
}
