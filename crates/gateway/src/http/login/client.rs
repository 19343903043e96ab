//! Which client we are to an issuer: as configured, by the address of a description, or registered on the spot
//! (RFC 7591).
//!
//! The adversary is an issuer that wants another one's client: an id and a secret are for the issuer that gave them.
//! Each login registers anew, so nothing of an earlier issuer is at hand for a later one.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method as Verb};
use tipstaff_core::Json;
use tipstaff_monitor::LoginConfig;
use zeroize::Zeroizing;

use super::super::remote::{Ask, ask};
use super::super::secrets::{Secret, resolve};
use super::discover::ANSWER_MAX;
use super::metadata::{Issuer, object};
use super::scopes::Scopes;
use super::site::Site;
use super::{LoginFault, form};

/// Longest client id or secret, in bytes.
const WORD_MAX: usize = 4096;

/// How a client proves to be one at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Basic,
    Post,
}

/// Where a client's secret is.
#[derive(Debug)]
pub(super) enum Proof {
    /// There is none.
    None,
    /// The issuer gave it.
    Given(Secret),
    /// The configuration says where.
    Configured,
}

/// A client of one issuer.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) proof: Proof,
    pub(super) method: Method,
}

impl Method {
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Basic, Self::Post].into_iter().find(|method| method.as_str() == text)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

impl Client {
    /// The client for a login, registered if there is none.
    pub(super) async fn choose(
        site: &Site,
        issuer: &Issuer,
        redirect: &str,
        scopes: &Scopes,
    ) -> Result<Self, LoginFault> {
        let LoginConfig { client_id, client_secret, client_metadata, .. } = &site.oauth;
        if let Some(id) = client_id {
            let id = id.clone();
            if client_secret.is_none() {
                return Ok(Self { id, proof: Proof::None, method: Method::None });
            }
            // The first that the issuer names: some take at their other endpoints only that.
            let method = issuer.methods.iter().copied().find(|method| *method != Method::None);
            let method = method.ok_or_else(|| {
                let what = "the issuer takes a client's secret in no way that is known here";
                LoginFault::Configuration(what.to_owned())
            })?;
            return Ok(Self { id, proof: Proof::Configured, method });
        }
        if let (Some(document), true) = (client_metadata, issuer.takes_documents) {
            return Ok(Self { id: document.clone(), proof: Proof::None, method: Method::None });
        }
        register(site, issuer, redirect, scopes).await
    }

    /// The secret, if there is one. May ask the keyring.
    pub(super) fn secret(
        &self,
        home: &Path,
        oauth: &LoginConfig,
    ) -> Result<Option<Secret>, String> {
        match (&self.proof, &oauth.client_secret) {
            (Proof::None, _) => Ok(None),
            (Proof::Given(secret), _) => Ok(Some(secret.again())),
            (Proof::Configured, Some(setting)) => resolve(home, "client_secret", setting).map(Some),
            (Proof::Configured, None) => {
                Err("its client's secret is not configured any more".to_owned())
            }
        }
    }

    /// The head and the body of what is posted to an issuer in this client's name.
    pub(super) fn posting(
        &self,
        secret: Option<&Secret>,
        said: &[(&str, &str)],
    ) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        // The id goes in the form in any case: the official Python SDK looks for it there even beside a header.
        let mut pairs = said.to_vec();
        pairs.push(("client_id", &self.id));
        match (self.method, secret) {
            (Method::Basic, Some(secret)) => {
                let both = Zeroizing::new(format!(
                    "{}:{}",
                    form::escaped(&self.id).as_str(),
                    form::escaped(secret.reveal()).as_str()
                ));
                let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes())));
                if let Ok(mut value) = HeaderValue::from_str(&text) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
            (Method::Post, Some(secret)) => pairs.push(("client_secret", secret.reveal())),
            _ => {}
        }
        (headers, Bytes::copy_from_slice(form::write(&pairs).as_bytes()))
    }
}

async fn register(
    site: &Site,
    issuer: &Issuer,
    redirect: &str,
    scopes: &Scopes,
) -> Result<Client, LoginFault> {
    let Some(place) = &issuer.registration else {
        let what = format!(
            "{} doesn't register clients by itself; register one there, for the redirect address \
             http://127.0.0.1/callback, and write `oauth = {{ client_id = \"…\" }}` into the server's table",
            issuer.name
        );
        return Err(LoginFault::Configuration(what));
    };
    let open = issuer.methods.iter().find(|method| **method == Method::None);
    let asked = open.or(issuer.methods.first()).copied();
    let asked = asked.ok_or_else(|| {
        let what = "the issuer wants its clients to prove themselves in no way that is known here";
        LoginFault::Configuration(what.to_owned())
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    let body = Bytes::from(request(asked, issuer, redirect, scopes).to_canonical());
    let (url, reach, method) = (place.as_str(), site.reach(place), Verb::POST);
    let said = ask(Ask { url, reach, method, headers, body, limit: Some(ANSWER_MAX) }).await;
    let said = said.map_err(|why| LoginFault::unreachable(url, &why))?;
    if !said.status.is_success() {
        let what = format!(
            "{} registered no client (HTTP {}); register one there and write its id into the server's table",
            issuer.name,
            said.status.as_u16()
        );
        return Err(LoginFault::Configuration(what));
    }
    registered(&said.body, asked).ok_or_else(|| {
        LoginFault::Untrusted(
            "what the issuer says of the registered client can't be read".to_owned(),
        )
    })
}

fn request(method: Method, issuer: &Issuer, redirect: &str, scopes: &Scopes) -> Json {
    let list = |words: &[&str]| Json::Array(words.iter().map(|word| Json::string(word)).collect());
    let grants: &[&str] = if issuer.refreshes {
        &["authorization_code", "refresh_token"]
    } else {
        &["authorization_code"]
    };
    let mut members = vec![
        ("application_type".to_owned(), Json::string("native")),
        ("client_name".to_owned(), Json::string("Tipstaff")),
        ("grant_types".to_owned(), list(grants)),
        ("redirect_uris".to_owned(), list(&[redirect])),
        ("response_types".to_owned(), list(&["code"])),
        ("token_endpoint_auth_method".to_owned(), Json::string(method.as_str())),
    ];
    if !scopes.is_empty() {
        members.push(("scope".to_owned(), Json::string(&scopes.joined())));
    }
    Json::object(members).unwrap_or(Json::Null)
}

/// The client that an issuer says it has registered.
fn registered(bytes: &[u8], asked: Method) -> Option<Client> {
    let json = object(bytes)?;
    let word = |member: &str| match json.get(member) {
        None | Some(Json::Null) => Some(None),
        Some(found) => {
            let text = found.as_str()?;
            let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            (!text.is_empty() && text.len() <= WORD_MAX && is_plain).then_some(Some(text))
        }
    };
    let (id, secret) = (word("client_id")??, word("client_secret")?);
    let method = match json.get("token_endpoint_auth_method") {
        None | Some(Json::Null) => asked,
        Some(found) => Method::parse(found.as_str()?)?,
    };
    let proof = match (method, secret) {
        (Method::None, _) => Proof::None,
        (_, Some(secret)) => Proof::Given(Secret::new(secret)),
        (_, None) => return None,
    };
    Some(Client { id: id.to_owned(), proof, method })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_is_what_its_issuer_registered() {
        let of = |text: &str, asked| registered(text.as_bytes(), asked);
        let open = of(r#"{"client_id":"a","client_secret":"s3cret"}"#, Method::None).unwrap();
        assert!(matches!((open.method, &open.proof), (Method::None, Proof::None)));
        let text = r#"{"client_id":"a","client_secret":"s3cret","token_endpoint_auth_method":"client_secret_post"}"#;
        let post = of(text, Method::None).unwrap();
        assert_eq!(post.method, Method::Post);
        assert!(!format!("{post:?}").contains("s3cret"));
        for wrong in [
            "{}",
            "[]",
            r#"{"client_id":1}"#,
            r#"{"client_id":""}"#,
            r#"{"client_id":"a\n"}"#,
            r#"{"client_id":"a","token_endpoint_auth_method":"private_key_jwt"}"#,
            r#"{"client_id":"a","token_endpoint_auth_method":"client_secret_basic"}"#,
            r#"{"client_id":"a","client_id":"b"}"#,
        ] {
            assert!(of(wrong, Method::None).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_goes_the_way_that_was_agreed_on() {
        let client = |method| Client { id: "a b".into(), proof: Proof::None, method };
        let secret = Secret::new("s:/?");
        let text = |method| {
            let (headers, body) = client(method).posting(Some(&secret), &[("grant_type", "x")]);
            let basic = headers.get(AUTHORIZATION).map(|value| {
                assert!(value.is_sensitive());
                value.to_str().unwrap().to_owned()
            });
            (basic, String::from_utf8(body.to_vec()).unwrap())
        };
        let basic = format!("Basic {}", STANDARD.encode("a%20b:s%3A%2F%3F"));
        assert_eq!(text(Method::Basic), (Some(basic), "grant_type=x&client_id=a%20b".to_owned()));
        let (none, body) = text(Method::Post);
        assert_eq!(
            (none, body.as_str()),
            (None, "grant_type=x&client_id=a%20b&client_secret=s%3A%2F%3F")
        );
        let (none, body) = text(Method::None);
        assert_eq!((none, body.as_str()), (None, "grant_type=x&client_id=a%20b"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\{?[\"a-z_:,{}0-9]{0,60}\\}?") {
            let _ = registered(text.as_bytes(), Method::None);
        }
    }
}
