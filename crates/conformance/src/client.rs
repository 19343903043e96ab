//! The API as the tests use it.
//!
//! The adversary answers with what is no receipt, or changes it on the way: what a test believes of a receipt
//! it reads from the signed text that it was given.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tipstaff_core::Json;
use tipstaff_core::key::{Signature, VerifyingKey};

use crate::case::Outcome;
use crate::run::Exam;
use crate::tools::SERVER;
use crate::transport::{Credential, Request, Say, Unreachable, Word};

/// How long an answer may take that nobody waits for.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
/// Time between looks.
const LOOK: Duration = Duration::from_millis(100);
/// Most pages of receipts that are read.
const PAGES_MAX: usize = 50;

/// Why a test went no further.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) outcome: Outcome,
    pub(crate) why: String,
}

impl Stop {
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotMet, why: why.into() }
    }

    pub(crate) fn untested(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotTested, why: why.into() }
    }

    pub(crate) fn no_key() -> Self {
        Self::untested("a person's key is needed (`--key FILE`)")
    }
}

impl From<Unreachable> for Stop {
    fn from(error: Unreachable) -> Self {
        Self::failed(error.to_string())
    }
}

/// What the API said of an action.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) verdict: String,
    pub(crate) permitted: bool,
    pub(crate) receipt: String,
    pub(crate) session: String,
}

/// A receipt as it is served.
#[derive(Debug, Clone)]
pub(crate) struct Shown(pub(crate) Value);

impl Shown {
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.0.get("receipt").and_then(|receipt| receipt.pointer(pointer)).unwrap_or(&Value::Null)
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or(-1)
    }

    pub(crate) fn hash(&self) -> &str {
        self.0.get("hash").and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn verdict(&self) -> &str {
        self.text("/decision/verdict")
    }

    pub(crate) fn reason(&self) -> &str {
        self.text("/decision/reason")
    }

    pub(crate) fn has_label(&self, label: &str) -> bool {
        let labels = self.at("/context/labels").as_array();
        labels.is_some_and(|labels| labels.iter().any(|known| known == label))
    }

    /// The same with one member of the receipt changed.
    pub(crate) fn changed(&self, pointer: &str, to: Value) -> Self {
        let mut other = self.0.clone();
        if let Some(member) = other.pointer_mut(&format!("/receipt{pointer}")) {
            *member = to;
        }
        Self(other)
    }

    /// Whether the signature over the canonical form is this key's.
    pub(crate) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let text = self.0.get("receipt").map(Value::to_string).unwrap_or_default();
        let Ok(canonical) = Json::parse(text.as_bytes()).map(|json| json.to_canonical()) else {
            return false;
        };
        let signature = self.0.get("signature").and_then(Value::as_str).unwrap_or_default();
        Signature::from_base64url(signature)
            .is_ok_and(|signature| key.verify(canonical.as_bytes(), &signature).is_ok())
    }

    /// As an element of a chain to verify.
    pub(crate) fn element(&self) -> Value {
        let member = |name: &str| self.0.get(name).cloned().unwrap_or_default();
        json!({
            "receipt": member("receipt"), "hash": member("hash"), "key_id": member("key_id"),
            "signature": member("signature"),
        })
    }
}

impl Exam<'_> {
    /// A marker that no call had before.
    pub(crate) fn marker(&self, test: &str) -> String {
        let mut next = self.markers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *next += 1;
        format!("{}-{test}-{next}", self.name)
    }

    pub(crate) fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        credential: Credential,
    ) -> Result<(u16, Value), Stop> {
        let json = ("content-type", "application/json".to_owned());
        let request = Request {
            method,
            path: path.to_owned(),
            headers: body.map(|_| json).into_iter().collect(),
            body: body.map(Value::to_string).unwrap_or_default().into_bytes(),
            credential,
            wait: WAIT,
        };
        let answer = self.transport.send(&request)?;
        Ok((answer.status, answer.json().unwrap_or_default()))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Stop> {
        let (status, body) = self.ask("GET", path, None, Credential::Token)?;
        if status == 200 { Ok(body) } else { Err(refused("GET", path, status, &body)) }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Stop> {
        let (status, answer) = self.ask("POST", path, Some(body), Credential::Token)?;
        if status == 200 { Ok(answer) } else { Err(refused("POST", path, status, &answer)) }
    }

    /// Asks for an action of one of the fixture's tools.
    pub(crate) fn act(
        &self,
        tool: &str,
        parameters: Value,
        session: Option<&str>,
    ) -> Result<Verdict, Stop> {
        self.act_after(tool, parameters, session, &[])
    }

    /// The same, with the receipts that it depends on.
    pub(crate) fn act_after(
        &self,
        tool: &str,
        parameters: Value,
        session: Option<&str>,
        after: &[&str],
    ) -> Result<Verdict, Stop> {
        let mut body = json!({ "server": SERVER, "tool": tool, "parameters": parameters });
        if let Some(members) = body.as_object_mut() {
            session.map(|session| members.insert("session".to_owned(), session.into()));
            if !after.is_empty() {
                members.insert("depends_on".to_owned(), after.into());
            }
        }
        self.act_as(Credential::Token, &body)
    }

    /// The same of somebody, in the words of the API.
    pub(crate) fn act_as(&self, who: Credential, body: &Value) -> Result<Verdict, Stop> {
        let (status, said) = self.ask("POST", "/api/v1/actions", Some(body), who)?;
        if status != 200 {
            return Err(refused("POST", "/api/v1/actions", status, &said));
        }
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        Ok(Verdict {
            verdict: text("verdict").to_owned(),
            permitted: said.get("permitted").and_then(Value::as_bool).unwrap_or_default(),
            receipt: text("receipt").to_owned(),
            session: text("session").to_owned(),
        })
    }

    /// An action, carried out: its outcome is reported.
    pub(crate) fn done(
        &self,
        tool: &str,
        parameters: Value,
        session: Option<&str>,
    ) -> Result<Verdict, Stop> {
        let verdict = self.act(tool, parameters, session)?;
        if verdict.permitted {
            let path = format!("/api/v1/actions/{}/outcome", verdict.receipt);
            self.post(&path, &json!({ "status": "ok", "result": "done" }))?;
        }
        Ok(verdict)
    }

    pub(crate) fn receipt(&self, id: &str) -> Result<Shown, Stop> {
        let path = format!("/api/v1/receipts/{id}");
        let until = Instant::now() + WAIT;
        loop {
            match self.get(&path) {
                // The log is published a moment after its receipts are durable.
                Err(_) if !id.is_empty() && Instant::now() < until => std::thread::sleep(LOOK),
                found => return found.map(Shown),
            }
        }
    }

    /// The receipts of a chain, oldest first.
    pub(crate) fn chain(&self, chain: &str) -> Result<Vec<Shown>, Stop> {
        let (mut all, mut from) = (Vec::new(), 0);
        for _ in 0..PAGES_MAX {
            let page =
                self.get(&format!("/api/v1/receipts?chain={chain}&limit=1000&from={from}"))?;
            let receipts = page.get("receipts").and_then(Value::as_array);
            all.extend(receipts.into_iter().flatten().cloned().map(Shown));
            if page.get("more").and_then(Value::as_bool) != Some(true) {
                break;
            }
            from = page.get("next").and_then(Value::as_u64).unwrap_or(u64::MAX >> 12);
        }
        Ok(all)
    }

    /// The verdict that follows on another one, if it comes in time.
    pub(crate) fn follow_up(
        &self,
        chain: &str,
        of: &str,
        wait: Duration,
    ) -> Result<Option<Shown>, Stop> {
        let until = Instant::now() + wait;
        loop {
            let found = self.chain(chain)?.into_iter().find(|shown| {
                shown.text("/kind") == "verdict"
                    && ["/continues", "/of", "/deferral/of"].iter().any(|at| shown.text(at) == of)
            });
            if found.is_some() || Instant::now() >= until {
                return Ok(found);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The key that receipts are signed with, by its name.
    pub(crate) fn key(&self, key_id: &str) -> Result<VerifyingKey, Stop> {
        let (status, set) = self.ask("GET", "/.well-known/jwks.json", None, Credential::Nothing)?;
        if status != 200 {
            return Err(refused("GET", "/.well-known/jwks.json", status, &set));
        }
        let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
        let mut named = keys.filter(|key| key.get("kid").and_then(Value::as_str) == Some(key_id));
        let x = named.next().and_then(|key| key.get("x")).and_then(Value::as_str);
        let bytes = x.and_then(|x| URL_SAFE_NO_PAD.decode(x).ok());
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .ok_or_else(|| Stop::failed(format!("the key set has no Ed25519 key {key_id}")))
    }

    /// The row of a call that waits, by its marker.
    pub(crate) fn waiting(&self, marker: &str, wait: Duration) -> Result<Option<Value>, Stop> {
        let until = Instant::now() + wait;
        loop {
            let queue = self.get("/api/v1/queue")?;
            let rows = queue.get("waiting").and_then(Value::as_array).into_iter().flatten();
            let named = |row: &&Value| {
                row.pointer("/action/parameters/marker").and_then(Value::as_str) == Some(marker)
            };
            let found = rows.clone().find(named).cloned();
            if found.is_some() || Instant::now() >= until {
                return Ok(found);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Brings a person's signed answer.
    pub(crate) fn answer(&self, row: &Value, word: Word) -> Result<String, Stop> {
        let approver = self.approver.ok_or_else(Stop::no_key)?;
        let body = approver.answer(row, word);
        let body = body.ok_or_else(|| Stop::failed("the queue's row says too little to sign"))?;
        let answer = self.post("/api/v1/approvals", &body)?;
        Ok(answer.get("receipt").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Tells a session what a person signed.
    pub(crate) fn tell(&self, chain: &str, log: &str, say: Say<'_>) -> Result<String, Stop> {
        let approver = self.approver.ok_or_else(Stop::no_key)?;
        let answer = self.post("/api/v1/told", &approver.tell(chain, log, say))?;
        Ok(answer.get("receipt").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Whether a chain verifies at the public endpoint, and what that says.
    pub(crate) fn verifies(&self, chain: &[Shown]) -> Result<(bool, String), Stop> {
        let elements: Vec<Value> = chain.iter().map(Shown::element).collect();
        let body = json!({ "receipts": elements });
        let (status, answer) =
            self.ask("POST", "/api/v1/aarm/verify-chain", Some(&body), Credential::Nothing)?;
        let valid = answer.get("valid").and_then(Value::as_bool) == Some(true);
        Ok((status == 200 && valid, answer.to_string()))
    }
}

fn refused(method: &str, path: &str, status: u16, body: &Value) -> Stop {
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    Stop::failed(format!("{method} {path} answered {status}: {message}"))
}
