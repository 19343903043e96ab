//! Changes of control state: policies and tool pins. Each is a receipt; the state is their fold.
//!
//! The adversary changes the rules and hopes that nobody sees it, or is the agent that they are for. What is in force is what the last
//! control receipt says; its text is kept by digest for the life of the log.

use std::sync::{Arc, PoisonError};

use tipstaff_core::receipt::{Control, Door, Enforcement, Kind};
use tipstaff_core::{Action, Digest, Tier};
use tipstaff_identity::{Peer, Process};
use tipstaff_ledger::{Draft, State};
use tipstaff_policy::PolicySource;

use super::{APPROVERS, Member, Monitor, lock};
use crate::config::Config;
use crate::deferral::Deferrals;
use crate::error::MonitorError;
use crate::pace::Pace;
use crate::permit::Refusal;
use crate::pins::{ListedTool, PinChange, Pins, ServerPins, ToolReview, Withheld};
use crate::policies::{Rules, read_policies};
use crate::repeat::Repeats;
use crate::required::keep;
use crate::sessions::{CONTROL_CHAIN, Lasting, Review, Session};
use crate::standing;

/// The process that brought a request, as the kernel names it, and its user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

/// The kill switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Nothing is permitted.
    Paused,
    /// Policies decide.
    Running,
}

impl Monitor {
    /// Compares a server's list with its pins. The first list of a server is pinned.
    ///
    /// # Errors
    /// [`Refusal`] if a first pin can't be recorded.
    pub fn tools_listed(
        &self,
        member: &Member,
        tools: &[ListedTool],
    ) -> Result<ToolReview, Refusal> {
        let listed = ServerPins::of(tools);
        let server = member.server();
        if !self.rules().pins.servers.contains_key(server) {
            self.pin(server, &listed).map_err(|e| Refusal::unrecorded(&e.to_string()))?;
            self.review_all();
        }
        let rules = self.rules();
        let pins = rules.pins.servers.get(server).cloned().unwrap_or_default();
        let changes = pins.changes(&listed);
        let review = ToolReview { withheld: self.withheld(member, &rules, &listed, &changes) };
        let mut pending = lock(&self.pending);
        if changes.is_empty() {
            pending.remove(server);
        } else {
            pending.insert(server.to_owned(), listed.clone());
        }
        drop(pending);
        *lock(&member.listed) = Some(listed);
        Ok(review)
    }

    /// Tools that the agent isn't shown as they are: those that changed, and those that no call could be
    /// allowed of. What is only observed is shown.
    fn withheld(
        &self,
        member: &Member,
        rules: &Rules,
        listed: &ServerPins,
        changes: &[PinChange],
    ) -> Vec<Withheld> {
        let server = member.server();
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        if standing.enforcement(member.door, server) == Enforcement::Observe {
            return Vec::new();
        }
        let hides = standing.config.hide_forbidden;
        let never = |tool: &str| hides && rules.set.never_allows(server, tool);
        let hidden = listed.tools.keys().filter(|tool| never(tool));
        let hidden = hidden.map(|tool| Withheld { name: tool.clone(), pinned: None });
        let changed = changes.iter().filter(|c| c.listed.is_some() && !never(&c.name));
        let changed = changed.map(|c| Withheld { name: c.name.clone(), pinned: c.pinned.clone() });
        hidden.chain(changed).collect()
    }

    /// How the last list of each server differs from its pins.
    #[must_use]
    pub fn tool_changes(&self) -> Vec<(String, Vec<PinChange>)> {
        let rules = self.rules();
        let pending = lock(&self.pending);
        let changes = pending.iter().map(|(server, listed)| {
            let pins = rules.pins.servers.get(server).cloned().unwrap_or_default();
            (server.clone(), pins.changes(listed))
        });
        changes.collect()
    }

    /// Accepts the last list of a server. Every policy is validated against it again.
    ///
    /// # Errors
    /// [`MonitorError::Inconsistent`] if no list waits, [`MonitorError::Policies`] if a policy does not
    /// fit the new schemas: then nothing changes.
    pub fn accept_tools(&self, server: &str) -> Result<usize, MonitorError> {
        let listed = lock(&self.pending).get(server).cloned();
        let listed = listed.ok_or_else(|| {
            MonitorError::Inconsistent(format!(
                "no changed tools of `{server}` wait for acceptance"
            ))
        })?;
        self.pin(server, &listed)?;
        lock(&self.pending).remove(server);
        self.review_all();
        Ok(listed.tools.len())
    }

    /// Looks for changed files, and waits for proofs where some are required.
    pub(crate) fn look(&self) {
        self.try_config();
        self.try_policies();
    }

    /// The same where nothing has to be proved: whoever keeps time can't wait for a proof.
    pub(crate) fn look_quickly(&self) {
        let standing = || {
            let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&standing.config)
        };
        let wanted = self.home.config_text().ok().and_then(|text| Config::parse(&text).ok());
        let proves = wanted.is_some_and(|wanted| {
            !wanted.policies.require.is_empty() && wanted.policies != standing().policies
        });
        if !proves {
            self.try_config();
        }
        if !proves && standing().policies.require.is_empty() {
            self.try_policies();
        }
    }

    /// Puts changed policies in force, or keeps the old ones and says why.
    pub(crate) fn try_policies(&self) {
        let Ok(source) = read_policies(&self.home.policies()) else { return };
        let Ok(canonical) = source.to_canonical() else { return };
        let found = Digest::of(canonical.as_bytes());
        if lock(&self.tried).policies.replace(found) == Some(found)
            || self.rules().set.digest() == found
        {
            return;
        }
        match self.change_policies(&source) {
            Ok(()) => self.review_all(),
            Err(error) => {
                log_line(&format!("the changed policies are refused, the old ones stay: {error}"));
            }
        }
    }

    /// Puts a changed configuration in force, or keeps the old one and says why.
    pub(crate) fn try_config(&self) {
        let Ok(text) = self.home.config_text() else { return };
        let found = Digest::of(text.as_bytes());
        if lock(&self.tried).config.replace(found) == Some(found) {
            return;
        }
        match self.change_config(&text) {
            Ok(()) => self.review_all(),
            Err(error) => log_line(&format!(
                "the changed configuration is refused, the old one stays: {error}"
            )),
        }
    }

    /// Writes the control receipts that make what is in force the log's last word.
    pub(super) fn record_rules(&self, state: &State) -> Result<(), MonitorError> {
        let rules = self.rules();
        self.home.keep(rules.catalogue.text())?;
        self.home.keep(&rules.pins.to_canonical())?;
        self.keep_set(&rules)?;
        let current = state.control.get("policy-set").copied();
        if current != Some(rules.set.digest()) {
            self.append_control("policy-set", current, rules.set.digest())?;
        }
        let config = self.home.keep(&self.home.config_text()?)?;
        let current = state.control.get("config").copied();
        if current != Some(config) {
            self.append_control("config", current, config)?;
        }
        lock(&self.tried).config = Some(config);
        // Who may approve is control state: a key that appears later on the disk approves nothing.
        if !state.control.contains_key(APPROVERS) {
            let approvers = self.approvers.read().unwrap_or_else(PoisonError::into_inner);
            let keys = self.home.keep(&approvers.to_text())?;
            drop(approvers);
            self.append_control(APPROVERS, None, keys)?;
        }
        if !state.control.contains_key("tool-pins") {
            self.append_control("tool-pins", None, rules.pins_digest)?;
        }
        Ok(())
    }

    /// What a refused tool's difference is, for the person who sees the result.
    pub(super) fn describe_listing(
        &self,
        member: &Member,
        action: &Action,
        rules: &Rules,
    ) -> String {
        let server = action.server();
        let pins = rules.pins.servers.get(server).cloned().unwrap_or_default();
        let listed = lock(&member.listed).clone().unwrap_or_default();
        let changes = pins.changes(&listed);
        let Some(change) = changes.iter().find(|change| change.name == action.tool()) else {
            return format!("The server `{server}` has not listed a tool of this name.");
        };
        format!(
            "The tool is not the one that was accepted:\n{}\nA person can look at it with `tipstaff \
             tools diff` and accept it with `tipstaff tools accept {server}`.",
            change.describe()
        )
    }

    fn pin(&self, server: &str, listed: &ServerPins) -> Result<(), MonitorError> {
        let before = self.rules();
        if before.set.names_tools_of(server) {
            // What policies say of its arguments begins to count. A proof takes long, so it comes first.
            let mut pins = before.pins.clone();
            pins.servers.insert(server.to_owned(), listed.clone());
            self.proved(&rules_of(&before, &pins)?)?;
        }
        let mut current = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let mut pins = current.pins.clone();
        pins.servers.insert(server.to_owned(), listed.clone());
        if current.set.digest() != before.set.digest() {
            return Err(MonitorError::Inconsistent("the policies changed meanwhile".to_owned()));
        }
        let rules = rules_of(&current, &pins)?;
        self.home.keep(&pins.to_canonical())?;
        self.keep_set(&rules)?;
        self.append_control("tool-pins", Some(current.pins_digest), rules.pins_digest)?;
        *current = rules.into();
        Ok(())
    }

    /// Whether rules keep what the configuration requires.
    fn proved(&self, rules: &Rules) -> Result<(), MonitorError> {
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        let config = Arc::clone(&standing.config);
        // A proof takes long, and nothing waits for it but the change.
        drop(standing);
        keep(&self.home, rules, &config.policies)
    }

    fn change_policies(&self, source: &PolicySource) -> Result<(), MonitorError> {
        let before = self.rules();
        let rules = Rules::admit(source, &before.pins, &before.catalogue)
            .map_err(MonitorError::Policies)?;
        if rules.set.digest() != before.set.digest() {
            self.proved(&rules)?;
        }
        let mut current = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let rules = Rules::admit(source, &current.pins, &current.catalogue)
            .map_err(MonitorError::Policies)?;
        // Access words are compared by what they mean.
        if rules.set.digest() == current.set.digest() {
            return Ok(());
        }
        if current.pins_digest != before.pins_digest {
            // Looked at again at the next tick.
            lock(&self.tried).policies = None;
            return Err(MonitorError::Inconsistent("tools were accepted meanwhile".to_owned()));
        }
        self.keep_set(&rules)?;
        self.append_control("policy-set", Some(current.set.digest()), rules.set.digest())?;
        *current = rules.into();
        Ok(())
    }

    fn change_config(&self, text: &str) -> Result<(), MonitorError> {
        let config = Config::parse(text)?;
        let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        let required = standing.config.policies != config.policies;
        drop(standing);
        if required {
            keep(&self.home, &self.rules(), &config.policies)?;
        }
        let mut current = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let from = self.ledger.state().control.get("config").copied();
        self.append_control("config", from, self.home.keep(text)?)?;
        current.config = config.into();
        Ok(())
    }

    /// Stops everything, or lets it go on. What runs already runs on; nothing new is permitted.
    ///
    /// # Errors
    /// [`MonitorError`] if it can't be recorded: then nothing changes.
    pub fn switch(&self, to: Switch) -> Result<(), MonitorError> {
        let mut current = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let paused = to == Switch::Paused;
        if current.paused == paused {
            return Ok(());
        }
        let text = if paused { standing::PAUSED } else { standing::RUNNING };
        let from = self.ledger.state().control.get("switch").copied();
        self.append_control("switch", from, self.home.keep(text)?)?;
        current.paused = paused;
        drop(current);
        self.review_all();
        Ok(())
    }

    /// Whether a process is a client's, or was started by one: whoever is judged changes nothing of what
    /// judges it. After a restart the clients' processes are not known: then their pseudonyms are. Like an
    /// answer to a held call, this misses what was detached from its starter.
    pub(crate) fn is_an_agents(&self, asker: Asker) -> bool {
        let Asker { pid, uid } = asker;
        if lock(&self.clients).iter().any(|client| client.is_ancestor_of(pid)) {
            return true;
        }
        let sessions = lock(&self.sessions);
        let open = |agent: &String| sessions.get(agent).is_some_and(|s| !lock(s).closed);
        let mut above = Peer::instances_above(pid, uid).into_iter();
        above.any(|instance| open(&self.pseudonyms.of("agent", &instance)))
    }

    /// Keeps in mind for whom a door acts, as long as that process lives.
    pub(super) fn remember(&self, client: Option<Process>) {
        let Some(client) = client else { return };
        let mut clients = lock(&self.clients);
        if !clients.contains(&client) {
            clients.retain(|known| known.lives());
            clients.push(client);
        }
    }

    /// Whether the kill switch is on.
    pub(super) fn is_paused(&self) -> bool {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).paused
    }

    /// A session of the monitor's own, for the chain of control receipts.
    pub(super) fn control_session(&self) -> Session {
        Session {
            chain: CONTROL_CHAIN.to_owned(),
            actor: self.pseudonyms.actor("monitor"),
            identity: self.pseudonyms.monitor(CONTROL_CHAIN),
            context: tipstaff_context::Context::new([0; 16]),
            doors: 0,
            alone_since: std::time::Instant::now(),
            open: std::collections::HashMap::new(),
            closed: false,
            client: None,
            service: String::new(),
            lasting: Lasting::Grace,
            repeats: Repeats::default(),
            pace: Pace::default(),
            requests: std::sync::Arc::default(),
            deferrals: Deferrals::default(),
            review: Review::Idle,
        }
    }

    fn keep_set(&self, rules: &Rules) -> Result<(), MonitorError> {
        self.home.keep(rules.set.canonical_source())?;
        self.home.keep(rules.set.schema_text())?;
        Ok(())
    }

    /// The receipt is durable before the change is in force.
    fn append_control(
        &self,
        what: &str,
        from: Option<Digest>,
        to: Digest,
    ) -> Result<(), MonitorError> {
        let session = self.control_session();
        let action = format!("control:{what}");
        let kind = (action.as_str(), Tier::T3);
        let mut receipt = session.receipt(Kind::Control, kind, Door::Monitor, self.now());
        receipt.control = Some(Control { from, to, what: what.to_owned() });
        let appended = self.ledger.append(Draft { receipt, inputs: None })?;
        Ok(self.ledger.commit(appended.index)?)
    }
}

/// The same policies with other pins.
fn rules_of(rules: &Rules, pins: &Pins) -> Result<Rules, MonitorError> {
    let source = PolicySource::from_canonical(rules.set.canonical_source())
        .map_err(|error| MonitorError::Inconsistent(error.to_string()))?;
    Rules::admit(&source, pins, &rules.catalogue).map_err(MonitorError::Policies)
}

/// The monitor's own diagnostics go to its standard error, which its starter keeps in a file.
#[expect(clippy::print_stderr, reason = "the diagnostics of a process without a terminal")]
pub(crate) fn log_line(line: &str) {
    eprintln!("tipstaff: {line}");
}
