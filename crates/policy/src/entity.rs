//! Builds the entities and values that Cedar judges, as typed values and never through JSON.
//!
//! The adversary is the agent that writes the arguments: it sends a string where a rule compares
//! integers, or so many arguments that building them costs more than refusing them. Both are counted
//! before a value is built.
//!
//! # Arguments in policies
//!
//! Every scalar in the arguments is a tag of the resource, from its JSON pointer to a string:
//! strings as they are, integers in decimal, fractions in their RFC 8785 spelling, `true` and `false`,
//! and `null`. So `{"to":["a@b"],"n":7,"dry":false}` is `/to/0` = `a@b`, `/n` = `7`, `/dry` = `false`.
//! Objects and arrays have no tag of their own; a scalar at the top has the pointer `""`.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use tipstaff_core::Json;

use crate::schema::{Scalar, Shape};

/// Most tags on one resource. A call with more scalar arguments is refused.
pub const TAGS_MAX: usize = 1024;

/// An entity before Cedar has computed its ancestors.
#[derive(Debug, Clone)]
pub struct EntitySpec {
    /// Its type and id.
    pub uid: EntityUid,
    /// Its attributes.
    pub attrs: BTreeMap<String, RestrictedExpression>,
    /// Its direct parents.
    pub parents: BTreeSet<EntityUid>,
    /// Its tags.
    pub tags: BTreeMap<String, RestrictedExpression>,
}

/// Why entities could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntityFault {
    /// The call has more scalar arguments than a rule may look at.
    #[error("more than {TAGS_MAX} scalar arguments")]
    TooManyTags,
    /// Cedar refuses a value or the hierarchy.
    #[error("entity: {0}")]
    Refused(String),
}

impl EntitySpec {
    /// An entity with an id and nothing else.
    #[must_use]
    pub const fn new(uid: EntityUid) -> Self {
        Self { uid, attrs: BTreeMap::new(), parents: BTreeSet::new(), tags: BTreeMap::new() }
    }

    /// The same entity in one more parent.
    #[must_use]
    pub fn within(mut self, parent: EntityUid) -> Self {
        self.parents.insert(parent);
        self
    }
}

/// Cedar's store of these entities, with ancestors computed.
///
/// # Errors
/// [`EntityFault::Refused`] if two entities contradict each other, or the hierarchy has a cycle.
pub fn entities(specs: impl IntoIterator<Item = EntitySpec>) -> Result<Entities, EntityFault> {
    let built = specs
        .into_iter()
        .map(|spec| {
            Entity::new_with_tags(spec.uid, spec.attrs, spec.parents, spec.tags)
                .map_err(|error| EntityFault::Refused(error.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Entities::from_entities(built, None).map_err(|error| EntityFault::Refused(error.to_string()))
}

/// An entity id of a type.
#[must_use]
pub fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// An entity itself, then all its ancestors: what scope constraints are matched against.
#[must_use]
pub fn lineage(entities: &Entities, uid: &EntityUid) -> Vec<EntityUid> {
    let ancestors = entities.ancestors(uid).into_iter().flatten().cloned();
    std::iter::once(uid.clone()).chain(ancestors).collect()
}

/// How many scalars the arguments hold, without building anything.
#[must_use]
pub fn count_scalars(arguments: &Json) -> usize {
    match arguments {
        Json::Array(items) => items.iter().map(count_scalars).sum(),
        Json::Object(object) => object.iter().map(|(_, item)| count_scalars(item)).sum(),
        _ => 1,
    }
}

/// The tags of a resource: JSON pointer to string, for every scalar argument.
#[must_use]
pub fn tags(arguments: &Json) -> BTreeMap<String, RestrictedExpression> {
    let mut out = BTreeMap::new();
    collect(arguments, &mut String::new(), &mut out);
    out
}

/// The typed record of arguments, `None` if they do not fit the shape.
#[must_use]
pub fn typed(shape: &Shape, value: &Json) -> Option<RestrictedExpression> {
    match shape {
        Shape::Scalar(kind) => scalar(*kind, value),
        Shape::Set(kind) => {
            let items = value.as_array()?.iter().map(|item| scalar(*kind, item));
            Some(RestrictedExpression::new_set(items.collect::<Option<Vec<_>>>()?))
        }
        Shape::Record(fields) => {
            let object = value.as_object()?;
            let mut members = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                match object.get(name) {
                    Some(item) => members.push((name.clone(), typed(&field.shape, item)?)),
                    None if field.required => return None,
                    None => {}
                }
            }
            RestrictedExpression::new_record(members).ok()
        }
    }
}

fn scalar(kind: Scalar, value: &Json) -> Option<RestrictedExpression> {
    match kind {
        Scalar::String => {
            value.as_str().map(|text| RestrictedExpression::new_string(text.to_owned()))
        }
        Scalar::Long => value.as_integer().map(RestrictedExpression::new_long),
        Scalar::Bool => value.as_bool().map(RestrictedExpression::new_bool),
    }
}

fn collect(json: &Json, at: &mut String, out: &mut BTreeMap<String, RestrictedExpression>) {
    let length = at.len();
    match json {
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                collect(item, at, out);
                at.truncate(length);
            }
        }
        Json::Object(object) => {
            for (name, item) in object.iter() {
                at.push('/');
                for letter in name.chars() {
                    match letter {
                        '~' => at.push_str("~0"),
                        '/' => at.push_str("~1"),
                        other => at.push(other),
                    }
                }
                collect(item, at, out);
                at.truncate(length);
            }
        }
        Json::String(text) => {
            out.insert(at.clone(), RestrictedExpression::new_string(text.clone()));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            out.insert(at.clone(), RestrictedExpression::new_string(json.to_canonical()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn every_scalar_becomes_a_tag_and_nothing_else_does() {
        let arguments = json(r#"{"a/b":{"~":["x",7,1.5]},"e":[],"t":true,"n":null}"#);
        let found: Vec<(String, String)> = tags(&arguments)
            .into_iter()
            .map(|(pointer, value)| {
                let entity = Entity::new_with_tags(
                    r#"Tool::"x""#.parse().unwrap(),
                    [],
                    [],
                    [("t".to_owned(), value)],
                );
                let value = entity.unwrap().tag("t").unwrap().unwrap().to_string();
                (pointer, value)
            })
            .collect();
        let expected = [
            ("/a~1b/~0/0", "\"x\""),
            ("/a~1b/~0/1", "\"7\""),
            ("/a~1b/~0/2", "\"1.5\""),
            ("/n", "\"null\""),
            ("/t", "\"true\""),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(count_scalars(&arguments), 5);
        assert_eq!(tags(&json("3")).keys().collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn arguments_that_do_not_fit_have_no_typed_record() {
        let schema = json(
            r#"{"type":"object","required":["path"],"properties":{"path":{"type":"string"},
                "n":{"type":"integer"},"to":{"type":"array","items":{"type":"string"}}}}"#,
        );
        let shape = Shape::of_tool(&schema).unwrap();
        for fits in [r#"{"path":"x"}"#, r#"{"path":"x","n":3,"to":[],"more":1.5}"#] {
            assert!(typed(&shape, &json(fits)).is_some(), "{fits}");
        }
        for not in [
            "[]",
            "{}",
            r#"{"path":1}"#,
            r#"{"path":null}"#,
            r#"{"path":"x","n":"3"}"#,
            r#"{"path":"x","n":1.5}"#,
            r#"{"path":"x","to":[1]}"#,
        ] {
            assert!(typed(&shape, &json(not)).is_none(), "{not}");
        }
    }
}
