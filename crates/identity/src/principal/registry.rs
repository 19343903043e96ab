//! What is known of principals: the fold of their orders.
//!
//! The adversary asks in the name of somebody who may no longer act, with a key that ended, or under an owner who
//! is gone. Whether a key speaks for a principal is decided in one place, at one time, from the whole fold.

mod document;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use tipstaff_core::key::VerifyingKey;
use tipstaff_core::{Digest, Json, Millis};

use super::group::{GROUPS_MAX, Group, GroupFault, Standing};
use super::service::{Service, ordered as services_in_order};
use super::{Change, Kind, Name, SignedOrder, Status};
use crate::capability::{Capability, Fault, Grant, GrantFault, Grants};

/// Principals that a home knows at most, those that ended included.
pub const PRINCIPALS_MAX: usize = 1_000_000;
/// Roles of one principal.
const ROLES_MAX: usize = 16;
/// Keys of one principal, those that ended included.
const KEYS_MAX: usize = 256;
/// Longest time for which old keys are valid beside a new one, in milliseconds: 30 days.
const OVERLAP_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// Owners above one principal: a service's, and a person above it.
const OWNERS_MAX: usize = 8;

/// Everybody.
#[derive(Debug, Clone, Default)]
pub struct Principals {
    head: Option<Digest>,
    known: BTreeMap<Name, Principal>,
    /// Every key that was ever anybody's, by its thumbprint: none is given twice.
    keys: HashMap<String, Name>,
    grants: Grants,
    groups: BTreeMap<Name, Group>,
}

/// One principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What it is.
    pub kind: Kind,
    /// For whom it acts.
    pub owner: Option<Name>,
    /// Its roles, in their order.
    pub roles: Vec<Name>,
    /// Where it can be reached, in the order of ids.
    pub services: Vec<Service>,
    /// How it stands.
    pub status: Status,
    /// When it was enrolled.
    pub since: Millis,
    keys: Vec<Held>,
}

/// A key of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    id: String,
    key: VerifyingKey,
    /// When it ends, if it does.
    until: Option<Millis>,
    /// From which position of the log on somebody else had it.
    lost_at: Option<u64>,
}

/// A principal who may act now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Who.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// The person it acts for in the end; itself, if it is one.
    pub person: Option<Name>,
    /// Its roles.
    pub roles: Vec<Name>,
}

/// Why a key speaks for nobody now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Nobody has this key.
    #[error("the key belongs to nobody who is enrolled here")]
    Unknown,
    /// It was replaced.
    #[error("the key was replaced, and the time in which both were valid is over")]
    KeyEnded,
    /// Somebody else has it.
    #[error("the key was declared compromised")]
    KeyCompromised,
    /// The principal is suspended.
    #[error("the principal is suspended")]
    Suspended,
    /// The principal is retired.
    #[error("the principal is retired")]
    Retired,
    /// The principal's owner may not act.
    #[error("the principal's owner may not act")]
    Owner,
}

/// Why an order changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
    /// Another order came first: look at what is known now, and order again.
    #[error("another order came first; look again, and order again")]
    Stale,
    /// The name is taken, perhaps by one who is retired.
    #[error("the name is taken; names are never given twice")]
    NameTaken,
    /// The key is or was somebody's.
    #[error("the key is or was a principal's; keys are never given twice")]
    KeyTaken,
    /// Nobody of this name.
    #[error("nobody of this name is enrolled")]
    Unknown,
    /// Who is retired stays so.
    #[error("the principal is retired, which is for ever")]
    Retired,
    /// It stands so already.
    #[error("the principal stands so already")]
    Already,
    /// A person has an owner, or somebody else has none.
    #[error("a person has no owner, and everybody else has one")]
    Ownership,
    /// The owner can't own.
    #[error("an owner is a person or a service, enrolled and active")]
    Owner,
    /// The key is not this principal's.
    #[error("the principal has no such key")]
    NoSuchKey,
    /// The time in which both keys are valid.
    #[error("the old keys end at a time from now to 30 days from now")]
    Overlap,
    /// The position is not in the log yet.
    #[error("the position is after the end of the log")]
    Position,
    /// Too many services, or two of one id.
    #[error("a principal has at most 16 services, each with an id of its own")]
    Services,
    /// Too many of something.
    #[error("more than {0}")]
    TooMany(&'static str),
    /// Of groups.
    #[error(transparent)]
    Group(#[from] GroupFault),
    /// Of capabilities.
    #[error(transparent)]
    Grant(#[from] GrantFault),
}

impl ChangeFault {
    /// The word in receipts.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::NameTaken => "name_taken",
            Self::KeyTaken => "key_taken",
            Self::Unknown => "unknown",
            Self::Retired => "retired",
            Self::Already => "already",
            Self::Ownership => "ownership",
            Self::Owner => "owner",
            Self::NoSuchKey => "no_such_key",
            Self::Overlap => "overlap",
            Self::Position => "position",
            Self::Services => "services",
            Self::TooMany(_) | Self::Grant(GrantFault::TooMany) => "too_many",
            Self::Group(fault) => fault.as_str(),
            Self::Grant(GrantFault::Already) => "already",
        }
    }
}

impl Principals {
    /// Digest of the last order.
    #[must_use]
    pub const fn head(&self) -> Option<Digest> {
        self.head
    }

    /// Everybody, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Principal)> {
        self.known.iter()
    }

    /// Everybody after this name, in the order of names.
    pub fn after(&self, name: Option<&Name>) -> impl Iterator<Item = (&Name, &Principal)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.known.range::<Name, _>((from, Bound::Unbounded))
    }

    /// How many there are, those that ended included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// One of them, with the name as it is kept here.
    #[must_use]
    pub fn entry(&self, name: &Name) -> Option<(&Name, &Principal)> {
        self.known.get_key_value(name)
    }

    /// Whose key this is or was.
    #[must_use]
    pub fn owner_of(&self, key_id: &str) -> Option<&Name> {
        self.keys.get(key_id)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Principal> {
        self.known.get(name)
    }

    /// Folds an order in, when the log has `size` receipts; the new head. Whose signature it bears is looked at by
    /// whoever calls this.
    ///
    /// # Errors
    /// [`ChangeFault`]; then nothing changed.
    pub fn apply(&mut self, signed: &SignedOrder, size: u64) -> Result<Digest, ChangeFault> {
        self.apply_named(signed, Digest::of(signed.to_canonical().as_bytes()), size)
    }

    /// The same of an order whose text has this digest, for who has the text.
    ///
    /// # Errors
    /// [`ChangeFault`]; then nothing changed.
    pub fn apply_named(
        &mut self,
        signed: &SignedOrder,
        head: Digest,
        size: u64,
    ) -> Result<Digest, ChangeFault> {
        let order = &signed.order;
        if order.prev != self.head {
            return Err(ChangeFault::Stale);
        }
        self.suppose(&order.change, order.at, size)?;
        self.head = Some(head);
        Ok(head)
    }

    /// Makes a change that nobody ordered: to look beforehand at what an order would come to. The head stays.
    ///
    /// # Errors
    /// [`ChangeFault`]; then nothing changed.
    pub fn suppose(&mut self, change: &Change, at: Millis, size: u64) -> Result<(), ChangeFault> {
        match change {
            Change::Enrol { name, kind, owner, key, roles } => {
                let id = self.unused(key)?;
                if self.known.contains_key(name) {
                    return Err(ChangeFault::NameTaken);
                }
                if self.known.len() >= PRINCIPALS_MAX {
                    return Err(ChangeFault::TooMany("a million principals"));
                }
                self.owns(*kind, owner.as_ref())?;
                let principal = Principal {
                    kind: *kind,
                    owner: owner.clone(),
                    roles: ordered(roles)?,
                    services: Vec::new(),
                    status: Status::Active,
                    since: at,
                    keys: vec![Held {
                        id: id.clone(),
                        key: key.clone(),
                        until: None,
                        lost_at: None,
                    }],
                };
                self.known.insert(name.clone(), principal);
                self.keys.insert(id, name.clone());
            }
            Change::Rotate { name, key, until } => {
                let id = self.unused(key)?;
                let latest = at.0.saturating_add(OVERLAP_MAX);
                if *until < at || until.0 > latest {
                    return Err(ChangeFault::Overlap);
                }
                let principal = self.lasting(name)?;
                if principal.keys.len() >= KEYS_MAX {
                    return Err(ChangeFault::TooMany("256 keys of one principal"));
                }
                for held in &mut principal.keys {
                    // Never later than it was.
                    held.until = Some(held.until.map_or(*until, |ends| ends.min(*until)));
                }
                let held = Held { id: id.clone(), key: key.clone(), until: None, lost_at: None };
                principal.keys.push(held);
                self.keys.insert(id, name.clone());
            }
            Change::Roles { name, roles } => {
                let roles = ordered(roles)?;
                let principal = self.lasting(name)?;
                if principal.roles == roles {
                    return Err(ChangeFault::Already);
                }
                principal.roles = roles;
            }
            Change::Services { name, services } => {
                let services = services_in_order(services).ok_or(ChangeFault::Services)?;
                let principal = self.lasting(name)?;
                if principal.services == services {
                    return Err(ChangeFault::Already);
                }
                principal.services = services;
            }
            Change::Suspend { name } => self.stand(name, Status::Suspended)?,
            Change::Restore { name } => self.stand(name, Status::Active)?,
            Change::Retire { name } => self.stand(name, Status::Retired)?,
            Change::Compromise { name, key_id, from } => {
                if *from > size {
                    return Err(ChangeFault::Position);
                }
                // Also of who is retired: what was proved before is at stake.
                let principal = self.known.get_mut(name).ok_or(ChangeFault::Unknown)?;
                let held = principal.keys.iter_mut().find(|held| held.id == *key_id);
                let held = held.ok_or(ChangeFault::NoSuchKey)?;
                if held.lost_at.is_some_and(|known| known <= *from) {
                    return Err(ChangeFault::Already);
                }
                held.lost_at = Some(*from);
            }
            Change::Grant { name, id, root, holder } => {
                self.unused(root)?;
                let key = holder.key_id();
                let keys = &self.lasting(name)?.keys;
                let is_theirs =
                    |held: &Held| held.id == key && held.until.is_none() && held.lost_at.is_none();
                if !keys.iter().any(is_theirs) {
                    return Err(ChangeFault::NoSuchKey);
                }
                let (to, root, holder) = (name.clone(), root.clone(), holder.clone());
                self.grants.grant(*id, Grant { to, root, holder, at })?;
            }
            Change::Convene { name, members, join_within, inactive_after } => {
                for member in members {
                    self.lasting(member)?;
                }
                let before = self.groups.get(name);
                if before.is_none() && self.groups.len() >= GROUPS_MAX {
                    return Err(GroupFault::Seats.into());
                }
                let times = (*join_within, *inactive_after);
                let group = Group::convened(before, members, times, at)?;
                self.groups.insert(name.clone(), group);
            }
            Change::Dissolve { name } => {
                self.groups.remove(name).ok_or(GroupFault::NoSuchGroup)?;
            }
            Change::Join { name, group } => {
                let group = self.groups.get_mut(group).ok_or(GroupFault::NoSuchGroup)?;
                group.join(name, at)?;
            }
            Change::Revoke { id } => self.grants.revoke(*id)?,
        }
        Ok(())
    }

    /// For whom a key speaks at a time.
    ///
    /// # Errors
    /// [`Silence`]
    pub fn speaker(&self, key_id: &str, now: Millis) -> Result<Speaker, Silence> {
        let name = self.keys.get(key_id).ok_or(Silence::Unknown)?;
        let principal = self.known.get(name).ok_or(Silence::Unknown)?;
        let held = principal.keys.iter().find(|held| held.id == key_id).ok_or(Silence::Unknown)?;
        if held.lost_at.is_some() {
            return Err(Silence::KeyCompromised);
        }
        if held.until.is_some_and(|until| until <= now) {
            return Err(Silence::KeyEnded);
        }
        self.active(name, principal, now)
    }

    /// Who it is, if they and their owners may act.
    fn active(&self, name: &Name, principal: &Principal, now: Millis) -> Result<Speaker, Silence> {
        match principal.status {
            Status::Active => {}
            Status::Suspended => return Err(Silence::Suspended),
            Status::Retired => return Err(Silence::Retired),
        }
        Ok(Speaker {
            name: name.clone(),
            kind: principal.kind,
            person: self.person(name).ok_or(Silence::Owner)?,
            roles: self.roles(name, principal, now),
        })
    }

    /// Its own roles, and those of the groups that it is in at a time.
    fn roles(&self, name: &Name, principal: &Principal, now: Millis) -> Vec<Name> {
        let is_in = |group: &Group| group.standing(name, now) == Some(Standing::Active);
        let groups = self.groups.iter().filter(|(_, group)| is_in(group));
        let mut roles: Vec<Name> =
            principal.roles.iter().chain(groups.map(|(name, _)| name)).cloned().collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// The groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Name, &Group)> {
        self.groups.iter()
    }

    /// What was granted and revoked.
    #[must_use]
    pub const fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Whether a capability is the presenter's: its holder's key is theirs, or was before a rotation.
    ///
    /// # Errors
    /// [`Fault::NotHolder`]
    pub fn holds(&self, capability: &Capability, key_id: &str) -> Result<(), Fault> {
        let holder = capability.holder().ok_or(Fault::NoHolder)?.key_id();
        let owner = |key: &str| self.keys.get(key);
        let same = holder == key_id
            || matches!((owner(&holder), owner(key_id)), (Some(one), Some(other)) if one == other);
        if same { Ok(()) } else { Err(Fault::NotHolder) }
    }

    /// Whether a capability still stands: no block was revoked, and nobody whom it went through lost their key or may
    /// not act any more. A key that ended with a rotation is fine, and so is one that is not known here.
    ///
    /// # Errors
    /// [`Fault::Revoked`], [`Fault::HolderEnded`]
    pub fn stands(&self, capability: &Capability) -> Result<(), Fault> {
        if self.grants.revoked(capability.ids()).is_some() {
            return Err(Fault::Revoked);
        }
        let ended = capability.holders().iter().any(|holder| {
            let id = holder.key_id();
            let Some(name) = self.keys.get(&id) else { return false };
            self.lost_at(&id).is_some() || self.person(name).is_none()
        });
        if ended { Err(Fault::HolderEnded) } else { Ok(()) }
    }

    /// Who has this name, for a proof that is not by a key, if they and their owners may act.
    ///
    /// # Errors
    /// [`Silence`]
    pub fn speaker_named(&self, name: &Name, now: Millis) -> Result<Speaker, Silence> {
        let principal = self.known.get(name).ok_or(Silence::Unknown)?;
        self.active(name, principal, now)
    }

    /// The public half of a key that is or was somebody's.
    #[must_use]
    pub fn key(&self, key_id: &str) -> Option<&VerifyingKey> {
        let principal = self.known.get(self.keys.get(key_id)?)?;
        principal.keys.iter().find(|held| held.id == key_id).map(|held| &held.key)
    }

    /// From which position of the log on a key proves nothing.
    #[must_use]
    pub fn lost_at(&self, key_id: &str) -> Option<u64> {
        let principal = self.known.get(self.keys.get(key_id)?)?;
        principal.keys.iter().find(|held| held.id == key_id)?.lost_at
    }

    /// Digest of everything that is known: equal for equal folds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let known = self.known.iter().map(|(name, principal)| principal.to_json(name));
        let granted = Some(self.grants.to_json()).filter(|_| !self.grants.is_empty());
        let groups = self.groups.iter().map(|(name, group)| group.to_json(name));
        let all = known.chain(granted).chain(groups);
        Digest::of(Json::Array(all.collect()).to_canonical().as_bytes())
    }

    fn unused(&self, key: &VerifyingKey) -> Result<String, ChangeFault> {
        let id = key.key_id();
        if self.keys.contains_key(&id) { Err(ChangeFault::KeyTaken) } else { Ok(id) }
    }

    fn owns(&self, kind: Kind, owner: Option<&Name>) -> Result<(), ChangeFault> {
        let owner = match (kind, owner) {
            (Kind::Human, None) => return Ok(()),
            (Kind::Human, Some(_)) | (_, None) => return Err(ChangeFault::Ownership),
            (_, Some(owner)) => owner,
        };
        let can = self.known.get(owner).is_some_and(|found| {
            matches!(found.kind, Kind::Human | Kind::Service) && found.status == Status::Active
        });
        if can && self.above(owner) < OWNERS_MAX { Ok(()) } else { Err(ChangeFault::Owner) }
    }

    fn above(&self, name: &Name) -> usize {
        let next = |name: &&Name| self.known.get(*name)?.owner.as_ref();
        std::iter::successors(Some(name), next).take(OWNERS_MAX + 1).count()
    }

    /// The person at the end of the owners, if all of them may act.
    fn person(&self, name: &Name) -> Option<Option<Name>> {
        let mut at = name;
        // INVARIANT: owners are enrolled before what they own, so this ends.
        for _ in 0..=OWNERS_MAX {
            let principal = self.known.get(at)?;
            if principal.status != Status::Active {
                return None;
            }
            match &principal.owner {
                Some(owner) => at = owner,
                None => return Some((principal.kind == Kind::Human).then(|| at.clone())),
            }
        }
        None
    }

    fn lasting(&mut self, name: &Name) -> Result<&mut Principal, ChangeFault> {
        let principal = self.known.get_mut(name).ok_or(ChangeFault::Unknown)?;
        if principal.status == Status::Retired { Err(ChangeFault::Retired) } else { Ok(principal) }
    }

    fn stand(&mut self, name: &Name, status: Status) -> Result<(), ChangeFault> {
        let principal = self.lasting(name)?;
        if principal.status == status {
            return Err(ChangeFault::Already);
        }
        principal.status = status;
        Ok(())
    }
}

impl Principal {
    /// Whether a key is or was its.
    #[must_use]
    pub fn has_key(&self, key: &VerifyingKey) -> bool {
        self.keys.iter().any(|held| held.key == *key)
    }

    /// Whether it has a role.
    #[must_use]
    pub fn has_role(&self, role: &Name) -> bool {
        self.roles.contains(role)
    }
}

fn ordered(roles: &[Name]) -> Result<Vec<Name>, ChangeFault> {
    let mut roles = roles.to_vec();
    roles.sort();
    roles.dedup();
    if roles.len() > ROLES_MAX { Err(ChangeFault::TooMany("16 roles")) } else { Ok(roles) }
}

#[cfg(test)]
mod tests;
