//! What makes harmless actions harmful together, and the limits for it (row A5; design, order of the verdicts).
//!
//! The adversary needs three things in one session: something worth stealing, text of its own that the agent
//! reads, and a way out. Each is harmless alone. The risk of an action is a sum over what its session has met
//! and where the action leads; an operator sets how much is too much.

use tipstaff_context::{Drift, Measure};
use tipstaff_core::{Label, Labels, Sink, Tier};

/// The risk at which secrets, untrusted text and a way out are together.
pub const RISK_LIMIT: u32 = 100;

/// Limits that an operator sets; recorded with each judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// An action of this risk or more is over the limit. `None`: risk is shown to policies and decides nothing.
    pub risk: Option<u32>,
    /// What becomes of what is over it.
    pub over_risk: OverRisk,
    /// A permitted action that is farther from the request is denied. `None`: only policies look at it.
    pub drift_ppm: Option<u32>,
    /// The least tier that the limit on drift is for.
    pub drift_from: Tier,
    /// An action that nothing permits, but that is as near to the request as this, may be asked for where a
    /// policy says so.
    pub aligned_ppm: Option<u32>,
    /// An action that is known with less confidence is deferred.
    pub confidence: u32,
}

/// What becomes of an action whose risk is over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverRisk {
    /// It is denied.
    Deny,
    /// A person is asked, if it would be permitted else. What changes arguments can't be asked for: denied.
    Ask,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            risk: Some(RISK_LIMIT),
            over_risk: OverRisk::Deny,
            drift_ppm: None,
            drift_from: Tier::T3,
            aligned_ppm: None,
            confidence: 0,
        }
    }
}

/// How far an action and its session are from the request. All are known or none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Distances {
    /// This action's, in parts per million.
    pub ppm: u32,
    /// The session's with this action in it.
    pub drift: (u32, u32),
    /// Whether they are of meaning or of words.
    pub is_semantic: bool,
}

impl Distances {
    /// The distances at an action, `ppm` from the request, in a session that has drifted so far.
    #[must_use]
    pub fn at(ppm: u32, measure: Measure, before: Option<Drift>) -> Self {
        let Drift { average_ppm, max_ppm } = Drift::after(before, ppm);
        Self { ppm, drift: (average_ppm, max_ppm), is_semantic: measure == Measure::Semantic }
    }
}

/// The risk of an action that leads to `sink` in a session that has met `labels`: how sensitive the data is
/// (secret 40, confidential or personal 20, unclassified 15), whether untrusted text was read (30),
/// and whether it leads outside (40) or nobody knows where (15). What leads nowhere has none.
#[must_use]
pub const fn risk(labels: Labels, sink: Sink) -> u32 {
    let data = if labels.has(Label::Secret) {
        40
    } else if labels.has(Label::Confidential) || labels.has(Label::Personal) {
        20
    } else if labels.has(Label::Unclassified) {
        15
    } else {
        0
    };
    let text = if labels.has(Label::Untrusted) { 30 } else { 0 };
    let way = match sink {
        Sink::External => 40,
        Sink::Unknown => 15,
        Sink::Local | Sink::None => return 0,
    };
    data + text + way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[Label], sink: Sink) -> u32 {
        risk(labels.iter().copied().collect(), sink)
    }

    #[test]
    fn only_all_three_together_reach_the_limit() {
        use Label::{Confidential, Personal, Secret, Unclassified, Untrusted};
        assert!(of(&[Secret, Untrusted], Sink::External) >= RISK_LIMIT);
        for fewer in [
            of(&[Secret], Sink::External),
            of(&[Untrusted], Sink::External),
            of(&[Secret, Untrusted], Sink::Unknown),
            of(&[Personal, Confidential, Untrusted], Sink::External),
            of(&[Unclassified, Untrusted], Sink::External),
        ] {
            assert!(fewer < RISK_LIMIT, "{fewer}");
        }
        assert_eq!(of(&[Secret, Untrusted], Sink::Local), 0);
    }

    #[test]
    fn risk_only_grows_with_labels() {
        for bits in 0..128_u32 {
            let chosen = |bits: u32| -> Labels {
                let all = Label::ALL.into_iter().enumerate();
                all.filter(|(at, _)| bits & (1 << at) != 0).map(|(_, label)| label).collect()
            };
            for label in Label::ALL {
                for sink in Sink::ALL {
                    let (less, more) = (chosen(bits), chosen(bits).with(label));
                    assert!(risk(less, sink) <= risk(more, sink), "{less:?} {label:?} {sink:?}");
                }
            }
        }
    }
}
