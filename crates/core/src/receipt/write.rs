//! The canonical text of a receipt, written member by member in RFC 8785 order.
//!
//! A general canonicaliser costs ten times as much as plain writing; the members of the profile are
//! ASCII and their order is known, so the order is checked by a test instead of sorted each time.

use std::fmt::Write as _;

use super::{
    AsOf, ContextRef, Control, DecisionRef, Identity, Level, Outcome, PROFILE, Receipt, SHAPE,
};
use crate::digest::Digest;
use crate::json::{Json, write_string};

impl Receipt {
    /// The RFC 8785 text that is hashed and signed.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let mut w = Writer { out: String::with_capacity(2048), first: true };
        w.open();
        w.string("action", &self.action);
        w.string("actor", &self.actor);
        w.json("approval", self.approval.as_ref());
        w.object("as_of", Some(&self.as_of), write_as_of);
        w.json("authority", self.authority.as_ref());
        w.string("chain", &self.chain);
        w.number("chain_seq", self.chain_seq);
        w.object("context", self.context.as_ref(), write_context);
        w.digest("context_digest", Some(self.context_digest));
        w.digest("continues", self.continues);
        w.object("control", self.control.as_ref(), write_control);
        w.object("decision", self.decision.as_ref(), write_decision);
        w.json("deferral", self.deferral.as_ref());
        w.string("door", self.door.as_str());
        w.string("enforcement", self.enforcement.as_str());
        w.object("identity", Some(&self.identity), write_identity);
        w.digest("inputs_digest", self.inputs_digest);
        w.string("key_id", &self.key_id);
        w.string("kind", self.kind.as_str());
        w.number("now", self.now.0);
        w.json("obligations", self.obligations.as_ref());
        w.digest("of", self.of);
        w.object("outcome", self.outcome.as_ref(), write_outcome);
        w.digest("prev_hash", Some(self.prev_hash));
        w.string("profile", PROFILE);
        w.digest("requested_digest", self.requested_digest);
        w.string("session", &self.session);
        w.number("tier", u64::from(self.tier.number()));
        w.string("ts", &self.now.to_string());
        w.string("v", SHAPE);
        w.close();
        w.out
    }
}

fn write_as_of(w: &mut Writer, value: &AsOf) {
    w.number("control", value.control);
    w.string("log", &value.log);
    w.number("size", value.size);
}

fn write_context(w: &mut Writer, value: &ContextRef) {
    w.number("count", value.count);
    w.optional_string("distance_method", value.distance_method.as_deref());
    w.optional_number("distance_ppm", value.distance_ppm.map(u64::from));
    w.digest("head", Some(value.head));
    w.strings("labels", value.labels.as_deref());
}

fn write_control(w: &mut Writer, value: &Control) {
    w.digest("from", value.from);
    w.digest("to", Some(value.to));
    w.string("what", &value.what);
}

fn write_decision(w: &mut Writer, value: &DecisionRef) {
    w.digest("catalogue", Some(value.catalogue));
    w.string("engine", &value.engine);
    w.digest("policy_set", Some(value.policy_set));
    w.string("reason", &value.reason);
    w.optional_string("rule", value.rule.as_deref());
    w.digest("schema", Some(value.schema));
    w.digest("tool_pins", Some(value.tool_pins));
    w.string("verdict", value.verdict.as_str());
}

fn write_identity(w: &mut Writer, value: &Identity) {
    w.object("agent", Some(&value.agent), write_level);
    w.object("principal", Some(&value.principal), write_level);
    w.object("roles", Some(&value.roles), write_level);
    w.object("service", Some(&value.service), write_level);
    w.object("session", Some(&value.session), write_level);
}

fn write_level(w: &mut Writer, value: &Level) {
    w.optional_string("id", value.id.as_deref());
    w.string("proof", value.proof.as_str());
}

fn write_outcome(w: &mut Writer, value: &Outcome) {
    w.number("bytes", value.bytes);
    w.number("duration_us", value.duration_us);
    w.strings("labels", value.labels.as_deref());
    w.digest("result_digest", value.result_digest);
    w.string("status", value.status.as_str());
}

struct Writer {
    out: String,
    first: bool,
}

impl Writer {
    fn open(&mut self) {
        self.out.push('{');
        self.first = true;
    }

    fn close(&mut self) {
        self.out.push('}');
        self.first = false;
    }

    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.out.push_str("null");
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(&mut self.out, value);
    }

    fn optional_string(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.string(name, value),
            None => self.null(name),
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn optional_number(&mut self, name: &str, value: Option<u64>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.null(name),
        }
    }

    fn digest(&mut self, name: &str, value: Option<Digest>) {
        match value {
            Some(value) => {
                self.name(name);
                self.out.push('"');
                crate::digest::push_hex(&mut self.out, value.as_bytes());
                self.out.push('"');
            }
            None => self.null(name),
        }
    }

    fn strings(&mut self, name: &str, values: Option<&[String]>) {
        let Some(values) = values else { return self.null(name) };
        self.name(name);
        self.out.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            write_string(&mut self.out, value);
        }
        self.out.push(']');
    }

    fn json(&mut self, name: &str, value: Option<&Json>) {
        match value {
            Some(value) => {
                self.name(name);
                value.write_canonical(&mut self.out);
            }
            None => self.null(name),
        }
    }

    fn object<T>(&mut self, name: &str, value: Option<&T>, write: fn(&mut Self, &T)) {
        let Some(value) = value else { return self.null(name) };
        self.name(name);
        self.open();
        write(self, value);
        self.close();
    }
}
