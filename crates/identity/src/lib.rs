//! Who is acting, and with which keys this home speaks.
//!
//! The adversary claims to be somebody: a process that names a session that is not its own, a reader of
//! the public log who wants to know whose machine it came from, a thief of the key folder. Identities
//! are what the operating system says of the peer process, never what the peer says; in receipts they
//! are pseudonyms keyed by a secret of the home. There is one key per purpose; their files are readable
//! by their owner only, and a start refuses them otherwise.

mod approvers;
pub mod capability;
mod envelope;
mod httpsig;
mod keys;
mod peer;
mod principal;
pub mod revocation;
mod tls;

pub use approvers::{ApproverFault, Approvers, SignedSuccession, Succession};
pub use envelope::{
    BODY_MAX, DeskError, Envelope, Inbox, LATE_MAX, Outbox, Reader, Refused, SignedEnvelope,
    TEXT_MAX, WINDOW, Window,
};
pub use httpsig::{HttpParts, HttpSignature, HttpSignatureFault, check_content_digest};
pub use keys::{
    FreshKey, HomeKeys, IdentityError, KeyFolder, PublicKeys, SystemRandom, key_at, key_pem_at,
    make_key,
};
pub use peer::{Peer, Process, Pseudonyms};
pub use principal::{
    Book, BookError, Change, ChangeFault, Group, GroupFault, Kind, Name, Order, OrderFault,
    PRINCIPALS_MAX, Principal, Principals, Service, ServiceFault, SignedOrder, Silence, Speaker,
    Standing, Status,
};
pub use tls::{
    CertificateFault, Leaf, ServerAuthority, ServerName, certificate_key, principal_certificate,
};
