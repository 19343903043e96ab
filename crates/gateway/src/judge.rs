//! What this door needs of the monitor, as traits, so that tests can drive the door with a script.
//!
//! The adversary is a door that makes its own permits. These traits are private and the monitor's
//! client is their one implementation outside tests, so a permit still comes from the monitor alone.

use tipstaff_core::{Action, Digest};
use tipstaff_monitor::{
    Answered, Client, Ended, ListedTool, Permit, Refusal, Running, Settlement, ToolReview,
};

/// Called with the answer, on a thread of the judge's.
pub(crate) type Then<T> = Box<dyn FnOnce(Result<T, Refusal>) + Send>;

/// Whoever judges and records.
pub(crate) trait Judge: Send + Sync + Sized + 'static {
    /// The right to one effect.
    type Warrant: Warrant<Effect = Self::Effect>;
    /// An effect that has begun.
    type Effect: Effect<Settlement = Self::Settlement>;
    /// What is recorded of an effect that has ended.
    type Settlement: Send;

    /// Asks for an action that depends on others, which are named by their receipts.
    fn submit(&self, action: Action, depends_on: &[Digest], then: Box<dyn Answered<Self::Warrant>>);
    /// Gives a held request up.
    fn withdraw(&self, number: u64);
    fn settle(&self, settlements: impl IntoIterator<Item = Self::Settlement>);
    /// Settles what must be known before its result is seen. Whether it is.
    fn settle_first(&self, settlement: Self::Settlement) -> bool;
    fn tools_listed(&self, tools: Vec<ListedTool>, then: Then<ToolReview>);
    /// Stays awake for a moment while a verdict is due.
    fn attend(&self);
}

/// A permit.
pub(crate) trait Warrant: Send + 'static {
    type Effect;

    fn action(&self) -> &Action;
    fn receipt(&self) -> Digest;
    fn start(self) -> Self::Effect;
}

/// What a permit becomes when it is used.
pub(crate) trait Effect: Send + 'static {
    type Settlement;

    fn receipt(&self) -> Digest;
    fn settle(self, ended: Ended<'_>) -> Self::Settlement;
}

impl Judge for Client {
    type Warrant = Permit;
    type Effect = Running;
    type Settlement = Settlement;

    fn submit(&self, action: Action, depends_on: &[Digest], then: Box<dyn Answered<Permit>>) {
        self.submit_depending(action, depends_on, then);
    }

    fn withdraw(&self, number: u64) {
        Self::withdraw(self, number);
    }

    fn settle(&self, settlements: impl IntoIterator<Item = Settlement>) {
        Self::settle(self, settlements);
    }

    fn settle_first(&self, settlement: Settlement) -> bool {
        Self::settle_first(self, &settlement)
    }

    fn tools_listed(&self, tools: Vec<ListedTool>, then: Then<ToolReview>) {
        Self::tools_listed(self, tools, then);
    }

    fn attend(&self) {
        Self::attend(self);
    }
}

impl Warrant for Permit {
    type Effect = Running;

    fn action(&self) -> &Action {
        Self::action(self)
    }

    fn receipt(&self) -> Digest {
        Self::receipt(self)
    }

    fn start(self) -> Running {
        Self::start(self)
    }
}

impl Effect for Running {
    type Settlement = Settlement;

    fn receipt(&self) -> Digest {
        Self::receipt(self)
    }

    fn settle(self, ended: Ended<'_>) -> Settlement {
        Self::settle(self, ended)
    }
}
