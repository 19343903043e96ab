//! A policy set before and after admission, and the one text that names it.
//!
//! The adversary is whoever would have a decision re-derived under other rules than those that were in
//! force: a set is named by the digest of one canonical text, from which it can be admitted again.

use std::collections::{BTreeMap, HashMap};

use cedar_policy::{EntityTypeName, PolicyId};
use tipstaff_core::{Digest, Json, Labels};

use crate::entity;
use crate::error::{PolicyError, PolicyFault, PolicyWarning};
use crate::index::Index;
use crate::patch::Patch;
use crate::schema::Shape;

/// The files of a policy folder, by name, before anything has been read into them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicySource {
    /// Cedar text by file name (`NAME.cedar`).
    pub files: BTreeMap<String, String>,
    /// JSON Patch text by the name that `@modify` uses.
    pub patches: BTreeMap<String, String>,
}

/// The tools that an operator has accepted, with the input schemas that were accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolPins {
    /// Input schema by `server/tool`.
    pub tools: BTreeMap<String, Option<Json>>,
}

/// A set that passed admission, and what its author should know about it.
#[derive(Debug)]
pub struct Admitted {
    /// The set.
    pub set: PolicySet,
    /// What is not wrong, but worth a look.
    pub warnings: Vec<PolicyWarning>,
}

/// Policies that were parsed, validated and filed: the only kind that decides anything.
///
/// INVARIANT: made by [`PolicySet::admit`] alone; never changed afterwards.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) index: Index,
    pub(crate) rules: Vec<Rule>,
    pub(crate) numbers: HashMap<PolicyId, usize>,
    pub(crate) patches: BTreeMap<String, Patch>,
    pub(crate) typed: BTreeMap<String, Shape>,
    /// Forbids that wait for a tool's input schema, by tool: until then its calls can't be judged.
    pub(crate) pending: BTreeMap<String, String>,
    pub(crate) names: Names,
    pub(crate) canonical: String,
    pub(crate) digest: Digest,
    pub(crate) schema: String,
}

/// What a policy's annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rule {
    pub(crate) id: String,
    /// `None` for a policy without `@rank`: a permit of rank 0, or a forbid above all ranks.
    pub(crate) rank: Option<i64>,
    pub(crate) advice: Option<String>,
    pub(crate) obligation: Obligation,
    /// `@label`: what the result of an action that it permits holds.
    pub(crate) label: Labels,
    /// `@declassify`: what an action that it permits takes from its session.
    pub(crate) declassify: Labels,
    pub(crate) uses: Uses,
}

/// What a permit asks for besides permitting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Obligation {
    #[default]
    None,
    /// `@step_up("message")`
    StepUp(String),
    /// `@step_up_if_aligned`: permits nothing by itself.
    StepUpIfAligned,
    /// `@modify("patch")`
    Modify(String),
}

/// What has to be built before a policy can be evaluated. May say more than is true, never less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uses {
    pub(crate) tags: bool,
    /// Ancestors of the principal, action or resource.
    pub(crate) hierarchy: bool,
    pub(crate) arguments: bool,
    pub(crate) now: bool,
    /// Distances from the request.
    pub(crate) distance: bool,
}

impl Uses {
    /// Whether a policy looks at more than who, what and how it was classified.
    pub(crate) const fn more_than_the_request_says(&self) -> bool {
        self.tags || self.hierarchy || self.arguments || self.now
    }
}

/// Cedar's entity types, parsed once.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) action: EntityTypeName,
    pub(crate) agent: EntityTypeName,
    pub(crate) class: EntityTypeName,
    pub(crate) role: EntityTypeName,
    pub(crate) server: EntityTypeName,
    pub(crate) tool: EntityTypeName,
    pub(crate) user: EntityTypeName,
}

impl Names {
    pub(crate) fn new() -> Option<Self> {
        let name = |text: &str| text.parse::<EntityTypeName>().ok();
        Some(Self {
            action: name("Action")?,
            agent: name("Agent")?,
            class: name("Class")?,
            role: name("Role")?,
            server: name("Server")?,
            tool: name("Tool")?,
            user: name("User")?,
        })
    }

    pub(crate) fn action(&self, id: &str) -> cedar_policy::EntityUid {
        entity::uid(&self.action, id)
    }
}

impl PolicySet {
    /// Reads, checks and files a policy set against what is known: the pinned tools and the classes of
    /// the catalogue. Called again whenever one of them changes.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the files.
    pub fn admit<'a>(
        source: &PolicySource,
        tools: &ToolPins,
        catalogue_classes: impl Iterator<Item = &'a str>,
    ) -> Result<Admitted, Vec<PolicyFault>> {
        crate::admission::admit(source, tools, catalogue_classes.map(str::to_owned).collect())
    }

    /// SHA-256 of [`PolicySet::canonical_source`].
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// SHA-256 of [`PolicySet::schema_text`].
    #[must_use]
    pub fn schema_digest(&self) -> Digest {
        Digest::of(self.schema.as_bytes())
    }

    /// The schema that the policies were checked against, in Cedar's syntax.
    #[must_use]
    pub fn schema_text(&self) -> &str {
        &self.schema
    }

    /// The one text that names this set, from which it can be admitted again.
    #[must_use]
    pub fn canonical_source(&self) -> &str {
        &self.canonical
    }

    /// Whether a policy looks at distances from the request, so that they have to be measured.
    #[must_use]
    pub fn uses_distance(&self) -> bool {
        self.rules.iter().any(|rule| rule.uses.distance)
    }

    /// How many policies decide.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether no policy decides, so that everything is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn rule(&self, id: &PolicyId) -> Option<&Rule> {
        self.numbers.get(id).and_then(|number| self.rules.get(*number))
    }
}

impl PolicySource {
    /// The RFC 8785 text `{"files":{name:text},"patches":{name:patch}}`.
    ///
    /// # Errors
    /// [`PolicyError::PatchJson`] if a patch is not acceptable JSON.
    pub fn to_canonical(&self) -> Result<String, PolicyError> {
        let files = self.files.iter().map(|(name, text)| (name.clone(), Json::string(text)));
        let patches = self.patches.iter().map(|(name, text)| {
            let json = Json::parse(text.as_bytes())
                .map_err(|fault| PolicyError::PatchJson { name: name.clone(), fault })?;
            Ok((name.clone(), json))
        });
        let patches = patches.collect::<Result<Vec<_>, PolicyError>>()?;
        object([("files", files.collect()), ("patches", patches)])
            .ok_or(PolicyError::NotCanonical("policy source"))
    }

    /// Reads back what [`PolicySource::to_canonical`] wrote.
    ///
    /// # Errors
    /// [`PolicyError::NotCanonical`] for any other text.
    pub fn from_canonical(text: &str) -> Result<Self, PolicyError> {
        let malformed = PolicyError::NotCanonical("policy source");
        let json = Json::parse(text.as_bytes()).map_err(|_| malformed.clone())?;
        let mut source = Self::default();
        for (name, file) in members(&json, "files").ok_or_else(|| malformed.clone())? {
            let file = file.as_str().ok_or_else(|| malformed.clone())?;
            source.files.insert(name.to_owned(), file.to_owned());
        }
        for (name, patch) in members(&json, "patches").ok_or_else(|| malformed.clone())? {
            source.patches.insert(name.to_owned(), patch.to_canonical());
        }
        if source.to_canonical()? == text { Ok(source) } else { Err(malformed) }
    }
}

impl ToolPins {
    /// The RFC 8785 text `{"tools":{name:schema}}`, `null` for a tool without a schema.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let tools = self
            .tools
            .iter()
            .map(|(name, schema)| (name.clone(), schema.clone().unwrap_or(Json::Null)));
        // Names come from a map, so that none occurs twice.
        object([("tools", tools.collect())]).unwrap_or_default()
    }

    /// SHA-256 of [`ToolPins::to_canonical`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_canonical().as_bytes())
    }

    /// Reads back what [`ToolPins::to_canonical`] wrote.
    ///
    /// # Errors
    /// [`PolicyError::NotCanonical`] for any other text.
    pub fn from_canonical(text: &str) -> Result<Self, PolicyError> {
        let malformed = PolicyError::NotCanonical("tool pins");
        let json = Json::parse(text.as_bytes()).map_err(|_| malformed.clone())?;
        let tools = members(&json, "tools")
            .ok_or_else(|| malformed.clone())?
            .map(|(name, schema)| (name.to_owned(), (!schema.is_null()).then(|| schema.clone())));
        let pins = Self { tools: tools.collect() };
        if pins.to_canonical() == text { Ok(pins) } else { Err(malformed) }
    }
}

fn object<const N: usize>(parts: [(&str, Vec<(String, Json)>); N]) -> Option<String> {
    let parts = parts.into_iter().map(|(name, part)| Some((name.to_owned(), Json::object(part)?)));
    Some(Json::object(parts.collect::<Option<_>>()?)?.to_canonical())
}

fn members<'a>(json: &'a Json, name: &str) -> Option<impl Iterator<Item = (&'a str, &'a Json)>> {
    json.get(name).and_then(Json::as_object).map(tipstaff_core::json::Object::iter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_one_text_and_is_read_back_from_it() {
        let mut source = PolicySource::default();
        source
            .files
            .insert("a.cedar".into(), "permit(principal, action, resource);\r\n// é".into());
        source.patches.insert("p".into(), "[ {\"op\" : \"remove\", \"path\":\"/a\"} ]".into());
        let text = source.to_canonical().unwrap();
        let again = PolicySource::from_canonical(&text).unwrap();
        assert_eq!(again.files, source.files);
        assert_eq!(again.to_canonical().unwrap(), text);
        assert!(PolicySource::from_canonical(&format!(" {text}")).is_err());
        assert!(PolicySource::from_canonical("{\"files\":{}}").is_err());
    }

    #[test]
    fn pins_have_one_text_and_are_read_back_from_it() {
        let schema = Json::parse(br#"{"type":"object"}"#).unwrap();
        let pins = ToolPins {
            tools: BTreeMap::from([("a/b".into(), Some(schema)), ("a/c".into(), None)]),
        };
        assert_eq!(pins.to_canonical(), r#"{"tools":{"a/b":{"type":"object"},"a/c":null}}"#);
        assert_eq!(ToolPins::from_canonical(&pins.to_canonical()).unwrap(), pins);
    }
}
