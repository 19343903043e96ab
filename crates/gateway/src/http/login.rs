//! A person's login to a far server, as the MCP authorization specification of 2025-11-25 has it: OAuth 2.1, where
//! this is the client.
//!
//! The adversary is the far server, whoever says to issue its tokens, and every page in the person's browser. What
//! each of them says counts only for itself; a code is worth nothing without what this process made up; a token goes
//! to the server that it was asked for and stands in no answer, log or receipt.

mod address;
mod bearer;
mod challenge;
mod client;
mod discover;
mod form;
mod kept;
mod metadata;
mod pkce;
mod redirect;
mod scopes;
mod site;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tipstaff_monitor::ServerConfig;
use tokio::runtime::{Builder, Runtime};

use super::secrets::Secret;
pub(super) use bearer::Bearer;
use bearer::seconds;
pub(super) use challenge::Challenge;
use client::{Client, Proof};
use kept::Kept;
use metadata::{Issuer, Resource};
use pkce::Words;
use redirect::Redirect;
use scopes::Scopes;
use site::Site;
use tokens::{Desk, TokenFault};

const OFFLINE: &str = "offline_access";

/// Why there is no login, by what can be done about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginFault {
    /// The server asks for none.
    #[error("the server asks for no login that OAuth knows")]
    NoLogin,
    /// The configuration has to say something else, or more.
    #[error("{0}")]
    Configuration(String),
    /// Somebody can't be reached; it may be otherwise in a while.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody says what must not be believed.
    #[error("{0}")]
    Untrusted(String),
    /// The person, or the issuer, said no.
    #[error("the issuer answered no ({0})")]
    Refused(&'static str),
    /// Nobody answered.
    #[error("no answer came within {} s", .0.as_secs())]
    Late(Duration),
    /// The home can't keep it, or what it keeps is none.
    #[error("{0}")]
    Kept(String),
}

impl LoginFault {
    fn unreachable(url: &str, why: &str) -> Self {
        Self::Unreachable(format!("{url}: {why}"))
    }
}

/// What a person wants to log in to, and how.
#[derive(Debug, Clone, Copy)]
pub struct LoginOptions<'a> {
    /// The home.
    pub home: &'a Path,
    /// The server's name in the configuration.
    pub name: &'a str,
    /// The server.
    pub server: &'a ServerConfig,
    /// What to ask for, instead of what the server names; with what an earlier login had.
    pub scopes: &'a [String],
    /// The port of 127.0.0.1 that the browser comes back to; 0 for a free one.
    pub port: u16,
    /// How long to wait for the browser.
    pub wait: Duration,
}

/// What a person has to open.
#[derive(Debug, Clone, Copy)]
pub struct ToOpen<'a> {
    /// Who will ask them.
    pub issuer: &'a str,
    /// The address, which holds no secret that is worth anything without this process.
    pub url: &'a str,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// The server's name.
    pub server: String,
    /// Its address.
    pub url: String,
    /// Who issued it.
    pub issuer: String,
    /// What it is for; empty if the issuer didn't say.
    pub scopes: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub since: u64,
    /// When the access token ends, if it does.
    pub ends: Option<u64>,
    /// Whether it is renewed by itself.
    pub renews: bool,
    /// Whether it is worth nothing any more.
    pub is_over: bool,
}

/// What became of a login that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedOut {
    /// There was none.
    None,
    /// The issuer has taken its tokens back.
    Revoked,
    /// It is forgotten here, and the issuer was not told, for this reason.
    Forgotten(String),
}

/// Logs in: `open` is called with what the person has to open, and this waits for the answer.
///
/// # Errors
/// [`LoginFault`]
pub fn login(
    options: &LoginOptions<'_>,
    open: impl FnOnce(ToOpen<'_>),
) -> Result<LoggedIn, LoginFault> {
    let site = Site::new(options.home, options.name, options.server)?;
    let wanted = Scopes::wanted(options.scopes)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let challenge = discover::challenge(&site).await?;
        let resource = discover::resource(&site, challenge.as_ref()).await?;
        let issuer = discover::issuer(&site, &resource).await?;
        let before = kept::read(&site.home, &site.name).ok().flatten().map(|(kept, _)| kept);
        let scopes =
            asked(&site, &wanted, challenge.as_ref(), &resource, &issuer, before.as_ref())?;
        let redirect = Redirect::open(options.port).await?;
        let uri = redirect.uri();
        let client = Client::choose(&site, &issuer, &uri, &scopes).await?;
        let words = Arc::new(Words::new()?);
        let url = to_open(&issuer, &client, &uri, &words, &resource, &scopes);
        open(ToOpen { issuer: &issuer.name, url: &url });
        let answer = redirect.answer(&words, options.wait).await?;
        check_issuer(&issuer, answer.issuer.as_deref())?;
        let code = answer.code.map_err(LoginFault::Refused)?;
        let secret = client.secret(&site.home, &site.oauth).map_err(LoginFault::Configuration)?;
        let reach = site.reach(&issuer.token);
        let desk = Desk { place: &issuer.token, reach, client: &client, secret: secret.as_ref() };
        let said = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", &uri),
            ("code_verifier", words.verifier.as_str()),
            ("resource", &resource.name),
        ];
        let tokens = desk.tokens(&said).await.map_err(|fault| match fault {
            TokenFault::Refused(why) => LoginFault::Refused(why),
            TokenFault::Unreachable(why) => LoginFault::Unreachable(why),
            odd @ TokenFault::Odd => LoginFault::Untrusted(odd.to_string()),
        })?;
        let now = seconds();
        let mut kept = Kept {
            server: site.name.clone(),
            url: site.url.as_str().to_owned(),
            issuer: issuer.name,
            resource: resource.name,
            token: issuer.token,
            revocation: issuer.revocation,
            client,
            access: None,
            refresh: None,
            since: now,
            ends: None,
            life: None,
            scopes,
        };
        kept.take(tokens, now);
        Ok::<Kept, LoginFault>(kept)
    });
    runtime.shutdown_background();
    let kept = done?;
    let _held = kept::lock(&site.home, &site.name)?;
    kept::write(&site.home, &kept)?;
    Ok(told(&kept))
}

/// Forgets a login, and has its issuer take the tokens back where that is offered.
///
/// # Errors
/// [`LoginFault`] if it could not be forgotten.
pub fn logout(
    home: &Path,
    name: &str,
    server: Option<&ServerConfig>,
) -> Result<LoggedOut, LoginFault> {
    if !ServerConfig::is_name(name) {
        // It would name a file elsewhere.
        return Ok(LoggedOut::None);
    }
    let _held = kept::lock(home, name)?;
    let found = kept::read(home, name);
    // Forgotten first: whoever is slow to take it back keeps nobody from that.
    kept::remove(home, name)?;
    let Some((kept, _)) = found? else { return Ok(LoggedOut::None) };
    let Some(place) = kept.revocation.clone() else {
        return Ok(LoggedOut::Forgotten("the issuer offers no way to take tokens back".to_owned()));
    };
    let site = server.and_then(|server| Site::new(home, name, server).ok());
    let Some(site) = site.filter(|site| site.url.as_str() == kept.url) else {
        return Ok(LoggedOut::Forgotten("the server is configured otherwise now".to_owned()));
    };
    let is_configured = matches!(kept.client.proof, Proof::Configured);
    if is_configured && site.oauth.issuer.as_deref() != Some(&kept.issuer) {
        return Ok(LoggedOut::Forgotten("another issuer is configured now".to_owned()));
    }
    let secret = match kept.client.secret(home, &site.oauth) {
        Ok(secret) => secret,
        Err(why) => return Ok(LoggedOut::Forgotten(why)),
    };
    let runtime = runtime()?;
    let (reach, client) = (site.reach(&place), &kept.client);
    let desk = Desk { place: &place, reach, client, secret: secret.as_ref() };
    // With the one that renews, the issuer ends what was made of it; not all do.
    let both = [(&kept.refresh, "refresh_token"), (&kept.access, "access_token")];
    let revoked = runtime.block_on(async {
        for (token, kind) in both {
            if let Some(token) = token {
                desk.revoke(token, kind).await?;
            }
        }
        Ok::<_, TokenFault>(())
    });
    runtime.shutdown_background();
    Ok(revoked
        .map_or_else(|fault| LoggedOut::Forgotten(fault.to_string()), |()| LoggedOut::Revoked))
}

/// Every login of a home.
///
/// # Errors
/// [`LoginFault::Kept`]
pub fn logins(home: &Path) -> Result<Vec<LoggedIn>, LoginFault> {
    let mut found = Vec::new();
    for name in kept::names(home)? {
        if let Some((kept, _)) = kept::read(home, &name)? {
            found.push(told(&kept));
        }
    }
    Ok(found)
}

/// What to ask for: a person's words, the configuration's, those that the server wants now, or all it knows.
fn asked(
    site: &Site,
    wanted: &Scopes,
    challenge: Option<&Challenge>,
    resource: &Resource,
    issuer: &Issuer,
    before: Option<&Kept>,
) -> Result<Scopes, LoginFault> {
    if !wanted.is_empty() {
        // More is asked for, and what there was is not lost by it.
        let earlier =
            before.filter(|kept| kept.url == site.url.as_str() && kept.issuer == issuer.name);
        let mut all = earlier.map(|kept| kept.scopes.clone()).unwrap_or_default();
        wanted.all().iter().for_each(|scope| all.add(scope.clone()));
        return Ok(all);
    }
    if !site.oauth.scopes.is_empty() {
        return Scopes::wanted(&site.oauth.scopes);
    }
    let named = challenge
        .and_then(|challenge| challenge.scopes.clone())
        .or_else(|| resource.scopes.clone());
    let mut all = named.unwrap_or_default();
    // By this name an issuer gives what renews a login, where it wants to be asked.
    let offers =
        issuer.refreshes && issuer.scopes.as_ref().is_some_and(|scopes| scopes.has(OFFLINE));
    if offers && !all.is_empty() {
        all.add(OFFLINE.to_owned());
    }
    Ok(all)
}

fn to_open(
    issuer: &Issuer,
    client: &Client,
    redirect: &str,
    words: &Words,
    resource: &Resource,
    scopes: &Scopes,
) -> String {
    let (challenge, joined) = (words.challenge(), scopes.joined());
    let mut said = vec![
        ("response_type", "code"),
        ("client_id", client.id.as_str()),
        ("redirect_uri", redirect),
        ("state", words.state.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("resource", resource.name.as_str()),
    ];
    if !scopes.is_empty() {
        said.push(("scope", joined.as_str()));
    }
    if scopes.has(OFFLINE) {
        said.push(("prompt", "consent"));
    }
    issuer.authorization.with_query(&form::write(&said))
}

/// The answer is of the issuer that was asked, byte for byte, where it says so or has to (RFC 9207).
fn check_issuer(issuer: &Issuer, said: Option<&str>) -> Result<(), LoginFault> {
    match said {
        Some(said) if said == issuer.name => Ok(()),
        None if !issuer.names_itself => Ok(()),
        Some(_) => Err(LoginFault::Untrusted(
            "the answer is of another issuer than the one that was asked".to_owned(),
        )),
        None => Err(LoginFault::Untrusted(
            "the answer doesn't say of which issuer it is, and this one always does".to_owned(),
        )),
    }
}

fn told(kept: &Kept) -> LoggedIn {
    LoggedIn {
        server: kept.server.clone(),
        url: kept.url.clone(),
        issuer: kept.issuer.clone(),
        scopes: kept.scopes.all().to_vec(),
        since: kept.since,
        ends: kept.ends,
        renews: kept.refresh.is_some(),
        is_over: kept.is_over(seconds()),
    }
}

fn runtime() -> Result<Runtime, LoginFault> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| LoginFault::Kept(error.to_string()))
}
