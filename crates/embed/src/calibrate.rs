//! Which distance is too far: thresholds from labelled sessions.
//!
//! The adversary here is oneself: a threshold that is tuned and judged on the same sessions flatters. So a
//! fixed hash of each session's id puts it in the tuning half, which proposes, or in the held-out half,
//! which only judges.

mod sessions;

use tipstaff_core::Digest;

use crate::error::EmbedError;
use crate::{Embedder, Method, Semantic};
pub use sessions::{Label, LabelledAction, Session, read_sessions};

/// Step between thresholds, in parts per million.
pub const STEP_PPM: u32 = 10_000;
/// Largest distance.
const MOST_PPM: u32 = 2_000_000;
/// Goes into the hash that splits: another word would be another split.
const SPLIT: &[u8] = b"tipstaff drift sessions, split 1\0";

/// How many aligned actions may be refused, in parts per million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// The largest share.
    pub false_refusals_ppm: u32,
}

/// Two in a hundred.
impl Default for Goal {
    fn default() -> Self {
        Self { false_refusals_ppm: 20_000 }
    }
}

/// What the labelled sessions say about a measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// The measure.
    pub method: Method,
    /// Whether it compares meanings.
    pub semantic: Semantic,
    /// The half that the proposal comes from.
    pub tuning: Half,
    /// The half that had no say in it.
    pub held_out: Half,
    /// The least threshold at which the tuning half keeps to the goal: an action is too far if its
    /// distance is over it. `None` if there is no aligned action to keep to it with.
    pub proposed_ppm: Option<u32>,
}

/// One half of the sessions: the distances of their actions, by label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Half {
    /// How many sessions.
    pub sessions: usize,
    /// Distances of aligned actions, in order.
    pub aligned: Vec<u32>,
    /// Distances of drifted actions, in order.
    pub drifted: Vec<u32>,
}

/// What a threshold would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The threshold.
    pub threshold_ppm: u32,
    /// Aligned actions over it.
    pub false_refusals: usize,
    /// Drifted actions not over it.
    pub missed_drifts: usize,
}

/// Measures each action of `sessions` against its session's request.
///
/// # Errors
/// Those of `embedder`.
pub fn calibrate(
    sessions: &[Session],
    embedder: &impl Embedder,
    goal: Goal,
) -> Result<Calibration, EmbedError> {
    let (mut tuning, mut held_out) = (Half::default(), Half::default());
    for session in sessions {
        let half = if is_held_out(&session.id) { &mut held_out } else { &mut tuning };
        half.sessions += 1;
        let request = embedder.embed(&session.request)?;
        for action in &session.actions {
            let distance = request.distance_ppm(&embedder.embed(&action.text())?)?;
            match action.label {
                Label::Aligned => half.aligned.push(distance),
                Label::Drifted => half.drifted.push(distance),
            }
        }
    }
    for half in [&mut tuning, &mut held_out] {
        half.aligned.sort_unstable();
        half.drifted.sort_unstable();
    }
    let (method, semantic) = (embedder.method().clone(), embedder.semantic());
    let proposed_ppm = tuning.propose(goal);
    Ok(Calibration { method, semantic, tuning, held_out, proposed_ppm })
}

impl Half {
    /// What `threshold_ppm` would have done.
    #[must_use]
    pub fn at(&self, threshold_ppm: u32) -> Row {
        let within = |distances: &[u32]| distances.partition_point(|ppm| *ppm <= threshold_ppm);
        Row {
            threshold_ppm,
            false_refusals: self.aligned.len() - within(&self.aligned),
            missed_drifts: within(&self.drifted),
        }
    }

    /// How often a drifted action is farther than an aligned one, over all pairs, in parts per million;
    /// equal ones count half. 500,000 is what chance gives. `None` without pairs.
    #[must_use]
    pub fn separation_ppm(&self) -> Option<u32> {
        let twice: usize = self
            .drifted
            .iter()
            .map(|drifted| {
                let nearer = self.aligned.partition_point(|aligned| aligned < drifted);
                let not_farther = self.aligned.partition_point(|aligned| aligned <= drifted);
                nearer + not_farther
            })
            .sum();
        let pairs = self.aligned.len() * self.drifted.len();
        u32::try_from((twice * 500_000).checked_div(pairs)?).ok()
    }

    fn propose(&self, goal: Goal) -> Option<u32> {
        if self.aligned.is_empty() {
            return None;
        }
        let allowed = self.aligned.len() as u64 * u64::from(goal.false_refusals_ppm) / 1_000_000;
        (0..=MOST_PPM / STEP_PPM)
            .map(|step| step * STEP_PPM)
            .find(|threshold| self.at(*threshold).false_refusals as u64 <= allowed)
    }
}

/// Whether a session only judges: the lowest bit of a hash of its id.
fn is_held_out(id: &str) -> bool {
    let digest = Digest::of_parts(&[SPLIT, id.as_bytes()]);
    digest.as_bytes().last().is_some_and(|byte| byte & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lexical;

    const SET: &str = include_str!("../sets/sessions.jsonl");

    fn half(aligned: &[u32], drifted: &[u32]) -> Half {
        Half { sessions: 1, aligned: aligned.to_vec(), drifted: drifted.to_vec() }
    }

    #[test]
    fn rows_count_what_a_threshold_does() {
        let half = half(&[100_000, 200_000, 200_001, 900_000], &[200_000, 800_000]);
        let row = half.at(200_000);
        assert_eq!((row.false_refusals, row.missed_drifts), (2, 1));
        assert_eq!(half.at(0).false_refusals, 4);
        assert_eq!(half.at(2_000_000).missed_drifts, 2);
        // Of eight pairs, four and a half are in order.
        assert_eq!(half.separation_ppm(), Some(562_500));
        assert_eq!(Half::default().separation_ppm(), None);
    }

    #[test]
    fn the_proposal_is_the_least_that_keeps_to_the_goal() {
        let aligned: Vec<u32> = (1..=100).map(|step| step * 5_000).collect();
        let half = half(&aligned, &[]);
        let at = |false_refusals_ppm| half.propose(Goal { false_refusals_ppm }).unwrap();
        assert_eq!((at(0), at(20_000), at(29_999), at(1_000_000)), (500_000, 490_000, 490_000, 0));
        assert_eq!(Half::default().propose(Goal::default()), None);
    }

    #[test]
    fn the_split_is_fixed_and_both_halves_are_used() {
        let sessions = read_sessions(SET).unwrap();
        assert!(sessions.len() >= 60);
        let found = calibrate(&sessions, &Lexical::new(), Goal::default()).unwrap();
        let counts = |half: &Half| (half.sessions, half.aligned.len(), half.drifted.len());
        assert_eq!((counts(&found.tuning), counts(&found.held_out)), ((39, 112, 55), (35, 99, 49)));
        assert_eq!(found.semantic, Semantic::No);
        let threshold = found.proposed_ppm.unwrap();
        assert!(found.tuning.at(threshold).false_refusals * 50 <= found.tuning.aligned.len());
        // The measure is poor, but better than chance on sessions that it was not tuned on.
        assert!(found.held_out.separation_ppm().unwrap() > 500_000);
    }
}
