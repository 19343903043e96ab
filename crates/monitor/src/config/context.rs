//! What an operator sets about sessions: the limits of their context, and what tools mean for data.
//!
//! The adversary is a tool that brings in what others wrote, or carries out what should stay, under a name
//! that says neither. Only the operator knows such a tool; what is said here stands above the catalogue.

use serde::Deserialize;
use tipstaff_classify::Meaning;
use tipstaff_context::Words;
use tipstaff_core::receipt::Door;
use tipstaff_core::{Action, Labels, Sink, Tier};
use tipstaff_policy::{InWords, Limits, OverRisk};

use super::Config;
use crate::judge::Said;

/// The limits of contexts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextConfig {
    /// An action of this risk or more is refused. 0: none is.
    pub risk_limit: u32,
    /// Whether a person is asked instead, where a client's own tools are judged by its hook.
    pub hook_over_risk: OverRiskConfig,
    /// What is farther from the request is refused.
    pub drift_limit_ppm: Option<u32>,
    /// The least tier that the limit on drift is for, 1 to 5.
    pub drift_from_tier: u8,
    /// What nothing permits may be asked for when it is as near.
    pub aligned_ppm: Option<u32>,
    /// What is known with less confidence is deferred.
    pub confidence: u32,
    /// What measures distances; words are compared where nothing is named.
    pub embedding: Option<Embedding>,
}

/// What becomes of a hook's action whose risk is over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverRiskConfig {
    /// A person is asked.
    Ask,
    /// It is refused.
    Deny,
}

/// A sentence embedder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Embedding {
    /// A folder with the weights of all-MiniLM-L6-v2.
    Folder {
        /// The folder; relative ones are within the home.
        folder: String,
    },
    /// An endpoint with OpenAI's embeddings interface.
    Endpoint {
        /// The address before `/embeddings`.
        url: String,
        /// The model's name.
        model: String,
        /// Where the key is: `env:NAME`, or `file:NAME` in the secrets folder.
        #[serde(default)]
        key: Option<String>,
    },
}

/// What a tool means.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeaningConfig {
    /// Labels of its results.
    #[serde(default)]
    pub gives: Vec<String>,
    /// Where what it carries ends up.
    pub sink: String,
    /// Its tier, 1 to 5, instead of the catalogue's.
    pub tier: Option<u8>,
    /// JSON pointers to the arguments that only the principal may choose: whom or what it acts upon.
    #[serde(default)]
    pub named: Vec<String>,
    /// Words with which a person asks for it.
    #[serde(default)]
    pub acts: Vec<String>,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            risk_limit: tipstaff_policy::risk::RISK_LIMIT,
            hook_over_risk: OverRiskConfig::Ask,
            drift_limit_ppm: None,
            drift_from_tier: 3,
            aligned_ppm: None,
            confidence: 0,
            embedding: None,
        }
    }
}

impl ContextConfig {
    /// The limits of judgements at a door.
    #[must_use]
    pub fn limits(&self, door: Door) -> Limits {
        let over_risk = match (door, self.hook_over_risk) {
            (Door::Hook, OverRiskConfig::Ask) => OverRisk::Ask,
            _ => OverRisk::Deny,
        };
        Limits {
            risk: (self.risk_limit > 0).then_some(self.risk_limit),
            over_risk,
            drift_ppm: self.drift_limit_ppm,
            drift_from: Tier::from_number(self.drift_from_tier).unwrap_or(Tier::T3),
            aligned_ppm: self.aligned_ppm,
            confidence: self.confidence,
        }
    }
}

impl MeaningConfig {
    fn read(&self) -> Option<Said> {
        let gives = Labels::parse(self.gives.iter().map(String::as_str))?;
        let tier = match self.tier {
            Some(number) => Some(Tier::from_number(number)?),
            None => None,
        };
        self.named.iter().all(|pointer| pointer.starts_with('/')).then_some(())?;
        Some(Said { meaning: Meaning { gives, sink: Sink::parse(&self.sink)? }, tier })
    }
}

impl Config {
    /// What the operator says that an action's tool means.
    #[must_use]
    pub fn meaning_of(&self, action: &Action) -> Option<Said> {
        self.means(action)?.read()
    }

    /// What of an action stands in the words of its principal, as far as the operator said which of its
    /// arguments matter.
    #[must_use]
    pub fn in_words(&self, action: &Action, words: &Words) -> InWords {
        let Some(said) = self.means(action) else { return InWords::default() };
        InWords {
            named: words.name(action.parameters(), &said.named),
            asked: words.ask(said.acts.iter().map(String::as_str)),
        }
    }

    fn means(&self, action: &Action) -> Option<&MeaningConfig> {
        if self.meaning.is_empty() {
            return None;
        }
        let whole = || self.meaning.get(&format!("{}/*", action.server()));
        self.meaning.get(&action.qualified_tool()).or_else(whole)
    }
}

/// What can't be meant, in words.
pub(super) fn fault(config: &Config) -> Option<String> {
    if Tier::from_number(config.context.drift_from_tier).is_none() {
        return Some("context.drift_from_tier is 1 to 5".to_owned());
    }
    config.meaning.iter().find_map(|(name, said)| {
        let named = name.split_once('/').is_some_and(|(server, tool)| !server.is_empty() && !tool.is_empty());
        match (named, said.read()) {
            (true, Some(_)) => None,
            (false, _) => Some(format!("meaning.{name:?} is not server/tool or server/*")),
            (true, None) => Some(format!(
                "meaning.{name:?}: `gives` is of confidential, internal, personal, secret, unclassified, \
                 untrusted, `sink` one of external, local, none, unknown, `tier` 1 to 5, and `named` are \
                 JSON pointers"
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use tipstaff_core::{Json, Label};

    use super::*;

    fn of(config: &Config, tool: &str) -> Option<Said> {
        config.meaning_of(&Action::new("crm", tool, "tools/call", Json::Null, None).unwrap())
    }

    #[test]
    fn a_tool_means_what_the_operator_says_and_its_server_otherwise() {
        let text = "[meaning.\"crm/*\"]\ngives = [\"personal\"]\nsink = \"none\"\n\
            [meaning.\"crm/export\"]\nsink = \"external\"";
        let config = Config::parse(text).unwrap();
        let found = of(&config, "get").unwrap();
        assert!(found.meaning.gives.has(Label::Personal) && found.meaning.sink == Sink::None);
        assert_eq!(of(&config, "export").unwrap().meaning.sink, Sink::External);
        assert_eq!(of(&Config::default(), "get"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "[meaning.crm]\nsink = \"none\"",
            "[meaning.\"crm/x\"]\nsink = \"outside\"",
            "[meaning.\"crm/x\"]\ngives = [\"sekret\"]\nsink = \"none\"",
            "[meaning.\"crm/x\"]\ngives = []",
            "[meaning.\"crm/x\"]\nsink = \"none\"\ntier = 0",
            "[meaning.\"crm/x\"]\nsink = \"none\"\nnamed = [\"to\"]",
            "[context]\ndrift_from_tier = 9",
            "[context]\nriks_limit = 9",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
