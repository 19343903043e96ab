//! What the monitor measures actions with: detectors, and an embedder if there is one.
//!
//! The adversary words its doings well, or hides a secret in an argument. What is measured here is only
//! recorded and handed to policies; without a model the measure compares words, and says so.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tipstaff_context::{Distance, Measure as Kind};
use tipstaff_core::{Action, Labels};
use tipstaff_embed::{
    Cached, Embedder, Endpoint, Key, Lexical, MiniLm, Semantic, Settings, action_text,
};
use tipstaff_gateway::labels;
use tipstaff_monitor::{ContextConfig, Embedding, Home, Measure, Monitor};

/// Vectors that are kept: requests and actions come again.
const CACHED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// Time that an endpoint may take.
const ENDPOINT_WAIT: Duration = Duration::from_secs(5);

struct Meter(Cached<Box<dyn Embedder>>);

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Meter").field(&self.0.method().as_str()).finish()
    }
}

/// Gives a monitor what its configuration names. What can't be had is said, and words are compared instead.
pub(crate) fn install(home: &Home, monitor: &Monitor) {
    let config = home.config().map(|config| config.context).unwrap_or_default();
    let embedder = embedder(home.root(), &config).unwrap_or_else(|why| {
        eprintln!("no sentence embedding, words are compared instead: {why}");
        Box::new(Lexical::new())
    });
    monitor.measure_with(Arc::new(Meter(Cached::new(embedder, CACHED))));
}

/// The embedder that a configuration names.
pub(crate) fn embedder(home: &Path, config: &ContextConfig) -> Result<Box<dyn Embedder>, String> {
    Ok(match &config.embedding {
        None => Box::new(Lexical::new()),
        Some(Embedding::Folder { folder }) => {
            Box::new(MiniLm::open(&home.join(folder)).map_err(|error| error.to_string())?)
        }
        Some(Embedding::Endpoint { url, model, key }) => {
            let key = key.as_deref().map(|key| match key.strip_prefix("file:") {
                Some(name) => {
                    let file = home.join("secrets").join(name);
                    Key::resolve(&format!("file:{}", file.display()))
                }
                None => Key::resolve(key),
            });
            let key = key.transpose().map_err(|error| error.to_string())?;
            let (base, model) = (url.clone(), model.clone());
            let settings = Settings { base, model, key, wait: ENDPOINT_WAIT };
            Box::new(Endpoint::new(settings).map_err(|error| error.to_string())?)
        }
    })
}

impl Measure for Meter {
    fn distance(&self, requests: &[String], action: &Action) -> Option<Distance> {
        let arguments = action.parameters().to_canonical();
        let text = action_text(action.server(), action.tool(), action.operation(), &arguments);
        // A request that can't be measured is no request that is near.
        let nearest =
            requests.iter().filter_map(|request| self.0.distance_ppm(request, &text).ok());
        Some(Distance {
            ppm: nearest.min()?,
            measure: match self.0.semantic() {
                Semantic::Yes => Kind::Semantic,
                Semantic::No => Kind::Lexical,
            },
            method: self.0.method().as_str().to_owned(),
        })
    }

    fn carries(&self, action: &Action) -> Labels {
        labels::of_arguments(action.parameters().to_canonical().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use tipstaff_core::Json;

    use super::*;

    #[test]
    fn the_nearest_request_counts_and_words_are_not_called_meaning() {
        let meter = Meter(Cached::new(Box::new(Lexical::new()) as Box<dyn Embedder>, CACHED));
        let arguments = Json::parse(br#"{"to":"mark@x.org","body":"the report"}"#).unwrap();
        let action = Action::new("mail", "send_email", "tools/call", arguments, None).unwrap();
        let far = "Book a flight to Oslo".to_owned();
        let near = "Send the report by email to mark@x.org".to_owned();
        let distance = |requests: &[String]| meter.distance(requests, &action).unwrap();
        let both = distance(&[far.clone(), near.clone()]);
        assert_eq!(both, distance(&[near]));
        assert!(both.ppm < distance(&[far]).ppm);
        assert_eq!((both.measure, both.method.as_str()), (Kind::Lexical, "lexical-1"));
        assert_eq!(meter.distance(&[], &action), None);
    }
}
