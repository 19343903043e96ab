//! Requests of the command line, one per connection.
//!
//! The adversary is an agent that runs the command line itself: what is asked here the monitor refuses
//! by who asks, which the kernel says.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use tipstaff_core::Json;
use tipstaff_core::action::Salt;
use tipstaff_core::key::SigningKey;
use tipstaff_identity::{SignedOrder, SignedSuccession};

use super::Client;
use super::connect::{dial, open_socket};
use crate::approval::{Statement, answer_to_json};
use crate::error::ClientError;
use crate::home::Home;
use crate::monitor::Wanted;
use crate::socket::Socket;
use crate::told::SignedTold;
use crate::wire::{self, Frames, number_of, object, text_of};

impl Client {
    /// A request of the command line. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn control(
        home: &Home,
        what: &str,
        server: Option<&str>,
    ) -> Result<Option<Json>, ClientError> {
        let request = object([
            ("do", Json::string(what)),
            ("server", wire::text(server)),
            ("t", Json::string("control")),
        ]);
        Self::request(home, &request)
    }

    /// Tells a session what a person signed. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn tell(home: &Home, signed: &SignedTold) -> Result<Option<Json>, ClientError> {
        let request = object([
            ("do", Json::string("tell")),
            ("t", Json::string("control")),
            ("told", signed.to_json()),
        ]);
        Self::request(home, &request)
    }

    /// Brings an operator's order on principals. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn order(home: &Home, signed: &SignedOrder) -> Result<Option<Json>, ClientError> {
        let request = object([
            ("do", Json::string("order")),
            ("order", Json::String(signed.to_canonical())),
            ("t", Json::string("control")),
        ]);
        Self::request(home, &request)
    }

    /// Brings many orders at once, each following the one before it. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn orders(home: &Home, signed: &[SignedOrder]) -> Result<Option<Json>, ClientError> {
        let texts = signed.iter().map(|signed| Json::String(signed.to_canonical())).collect();
        let request = object([
            ("do", Json::string("orders")),
            ("orders", Json::Array(texts)),
            ("t", Json::string("control")),
        ]);
        Self::request(home, &request)
    }

    /// Brings a new approver's key. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn succeed(home: &Home, signed: &SignedSuccession) -> Result<Option<Json>, ClientError> {
        let request = object([
            ("do", Json::string("succeed")),
            ("succession", signed.to_json()),
            ("t", Json::string("control")),
        ]);
        Self::request(home, &request)
    }

    /// Who is known, as far as it is wanted. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn principals(home: &Home, wanted: &Wanted) -> Result<Option<Json>, ClientError> {
        let request = object([
            ("do", Json::string("principals")),
            ("t", Json::string("control")),
            ("wanted", wanted.to_json()),
        ]);
        Self::request(home, &request)
    }

    /// Brings an approver's answer to a held call. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn answer(
        home: &Home,
        statement: &Statement,
        key: &SigningKey,
    ) -> Result<Option<Json>, ClientError> {
        Self::answer_salted(home, statement, None, key)
    }

    /// Brings an approver's answer that covers later calls too, with the salt of their kind. `None` if no monitor
    /// runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn answer_salted(
        home: &Home,
        statement: &Statement,
        salt: Option<Salt>,
        key: &SigningKey,
    ) -> Result<Option<Json>, ClientError> {
        let (key_id, signature) = (key.verifying_key().key_id(), statement.sign(key));
        Self::request(home, &answer_to_json(statement, (&key_id, &signature), salt))
    }

    fn request(home: &Home, request: &Json) -> Result<Option<Json>, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let Ok(mut stream) = dial(home) else {
            return Ok(None);
        };
        stream.write_all(&wire::frame(request)).map_err(broken)?;
        Frames::new(Socket::new(stream)).next().map_err(broken)
    }

    /// Hears of every verdict from now on, for as long as `each` wants to. `each` is given the line, or
    /// `None` every few seconds, and how many lines were lost before it. `None` if no monitor runs.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub fn tail(
        home: &Home,
        each: &mut dyn FnMut(Option<&Json>, u64) -> ControlFlow<()>,
    ) -> Result<Option<()>, ClientError> {
        let broken = |error: io::Error| ClientError::Broken(error.to_string());
        let Ok(mut stream) = dial(home) else {
            return Ok(None);
        };
        let request = object([("do", Json::string("tail")), ("t", Json::string("control"))]);
        stream.write_all(&wire::frame(&request)).map_err(broken)?;
        let mut frames = Frames::new(Socket::new(stream));
        while let Some(frame) = frames.next().map_err(broken)? {
            if frame.get("ok").and_then(Json::as_bool) == Some(false) {
                return Err(ClientError::Refused(text_of(&frame, "text").unwrap_or_default()));
            }
            let line = frame.get("line").filter(|line| **line != Json::Null);
            if each(line, number_of(&frame, "lost").unwrap_or(0)).is_break() {
                break;
            }
        }
        Ok(Some(()))
    }

    /// Starts the monitor if it isn't there, and waits until it answers.
    ///
    /// # Errors
    /// [`ClientError::NotStarted`]
    pub fn ensure_monitor(home: &Home) -> Result<(), ClientError> {
        open_socket(home).map(drop)
    }
}
