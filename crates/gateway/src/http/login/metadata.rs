//! What a server and the issuer of its tokens say of themselves (RFC 9728, RFC 8414, OpenID Connect Discovery).
//!
//! The adversary writes one of the two, and sends a login, or its code, to somebody else: a description counts for
//! the server or the issuer that was asked, and for no other, and what it leaves out isn't guessed. Pure functions of
//! what was read.

use tipstaff_core::Json;

use super::LoginFault;
use super::address::Address;
use super::client::Method;
use super::scopes::Scopes;

/// Most issuers, methods and the like that are looked at.
const LIST_MAX: usize = 32;

/// A protected resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    /// Its name, byte for byte as tokens are asked for.
    pub(super) name: String,
    /// Who issues its tokens.
    pub(super) issuers: Vec<Address>,
    pub(super) scopes: Option<Scopes>,
}

/// Who issues tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issuer {
    /// Its name, byte for byte as it says it.
    pub(super) name: String,
    pub(super) authorization: Address,
    pub(super) token: Address,
    pub(super) registration: Option<Address>,
    pub(super) revocation: Option<Address>,
    /// How a client may prove to be one.
    pub(super) methods: Vec<Method>,
    pub(super) scopes: Option<Scopes>,
    /// Whether a client's id may be the address of its description.
    pub(super) takes_documents: bool,
    /// Whether each answer names the issuer (RFC 9207).
    pub(super) names_itself: bool,
    pub(super) refreshes: bool,
}

impl Resource {
    /// Reads a server's description, which has to be about that server.
    pub(super) fn parse(bytes: &[u8], server: &Address) -> Result<Self, LoginFault> {
        let untrusted = |what: &str| {
            LoginFault::Untrusted(format!("the server's description of itself {what}"))
        };
        let json = object(bytes).ok_or_else(|| untrusted("is no JSON object"))?;
        let name = json.get("resource").and_then(Json::as_str);
        let name = name.ok_or_else(|| untrusted("doesn't say what it is about"))?;
        let address =
            Address::parse(name).ok_or_else(|| untrusted("names a resource that is no address"))?;
        if !address.covers(server) {
            return Err(untrusted("is about another server, so that its tokens would be, too"));
        }
        let issuers =
            json.get("authorization_servers").and_then(Json::as_array).unwrap_or_default();
        let issuers: Option<Vec<Address>> =
            issuers.iter().take(LIST_MAX).map(|one| Address::parse(one.as_str()?)).collect();
        let issuers =
            issuers.ok_or_else(|| untrusted("names an issuer that is no https address"))?;
        if issuers.is_empty() {
            return Err(untrusted("names nobody who issues tokens for it"));
        }
        Ok(Self { name: name.to_owned(), issuers, scopes: scopes(&json) })
    }
}

impl Issuer {
    /// Reads an issuer's description, which has to be about who was asked.
    pub(super) fn parse(bytes: &[u8], asked: &Address) -> Result<Self, LoginFault> {
        let untrusted = |what: &str| {
            LoginFault::Untrusted(format!("the issuer's description of itself {what}"))
        };
        let json = object(bytes).ok_or_else(|| untrusted("is no JSON object"))?;
        let name = json.get("issuer").and_then(Json::as_str).unwrap_or_default();
        if !Address::parse(name).is_some_and(|name| name.is_same(asked)) {
            return Err(untrusted("is about another issuer"));
        }
        let place = |member: &str| match json.get(member) {
            None => Ok(None),
            Some(found) => match found.as_str().and_then(Address::parse) {
                Some(address) => Ok(Some(address)),
                None => Err(untrusted(&format!("has a `{member}` that is no https address"))),
            },
        };
        let needed = |member: &str| -> Result<Address, LoginFault> {
            place(member)?.ok_or_else(|| untrusted(&format!("has no `{member}`")))
        };
        // What is absent means that the issuer has no such protection: then a stolen code would be a login.
        if !list(&json, "code_challenge_methods_supported").is_some_and(|all| all.contains(&"S256"))
        {
            return Err(untrusted("doesn't say that it protects codes with PKCE and S256"));
        }
        if list(&json, "response_types_supported").is_some_and(|all| !all.contains(&"code")) {
            return Err(untrusted("doesn't offer the code flow"));
        }
        let methods = match list(&json, "token_endpoint_auth_methods_supported") {
            Some(all) => all.into_iter().filter_map(Method::parse).collect(),
            None => vec![Method::Basic],
        };
        let grants = list(&json, "grant_types_supported");
        let is_true = |member: &str| json.get(member).and_then(Json::as_bool) == Some(true);
        Ok(Self {
            name: name.to_owned(),
            authorization: needed("authorization_endpoint")?,
            token: needed("token_endpoint")?,
            registration: place("registration_endpoint")?,
            revocation: place("revocation_endpoint")?,
            methods,
            scopes: scopes(&json),
            takes_documents: is_true("client_id_metadata_document_supported"),
            names_itself: is_true("authorization_response_iss_parameter_supported"),
            refreshes: grants.is_none_or(|all| all.contains(&"refresh_token")),
        })
    }
}

/// A JSON object that all readers understand alike.
pub(super) fn object(bytes: &[u8]) -> Option<Json> {
    Json::parse(bytes).ok().filter(|json| json.as_object().is_some())
}

fn list<'a>(json: &'a Json, member: &str) -> Option<Vec<&'a str>> {
    let all = json.get(member)?.as_array()?;
    Some(all.iter().take(LIST_MAX).filter_map(Json::as_str).collect())
}

fn scopes(json: &Json) -> Option<Scopes> {
    let all = json.get("scopes_supported")?.as_array()?;
    let words: Option<Vec<String>> =
        all.iter().map(|one| one.as_str().map(str::to_owned)).collect();
    Scopes::of(words?).filter(|scopes| !scopes.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn issuer() -> Value {
        json!({
            "issuer": "https://login.example", "authorization_endpoint": "https://login.example/a",
            "token_endpoint": "https://tokens.example/t", "code_challenge_methods_supported": ["plain", "S256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "none", "client_secret_post"],
        })
    }

    fn read(json: &Value) -> Result<Issuer, LoginFault> {
        Issuer::parse(json.to_string().as_bytes(), &of("https://login.example"))
    }

    #[test]
    fn a_resource_is_the_server_that_was_asked() {
        let server = of("https://far.example/mcp");
        let read = |json: Value| Resource::parse(json.to_string().as_bytes(), &server);
        let good = json!({ "resource": "https://far.example/mcp", "authorization_servers": ["https://login.example"],
            "scopes_supported": ["a", "b"] });
        let found = read(good.clone()).unwrap();
        assert_eq!((found.name.as_str(), found.issuers.len()), ("https://far.example/mcp", 1));
        assert_eq!(found.scopes.unwrap().joined(), "a b");
        for (member, value) in [
            ("resource", json!("https://evil.example/mcp")),
            ("resource", json!("https://far.example/other")),
            ("resource", json!("https://far.example.evil/mcp")),
            ("resource", json!("https://far.example@evil.example/mcp")),
            ("resource", json!(1)),
            ("authorization_servers", json!([])),
            ("authorization_servers", json!(["http://login.example"])),
            ("authorization_servers", json!(["javascript:x"])),
            ("authorization_servers", json!([1])),
        ] {
            let mut changed = good.clone();
            changed[member] = value.clone();
            assert!(matches!(read(changed), Err(LoginFault::Untrusted(_))), "{member} {value}");
        }
        let twice = br#"{"resource":"https://far.example/mcp","resource":"https://evil.example/","authorization_servers":["https://a"]}"#;
        assert!(Resource::parse(twice, &server).is_err());
    }

    #[test]
    fn an_issuer_is_who_was_asked_and_protects_codes() {
        let found = read(&issuer()).unwrap();
        assert_eq!(found.methods, [Method::None, Method::Post]);
        assert!(found.refreshes && !found.names_itself && !found.takes_documents);
        let mut bare = issuer();
        bare.as_object_mut().unwrap().remove("token_endpoint_auth_methods_supported");
        assert_eq!(read(&bare).unwrap().methods, [Method::Basic]);
        for (member, value) in [
            ("issuer", json!("https://evil.example")),
            ("issuer", json!("https://login.example/x")),
            ("issuer", Value::Null),
            ("code_challenge_methods_supported", Value::Null),
            ("code_challenge_methods_supported", json!(["plain"])),
            ("code_challenge_methods_supported", json!("S256")),
            ("response_types_supported", json!(["token"])),
            ("authorization_endpoint", json!("http://login.example/a")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("token_endpoint", json!("http://login.example/t")),
            ("token_endpoint", Value::Null),
            ("registration_endpoint", json!("ftp://login.example/r")),
        ] {
            let mut changed = issuer();
            changed[member] = value.clone();
            if value.is_null() {
                changed.as_object_mut().unwrap().remove(member);
            }
            assert!(matches!(read(&changed), Err(LoginFault::Untrusted(_))), "{member} {value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9]{0,80}") {
            let server = of("https://far.example/mcp");
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = Resource::parse(bytes, &server);
                let _ = Issuer::parse(bytes, &server);
            }
        }

        #[test]
        fn whatever_else_it_says_only_its_own_name_counts(
            name in "https://[a-z]{1,8}(\\.example)?/?", extra in "[a-z_]{1,12}", value in any::<i64>(),
        ) {
            let mut changed = issuer();
            changed[&extra] = json!(value);
            changed["issuer"] = json!(name);
            let is_own = matches!(name.as_str(), "https://login.example" | "https://login.example/");
            prop_assert!(is_own || read(&changed).is_err());
        }
    }
}
