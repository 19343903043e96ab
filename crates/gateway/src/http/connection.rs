//! One connection, and what its client proves with each request.
//!
//! The adversary has a certificate whose principal was suspended after the connection was opened, or sends a token
//! that is none beside a certificate that is one. What a connection proved is asked of the log again with each request,
//! and nothing that is wrong is made good by something else.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, HeaderMap};
use rustls::pki_types::CertificateDer;
use tipstaff_core::Millis;
use tipstaff_identity::certificate_key;
use tipstaff_monitor::Monitor;

use super::guard::{Credential, Stopped, Thumbprint, one};
use super::oauth::Oauth;
use super::pages::Ends;
use super::peer;
use super::token::Token;

/// One connection and what is known of its other end.
#[derive(Debug)]
pub(super) struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    kind: Kind,
}

/// What stands for the client before it has asked for anything.
#[derive(Debug)]
enum Kind {
    /// What the kernel says of its end, looked up once.
    Plain(tokio::sync::OnceCell<Option<u32>>),
    /// The certificate of a key that it proved to have, if it showed one. The kernel's word counts for nothing here:
    /// what forwards to this listener from this machine would lend its user to everyone.
    Tls(Option<CertificateDer<'static>>),
}

/// What the time is, for what ends.
pub(super) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

impl Connection {
    /// A connection on this machine.
    pub(super) fn plain(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote, kind: Kind::Plain(tokio::sync::OnceCell::new()) }
    }

    /// A connection with TLS.
    pub(super) const fn tls(
        (local, remote): (SocketAddr, SocketAddr),
        certificate: Option<CertificateDer<'static>>,
    ) -> Self {
        Self { local, remote, kind: Kind::Tls(certificate) }
    }

    /// Both ends, for a page that has to know which process asks.
    pub(super) const fn ends(&self) -> Option<Ends> {
        match self.kind {
            Kind::Plain(_) => Some(Ends { local: self.local, remote: self.remote }),
            Kind::Tls(_) => None,
        }
    }

    /// What the client proves with this request. A wrong token is not made good by the right user or certificate, nor
    /// a certificate whose principal may not act by a token.
    pub(super) async fn credential(
        &self,
        headers: &HeaderMap,
        (token, monitor, oauth): (&Token, &Monitor, &Oauth),
    ) -> Result<Option<Credential>, Stopped> {
        let certified = match &self.kind {
            Kind::Tls(Some(certificate)) => Some(certified(certificate, monitor)?),
            _ => None,
        };
        match one(headers, &AUTHORIZATION) {
            Err(()) => return Err(Stopped::Credential),
            Ok(Some(given)) => {
                let (scheme, given) = given.split_once(' ').unwrap_or_default();
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(Stopped::Credential);
                }
                return match (&self.kind, token.matches(given.trim())) {
                    (Kind::Plain(_), true) => Ok(Some(Credential::Token)),
                    (Kind::Tls(_), true) => Ok(Some(Credential::Operator)),
                    (_, false) if oauth.is_on() => oauth.prove(given.trim()).await.map(Some),
                    (_, false) => Err(Stopped::Credential),
                };
            }
            Ok(None) => {}
        }
        let Kind::Plain(user) = &self.kind else { return Ok(certified) };
        let (local, remote) = (self.local, self.remote);
        let look = || async move {
            let looked = tokio::task::spawn_blocking(move || peer::user(local, remote));
            looked.await.ok().flatten()
        };
        let ours = rustix::process::getuid().as_raw();
        let user = user.get_or_init(look).await.filter(|user| *user == ours);
        Ok(user.map(Credential::User))
    }
}

/// Whose certificate it is, if they may act now.
fn certified(
    certificate: &CertificateDer<'static>,
    monitor: &Monitor,
) -> Result<Credential, Stopped> {
    let nobody = |why: String| Stopped::Proof(format!("The certificate proves nothing: {why}."));
    // It may have expired since the connection was opened.
    let key = certificate_key(certificate, now()).map_err(|fault| nobody(fault.to_string()))?;
    let key = Thumbprint::of(&key).ok_or_else(|| nobody("its key has no name".to_owned()))?;
    let credential = Credential::Certificate(key);
    monitor.may_speak(&credential.proved()).map_err(nobody)?;
    Ok(credential)
}
