//! Principals of the instance under test: agents of one person, each with a key and a role.
//!
//! The adversary is a test that can't fail: they are enrolled over the same orders as anybody's, and what they ask is
//! signed like anybody's.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tipstaff_core::key::SigningKey;
use tipstaff_core::{Digest, Json, Millis};
use tipstaff_identity::{Change, HomeKeys, Kind, Name, Order, SystemRandom};
use tipstaff_monitor::{Client, Home};
use tipstaff_store::Random as _;
use zeroize::Zeroizing;

/// As many as one test tells apart.
const AGENTS: usize = 4;

/// Enrols a person and agents of theirs; the agents' keys.
pub(super) fn enrol(home: &Path, approver: &SigningKey) -> Result<Vec<SigningKey>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let log = HomeKeys::open(home).map_err(|e| text(&e))?.origin().to_owned();
    let name = |name: &str| Name::parse(name).ok_or("a name is none");
    let (mut keys, mut prev) = (Vec::new(), None);
    for number in 0..=AGENTS {
        let key = fresh()?;
        let public = key.verifying_key().clone();
        let change = match number {
            0 => Change::Enrol {
                name: name("examiner")?,
                kind: Kind::Human,
                owner: None,
                key: public,
                roles: Vec::new(),
            },
            _ => {
                keys.push(key);
                Change::Enrol {
                    name: name(&format!("agent-{number}"))?,
                    kind: Kind::Agent,
                    owner: Some(name("examiner")?),
                    key: public,
                    roles: vec![name(&format!("role-{number}"))?],
                }
            }
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Millis(u64::try_from(since.as_millis()).unwrap_or_default());
        let signed = Order { change, log: log.clone(), prev, at }.sign(approver);
        prev = Some(Digest::of(signed.to_canonical().as_bytes()));
        let answer = Client::order(&Home::at(home), &signed).map_err(|e| text(&e))?;
        let answer = answer.ok_or("the instance has ended")?;
        if answer.get("ok").and_then(Json::as_bool) != Some(true) {
            return Err(answer.to_canonical());
        }
    }
    Ok(keys)
}

fn fresh() -> Result<SigningKey, String> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom.fill(seed.as_mut()).map_err(|error| error.to_string())?;
    SigningKey::from_seed(&seed).map_err(|error| error.to_string())
}
