//! What Cedar said before.
//!
//! The adversary wants the answer to one question given to another. So the key of an answer is all that
//! the policies of a slice can see of a request; where they see arguments, ancestors or the time, and
//! where one of them erred, nothing is remembered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cedar_policy::EntityUid;
use tipstaff_core::{Labels, Sink, Tier};

use crate::decide::{Classified, InWords, Request, SessionContext};
use crate::index::Outcome;
use crate::paths::PathFacts;
use crate::risk::Distances;

/// Most answers kept for one slice; a fuller memory is emptied, which costs time and nothing else.
const ANSWERS_MAX: usize = 256;

/// All that a policy without arguments, ancestors and time can see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    tier: Tier,
    class: String,
    classified: Classified,
    paths: PathFacts,
    operation: String,
    session: SessionContext,
    sink: Sink,
    words: InWords,
    carries: Labels,
}

/// The answers of one slice.
#[derive(Debug, Default)]
pub(crate) struct Memo(Mutex<HashMap<Question, Outcome>>);

impl Question {
    pub(crate) fn of(
        request: &Request<'_>,
        distances: Option<Distances>,
        [principal, action, resource]: [&EntityUid; 3],
    ) -> Self {
        // Exhaustive, so that a new part of a request is not forgotten here.
        let Request {
            action: asked,
            tier,
            class,
            classified,
            paths,
            principal: _,
            user: _,
            // Who looks at ancestors is not remembered; which policies apply by scope, the slice says.
            roles: _,
            sink,
            words,
            carries,
            session,
            limits: _,
            now: _,
        } = request;
        Self {
            principal: principal.clone(),
            action: action.clone(),
            resource: resource.clone(),
            tier: *tier,
            class: (*class).to_owned(),
            classified: *classified,
            paths: *paths,
            operation: asked.operation().to_owned(),
            session: SessionContext { distances, ..(*session).clone() },
            sink: *sink,
            words: *words,
            carries: *carries,
        }
    }
}

impl Memo {
    pub(crate) fn recall(&self, question: &Question) -> Option<Outcome> {
        self.answers().get(question).cloned()
    }

    pub(crate) fn keep(&self, question: Question, answer: &Outcome) {
        if !answer.errors.is_empty() {
            return;
        }
        let mut answers = self.answers();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(question, answer.clone());
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Question, Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
