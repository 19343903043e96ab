//! From a token to a capability: who made each block, who holds it, what it demands.
//!
//! The adversary has the bytes of another's token. It can narrow it, as everybody can, and nothing else: a block that
//! names another holder counts only with the signature of the holder before it, and who presents a token proves to
//! have the key of the last one.

use std::sync::{Arc, Mutex, PoisonError};

use tipstaff_core::Digest;
use tipstaff_core::key::VerifyingKey;

use super::Fault;
use super::caveat::{Caveat, Number};
use super::engine::Engine;
use super::recognise::{Symbols, understand};
use super::request::{Asked, Meter};
use super::wire::Wire;

/// A token whose signatures nobody has looked at.
#[derive(Debug)]
pub struct Token(Wire);

/// A token whose signatures and holders hold.
#[derive(Debug)]
pub struct Capability {
    digest: Digest,
    ids: Vec<Digest>,
    /// Everyone who is named, in order. INVARIANT: one at least.
    holders: Vec<VerifyingKey>,
    /// Each with its block.
    caveats: Vec<(usize, Caveat)>,
    /// Where a check has none of our forms.
    engine: Option<Engine>,
    meters: Vec<Meter>,
}

/// A capability as a door has it: what it is worth is looked at again when something was ordered since.
#[derive(Debug)]
pub struct Handle {
    capability: Arc<Capability>,
    stands: Mutex<Option<Stood>>,
}

/// What was found, and at which state of what was ordered.
#[derive(Debug)]
struct Stood {
    at: Option<Digest>,
    found: Result<(), Fault>,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        Wire::decode(bytes).map(Self)
    }

    /// The ids of its blocks. The first is that of the grant.
    #[must_use]
    pub fn ids(&self) -> Vec<Digest> {
        self.0.blocks.iter().map(|block| block.id).collect()
    }

    /// The id of its first block.
    #[must_use]
    pub fn grant(&self) -> Digest {
        self.0.blocks.first().map_or(Digest::ZERO, |block| block.id)
    }

    /// The bytes that it was read from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    pub(super) const fn wire(&self) -> &Wire {
        &self.0
    }

    /// Checks its signatures, from the grant's key on, and its holders.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn verify(self, root: &VerifyingKey) -> Result<Capability, Fault> {
        self.0.verify(root)?;
        Capability::of(&self.0, root)
    }
}

impl Capability {
    fn of(wire: &Wire, root: &VerifyingKey) -> Result<Self, Fault> {
        let mut shared = Symbols::default();
        let mut holders: Vec<VerifyingKey> = Vec::new();
        let (mut caveats, mut native) = (Vec::new(), true);
        let mut thirds: Vec<Option<Symbols>> = Vec::new();
        for (index, signed) in wire.blocks.iter().enumerate() {
            // What a third party signs has strings of its own.
            let mut own = Symbols::default();
            let symbols = if signed.external.is_some() { &mut own } else { &mut shared };
            symbols.extend(&signed.block.symbols).ok_or(Fault::Malformed("its strings"))?;
            let said = understand(&signed.block, symbols).ok_or(Fault::Malformed("a block"))?;
            match said.holders.as_slice() {
                [] => {}
                [did] => {
                    let named = VerifyingKey::from_did_key(did);
                    let named = named.map_err(|_| Fault::Malformed("the holder is no key"))?;
                    if let Some(before) = holders.last()
                        && signed.external.as_ref().map(|external| &external.key) != Some(before)
                    {
                        return Err(Fault::HolderChanged);
                    }
                    holders.push(named);
                }
                _ => return Err(Fault::Malformed("a block names two holders")),
            }
            if index == 0 && holders.is_empty() {
                return Err(Fault::NoHolder);
            }
            match said.caveats {
                Some(of) => caveats.extend(of.into_iter().map(|caveat| (index, caveat))),
                None => native = false,
            }
            thirds.push(signed.external.as_ref().map(|_| own));
        }
        let mut meters = meters(&caveats);
        let engine = if native {
            None
        } else {
            // A check that we don't understand may ask about any block's uses.
            meters.extend((0..wire.blocks.len()).map(|block| Meter { block, at: None }));
            let symbols = thirds.iter().map(|own| own.as_ref().unwrap_or(&shared));
            let blocks = wire.blocks.iter().map(|signed| &signed.block).zip(symbols);
            Some(Engine::new(&wire.bytes, root, &blocks.collect::<Vec<_>>())?)
        };
        meters.sort();
        meters.dedup();
        Ok(Self {
            digest: Digest::of(&wire.bytes),
            ids: wire.blocks.iter().map(|block| block.id).collect(),
            holders,
            caveats,
            engine,
            meters,
        })
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The ids of its blocks, the grant's first.
    #[must_use]
    pub fn ids(&self) -> &[Digest] {
        &self.ids
    }

    /// Everyone whom it went through, the last one being who may present it.
    #[must_use]
    pub fn holders(&self) -> &[VerifyingKey] {
        &self.holders
    }

    /// Who may present it.
    #[must_use]
    pub fn holder(&self) -> Option<&VerifyingKey> {
        self.holders.last()
    }

    /// Its checks that are looked at without an engine, each with its block, as they are written.
    pub fn checks(&self) -> impl Iterator<Item = (usize, String)> {
        self.caveats.iter().map(|(block, caveat)| (*block, caveat.to_string()))
    }

    /// What has to be counted for it.
    #[must_use]
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }

    /// Whether each check is looked at without an engine.
    #[must_use]
    pub const fn is_native(&self) -> bool {
        self.engine.is_none()
    }

    /// Whether an action is in it.
    ///
    /// # Errors
    /// [`Fault::Outside`] with the check that says no; [`Fault::Costly`].
    pub fn permits(&self, asked: &Asked<'_>) -> Result<(), Fault> {
        if let Some(engine) = &self.engine {
            return engine.permits(asked);
        }
        let outside = self.caveats.iter().find(|(_, caveat)| !caveat.permits(asked));
        match outside {
            None => Ok(()),
            Some((block, caveat)) => {
                Err(Fault::Outside { block: *block, check: caveat.to_string() })
            }
        }
    }
}

impl PartialEq for Capability {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Capability {}

impl Handle {
    /// A door's handle.
    #[must_use]
    pub const fn new(capability: Arc<Capability>) -> Self {
        Self { capability, stands: Mutex::new(None) }
    }

    /// The capability.
    #[must_use]
    pub const fn capability(&self) -> &Arc<Capability> {
        &self.capability
    }

    /// Whether it still stands at a state of what was ordered, which `head` names. Only a state that was not seen yet
    /// is asked.
    ///
    /// # Errors
    /// What `look` says.
    pub fn stands(
        &self,
        head: Option<Digest>,
        look: impl FnOnce(&Capability) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut seen = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some(stood) if stood.at == head => stood.found.clone(),
            _ => {
                let found = look(&self.capability);
                *seen = Some(Stood { at: head, found: found.clone() });
                found
            }
        }
    }
}

fn meters(caveats: &[(usize, Caveat)]) -> Vec<Meter> {
    let meter = |(_, caveat): &(usize, Caveat)| match caveat {
        Caveat::Bounds { of: Number::Uses(block), .. } => Some(Meter { block: *block, at: None }),
        Caveat::Budget { block, at, .. } => Some(Meter { block: *block, at: Some(at.clone()) }),
        _ => None,
    };
    caveats.iter().filter_map(meter).collect()
}
