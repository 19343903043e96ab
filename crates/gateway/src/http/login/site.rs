//! The server that is logged in to, as the operator configured it.
//!
//! The adversary is that server, and whoever it names: how far anything goes that they name is settled by what the
//! operator wrote, not by what a name stands for.

use std::path::{Path, PathBuf};

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, header};
use tipstaff_monitor::{LoginConfig, ServerConfig};

use super::super::remote::Reach;
use super::super::secrets::resolve;
use super::LoginFault;
use super::address::Address;

/// A configured server.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) home: PathBuf,
    pub(super) name: String,
    pub(super) url: Address,
    pub(super) oauth: LoginConfig,
    pub(super) server: ServerConfig,
}

impl Site {
    /// A server that can be logged in to.
    pub(super) fn new(home: &Path, name: &str, server: &ServerConfig) -> Result<Self, LoginFault> {
        let no = |what: String| LoginFault::Configuration(what);
        let url = server.url.as_deref().ok_or_else(|| {
            no(format!("`{name}` is started by a command; only a server with a `url` has a login"))
        })?;
        if server.has_authorization() {
            return Err(no(format!(
                "the configuration says what `{name}` gets as `Authorization`; take that header out first"
            )));
        }
        let url = Address::parse(url)
            .ok_or_else(|| no(format!("the `url` of `{name}` can't be used for a login")))?;
        let oauth = server.oauth.clone().unwrap_or_default();
        let (home, name, server) = (home.to_owned(), name.to_owned(), server.clone());
        Ok(Self { home, name, url, oauth, server })
    }

    /// How far what somebody names may lie.
    pub(super) fn reach(&self, named: &Address) -> Reach {
        let issuer = self.oauth.issuer.as_deref().and_then(Address::parse);
        if named.is_beside(&self.url) || issuer.is_some_and(|issuer| named.is_beside(&issuer)) {
            return Reach::Anywhere;
        }
        Reach::of_host(self.url.host())
    }

    /// The headers that the operator set for it.
    pub(super) fn headers(&self) -> Result<HeaderMap, LoginFault> {
        let mut headers = HeaderMap::new();
        for (name, setting) in &self.server.headers {
            let fault = || {
                LoginFault::Configuration(format!(
                    "the header `{name}` can't be sent as it is configured"
                ))
            };
            let value = resolve(&self.home, name, setting).map_err(LoginFault::Configuration)?;
            let key = HeaderName::try_from(name.as_str()).map_err(|_| fault())?;
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| fault())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        headers.remove(header::AUTHORIZATION);
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn site(url: &str, issuer: Option<&str>) -> Site {
        let mut server = ServerConfig::at_url(url.to_owned(), BTreeMap::new()).unwrap();
        let issuer = issuer.map(str::to_owned);
        server.oauth = Some(LoginConfig { issuer, ..LoginConfig::default() });
        Site::new(Path::new("/"), "far", &server).unwrap()
    }

    #[test]
    fn only_what_the_operator_named_lies_anywhere() {
        let of = |site: &Site, named: &str| site.reach(&Address::parse(named).unwrap());
        let far = site("https://far.example/mcp", Some("https://login.corp:8443/x"));
        assert_eq!(of(&far, "https://far.example/.well-known/x"), Reach::Anywhere);
        assert_eq!(of(&far, "https://login.corp:8443/token"), Reach::Anywhere);
        for other in ["https://login.corp/token", "https://far.example:444/", "http://127.0.0.1:1/"]
        {
            assert_eq!(of(&far, other), Reach::Public, "{other}");
        }
        let here = site("http://127.0.0.1:1/mcp", None);
        assert_eq!(of(&here, "http://127.0.0.1:2/"), Reach::Here);
        let inner = site("https://10.0.0.1/mcp", None);
        assert_eq!(of(&inner, "https://login.corp/"), Reach::Private);
    }
}
