//! Reading a receipt back. Unknown members are hashed with the rest, never rejected; members of the
//! profile must be there and of their type.

use std::cell::Cell;

use super::{
    AsOf, ContextRef, Control, DecisionRef, Door, Enforcement, Identity, Kind, Level, Outcome,
    PROFILE, Proof, Receipt, SHAPE, Status,
};
use crate::digest::Digest;
use crate::error::CoreError;
use crate::json::{Json, Node};
use crate::time::Millis;
use crate::verdict::{Tier, Verdict};

type Read<T> = Result<T, CoreError>;

impl Receipt {
    /// Reads a receipt of our profile from strict JSON.
    ///
    /// # Errors
    /// [`CoreError::ReceiptMember`] naming the member.
    pub fn from_json(json: &Json) -> Read<Self> {
        Self::from_node(json)
    }
}

impl<'a, S: From<&'a str>> Receipt<S> {
    /// Like [`Receipt::from_json`], from a value of either kind.
    pub(super) fn from_node(node: &'a impl Node) -> Read<Self> {
        let r = Reader(node, Cell::default());
        if r.text("v")? != SHAPE {
            return Err(CoreError::ReceiptMember("v"));
        }
        if r.text("profile")? != PROFILE {
            return Err(CoreError::ReceiptMember("profile"));
        }
        let now = Millis(r.number("now")?);
        if !now.is_spelled(r.text("ts")?) {
            return Err(CoreError::ReceiptMember("ts"));
        }
        let tier = u8::try_from(r.number("tier")?).ok().and_then(Tier::from_number);
        Ok(Self {
            action: r.text("action")?.into(),
            actor: r.text("actor")?.into(),
            approval: r.json("approval")?,
            as_of: r.object("as_of", read_as_of)?.ok_or(CoreError::ReceiptMember("as_of"))?,
            authority: r.json("authority")?,
            chain: r.text("chain")?.into(),
            chain_seq: r.number("chain_seq")?,
            context: r.object("context", read_context)?,
            context_digest: r.digest("context_digest")?,
            continues: r.optional_digest("continues")?,
            control: r.object("control", read_control)?,
            decision: r.object("decision", read_decision)?,
            deferral: r.json("deferral")?,
            door: r.word("door", Door::parse)?,
            enforcement: r.word("enforcement", Enforcement::parse)?,
            identity: r
                .object("identity", read_identity)?
                .ok_or(CoreError::ReceiptMember("identity"))?,
            inputs_digest: r.optional_digest("inputs_digest")?,
            key_id: r.text("key_id")?.into(),
            kind: r.word("kind", Kind::parse)?,
            now,
            obligations: r.json("obligations")?,
            of: r.optional_digest("of")?,
            outcome: r.object("outcome", read_outcome)?,
            prev_hash: r.digest("prev_hash")?,
            requested_digest: r.optional_digest("requested_digest")?,
            session: r.text("session")?.into(),
            tier: tier.ok_or(CoreError::ReceiptMember("tier"))?,
        })
    }
}

fn read_as_of<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<AsOf<S>> {
    Ok(AsOf { control: r.number("control")?, log: r.text("log")?.into(), size: r.number("size")? })
}

fn read_context<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<ContextRef<S>> {
    let ppm = r.optional_number("distance_ppm")?.map(u32::try_from).transpose();
    Ok(ContextRef {
        count: r.number("count")?,
        distance_method: r.optional_text("distance_method")?,
        distance_ppm: ppm.map_err(|_| CoreError::ReceiptMember("distance_ppm"))?,
        head: r.digest("head")?,
        labels: r.strings("labels")?,
    })
}

fn read_control<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<Control<S>> {
    Ok(Control {
        from: r.optional_digest("from")?,
        to: r.digest("to")?,
        what: r.text("what")?.into(),
    })
}

fn read_decision<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<DecisionRef<S>> {
    Ok(DecisionRef {
        catalogue: r.digest("catalogue")?,
        engine: r.text("engine")?.into(),
        policy_set: r.digest("policy_set")?,
        reason: r.text("reason")?.into(),
        rule: r.optional_text("rule")?,
        schema: r.digest("schema")?,
        tool_pins: r.digest("tool_pins")?,
        verdict: r.word("verdict", Verdict::parse)?,
    })
}

fn read_identity<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<Identity<S>> {
    let level = |name| r.object(name, read_level)?.ok_or(CoreError::ReceiptMember(name));
    Ok(Identity {
        agent: level("agent")?,
        principal: level("principal")?,
        roles: level("roles")?,
        service: level("service")?,
        session: level("session")?,
    })
}

fn read_level<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<Level<S>> {
    Ok(Level { id: r.optional_text("id")?, proof: r.word("proof", Proof::parse)? })
}

fn read_outcome<'a, N: Node, S: From<&'a str>>(r: &Reader<'a, N>) -> Read<Outcome<S>> {
    Ok(Outcome {
        bytes: r.number("bytes")?,
        duration_us: r.number("duration_us")?,
        labels: r.strings("labels")?,
        result_digest: r.optional_digest("result_digest")?,
        status: r.word("status", Status::parse)?,
    })
}

/// An object, and where its next member is likely to be: they are asked for in their order.
struct Reader<'a, N>(&'a N, Cell<usize>);

impl<'a, N: Node> Reader<'a, N> {
    /// A member that must be present; `None` if it is `null`.
    fn member(&self, name: &'static str) -> Read<Option<&'a N>> {
        let value = self.0.get_near(name, &self.1).ok_or(CoreError::ReceiptMember(name))?;
        Ok((!value.is_null()).then_some(value))
    }

    fn json(&self, name: &'static str) -> Read<Option<Json>> {
        Ok(self.member(name)?.map(Node::to_json))
    }

    fn optional_text<S: From<&'a str>>(&self, name: &'static str) -> Read<Option<S>> {
        let text = self.member(name)?.map(|value| value.as_str().map(S::from));
        text.map(|text| text.ok_or(CoreError::ReceiptMember(name))).transpose()
    }

    fn text(&self, name: &'static str) -> Read<&'a str> {
        self.member(name)?.and_then(Node::as_str).ok_or(CoreError::ReceiptMember(name))
    }

    fn optional_number(&self, name: &'static str) -> Read<Option<u64>> {
        let Some(value) = self.member(name)? else { return Ok(None) };
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or(CoreError::ReceiptMember(name))
    }

    fn number(&self, name: &'static str) -> Read<u64> {
        self.optional_number(name)?.ok_or(CoreError::ReceiptMember(name))
    }

    fn optional_digest(&self, name: &'static str) -> Read<Option<Digest>> {
        let Some(value) = self.member(name)? else { return Ok(None) };
        let digest = value.as_str().and_then(|text| Digest::from_hex(text).ok());
        digest.map(Some).ok_or(CoreError::ReceiptMember(name))
    }

    fn digest(&self, name: &'static str) -> Read<Digest> {
        self.optional_digest(name)?.ok_or(CoreError::ReceiptMember(name))
    }

    fn word<T>(&self, name: &'static str, parse: fn(&str) -> Option<T>) -> Read<T> {
        parse(self.text(name)?).ok_or(CoreError::ReceiptMember(name))
    }

    fn strings<S: From<&'a str>>(&self, name: &'static str) -> Read<Option<Vec<S>>> {
        let Some(value) = self.member(name)? else { return Ok(None) };
        let items = value.as_array().ok_or(CoreError::ReceiptMember(name))?;
        let texts = items.iter().map(|item| item.as_str().map(S::from));
        texts.collect::<Option<Vec<_>>>().map(Some).ok_or(CoreError::ReceiptMember(name))
    }

    fn object<T>(
        &self,
        name: &'static str,
        read: fn(&Reader<'a, N>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.member(name)?.map(|value| read(&Reader(value, Cell::default()))).transpose()
    }
}
