//! Capabilities as clients hold them: a chain of scopes, each smaller than the one before, or said to be.
//!
//! A stand-in for Biscuit tokens: tools and a highest tier instead of caveats, and ids that commit to everything above
//! them instead of signatures. Making a smaller one asks nobody.

use tipstaff_core::{Digest, Tier};
use tipstaff_identity::revocation::Lineage;

use crate::dice::Dice;

/// Tools that there are.
pub(crate) const TOOLS: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// One bit for each.
    pub(crate) tools: u8,
    pub(crate) ceiling: Tier,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// From the granted one to this one.
    links: Vec<(Digest, Scope)>,
}

impl Scope {
    pub(crate) const NONE: Self = Self { tools: 0, ceiling: Tier::T1 };

    pub(crate) fn any(dice: &mut Dice) -> Self {
        let tools = dice.between(1, (1 << TOOLS) - 1).to_le_bytes()[0];
        Self { tools, ceiling: *dice.pick(&Tier::ALL).unwrap_or(&Tier::T1) }
    }

    /// Mostly a little less; else anything, also more.
    pub(crate) fn less(self, dice: &mut Dice) -> Self {
        let any = Self::any(dice);
        match dice.below(4) {
            0 => any,
            1 => Self { ceiling: self.ceiling.min(any.ceiling), ..self },
            _ => Self { tools: self.tools & (any.tools | any.tools << 1), ..self },
        }
    }

    pub(crate) fn allows(self, tool: u8, tier: Tier) -> bool {
        self.tools >> tool & 1 == 1 && tier <= self.ceiling
    }
}

impl Token {
    pub(crate) fn granted(scope: Scope, salt: u64) -> Self {
        Self { links: vec![(id(Digest::ZERO, scope, salt), scope)] }
    }

    /// One that derives from this. Nothing hinders its holder from writing a wider scope into it.
    pub(crate) fn attenuated(&self, scope: Scope, salt: u64) -> Self {
        let mut links = self.links.clone();
        links.push((id(self.id(), scope, salt), scope));
        Self { links }
    }

    pub(crate) fn id(&self) -> Digest {
        self.links.last().map_or(Digest::ZERO, |(id, _)| *id)
    }

    pub(crate) fn scope(&self) -> Option<Scope> {
        self.links.last().map(|(_, scope)| *scope)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Digest> {
        self.links.iter().map(|(id, _)| *id)
    }

    pub(crate) fn parent(&self) -> Option<Digest> {
        self.links.iter().rev().nth(1).map(|(id, _)| *id)
    }

    pub(crate) fn depth(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn lineage(&self) -> Option<Lineage> {
        Lineage::new(self.ids().collect())
    }

    /// An action, mostly one that it allows.
    pub(crate) fn deed(&self, dice: &mut Dice) -> (u8, Tier) {
        let all = (0..TOOLS).flat_map(|tool| Tier::ALL.map(|tier| (tool, tier)));
        let all: Vec<(u8, Tier)> = all.collect();
        let mut fine = all.clone();
        fine.retain(|(tool, tier)| self.allows(*tool, *tier));
        let high: Vec<_> = fine.iter().copied().filter(|(_, tier)| *tier >= Tier::T3).collect();
        let from = match dice.below(10) {
            0 => &all,
            1..4 => &fine,
            _ => &high,
        };
        dice.pick(from).or_else(|| fine.first()).copied().unwrap_or((0, Tier::T1))
    }

    /// What it and everything above it allows.
    pub(crate) fn allows(&self, tool: u8, tier: Tier) -> bool {
        !self.links.is_empty() && self.links.iter().all(|(_, scope)| scope.allows(tool, tier))
    }
}

fn id(above: Digest, scope: Scope, salt: u64) -> Digest {
    let own = [scope.tools, scope.ceiling.number()];
    Digest::of_parts(&[b"sim-token-1", above.as_bytes(), &own, &salt.to_le_bytes()])
}
