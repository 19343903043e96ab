//! Where a principal can be reached: the services of its DID document (W3C DID Core 1.0, section 5.4).
//!
//! The adversary has an address written into the log that says more than an address: credentials, markup, or an
//! identifier that is already a key's. Nothing here is dialled: whoever does so has to prove the other side.

use tipstaff_core::Json;

use super::{Name, object};

/// Services of one principal.
pub(crate) const SERVICES_MAX: usize = 16;
/// Letters of an id. A key's id in the same document has 43.
const ID_MAX: usize = 32;
/// Letters of a kind.
const KIND_MAX: usize = 64;
/// Bytes of an address.
const ENDPOINT_MAX: usize = 1024;

/// One place where a principal can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    id: Name,
    kind: String,
    endpoint: String,
}

/// What is wrong with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceFault {
    /// The id.
    #[error("the id of a service is a name of at most 32 letters")]
    Id,
    /// The kind.
    #[error("the kind of a service is a word of at most 64 letters and digits, such as McpServer")]
    Kind,
    /// The address.
    #[error(
        "the address of a service is a URI with a scheme and a host, such as https://agents.example/ada, \
         without a name or password in it and of at most 1024 bytes"
    )]
    Endpoint,
}

impl Service {
    /// A service by its id in the document, its kind (DID Core: `type`) and its address.
    ///
    /// # Errors
    /// [`ServiceFault`]
    pub fn new(id: &str, kind: &str, endpoint: &str) -> Result<Self, ServiceFault> {
        let id = Name::parse(id).filter(|id| id.as_str().len() <= ID_MAX);
        let id = id.ok_or(ServiceFault::Id)?;
        let is_word = kind.len() <= KIND_MAX
            && kind.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word {
            return Err(ServiceFault::Kind);
        }
        if !is_address(endpoint) {
            return Err(ServiceFault::Endpoint);
        }
        Ok(Self { id, kind: kind.to_owned(), endpoint: endpoint.to_owned() })
    }

    /// As orders and listings have it.
    pub(super) fn to_json(&self) -> Json {
        self.members(self.id.as_str())
    }

    /// As a DID document has it.
    pub(super) fn to_document(&self, did: &str) -> Json {
        self.members(&format!("{did}#{}", self.id))
    }

    pub(super) fn from_json(json: &Json) -> Option<Self> {
        let text = |name| json.get(name).and_then(Json::as_str);
        Self::new(text("id")?, text("type")?, text("serviceEndpoint")?).ok()
    }

    fn members(&self, id: &str) -> Json {
        object(vec![
            ("id", Json::string(id)),
            ("serviceEndpoint", Json::string(&self.endpoint)),
            ("type", Json::string(&self.kind)),
        ])
    }
}

/// In the order of their ids; `None` where one is there twice, or there are too many.
pub(super) fn ordered(services: &[Service]) -> Option<Vec<Service>> {
    let mut services = services.to_vec();
    services.sort();
    let twice = services.iter().zip(services.iter().skip(1)).any(|(one, next)| one.id == next.id);
    (!twice && services.len() <= SERVICES_MAX).then_some(services)
}

/// An absolute URI (RFC 3986) with a host and without user information; its scheme in small letters, as it compares.
fn is_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_host = !authority.is_empty() && !authority.starts_with(':') && !authority.contains('@');
    is_scheme && has_host && text.len() <= ENDPOINT_MAX && is_written_as_uri(rest)
}

/// Whether a text has the letters of RFC 3986 alone, and each `%` two hex digits.
fn is_written_as_uri(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(endpoint: &str) -> Result<Service, ServiceFault> {
        Service::new("mcp", "McpServer", endpoint)
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_nothing_secret() {
        for good in [
            "https://agents.example/ada",
            "https://[2001:db8::1]:8443/mcp?tenant=a%20b#x",
            "wss://a",
            "http://127.0.0.1:8080/mcp",
        ] {
            assert!(at(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "agents.example",
            "//agents.example",
            "https:agents.example",
            "https://",
            "https:///mcp",
            "https://:8443/",
            "HTTPS://agents.example",
            "javascript:alert(1)",
            "https://ada:secret@agents.example/",
            "https://ada@agents.example/",
            "https://agents.example/<script>",
            "https://agents.example/a b",
            "https://agents.example/%2",
            "https://agents.example/%zz",
            "https://bücher.example/",
            "https://agents.example/\n",
        ] {
            assert_eq!(at(bad), Err(ServiceFault::Endpoint), "{bad}");
        }
        assert_eq!(at(&format!("https://a/{}", "a".repeat(1014))).err(), None);
        let long = format!("https://a/{}", "a".repeat(1015));
        assert_eq!(at(&long), Err(ServiceFault::Endpoint));
    }

    #[test]
    fn an_id_is_never_that_of_a_key() {
        let service = |id: &str, kind: &str| Service::new(id, kind, "https://a");
        assert!(service(&"z".repeat(32), "McpServer").is_ok());
        assert_eq!(service(&"z".repeat(33), "McpServer"), Err(ServiceFault::Id));
        assert_eq!(service("Mcp", "McpServer"), Err(ServiceFault::Id));
        for kind in ["", "4Server", "Mcp Server", "Mcp-Server", &"a".repeat(65)] {
            assert_eq!(service("mcp", kind), Err(ServiceFault::Kind), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_reads_back(endpoint in "[a-z]{1,5}://[a-zA-Z0-9.:/@%?#<é-]{0,20}") {
            if let Ok(service) = at(&endpoint) {
                prop_assert_eq!(Service::from_json(&service.to_json()), Some(service));
                prop_assert!(!endpoint.contains(['<', 'é']));
            }
        }
    }
}
