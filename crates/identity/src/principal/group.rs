//! Groups of principals who are there: invited by the operator, joined with their own keys, gone when they fall silent
//! (row D20).
//!
//! The adversary sits in a group without being there: a name that was invited long ago and answers to nobody, or a
//! member whose machine is gone. An invitation ends after a while, and so does a seat whose holder doesn't say again
//! and again that it is there. Whoever is in a group has the group's name as a role, and not a moment longer.

use std::collections::BTreeMap;

use tipstaff_core::{Json, Millis};

use super::{Name, number, object};

/// Seats of one group.
const SEATS_MAX: usize = 256;
/// Groups of a home.
pub(super) const GROUPS_MAX: usize = 1_000;
/// Shortest and longest of its times, in milliseconds: a second and 30 days.
const TIMES: std::ops::RangeInclusive<u64> = 1_000..=30 * 24 * 60 * 60 * 1_000;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How long an invitation stands, in milliseconds.
    pub join_within: u64,
    /// How long a seat stands after its holder last said that it is there, in milliseconds.
    pub inactive_after: u64,
    seats: BTreeMap<Name, Seat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seat {
    invited: Millis,
    /// When its holder last said that it is there, if it ever did.
    seen: Option<Millis>,
}

/// How a seat stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its holder may still join.
    Invited,
    /// Its holder didn't join in time.
    Late,
    /// Its holder is there.
    Active,
    /// Its holder fell silent.
    Evicted,
}

/// Why a group doesn't change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupFault {
    /// There is none.
    #[error("there is no such group")]
    NoSuchGroup,
    /// It has no seat.
    #[error("the group has no seat for it")]
    NoSeat,
    /// It comes too late.
    #[error("the invitation is over; the operator can invite again")]
    Late,
    /// It was evicted.
    #[error("it fell silent and was evicted; the operator can invite again")]
    Evicted,
    /// It has said so a moment ago.
    #[error("it said so a moment ago; half of the time until eviction has to pass")]
    Early,
    /// The times are none.
    #[error("its times are from a second to 30 days")]
    Times,
    /// Too many of something.
    #[error(
        "a home has at most 1000 groups, and a group 1 to 256 seats, each for another principal"
    )]
    Seats,
}

impl Standing {
    /// The word in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Late => "late",
            Self::Active => "active",
            Self::Evicted => "evicted",
        }
    }
}

impl GroupFault {
    /// The word in receipts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchGroup => "no_such_group",
            Self::NoSeat => "no_seat",
            Self::Late => "late",
            Self::Evicted => "evicted",
            Self::Early => "early",
            Self::Times => "times",
            Self::Seats => "seats",
        }
    }
}

impl Group {
    /// Invites at a time. Whoever is there in the group of before keeps its seat.
    pub(super) fn convened(
        before: Option<&Self>,
        members: &[Name],
        (join_within, inactive_after): (u64, u64),
        at: Millis,
    ) -> Result<Self, GroupFault> {
        if !TIMES.contains(&join_within) || !TIMES.contains(&inactive_after) {
            return Err(GroupFault::Times);
        }
        let seat = |name: &Name| {
            let held = before.filter(|before| before.standing(name, at) == Some(Standing::Active));
            let held = held.and_then(|before| before.seats.get(name)).copied();
            (name.clone(), held.unwrap_or(Seat { invited: at, seen: None }))
        };
        let seats: BTreeMap<Name, Seat> = members.iter().map(seat).collect();
        if seats.is_empty() || seats.len() != members.len() || seats.len() > SEATS_MAX {
            return Err(GroupFault::Seats);
        }
        Ok(Self { join_within, inactive_after, seats })
    }

    /// A member says that it is there.
    pub(super) fn join(&mut self, name: &Name, at: Millis) -> Result<(), GroupFault> {
        match self.standing(name, at).ok_or(GroupFault::NoSeat)? {
            Standing::Invited => {}
            Standing::Late => return Err(GroupFault::Late),
            Standing::Evicted => return Err(GroupFault::Evicted),
            Standing::Active => {
                let seen = self.seats.get(name).and_then(|seat| seat.seen).unwrap_or(at);
                // A member fills the log with nothing.
                if at.0 < seen.0.saturating_add(self.inactive_after / 2) {
                    return Err(GroupFault::Early);
                }
            }
        }
        if let Some(seat) = self.seats.get_mut(name) {
            seat.seen = Some(at);
        }
        Ok(())
    }

    /// How a principal's seat stands at a time; `None` if it has none.
    #[must_use]
    pub fn standing(&self, name: &Name, now: Millis) -> Option<Standing> {
        let Seat { invited, seen } = self.seats.get(name)?;
        let within = |since: &Millis, time: u64| now.0 < since.0.saturating_add(time);
        Some(match seen {
            Some(seen) if within(seen, self.inactive_after) => Standing::Active,
            Some(_) => Standing::Evicted,
            None if within(invited, self.join_within) => Standing::Invited,
            None => Standing::Late,
        })
    }

    /// Everybody who has a seat.
    pub fn members(&self) -> impl Iterator<Item = &Name> {
        self.seats.keys()
    }

    /// For digests and listings: the same for the same fold.
    #[must_use]
    pub fn to_json(&self, name: &Name) -> Json {
        let seats = self.seats.iter().map(|(name, seat)| {
            object(vec![
                ("invited", number(seat.invited.0)),
                ("name", Json::string(name.as_str())),
                ("seen", seat.seen.map_or(Json::Null, |seen| number(seen.0))),
            ])
        });
        object(vec![
            ("group", Json::string(name.as_str())),
            ("inactive_after", number(self.inactive_after)),
            ("join_within", number(self.join_within)),
            ("seats", Json::Array(seats.collect())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> Name {
        Name::parse(name).unwrap()
    }

    fn group(at: u64) -> Group {
        Group::convened(None, &[name("a"), name("b")], (10_000, 60_000), Millis(at)).unwrap()
    }

    #[test]
    fn an_invitation_ends_and_so_does_silence() {
        let mut group = group(1_000);
        let (a, b) = (name("a"), name("b"));
        let at = |group: &Group, name: &Name, now| group.standing(name, Millis(now)).unwrap();
        assert_eq!(at(&group, &a, 10_999), Standing::Invited);
        assert_eq!(at(&group, &a, 11_000), Standing::Late);
        assert_eq!(group.join(&a, Millis(11_000)), Err(GroupFault::Late));
        group.join(&b, Millis(10_999)).unwrap();
        assert_eq!(at(&group, &b, 70_998), Standing::Active);
        assert_eq!(at(&group, &b, 70_999), Standing::Evicted);
        assert_eq!(group.join(&b, Millis(20_000)), Err(GroupFault::Early));
        group.join(&b, Millis(60_000)).unwrap();
        assert_eq!(at(&group, &b, 119_999), Standing::Active);
        assert_eq!(group.join(&b, Millis(120_000)), Err(GroupFault::Evicted));
        assert_eq!(group.join(&name("c"), Millis(2_000)), Err(GroupFault::NoSeat));
        // Invited again, whoever is there stays, and whoever is not has to come.
        let both = [a.clone(), b.clone()];
        let again =
            Group::convened(Some(&group), &both, (10_000, 60_000), Millis(100_000)).unwrap();
        assert_eq!(at(&again, &a, 100_000), Standing::Invited);
        assert_eq!(at(&again, &b, 119_999), Standing::Active);
        assert_eq!(at(&again, &b, 120_000), Standing::Evicted);
    }

    #[test]
    fn a_group_has_seats_and_times() {
        let convened = |members: &[Name], times| Group::convened(None, members, times, Millis(0));
        assert_eq!(convened(&[], (1_000, 1_000)), Err(GroupFault::Seats));
        assert_eq!(convened(&[name("a"), name("a")], (1_000, 1_000)), Err(GroupFault::Seats));
        assert_eq!(convened(&[name("a")], (999, 1_000)), Err(GroupFault::Times));
        assert_eq!(convened(&[name("a")], (1_000, u64::MAX)), Err(GroupFault::Times));
        let many: Vec<Name> = (0..=SEATS_MAX).map(|n| name(&format!("n{n}"))).collect();
        assert_eq!(convened(&many, (1_000, 1_000)), Err(GroupFault::Seats));
    }

    proptest! {
        #[test]
        fn nobody_is_active_who_did_not_say_so_lately(
            times in proptest::collection::vec(0..200_000_u64, 0..12), now in 0..300_000_u64,
        ) {
            let mut group = group(0);
            let (a, mut times) = (name("a"), times);
            times.sort_unstable();
            let mut last = None;
            for at in times.into_iter().filter(|at| *at <= now) {
                if group.join(&a, Millis(at)).is_ok() {
                    prop_assert!(last.is_some_and(|last| at < last + 60_000) || (last.is_none() && at < 10_000));
                    last = Some(at);
                }
            }
            let is_active = group.standing(&a, Millis(now)) == Some(Standing::Active);
            prop_assert_eq!(is_active, last.is_some_and(|last| now < last + 60_000));
            prop_assert_ne!(group.standing(&name("b"), Millis(now)), Some(Standing::Active));
        }
    }
}
