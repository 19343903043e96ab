//! TLS in front of the listener: which certificate it shows, and which it takes from clients (row D5).
//!
//! The adversary connects without a certificate, with one of a key that is not enrolled or not its own, with an old
//! version of the protocol, or sends nothing at all. TLS 1.3 alone is spoken, a client's certificate counts by its key,
//! and a connection that was resumed proves nothing anew, so none is.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    ServerConfig, SignatureScheme,
};
use tipstaff_core::Millis;
use tipstaff_core::key::Signature;
use tipstaff_identity::{CertificateFault, ServerAuthority, ServerName, certificate_key};
use tipstaff_monitor::Monitor;
use tokio_rustls::TlsAcceptor;

use super::connection::now;
use crate::error::GatewayError;

/// After how long a listener gets a new certificate: well before the old one ends.
const RENEW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a listener speaks TLS.
#[derive(Debug)]
pub struct TlsOptions {
    /// The home's authority, which signs for the listener.
    pub authority: ServerAuthority,
    /// The names by which clients reach it; at least one.
    pub names: Vec<ServerName>,
    /// Whether clients have to show a certificate.
    pub clients: ClientCertificates,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Without one nothing is said to them.
    #[default]
    Required,
    /// They may prove otherwise who they are: with an access token, or by signing each request.
    Optional,
}

/// A listener's TLS.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    own: Arc<Own>,
    /// Its names as they stand in addresses.
    pub(super) names: Vec<String>,
}

impl Tls {
    pub(super) fn new(options: TlsOptions, monitor: Arc<Monitor>) -> Result<Self, GatewayError> {
        let failed = |error: Error| GatewayError::Tls(error.to_string());
        let provider = Arc::new(default_provider());
        let names = options.names.iter().map(ServerName::in_address).collect();
        let own = Arc::new(Own::new(options.authority, options.names)?);
        let clients = Clients { monitor, asks: options.clients };
        let mut config =
            ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
                .with_protocol_versions(&[&TLS13])
                .map_err(failed)?
                .with_client_cert_verifier(Arc::new(clients))
                .with_cert_resolver(Arc::clone(&own) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // What was resumed would prove what was proved then.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), own, names })
    }

    pub(super) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Makes a new certificate where the old one is near its end. Should that fail, the old one stays.
    pub(super) fn renew(&self) {
        self.own.renew(RENEW);
    }
}

/// What the listener shows.
struct Own {
    authority: ServerAuthority,
    names: Vec<ServerName>,
    shown: RwLock<(Arc<CertifiedKey>, Instant)>,
}

impl Own {
    fn new(authority: ServerAuthority, names: Vec<ServerName>) -> Result<Self, GatewayError> {
        let shown = RwLock::new((made(&authority, &names)?, Instant::now()));
        Ok(Self { authority, names, shown })
    }

    /// Makes a new certificate if the one that is shown is as old as that.
    fn renew(&self, age: Duration) {
        let since = self.shown.read().unwrap_or_else(PoisonError::into_inner).1;
        if since.elapsed() < age {
            return;
        }
        match made(&self.authority, &self.names) {
            Ok(made) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) =
                    (made, Instant::now());
            }
            Err(error) => crate::say(&format!("the listener has no new certificate: {error}")),
        }
    }
}

fn made(
    authority: &ServerAuthority,
    names: &[ServerName],
) -> Result<Arc<CertifiedKey>, GatewayError> {
    let leaf =
        authority.leaf(names, now()).map_err(|error| GatewayError::Tls(error.to_string()))?;
    let key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(leaf.key));
    let key = key.map_err(|error| GatewayError::Tls(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![leaf.certificate], key)))
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (shown, _) = &*self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(shown))
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Which certificates are taken: those of keys that are somebody's here. Whether that somebody may act is asked with
/// each request, where it can be said in words.
struct Clients {
    monitor: Arc<Monitor>,
    asks: ClientCertificates,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("asks", &self.asks).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.asks == ClientCertificates::Required
    }

    /// None: a client needn't look for an issuer that is asked for.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = Millis(now.as_secs().saturating_mul(1000));
        let key = certificate_key(end_entity, now).map_err(|fault| {
            Error::InvalidCertificate(match fault {
                CertificateFault::Expired => CertificateError::Expired,
                CertificateFault::Early => CertificateError::NotValidYet,
                CertificateFault::Signature => CertificateError::BadSignature,
                _ => CertificateError::BadEncoding,
            })
        })?;
        if !self.monitor.is_enrolled(&key.key_id()) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    /// It is not spoken here.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let forged = || Error::from(CertificateError::BadSignature);
        if dss.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let signature: &[u8; 64] = dss.signature().try_into().map_err(|_| forged())?;
        let key = certificate_key(cert, now()).map_err(|_| forged())?;
        key.verify(message, &Signature::from_bytes(*signature)).map_err(|_| forged())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::DirBuilderExt as _;

    use super::*;

    #[test]
    fn a_listener_that_runs_long_gets_a_new_certificate() {
        let home = tempfile::tempdir().unwrap();
        fs::DirBuilder::new().mode(0o700).create(home.path().join("keys")).unwrap();
        let authority = ServerAuthority::open_or_create(home.path(), "tipstaff.local/1", now());
        let names = vec![ServerName::parse("gateway.example").unwrap()];
        let own = Own::new(authority.unwrap(), names).unwrap();
        let shown = || own.shown.read().unwrap().0.cert.clone();
        let first = shown();
        own.renew(RENEW);
        assert_eq!(shown(), first);
        own.renew(Duration::ZERO);
        assert_ne!(shown(), first);
    }
}
