//! The access token with which one server is asked, for as long as its login lasts.
//!
//! The adversary is the server that is asked, which may say no for ever, and a second process that renews the same
//! login: a token is renewed under a lock and kept before it is used, once for a refusal, and a login that the person
//! has ended is gone with the next request. The token goes to the address that the login was made for.

use std::path::Path;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tipstaff_monitor::ServerConfig;
use zeroize::Zeroizing;

use super::super::connection::now;
use super::LoginFault;
use super::kept::{self, Kept, Seen};
use super::site::Site;
use super::tokens::{Desk, TokenFault};

/// Least time between two attempts after one that reached nobody.
const AGAIN: Duration = Duration::from_secs(10);

/// What a server is asked with.
pub(in crate::http) struct Bearer {
    site: Site,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Option<Seen>,
    kept: Option<Kept>,
    /// The state of the file whose token the server refused although it was new.
    refused: Option<Seen>,
    unreached: Option<Instant>,
}

impl Bearer {
    /// For a server that may have a login; `None` for one that has none.
    pub(in crate::http) fn new(home: &Path, name: &str, server: &ServerConfig) -> Option<Self> {
        let site = Site::new(home, name, server).ok()?;
        Some(Self { site, state: tokio::sync::Mutex::default() })
    }

    /// The server's name, by which a person logs in.
    pub(in crate::http) fn server(&self) -> &str {
        &self.site.name
    }

    /// What to send as `Authorization`: nothing where there is no login.
    ///
    /// # Errors
    /// Why the login is worth nothing, and the next step.
    pub(in crate::http) async fn token(&self) -> Result<Option<HeaderValue>, String> {
        let mut state = self.state.lock().await;
        self.look(&mut state)?;
        let now = seconds();
        let Some(kept) = &state.kept else { return Ok(None) };
        if kept.is_over(now) {
            return Err(self.ended("has ended"));
        }
        if state.refused.is_some() && state.refused == state.seen {
            return Err(self.ended("is refused by the server"));
        }
        if kept.is_due(now) && kept.refresh.is_some() {
            let ended = kept.has_ended(now);
            match self.renew(&mut state).await {
                Err(TokenFault::Refused(why)) => {
                    return Err(self.ended(&format!("was not renewed: {why}")));
                }
                Err(fault) if ended => return Err(self.not_now(&fault)),
                Ok(()) | Err(_) => {}
            }
        }
        state.kept.as_ref().map(header).transpose()
    }

    /// Another token in place of one that the server refused.
    ///
    /// # Errors
    /// Why there is none, and the next step.
    pub(in crate::http) async fn instead_of(
        &self,
        used: &HeaderValue,
    ) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().await;
        self.look(&mut state)?;
        let of_now = state.kept.as_ref().map(header).transpose()?;
        match of_now {
            // It was renewed, or made anew, meanwhile.
            Some(other) if other != *used => return Ok(other),
            Some(_) => {}
            None => return Err(self.ended("is gone")),
        }
        if state.kept.as_ref().is_some_and(|kept| kept.refresh.is_none()) {
            state.refused = state.seen;
            return Err(self
                .ended("is refused by the server, and the issuer gave nothing to renew it with"));
        }
        match self.renew(&mut state).await {
            Ok(()) => {}
            Err(TokenFault::Refused(why)) => {
                return Err(self.ended(&format!("was not renewed: {why}")));
            }
            Err(fault) => return Err(self.not_now(&fault)),
        }
        match &state.kept {
            Some(kept) => header(kept),
            None => Err(self.ended("is gone")),
        }
    }

    /// The server refused a token that was made for it a moment ago: it isn't asked again with it.
    pub(in crate::http) async fn refused(&self, used: &HeaderValue) -> String {
        let mut state = self.state.lock().await;
        if state.kept.as_ref().and_then(|kept| header(kept).ok()).as_ref() == Some(used) {
            state.refused = state.seen;
        }
        self.ended("is refused by the server, even with a new token")
    }

    /// Reads the login if its file has changed.
    fn look(&self, state: &mut State) -> Result<(), String> {
        let Site { home, name, .. } = &self.site;
        let failed = |fault: LoginFault| fault.to_string();
        let seen = kept::seen(home, name).map_err(failed)?;
        if seen == state.seen {
            return Ok(());
        }
        *state = State::default();
        if let Some((kept, seen)) = kept::read(home, name).map_err(failed)? {
            // What was made for another address is nothing for this one.
            let is_own = kept.url == self.site.url.as_str();
            (state.kept, state.seen) = (is_own.then_some(kept), Some(seen));
        }
        Ok(())
    }

    /// Renews the token of `state`, unless somebody else has.
    async fn renew(&self, state: &mut State) -> Result<(), TokenFault> {
        let Site { home, name, oauth, .. } = &self.site;
        if state.unreached.is_some_and(|at| at.elapsed() < AGAIN) {
            return Err(TokenFault::Unreachable("it could not be renewed a moment ago".to_owned()));
        }
        let odd = |fault: LoginFault| TokenFault::Unreachable(fault.to_string());
        let (at, of) = (home.clone(), name.clone());
        let held = tokio::task::spawn_blocking(move || kept::lock(&at, &of)).await;
        let _held =
            held.map_err(|error| TokenFault::Unreachable(error.to_string()))?.map_err(odd)?;
        let before = state.seen;
        self.look(state).map_err(TokenFault::Unreachable)?;
        let Some(kept) = &mut state.kept else {
            return Err(TokenFault::Refused("it was ended here"));
        };
        if state.seen != before {
            return if kept.access.is_some() {
                Ok(())
            } else {
                Err(TokenFault::Refused("it has ended"))
            };
        }
        let Some(refresh) = kept.refresh.as_ref().map(super::Secret::again) else {
            return Err(TokenFault::Refused("there is nothing to renew it with"));
        };
        // A secret of the configuration goes to the issuer that stands beside it.
        let is_other =
            oauth.client_secret.is_some() && oauth.issuer.as_deref() != Some(&kept.issuer);
        if is_other && matches!(kept.client.proof, super::client::Proof::Configured) {
            return Err(TokenFault::Refused("it is of another issuer than the configured one"));
        }
        let secret = kept.client.secret(home, oauth).map_err(TokenFault::Unreachable)?;
        let place = kept.token.clone();
        let (reach, client) = (self.site.reach(&place), &kept.client);
        let desk = Desk { place: &place, reach, client, secret: secret.as_ref() };
        let said = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.reveal()),
            ("resource", kept.resource.as_str()),
        ];
        let answered = desk.tokens(&said).await;
        match answered {
            Ok(tokens) => kept.take(tokens, seconds()),
            Err(TokenFault::Refused(why)) => {
                crate::say(&format!(
                    "the login to {name} was not renewed: the issuer refused it ({why})"
                ));
                kept.end();
                let _ = kept::write(home, kept);
                state.seen = kept::seen(home, name).ok().flatten();
                return Err(TokenFault::Refused(why));
            }
            Err(fault) => {
                state.unreached = Some(Instant::now());
                return Err(fault);
            }
        }
        // Before it is used: the issuer may take the old one no more.
        kept::write(home, kept).map_err(odd)?;
        state.seen = kept::seen(home, name).map_err(odd)?;
        state.refused = None;
        Ok(())
    }

    fn ended(&self, how: &str) -> String {
        let name = &self.site.name;
        format!("the login to `{name}` {how}; next: `tipstaff login {name}`")
    }

    fn not_now(&self, fault: &TokenFault) -> String {
        format!(
            "the login to `{}` can't be renewed now: {fault}; try again in a while",
            self.site.name
        )
    }
}

fn header(kept: &Kept) -> Result<HeaderValue, String> {
    let none = || "the login holds no token".to_owned();
    let access = kept.access.as_ref().ok_or_else(none)?;
    let text = Zeroizing::new(format!("Bearer {}", access.reveal()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| none())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Seconds since 1970.
pub(super) fn seconds() -> u64 {
    now().0 / 1000
}
