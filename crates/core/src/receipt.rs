//! The receipt: what was judged, by which rules, with which result (rows A7, A12; design, "Formats").
//!
//! The adversary edits, drops or reorders receipts afterwards, or lifts a name or argument out of a log
//! that is public for good. Each receipt is RFC 8785 JSON, commits to the one before it in its chain
//! by `prev_hash`, and carries digests and pseudonyms only: no paths, names, arguments or error texts.
//!
//! The eight members of the AARM shape (`v, ts, actor, action, tier, context_digest, prev_hash,
//! chain_seq`) stand at the top level, so a verifier of that shape accepts ours. Every member of the
//! profile is present from the first day and `null` while unknown: later work adds values, not meanings.

mod chain;
mod read;
mod rests;
mod write;

pub use chain::{
    BreakReason, ChainReport, ChainVerifier, Examined, Examiner, verify_examined, verify_links,
};
pub use rests::{Discounted, discounted};

use crate::digest::Digest;
use crate::error::CoreError;
use crate::json::Json;
use crate::key::{Signature, SigningKey, VerifyingKey};
use crate::limits::RECEIPT_BYTES_MAX;
use crate::time::Millis;
use crate::verdict::{Tier, Verdict};

/// The `v` member: the shape that the eight fields follow.
pub const SHAPE: &str = "aarm-1.0";
/// The `profile` member: our revision of everything beside the eight fields.
pub const PROFILE: &str = "tipstaff-receipt-1";

/// One receipt, unsigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt<S = String> {
    /// Class of the action from the catalogue (`fs:write`), never a tool's own name.
    pub action: S,
    /// Pseudonym of the agent, `agent://<origin>/<pseudonym>`.
    pub actor: S,
    /// The approval that this receipt is or rests on.
    pub approval: Option<Json>,
    /// Where in the log the decision stood.
    pub as_of: AsOf<S>,
    /// Capabilities presented: ids, holder, budget.
    pub authority: Option<Json>,
    /// The chain that this receipt belongs to.
    pub chain: S,
    /// Position in the chain, from 0.
    pub chain_seq: u64,
    /// What the session had accumulated before this action.
    pub context: Option<ContextRef<S>>,
    /// SHA-256 of the RFC 8785 form of that accumulated context.
    pub context_digest: Digest,
    /// The verdict receipt of the previous round of a call of several rounds.
    pub continues: Option<Digest>,
    /// The change of control state that this receipt is the event of.
    pub control: Option<Control<S>>,
    /// How the verdict was reached.
    pub decision: Option<DecisionRef<S>>,
    /// The deferral that this receipt is or resolves.
    pub deferral: Option<Json>,
    /// The door that the action came through.
    pub door: Door,
    /// How strongly the verdict binds.
    pub enforcement: Enforcement,
    /// Who acts, at five levels.
    pub identity: Identity<S>,
    /// Digest of the inputs as executed; see [`crate::Action::inputs_digest`].
    pub inputs_digest: Option<Digest>,
    /// RFC 7638 thumbprint of the signing key.
    pub key_id: S,
    /// What kind of receipt this is.
    pub kind: Kind,
    /// The time that the decision was given as an input. `ts` is its RFC 3339 spelling.
    pub now: Millis,
    /// What the verdict obliges to.
    pub obligations: Option<Json>,
    /// The verdict receipt that this one belongs to.
    pub of: Option<Digest>,
    /// What happened.
    pub outcome: Option<Outcome<S>>,
    /// SHA-256 of the previous receipt of the chain; zeros at genesis.
    pub prev_hash: Digest,
    /// Digest of the inputs as asked, where they differ from what was executed.
    pub requested_digest: Option<Digest>,
    /// Pseudonym of the session.
    pub session: S,
    /// Tier of the action.
    pub tier: Tier,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// The spelling in receipts.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The value of a spelling.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// What kind of receipt it is.
    Kind {
        /// A person's answer to a held action.
        Approval = "approval",
        /// A change of control state.
        Control = "control",
        /// An action that waits for context.
        Deferral = "deferral",
        /// What an action led to.
        Outcome = "outcome",
        /// A session's beginning or end.
        Session = "session",
        /// A verdict on an action.
        Verdict = "verdict",
        /// A number that an earlier crash left unusable.
        Void = "void",
    }
}

words! {
    /// The door that an action came through.
    Door {
        /// The HTTP actions API.
        Api = "api",
        /// The command line.
        Cli = "cli",
        /// An agent's pre-tool hook.
        Hook = "hook",
        /// MCP over streamable HTTP.
        McpHttp = "mcp-http",
        /// MCP over standard input and output.
        McpStdio = "mcp-stdio",
        /// The monitor itself: recovery, sessions, control changes.
        Monitor = "monitor",
    }
}

words! {
    /// How strongly a verdict binds.
    Enforcement {
        /// The caller is trusted to obey.
        Cooperative = "cooperative",
        /// The effect could not run without the permit.
        Inline = "inline",
        /// Everything passes; the verdict is what would have been.
        Observe = "observe",
    }
}

words! {
    /// How an identity was proven.
    Proof {
        /// A signature by a key that the level names.
        Key = "key",
        /// The operating system's word on this machine.
        Local = "local",
        /// A client certificate.
        Mtls = "mtls",
        /// Not proven.
        None = "none",
        /// A token of an OAuth issuer.
        Oauth = "oauth",
    }
}

words! {
    /// How an action ended.
    Status {
        /// It is not known whether it happened.
        Ambiguous = "ambiguous",
        /// The tool answered with an error.
        Error = "error",
        /// The tool answered.
        Ok = "ok",
    }
}

impl Receipt {
    /// Whether an effect may follow: it is a verdict that permits, or one that is only observed.
    #[must_use]
    pub fn permits(&self) -> bool {
        let verdict = self.decision.as_ref().map(|decision| decision.verdict);
        self.kind == Kind::Verdict
            && (self.enforcement == Enforcement::Observe
                || matches!(verdict, Some(Verdict::Allow | Verdict::Modify)))
    }
}

/// Where in the log a decision stood: what counts as in force is what lies before it (law 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOf<S = String> {
    /// Number of control receipts before it.
    pub control: u64,
    /// Origin of the log.
    pub log: S,
    /// Leaves that the log had.
    pub size: u64,
}

/// What a session had accumulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRef<S = String> {
    /// Settled and judged actions so far.
    pub count: u64,
    /// How a distance was computed.
    pub distance_method: Option<S>,
    /// Distance from the intent in parts per million.
    pub distance_ppm: Option<u32>,
    /// Hash of the last receipt that was folded in.
    pub head: Digest,
    /// Data labels, `null` while nothing computes them.
    pub labels: Option<Vec<S>>,
}

/// How a verdict was reached: enough to reach it again (row A2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRef<S = String> {
    /// Digest of the classifier's catalogue.
    pub catalogue: Digest,
    /// Name and version of the procedure.
    pub engine: S,
    /// Digest of the policy set.
    pub policy_set: Digest,
    /// Machine-readable reason.
    pub reason: S,
    /// The policy that decided.
    pub rule: Option<S>,
    /// Digest of the schema that the set was validated against.
    pub schema: Digest,
    /// Digest of the tool pins in force.
    pub tool_pins: Digest,
    /// The verdict.
    pub verdict: Verdict,
}

/// One of the five levels of identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level<S = String> {
    /// Pseudonym, `null` if unknown.
    pub id: Option<S>,
    /// How it was proven.
    pub proof: Proof,
}

/// Who acts (row A12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<S = String> {
    /// The agent instance.
    pub agent: Level<S>,
    /// The person that it works for.
    pub principal: Level<S>,
    /// Roles and scope.
    pub roles: Level<S>,
    /// The service that runs it.
    pub service: Level<S>,
    /// The session.
    pub session: Level<S>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<S = String> {
    /// Size of the result in bytes.
    pub bytes: u64,
    /// Time between permit and result in microseconds.
    pub duration_us: u64,
    /// Labels of the result.
    pub labels: Option<Vec<S>>,
    /// SHA-256 of the salt of the inputs and the raw result.
    pub result_digest: Option<Digest>,
    /// Its status.
    pub status: Status,
}

/// A change of control state. The payload is pinned by its digest in the home's object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control<S = String> {
    /// Digest of the state before, `null` at first.
    pub from: Option<Digest>,
    /// Digest of the state after.
    pub to: Digest,
    /// Which state: `policy-set`, `tool-pins`.
    pub what: S,
}

/// A receipt with its canonical text, hash and signature: what the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    receipt: Receipt,
    text: String,
    hash: Digest,
    signature: Signature,
}

impl Signed {
    /// Signs a receipt.
    ///
    /// # Errors
    /// [`CoreError::TooLarge`] over [`RECEIPT_BYTES_MAX`].
    pub fn new(receipt: Receipt, key: &SigningKey) -> Result<Self, CoreError> {
        let text = receipt.to_canonical();
        if text.len() > RECEIPT_BYTES_MAX {
            return Err(CoreError::TooLarge { what: "receipt", limit: RECEIPT_BYTES_MAX });
        }
        let (hash, signature) = (Digest::of(text.as_bytes()), key.sign(text.as_bytes()));
        Ok(Self { receipt, text, hash, signature })
    }

    /// Reads the leaf form that [`Signed::to_leaf`] wrote. Checks form and hash, not the signature.
    ///
    /// # Errors
    /// [`CoreError`] naming what is wrong.
    pub fn from_leaf(leaf: &str) -> Result<Self, CoreError> {
        let json = Json::parse(leaf.as_bytes())?;
        let member = |name| json.get(name).ok_or(CoreError::ReceiptMember(name));
        let text = member("receipt")?.to_canonical();
        let receipt = Receipt::from_json(member("receipt")?)?;
        let hash = member("hash")?.as_str().ok_or(CoreError::ReceiptMember("hash"))?;
        let hash = Digest::from_hex(hash)?;
        let signature =
            member("signature")?.as_str().ok_or(CoreError::ReceiptMember("signature"))?;
        let signature = Signature::from_base64url(signature)?;
        if Digest::of(text.as_bytes()) != hash {
            return Err(CoreError::Malformed("receipt hash"));
        }
        let signed = Self { receipt, text, hash, signature };
        if signed.to_leaf() == leaf { Ok(signed) } else { Err(CoreError::Malformed("leaf")) }
    }

    /// The export line and log leaf: the RFC 8785 form of `{hash, key_id, receipt, signature}`.
    #[must_use]
    pub fn to_leaf(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + 320);
        out.push_str("{\"hash\":\"");
        crate::digest::push_hex(&mut out, self.hash.as_bytes());
        out.push_str("\",\"key_id\":\"");
        out.push_str(&self.receipt.key_id);
        out.push_str("\",\"receipt\":");
        out.push_str(&self.text);
        out.push_str(",\"signature\":\"");
        out.push_str(&self.signature.to_base64url());
        out.push_str("\"}");
        out
    }

    /// The receipt.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The canonical text that is hashed and signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the canonical text: the receipt's id.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The detached signature over the canonical text.
    #[must_use]
    pub const fn signature(&self) -> Signature {
        self.signature
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`CoreError::BadSignature`], also when the receipt names another key.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), CoreError> {
        if self.receipt.key_id != key.key_id() {
            return Err(CoreError::BadSignature);
        }
        key.verify(self.text.as_bytes(), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample(chain_seq: u64, prev_hash: Digest) -> Receipt {
        let level = |id: &str| Level { id: Some(id.to_owned()), proof: Proof::Local };
        Receipt {
            action: "fs:write".to_owned(),
            actor: "agent://tipstaff.local/0011/ab".to_owned(),
            approval: None,
            as_of: AsOf { control: 2, log: "tipstaff.local/0011".to_owned(), size: 17 },
            authority: None,
            chain: "c1".to_owned(),
            chain_seq,
            context: Some(ContextRef {
                count: 3,
                distance_method: None,
                distance_ppm: None,
                head: Digest::of(b"h"),
                labels: None,
            }),
            context_digest: Digest::of(b"c"),
            continues: None,
            control: None,
            decision: Some(DecisionRef {
                catalogue: Digest::of(b"1"),
                engine: "e".to_owned(),
                policy_set: Digest::of(b"2"),
                reason: "permitted".to_owned(),
                rule: Some("read-only".to_owned()),
                schema: Digest::of(b"3"),
                tool_pins: Digest::of(b"4"),
                verdict: Verdict::Allow,
            }),
            deferral: None,
            door: Door::McpStdio,
            enforcement: Enforcement::Inline,
            identity: Identity {
                agent: level("a"),
                principal: level("p"),
                roles: Level { id: None, proof: Proof::None },
                service: level("s"),
                session: level("x"),
            },
            inputs_digest: Some(Digest::of(b"i")),
            key_id: "k".to_owned(),
            kind: Kind::Verdict,
            now: Millis(1_776_772_800_000),
            obligations: None,
            of: None,
            outcome: Some(Outcome {
                bytes: 12,
                duration_us: 5,
                labels: Some(vec!["l".to_owned()]),
                result_digest: None,
                status: Status::Ok,
            }),
            prev_hash,
            requested_digest: None,
            session: "x".to_owned(),
            tier: Tier::T3,
        }
    }

    #[test]
    fn the_hand_writer_writes_rfc8785() {
        let receipt = sample(1, Digest::of(b"p"));
        let text = receipt.to_canonical();
        let json = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(json.to_canonical(), text);
        assert_eq!(Receipt::from_json(&json).unwrap(), receipt);
        assert_eq!(json.as_object().unwrap().len(), 30);
    }

    #[test]
    fn every_member_is_required_and_typed() {
        let json = Json::parse(sample(1, Digest::ZERO).to_canonical().as_bytes()).unwrap();
        let object = json.as_object().unwrap();
        for (name, _) in object.iter() {
            let without = Json::Object(object.without(name));
            assert!(Receipt::from_json(&without).is_err(), "{name}");
        }
        // A member that nobody knows yet is carried, not refused.
        assert!(Receipt::from_json(&Json::Object(object.with("zz", Json::Null))).is_ok());
    }
}
