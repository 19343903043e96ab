//! What is shown of a principal: its DID document, and its listing.
//!
//! The adversary is a key that ended and is shown as if it were valid.

use tipstaff_core::{Json, Millis};

use super::{Principal, Principals};
use crate::principal::{Name, Service, Status, number, object};

impl Principals {
    /// The DID document of a principal (W3C DID Core 1.0) under the home whose log has this origin: its valid keys
    /// as `Multikey`, its owner as controller, and where it can be reached. One that is retired has neither keys nor
    /// services.
    #[must_use]
    pub fn document(&self, origin: &str, name: &Name, now: Millis) -> Option<Json> {
        let principal = self.known.get(name)?;
        let did = did(origin, name);
        let valid = principal.keys.iter().filter(|held| {
            principal.status != Status::Retired
                && held.lost_at.is_none()
                && held.until.is_none_or(|until| until > now)
        });
        let methods: Vec<(String, Json)> = valid
            .map(|held| {
                let id = format!("{did}#{}", held.id);
                let multibase = held.key.to_did_key().replace("did:key:", "");
                let method = object(vec![
                    ("controller", Json::string(&did)),
                    ("id", Json::string(&id)),
                    ("publicKeyMultibase", Json::String(multibase)),
                    ("type", Json::string("Multikey")),
                ]);
                (id, method)
            })
            .collect();
        let ids = || Json::Array(methods.iter().map(|(id, _)| Json::string(id)).collect());
        let controller =
            principal.owner.as_ref().map_or_else(|| did.clone(), |owner| self::did(origin, owner));
        let mut members = vec![
            (
                "@context",
                Json::Array(vec![
                    Json::string("https://www.w3.org/ns/did/v1"),
                    Json::string("https://w3id.org/security/multikey/v1"),
                ]),
            ),
            ("assertionMethod", ids()),
            ("authentication", ids()),
            ("controller", Json::String(controller)),
            ("id", Json::string(&did)),
            (
                "verificationMethod",
                Json::Array(methods.iter().map(|(_, method)| method.clone()).collect()),
            ),
        ];
        if principal.status != Status::Retired && !principal.services.is_empty() {
            let services = principal.services.iter().map(|service| service.to_document(&did));
            members.push(("service", Json::Array(services.collect())));
        }
        Some(object(members))
    }
}

impl Principal {
    /// Its listing: status, keys with their ends, owner, roles, and services if it has any.
    #[must_use]
    pub fn to_json(&self, name: &Name) -> Json {
        let keys = self.keys.iter().map(|held| {
            object(vec![
                ("did", Json::String(held.key.to_did_key())),
                ("key_id", Json::string(&held.id)),
                ("lost_at", held.lost_at.map_or(Json::Null, number)),
                ("until", held.until.map_or(Json::Null, |until| number(until.0))),
            ])
        });
        let keys = Json::Array(keys.collect());
        let roles = self.roles.iter().map(|role| Json::string(role.as_str())).collect();
        let mut members = vec![
            ("keys", keys),
            ("kind", Json::string(self.kind.as_str())),
            ("name", Json::string(name.as_str())),
            ("owner", self.owner.as_ref().map_or(Json::Null, |owner| Json::string(owner.as_str()))),
            ("roles", Json::Array(roles)),
            ("since", number(self.since.0)),
            ("status", Json::string(self.status.as_str())),
        ];
        if !self.services.is_empty() {
            let services = self.services.iter().map(Service::to_json).collect();
            members.push(("services", Json::Array(services)));
        }
        object(members)
    }
}

/// The DID of a principal: anchored in the log whose origin it names, which says who its keys are.
fn did(origin: &str, name: &Name) -> String {
    format!("did:tipstaff:{}:{name}", origin.replace('/', ":"))
}
