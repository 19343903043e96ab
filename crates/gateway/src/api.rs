//! The HTTP API as a function from a request to its answer, without a server.
//!
//! The adversary is whoever reaches the port: a page in the user's browser, a process of another user,
//! a client that sends what can't be parsed. What is public anyway is told to anyone; everything else
//! needs the home's token; every request that isn't one is a 4xx that says what would be, and bodies,
//! pages and tables have bounds.

mod actions;
mod chain;
mod conformance;
mod console;
mod desk;
mod latency;
mod library;
mod receipts;
mod reply;
mod route;
mod sample;
mod session;
mod signed;
mod tiles;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;
use tipstaff_core::Millis;
use tipstaff_core::key::VerifyingKey;
use tipstaff_identity::{PublicKeys, SystemRandom};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::tile::TileId;
use tipstaff_monitor::{Home, Monitor};
use tipstaff_store::{Clock as _, NativeDisk, Random as _, SystemClock};
use zeroize::Zeroizing;

pub use self::latency::Latency;

use self::desk::{Desk, MonitorDesk};
use self::library::{Library, Published};
use self::reply::{Answered, Fault, Head, Keep, Reply, bytes, finish, json, kept, with_header};
use self::route::{Access, Route, Verb};
use self::tiles::CHECKPOINT;
use self::watch::{Requests, Seen, Since};
use crate::error::GatewayError;
use crate::http::{CAPABILITY, Credential, Ends, Pages, Token};

/// Least time between publications that questions ask for.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// The description of everything here.
const OPENAPI: &str = include_str!("api/openapi.json");

/// The HTTP API of a home.
pub struct Api {
    monitor: Arc<Monitor>,
    home: PathBuf,
    token: Token,
    receipt_key: VerifyingKey,
    key_set: serde_json::Value,
    library: Arc<Library>,
    desk: Box<dyn Desk>,
    latency: Arc<Latency>,
    requests: Requests,
    since: Since,
    /// When a question last asked for a publication.
    asked: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Api {
    /// The API of the home that `monitor` has open. `token` guards what isn't public.
    ///
    /// # Errors
    /// [`GatewayError::System`] if the log's name or key can't be used.
    pub fn new(monitor: Arc<Monitor>, home: &Home, token: Token) -> Result<Self, GatewayError> {
        let desk = Box::new(MonitorDesk::new(Arc::clone(&monitor)));
        Self::with_desk(monitor, home, token, desk)
    }

    fn with_desk(
        monitor: Arc<Monitor>,
        home: &Home,
        token: Token,
        desk: Box<dyn Desk>,
    ) -> Result<Self, GatewayError> {
        let identity = monitor.ledger().identity();
        let keys = PublicKeys {
            receipts: identity.receipt_key.verifying_key().clone(),
            log: identity.log_key.verifying_key().clone(),
            origin: identity.origin.clone(),
        };
        let verifier = NoteVerifier::new(&keys.origin, keys.log.clone());
        let verifier = verifier.map_err(|error| {
            GatewayError::system("read the log's name")(std::io::Error::other(error))
        })?;
        let mut key_set = keys.to_jwks();
        if let Some(members) = key_set.as_object_mut() {
            members.insert("tipstaff/log_vkey".to_owned(), verifier.to_vkey().into());
        }
        let library = Arc::new(Library::new(Arc::new(NativeDisk::new(home.root())), verifier));
        let reading = Arc::clone(&library);
        // A long log takes a while to be read for the first time. What is wrong with it is told to whoever
        // asks.
        std::thread::spawn(move || drop(reading.catch_up()));
        Ok(Self {
            library,
            home: home.root().to_owned(),
            receipt_key: keys.receipts,
            monitor,
            token,
            key_set,
            desk,
            latency: Arc::default(),
            requests: Requests::default(),
            since: Since::now(),
            asked: Mutex::default(),
        })
    }

    /// Where times of judging are counted, so that other HTTP doors of the process can add theirs.
    #[must_use]
    pub fn latency(&self) -> Arc<Latency> {
        Arc::clone(&self.latency)
    }

    fn route(&self, request: &Request<Vec<u8>>) -> Answered {
        let route = Route::find(request.uri().path()).ok_or_else(|| {
            let next = "See /api/openapi.json for what there is.";
            Fault::new(
                StatusCode::NOT_FOUND,
                "unknown_path",
                "There is nothing at this path.",
                next,
            )
        })?;
        let allowed = match route.verb() {
            Verb::Get => *request.method() == Method::GET || *request.method() == Method::HEAD,
            Verb::Post => *request.method() == Method::POST,
        };
        if !allowed {
            return Ok(wrong_method(route.verb()));
        }
        let may = match route.access() {
            Access::Anyone => true,
            Access::Bearer => self.is_bearer(request),
            Access::Actor => self.is_owner(request) || signer(request).is_some(),
            Access::Viewer => self.is_bearer(request) || is_users(request),
        };
        if !may {
            return Ok(unauthorised(request.headers()));
        }
        let limit = route.body_max();
        // What a GET brings along is not looked at.
        if route.verb() == Verb::Post && request.body().len() > limit {
            return Err(Fault::too_large(limit));
        }
        self.serve(route, request)
    }

    fn serve(&self, route: Route<'_>, request: &Request<Vec<u8>>) -> Answered {
        let (query, body) = (request.uri().query(), request.body().as_slice());
        let by =
            || request.extensions().get::<Ends>().copied().map_or_else(Vec::new, Ends::processes);
        match route {
            Route::Action => {
                let fresh = random::<16>()?;
                let by = signer(request).map(|key| (key, capability(request)));
                if by.is_none() && request.headers().contains_key(&CAPABILITY) {
                    return Err(Fault::new(
                        StatusCode::FORBIDDEN,
                        "capability_unsigned",
                        "A capability is presented by its holder alone.",
                        "Sign the request with the holder's key (RFC 9421).",
                    ));
                }
                actions::judge(body, (&self.token, fresh, by), &*self.desk, &self.latency)
            }
            Route::Outcome { receipt } => {
                actions::settle(receipt, body, signer(request), &*self.desk)
            }
            Route::Approve => signed::answer(body, &by(), &self.monitor),
            Route::Tell => signed::tell(body, &by(), &self.monitor),
            Route::Conformance => conformance::manifest(self.library.disk()),
            Route::ConformancePage => conformance::page(self.library.disk()),
            Route::Console => {
                self.current()?;
                console::page(query, &self.monitor, &self.library)
            }
            Route::Queue => Ok(signed::list("waiting", self.monitor.queue())),
            Route::Sessions => Ok(signed::list("sessions", self.monitor.open_sessions())),
            Route::VerifyChain => chain::verify(body, &self.receipt_key),
            Route::Sample => self.sample(),
            Route::KeySet => {
                let body = serde_json::to_vec(&self.key_set).unwrap_or_default();
                let reply = bytes(StatusCode::OK, "application/jwk-set+json", body);
                Ok(kept(reply, Keep::Minutes))
            }
            Route::OpenApi => {
                let reply = bytes(StatusCode::OK, "application/json", OPENAPI.as_bytes().to_vec());
                Ok(kept(reply, Keep::Minutes))
            }
            Route::Checkpoint => self.checkpoint(),
            Route::Tile(id) => self.tile(id),
            Route::Receipts => {
                self.current()?;
                receipts::list(query, &self.library)
            }
            Route::Receipt { id } => {
                let published = self.current()?;
                receipts::one(id, &self.library, published.as_ref())
            }
            // A log that can't be read leaves its part out; a long one is not waited for.
            Route::Health => {
                let published = self.library.checkpoint().ok();
                Ok(watch::health(&self.seen(published.as_ref())))
            }
            Route::Metrics => {
                let published = self.library.catch_up().map_err(receipts::unreadable)?;
                let (seen, counts) = (self.seen(published.as_ref()), self.library.counts());
                Ok(watch::metrics(&seen, &counts, &self.latency.measured(), &self.requests))
            }
            Route::ServiceLevel => Ok(watch::service_level(&self.latency.measured(), &self.since)),
        }
    }

    /// Whether the client has the home's token: the server saw it, or it is in the request. That the
    /// connection is the user's own is not enough here: a browser's is, too.
    fn is_bearer(&self, request: &Request<Vec<u8>>) -> bool {
        request.extensions().get() == Some(&Credential::Operator) || self.is_owner(request)
    }

    /// Whether the client may act with the home's token: beyond this machine it only looks.
    fn is_owner(&self, request: &Request<Vec<u8>>) -> bool {
        request.extensions().get() == Some(&Credential::Token)
            || presented(request.headers()).is_some_and(|token| self.token.matches(token))
    }

    fn seen<'a>(&'a self, published: Option<&'a Published>) -> Seen<'a> {
        Seen { monitor: &self.monitor, home: &self.home, published, since: &self.since }
    }

    /// The log as it stands now: what is durable is published first, if that wasn't asked for just now.
    fn current(&self) -> Result<Option<Published>, Fault> {
        let published = self.library.catch_up().map_err(receipts::unreadable)?;
        let (size, _) = self.monitor.ledger().position();
        if published.as_ref().is_some_and(|published| published.checkpoint.size >= size) {
            return Ok(published);
        }
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|asked| asked.elapsed() < PUBLISH_INTERVAL) {
                return Ok(published);
            }
            *asked = Some(Instant::now());
        }
        // A log that can't be published any more can still be read up to where it is.
        let _ = self.monitor.publish();
        self.library.catch_up().map_err(receipts::unreadable)
    }

    fn checkpoint(&self) -> Answered {
        let note =
            self.library.disk().read(CHECKPOINT.as_ref()).map_err(|_| {
                Fault::unavailable("no_checkpoint", "The checkpoint can't be read.")
            })?;
        let reply = bytes(StatusCode::OK, "text/plain; charset=utf-8", note);
        Ok(with_header(reply, "cache-control", "no-cache"))
    }

    fn tile(&self, id: TileId) -> Answered {
        let tile = tiles::read(self.library.disk(), id)
            .map_err(|_| Fault::unavailable("log_unreadable", "The log can't be read."))?;
        let tile = tile.ok_or_else(|| {
            let next = "See /log/checkpoint for how many leaves there are.";
            Fault::new(StatusCode::NOT_FOUND, "unknown_tile", "The log has no such tile yet.", next)
        })?;
        Ok(kept(bytes(StatusCode::OK, "application/octet-stream", tile), Keep::Forever))
    }

    fn sample(&self) -> Answered {
        self.current()?;
        let Some((name, leaves)) = self.library.sample() else {
            let seed = Zeroizing::new(random::<32>()?);
            let made = sample::made(&seed, Millis(SystemClock.now_ms()));
            let made =
                made.map_err(|_| Fault::unavailable("no_sample", "A sample could not be signed."))?;
            return Ok(json(StatusCode::OK, &made));
        };
        #[derive(Serialize)]
        struct Sample<'a> {
            origin: &'a str,
            note: &'a str,
            // Not `chain`: that would be a chain to whoever verifies this.
            name: &'a str,
            receipts: Vec<Box<RawValue>>,
        }
        let signed = self.library.leaves(&leaves).map_err(receipts::unreadable)?;
        let receipts = signed.iter().map(|signed| RawValue::from_string(signed.to_leaf()));
        let receipts = receipts
            .collect::<Result<_, _>>()
            .map_err(|_| Fault::unavailable("log_unreadable", "The log can't be read."))?;
        let note =
            "A whole chain of this home's public log; its keys are at /.well-known/jwks.json.";
        let sample = Sample { origin: "home", note, name: &name, receipts };
        Ok(json(StatusCode::OK, &sample))
    }
}

/// The capability that a signed request presents: one header, or what no capability is.
fn capability(request: &Request<Vec<u8>>) -> Option<Arc<str>> {
    let mut values = request.headers().get_all(&CAPABILITY).iter();
    let one = values.next()?;
    let one = one.to_str().ok().filter(|_| values.next().is_none());
    Some(one.unwrap_or_default().into())
}

/// Whether the kernel says that the connection is that of the user whose home this is.
fn is_users(request: &Request<Vec<u8>>) -> bool {
    matches!(request.extensions().get(), Some(Credential::User(_)))
}

/// What a request's principal proved.
fn signer(request: &Request<Vec<u8>>) -> Option<Credential> {
    request.extensions().get::<Credential>().filter(|own| own.is_principals()).cloned()
}

impl Pages for Api {
    fn answer(&self, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        self.desk.sweep();
        let head = if *request.method() == Method::HEAD { Head::Only } else { Head::AndBody };
        let reply = self.route(&request).unwrap_or_else(Reply::from);
        let route = Route::find(request.uri().path());
        let template = route.map_or("other", Route::template);
        self.requests.count(template, reply.status().as_u16());
        finish(reply, head)
    }
}

/// The token that a request presents; `None` unless it presents exactly one.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn unauthorised(headers: &HeaderMap) -> Reply {
    let next = "Send `Authorization: Bearer` with the token in the home's keys/http.token.";
    let message = "This needs the home's token.";
    let fault = Fault::new(StatusCode::UNAUTHORIZED, "unauthorised", message, next);
    // RFC 6750, section 3.1: what was presented is told apart from nothing.
    let challenge = if headers.contains_key(header::AUTHORIZATION) {
        "Bearer realm=\"tipstaff\", error=\"invalid_token\""
    } else {
        "Bearer realm=\"tipstaff\""
    };
    with_header(fault.into(), "www-authenticate", challenge)
}

fn wrong_method(verb: Verb) -> Reply {
    let (allow, next) = match verb {
        Verb::Get => ("GET, HEAD", "Ask with GET."),
        Verb::Post => ("POST", "Ask with POST."),
    };
    let message = "This path is not asked like that.";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    with_header(Fault::new(status, "wrong_method", message, next).into(), "allow", allow)
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    SystemRandom.fill(&mut bytes).map_err(|_| {
        Fault::unavailable("no_random", "The operating system has no random bytes.")
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
