//! What a person signed and a network door brings, and what that person needs to see first.
//!
//! The adversary is an agent that holds the door's token: the token alone changes nothing. Each of these
//! is signed by an approver's key, and refused from a process that an agent's client started.

use tipstaff_core::key::Signature;
use tipstaff_core::{Digest, Json};

use super::{Asker, Monitor, Said};
use crate::approval::Statement;
use crate::error::Rejection;

impl Monitor {
    /// The calls that wait for a person, oldest first, with what an answer has to be bound to.
    #[must_use]
    pub fn queue(&self) -> Vec<Json> {
        self.waiting()
    }

    /// The sessions that are open, with what their context says.
    #[must_use]
    pub fn open_sessions(&self) -> Vec<Json> {
        self.sessions_shown()
    }

    /// Whether a process is a client's that is judged here, or was started by one.
    #[must_use]
    pub fn is_judged(&self, pid: u32, uid: u32) -> bool {
        self.is_an_agents(Asker { pid, uid })
    }

    /// Records a person's signed answer that the process `by` (its id and its user) brought, and runs or
    /// ends what waited for it.
    ///
    /// # Errors
    /// [`Rejection`]; the attempt has a receipt.
    pub fn bring_answer(
        &self,
        statement: Statement,
        (key_id, signature): (String, Signature),
        (pid, uid): (u32, u32),
    ) -> Result<Digest, Rejection> {
        self.answer(&Said { statement, key_id, signature, salt: None, pid, uid })
    }
}
