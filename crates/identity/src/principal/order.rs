//! What an operator orders of principals, as it is signed, sent and kept.
//!
//! The adversary repeats an old order (to undo a suspension), brings one to another home, or lets two operators
//! overwrite each other unseen. An order names the log and the order before it, and is signed with a form of its
//! own, so that no other signature passes for one.

use tipstaff_core::key::{Signature, SigningKey, VerifyingKey};
use tipstaff_core::{Digest, Json, Millis};

use super::{Kind, Name, Service, number, object};

/// Distinguishes this signature from every other kind.
const FORM: &str = "tipstaff-order-1";

/// One change to what is known of principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new principal, with its first key.
    Enrol {
        /// Its name, never used before.
        name: Name,
        /// What it is.
        kind: Kind,
        /// For whom it acts. A person has none, everyone else has one.
        owner: Option<Name>,
        /// Its key.
        key: VerifyingKey,
        /// Its roles.
        roles: Vec<Name>,
    },
    /// A new key. The old ones end at `until`.
    Rotate {
        /// Whose.
        name: Name,
        /// The new key.
        key: VerifyingKey,
        /// Until when the old keys are valid too.
        until: Millis,
    },
    /// Other roles, instead of those it had.
    Roles {
        /// Whose.
        name: Name,
        /// All of them.
        roles: Vec<Name>,
    },
    /// Where it can be reached, instead of where it could be before.
    Services {
        /// Who.
        name: Name,
        /// All of them.
        services: Vec<Service>,
    },
    /// It may not act until it is restored.
    Suspend {
        /// Who.
        name: Name,
    },
    /// It may act again.
    Restore {
        /// Who.
        name: Name,
    },
    /// It never acts again.
    Retire {
        /// Who.
        name: Name,
    },
    /// Somebody else has a key of it. What was proved with that key at or after a position of the log proves nothing.
    Compromise {
        /// Whose.
        name: Name,
        /// RFC 7638 thumbprint of the key.
        key_id: String,
        /// From this position of the log on.
        from: u64,
    },
    /// A capability for one of its keys.
    Grant {
        /// To whom.
        name: Name,
        /// Id of the token's first block.
        id: Digest,
        /// The key that signed that block, and nothing else.
        root: VerifyingKey,
        /// The key that may present the token.
        holder: VerifyingKey,
    },
    /// A group, or the same one again: whoever isn't there is invited.
    Convene {
        /// The group's name, which is a role of whoever is in it.
        name: Name,
        /// Who has a seat.
        members: Vec<Name>,
        /// How long the invitation stands, in milliseconds.
        join_within: u64,
        /// How long a seat stands without a word of its holder, in milliseconds.
        inactive_after: u64,
    },
    /// A group ends.
    Dissolve {
        /// Its name.
        name: Name,
    },
    /// A member of a group is there. This alone is signed with the member's own key.
    Join {
        /// Who.
        name: Name,
        /// The group.
        group: Name,
    },
    /// A block of a capability, and whatever was made from it, ends.
    Revoke {
        /// The block's id.
        id: Digest,
    },
}

/// A change, bound to its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What changes.
    pub change: Change,
    /// Origin of the log.
    pub log: String,
    /// Digest of the order before it; `None` for the first.
    pub prev: Option<Digest>,
    /// When it was given.
    pub at: Millis,
}

/// An order with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOrder {
    /// The order.
    pub order: Order,
    /// RFC 7638 thumbprint of the key that signed.
    pub key_id: String,
    /// Over [`Order::text`].
    pub signature: Signature,
}

/// Why a text is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` of the order is missing or malformed")]
pub struct OrderFault(pub &'static str);

impl Change {
    /// The word in orders and listings.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Enrol { .. } => "enrol",
            Self::Rotate { .. } => "rotate",
            Self::Roles { .. } => "roles",
            Self::Services { .. } => "services",
            Self::Suspend { .. } => "suspend",
            Self::Restore { .. } => "restore",
            Self::Retire { .. } => "retire",
            Self::Compromise { .. } => "compromise",
            Self::Grant { .. } => "grant",
            Self::Convene { .. } => "convene",
            Self::Dissolve { .. } => "dissolve",
            Self::Join { .. } => "join",
            Self::Revoke { .. } => "revoke",
        }
    }

    /// Whom it is about, if it is about somebody.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::Enrol { name, .. }
            | Self::Rotate { name, .. }
            | Self::Roles { name, .. }
            | Self::Services { name, .. }
            | Self::Suspend { name }
            | Self::Restore { name }
            | Self::Retire { name }
            | Self::Compromise { name, .. }
            | Self::Grant { name, .. }
            | Self::Convene { name, .. }
            | Self::Dissolve { name }
            | Self::Join { name, .. } => Some(name),
            Self::Revoke { .. } => None,
        }
    }

    fn to_json(&self) -> Json {
        let name = |name: &Name| Json::string(name.as_str());
        let names = |names: &[Name]| Json::Array(names.iter().map(name).collect());
        let mut members = vec![("what", Json::string(self.what()))];
        members.extend(self.name().map(|of| ("name", name(of))));
        match self {
            Self::Enrol { kind, owner, key, roles, .. } => {
                members.push(("kind", Json::string(kind.as_str())));
                members.push(("owner", owner.as_ref().map_or(Json::Null, name)));
                members.push(("key", Json::String(key.to_did_key())));
                members.push(("roles", names(roles)));
            }
            Self::Rotate { key, until, .. } => {
                members.push(("key", Json::String(key.to_did_key())));
                members.push(("until", number(until.0)));
            }
            Self::Roles { roles, .. } => members.push(("roles", names(roles))),
            Self::Services { services, .. } => {
                let services = services.iter().map(Service::to_json).collect();
                members.push(("services", Json::Array(services)));
            }
            Self::Compromise { key_id, from, .. } => {
                members.push(("key_id", Json::string(key_id)));
                members.push(("from", number(*from)));
            }
            Self::Grant { id, root, holder, .. } => {
                members.push(("id", Json::String(id.to_hex())));
                members.push(("root", Json::String(root.to_did_key())));
                members.push(("holder", Json::String(holder.to_did_key())));
            }
            Self::Revoke { id } => members.push(("id", Json::String(id.to_hex()))),
            Self::Convene { members: seats, join_within, inactive_after, .. } => {
                members.push(("members", names(seats)));
                members.push(("join_within", number(*join_within)));
                members.push(("inactive_after", number(*inactive_after)));
            }
            Self::Join { group, .. } => members.push(("group", name(group))),
            Self::Suspend { .. }
            | Self::Restore { .. }
            | Self::Retire { .. }
            | Self::Dissolve { .. } => {}
        }
        object(members)
    }

    fn from_json(json: &Json) -> Result<Self, OrderFault> {
        let what = text(json, "what")?;
        let id = || Digest::from_hex(text(json, "id")?).map_err(|_| OrderFault("id"));
        if what == "revoke" {
            return Ok(Self::Revoke { id: id()? });
        }
        let name = Name::parse(text(json, "name")?).ok_or(OrderFault("name"))?;
        let public = |member| {
            VerifyingKey::from_did_key(text(json, member)?).map_err(|_| OrderFault(member))
        };
        let key = || public("key");
        let several = |member| {
            let names = json.get(member).and_then(Json::as_array).ok_or(OrderFault(member))?;
            let names = names.iter().map(|name| Name::parse(name.as_str()?));
            names.collect::<Option<Vec<_>>>().ok_or(OrderFault(member))
        };
        let roles = || several("roles");
        Ok(match what {
            "grant" => {
                Self::Grant { name, id: id()?, root: public("root")?, holder: public("holder")? }
            }
            "enrol" => Self::Enrol {
                name,
                kind: Kind::parse(text(json, "kind")?).ok_or(OrderFault("kind"))?,
                owner: match json.get("owner").ok_or(OrderFault("owner"))? {
                    Json::Null => None,
                    owner => {
                        let owner = owner.as_str().and_then(Name::parse);
                        Some(owner.ok_or(OrderFault("owner"))?)
                    }
                },
                key: key()?,
                roles: roles()?,
            },
            "rotate" => Self::Rotate { name, key: key()?, until: Millis(whole(json, "until")?) },
            "roles" => Self::Roles { name, roles: roles()? },
            "services" => {
                let services = json.get("services").and_then(Json::as_array);
                let services = services.ok_or(OrderFault("services"))?;
                let services = services.iter().map(Service::from_json).collect::<Option<_>>();
                Self::Services { name, services: services.ok_or(OrderFault("services"))? }
            }
            "convene" => Self::Convene {
                name,
                members: several("members")?,
                join_within: whole(json, "join_within")?,
                inactive_after: whole(json, "inactive_after")?,
            },
            "dissolve" => Self::Dissolve { name },
            "join" => {
                let group = Name::parse(text(json, "group")?).ok_or(OrderFault("group"))?;
                Self::Join { name, group }
            }
            "suspend" => Self::Suspend { name },
            "restore" => Self::Restore { name },
            "retire" => Self::Retire { name },
            "compromise" => Self::Compromise {
                name,
                key_id: text(json, "key_id")?.to_owned(),
                from: whole(json, "from")?,
            },
            _ => return Err(OrderFault("what")),
        })
    }
}

impl Order {
    fn members(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("at", number(self.at.0)),
            ("change", self.change.to_json()),
            ("form", Json::string(FORM)),
            ("log", Json::string(&self.log)),
            ("prev", self.prev.map_or(Json::Null, |prev| Json::String(prev.to_hex()))),
        ]
    }

    /// The RFC 8785 text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        object(self.members()).to_canonical()
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedOrder {
        let signature = key.sign(self.text().as_bytes());
        SignedOrder { order: self, key_id: key.verifying_key().key_id(), signature }
    }
}

impl SignedOrder {
    /// Whether it is signed by one of these keys.
    #[must_use]
    pub fn is_by(&self, keys: &[VerifyingKey]) -> bool {
        let mut keys = keys.iter().filter(|key| key.key_id() == self.key_id);
        keys.any(|key| key.verify(self.order.text().as_bytes(), &self.signature).is_ok())
    }

    /// The RFC 8785 text that is sent and kept; its digest names the order.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let mut members = self.order.members();
        members.push(("key_id", Json::string(&self.key_id)));
        members.push(("signature", Json::String(self.signature.to_base64url())));
        object(members).to_canonical()
    }

    /// Reads it. The signature is not checked.
    ///
    /// # Errors
    /// [`OrderFault`]; also for a text that is not the one that [`SignedOrder::to_canonical`] writes.
    pub fn from_canonical(canonical: &str) -> Result<Self, OrderFault> {
        let read = Self::from_kept(canonical)?;
        if read.to_canonical() == canonical { Ok(read) } else { Err(OrderFault("spelling")) }
    }

    /// Reads a text that is known by its digest to be the one that [`SignedOrder::to_canonical`] wrote.
    ///
    /// # Errors
    /// [`OrderFault`]
    pub fn from_kept(kept: &str) -> Result<Self, OrderFault> {
        let json = Json::parse(kept.as_bytes()).map_err(|_| OrderFault("JSON"))?;
        if text(&json, "form")? != FORM {
            return Err(OrderFault("form"));
        }
        let prev = match json.get("prev").ok_or(OrderFault("prev"))? {
            Json::Null => None,
            prev => {
                let prev = prev.as_str().and_then(|prev| Digest::from_hex(prev).ok());
                Some(prev.ok_or(OrderFault("prev"))?)
            }
        };
        let signature = Signature::from_base64url(text(&json, "signature")?);
        Ok(Self {
            order: Order {
                change: Change::from_json(json.get("change").ok_or(OrderFault("change"))?)?,
                log: text(&json, "log")?.to_owned(),
                prev,
                at: Millis(whole(&json, "at")?),
            },
            key_id: text(&json, "key_id")?.to_owned(),
            signature: signature.map_err(|_| OrderFault("signature"))?,
        })
    }
}

fn text<'a>(json: &'a Json, name: &'static str) -> Result<&'a str, OrderFault> {
    json.get(name).and_then(Json::as_str).ok_or(OrderFault(name))
}

fn whole(json: &Json, name: &'static str) -> Result<u64, OrderFault> {
    let value = json.get(name).and_then(Json::as_integer).ok_or(OrderFault(name))?;
    u64::try_from(value).map_err(|_| OrderFault(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32].into()).unwrap()
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn changes() -> Vec<Change> {
        let public = key(9).verifying_key().clone();
        vec![
            Change::Enrol {
                name: name("ci"),
                kind: Kind::System,
                owner: Some(name("ada")),
                key: public.clone(),
                roles: vec![name("reader"), name("builder")],
            },
            Change::Rotate { name: name("ci"), key: public.clone(), until: Millis(7) },
            Change::Roles { name: name("ci"), roles: Vec::new() },
            Change::Services {
                name: name("ci"),
                services: vec![Service::new("mcp", "McpServer", "https://ci.example/mcp").unwrap()],
            },
            Change::Services { name: name("ci"), services: Vec::new() },
            Change::Suspend { name: name("ci") },
            Change::Restore { name: name("ci") },
            Change::Retire { name: name("ci") },
            Change::Compromise { name: name("ci"), key_id: public.key_id(), from: 12 },
        ]
    }

    #[test]
    fn every_order_reads_back_and_is_bound_to_its_place() {
        let keys = [key(1).verifying_key().clone()];
        for change in changes() {
            let prev = Some(Digest::of(b"before"));
            let order = Order { change, log: "l".to_owned(), prev, at: Millis(5) };
            let signed = order.clone().sign(&key(1));
            assert!(signed.is_by(&keys));
            assert!(!order.clone().sign(&key(2)).is_by(&keys));
            assert_eq!(SignedOrder::from_canonical(&signed.to_canonical()), Ok(signed.clone()));
            let moved = [
                Order { log: "m".to_owned(), ..order.clone() },
                Order { prev: None, ..order.clone() },
                Order { at: Millis(6), ..order.clone() },
                Order { change: Change::Suspend { name: name("ada") }, ..order },
            ];
            for order in moved {
                assert!(!SignedOrder { order, ..signed.clone() }.is_by(&keys));
            }
        }
    }

    #[test]
    fn a_service_that_is_none_is_no_order() {
        let services = vec![Service::new("mcp", "McpServer", "https://ci.example/mcp").unwrap()];
        let change = Change::Services { name: name("ci"), services };
        let order = Order { change, log: "l".to_owned(), prev: None, at: Millis(5) };
        let good = order.sign(&key(1)).to_canonical();
        for (from, to) in [
            ("https://ci", "https://me:secret@ci"),
            ("\"type\"", "\"kind\""),
            ("McpServer", "Mcp Server"),
            ("\"id\":\"mcp\"", "\"id\":\"MCP\""),
            ("\"services\":[", "\"services\":[7,"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(SignedOrder::from_canonical(&bad), Err(OrderFault("services")), "{bad}");
        }
    }

    #[test]
    fn what_is_no_order_is_named() {
        let order =
            Order { change: changes().remove(0), log: "l".to_owned(), prev: None, at: Millis(5) };
        let good = order.sign(&key(1)).to_canonical();
        for (from, to, fault) in [
            ("{", "[", "JSON"),
            ("tipstaff-order-1", "tipstaff-told-1", "form"),
            ("\"enrol\"", "\"crown\"", "what"),
            ("\"system\"", "\"god\"", "kind"),
            ("\"ci\"", "\"CI\"", "name"),
            ("did:key:z", "did:key:y", "key"),
            ("\"prev\":null", "\"prev\":\"00\"", "prev"),
            ("\"reader\"", "\"Reader\"", "roles"),
            ("\"at\":5", "\"at\":-5", "at"),
            ("\"at\":5", "\"at\":5,\"more\":1", "spelling"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_eq!(SignedOrder::from_canonical(&bad), Err(OrderFault(fault)), "{bad}");
        }
    }
}
