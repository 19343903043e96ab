//! The Cedar schema that policies are checked against, made from what is known: the catalogue's classes
//! and the input schemas of pinned tools.
//!
//! The adversary is a misspelt rule, which without a schema would simply never match; and the author of
//! a tool, whose input schema is foreign text: names are escaped, size and nesting are bounded, and a
//! schema that Cedar refuses costs that tool its typed arguments, not everybody their policies.
//!
//! # From JSON Schema to Cedar
//!
//! `string`, `integer`, `boolean` become `String`, `Long`, `Bool`; an array of one of these a `Set`; an
//! object with `properties` a record, whose members outside `required` are optional. Everything else
//! (`number`, lists of types, `null`, `$ref`, `anyOf`, arrays of arrays) is left out of the record and is
//! reachable as a tag only.

use std::collections::{BTreeMap, BTreeSet};

use tipstaff_core::Json;

/// Deepest record in typed arguments.
const RECORD_DEPTH_MAX: usize = 8;
/// Most members of typed arguments, nested ones included.
const MEMBERS_MAX: usize = 256;

/// Attributes of the context that may be unknown when a decision is asked for.
pub const DEFERRABLE: [&str; 6] =
    ["distance_average_ppm", "distance_max_ppm", "distance_ppm", "labels", "risk", "sensitivity"];

/// What the names of attributes begin with that a session is given from outside: `given_ticket`. They are
/// deferrable too.
pub const GIVEN: &str = "given_";

/// The operations that are not tool calls, by their name as Cedar actions.
const OPERATIONS: [&str; 6] = ["complete", "elicit", "other", "prompt", "read", "sample"];

/// The facts of every request, in the order in which a reader meets them.
const FACTS: &str = "    tier: Long,
    class: Class,
    unclassified: Bool,
    inside_roots: Bool,
    touches_tipstaff: Bool,
    touches_credentials: Bool,
    operation: String,
    now: datetime,
    labels: Set<String>,
    sensitivity: Long,
    sink: String,
    risk: Long,
    confidence: Long,
    carries: Set<String>,
    named: Bool,
    asked: Bool,
    distance_ppm: Long,
    distance_max_ppm: Long,
    distance_average_ppm: Long,
";

/// The type of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A single value.
    Scalar(Scalar),
    /// An array of values of one type.
    Set(Scalar),
    /// An object.
    Record(BTreeMap<String, Field>),
}

/// A type of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// `string`
    String,
    /// `integer`
    Long,
    /// `boolean`
    Bool,
}

/// A member of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub shape: Shape,
    /// Whether every call has it.
    pub required: bool,
}

impl Shape {
    /// The record of a tool's arguments, `None` if its input schema gives no usable one.
    #[must_use]
    pub fn of_tool(schema: &Json) -> Option<Self> {
        let mut budget = MEMBERS_MAX;
        match Self::of(schema, 0, &mut budget)? {
            Self::Record(fields) if !fields.is_empty() => {
                let shape = Self::Record(fields);
                // Foreign text: whatever Cedar does not accept must not spoil the whole schema.
                let none = BTreeSet::new();
                let alone = text(&none, &none, [("a/b", Some(&shape))]);
                cedar_policy::Schema::from_cedarschema_str(&alone).is_ok().then_some(shape)
            }
            _ => None,
        }
    }

    fn of(schema: &Json, depth: usize, budget: &mut usize) -> Option<Self> {
        const MIXED: [&str; 6] = ["$ref", "anyOf", "oneOf", "allOf", "not", "if"];
        if MIXED.iter().any(|word| schema.get(word).is_some()) || depth > RECORD_DEPTH_MAX {
            return None;
        }
        if let Some(scalar) = Scalar::of(schema) {
            return Some(Self::Scalar(scalar));
        }
        match schema.get("type")?.as_str()? {
            "array" => schema.get("items").and_then(Scalar::of).map(Self::Set),
            "object" => {
                let required = schema.get("required").and_then(Json::as_array).unwrap_or_default();
                let mut fields = BTreeMap::new();
                for (name, property) in schema.get("properties")?.as_object()?.iter() {
                    *budget = budget.checked_sub(1)?;
                    if let Some(shape) = Self::of(property, depth + 1, budget) {
                        let required = required.iter().any(|item| item.as_str() == Some(name));
                        fields.insert(name.to_owned(), Field { shape, required });
                    }
                }
                Some(Self::Record(fields))
            }
            _ => None,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(scalar) => out.push_str(scalar.name()),
            Self::Set(scalar) => {
                out.push_str("Set<");
                out.push_str(scalar.name());
                out.push('>');
            }
            Self::Record(fields) => {
                out.push('{');
                for (at, (name, field)) in fields.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { ", " });
                    out.push_str(&quoted(name));
                    out.push_str(if field.required { ": " } else { "?: " });
                    field.shape.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl Scalar {
    fn of(schema: &Json) -> Option<Self> {
        const MIXED: [&str; 6] = ["$ref", "anyOf", "oneOf", "allOf", "not", "if"];
        if MIXED.iter().any(|word| schema.get(word).is_some()) {
            return None;
        }
        match schema.get("type")?.as_str()? {
            "string" => Some(Self::String),
            "integer" => Some(Self::Long),
            "boolean" => Some(Self::Bool),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Long => "Long",
            Self::Bool => "Bool",
        }
    }
}

/// The name, as a Cedar action, of an operation of the protocol; `None` for a tool call, which is named
/// after its tool.
#[must_use]
pub fn operation(operation: &str) -> Option<&'static str> {
    match operation.split_once('/').map_or(operation, |(family, _)| family) {
        "tools" => None,
        "resources" => Some("read"),
        "prompts" => Some("prompt"),
        "completion" => Some("complete"),
        "sampling" => Some("sample"),
        "elicitation" => Some("elicit"),
        _ => Some("other"),
    }
}

/// The schema in Cedar's own syntax. `tools` are the tools with an action of their own, with their
/// typed arguments if there are any; `given` the attributes from outside that policies look at.
pub(crate) fn text<'a>(
    classes: &BTreeSet<String>,
    given: &BTreeSet<String>,
    tools: impl IntoIterator<Item = (&'a str, Option<&'a Shape>)>,
) -> String {
    let mut out = String::from(
        "// Who asks: an agent, working for a user, in roles that the operator gave it.\nentity User;\nentity Role;\nentity Agent in [User, Role];\n\n\
         // What is asked for: \"server/tool\" in \"server\". Tags: JSON pointer to string, one for each\n\
         // scalar argument.\nentity Server;\nentity Tool in [Server] tags String;\n\n\
         // What the catalogue calls it.\nentity Class enum [",
    );
    out.push_str(&quoted("unclassified"));
    for class in classes.iter().filter(|class| *class != "unclassified") {
        out.push_str(", ");
        out.push_str(&quoted(class));
    }
    out.push_str(
        "];\n\n// Distances and what is given from outside may be unknown: the decision is then deferred.\n",
    );
    out.push_str("action ");
    out.push_str(&OPERATIONS.map(quoted).join(", "));
    applies_to(&mut out, "", given, None);
    out.push_str("\n// All tool calls: action in Action::\"call\".\naction \"call\";\n");
    out.push_str("action \"call:*\"");
    applies_to(&mut out, " in [\"call\"]", given, None);
    for (tool, shape) in tools {
        out.push_str("action ");
        out.push_str(&quoted(&format!("call:{tool}")));
        applies_to(&mut out, " in [\"call\"]", given, shape);
    }
    out
}

fn applies_to(out: &mut String, group: &str, given: &BTreeSet<String>, arguments: Option<&Shape>) {
    out.push_str(group);
    out.push_str(" appliesTo {\n  principal: [Agent],\n  resource: [Tool],\n  context: {\n");
    out.push_str(FACTS);
    for name in given {
        out.push_str(&format!("    {name}: String,\n"));
    }
    if let Some(shape) = arguments {
        out.push_str("    arguments: ");
        shape.write(out);
        out.push_str(",\n");
    }
    out.push_str("  }\n};\n");
}

/// A Cedar string literal. What is not plain ASCII is escaped, so that a hostile name is only a name.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='~' => out.push(letter),
            _ => out.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Option<Shape> {
        Shape::of_tool(&Json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_schema_is_one_that_cedar_accepts() {
        let hostile = shape(
            r#"{"type":"object","properties":{"a\"]}; entity X;//":{"type":"string"},"é\n":{"type":"boolean"}}}"#,
        )
        .unwrap();
        let classes = BTreeSet::from(["shell.rm".to_owned(), "x\"y".to_owned()]);
        let given = BTreeSet::from(["given_ticket".to_owned()]);
        let text = text(&classes, &given, [("fs/write", Some(&hostile)), ("a/\"b", None)]);
        assert!(cedar_policy::Schema::from_cedarschema_str(&text).is_ok(), "{text}");
    }

    #[test]
    fn only_what_has_one_cedar_type_is_typed() {
        let found = shape(
            r##"{"type":"object","required":["a"],"properties":{"a":{"type":"string"},
                "n":{"type":"number"},"m":{"type":["string","null"]},"r":{"$ref":"#/x"},
                "any":{"type":"string","anyOf":[]},"aa":{"type":"array","items":{"type":"array"}},
                "o":{"type":"object","properties":{"i":{"type":"integer"}}}}}"##,
        )
        .unwrap();
        let mut out = String::new();
        found.write(&mut out);
        assert_eq!(out, r#"{"a": String, "o"?: {"i"?: Long}}"#);
        assert_eq!(shape(r#"{"type":"object"}"#), None);
        assert_eq!(shape(r#"{"type":"object","properties":{}}"#), None);
        assert_eq!(shape(r#"{"type":"string"}"#), None);
    }

    #[test]
    fn a_tool_schema_of_unreasonable_size_is_untyped() {
        let many: Vec<String> =
            (0..300).map(|n| format!("\"p{n}\":{{\"type\":\"string\"}}")).collect();
        let text = format!("{{\"type\":\"object\",\"properties\":{{{}}}}}", many.join(","));
        assert_eq!(shape(&text), None);
    }

    #[test]
    fn operations_of_the_protocol_have_names() {
        assert_eq!(operation("tools/call"), None);
        assert_eq!(operation("resources/read"), Some("read"));
        assert_eq!(operation("sampling/createMessage"), Some("sample"));
        assert_eq!(operation("anything"), Some("other"));
    }
}
