//! Frames between doors and monitor: a length (u32 LE) and strict JSON.
//!
//! The adversary is a process of the same machine that speaks nonsense or too much. Frames are bounded
//! and read by the same strict parser as everything else.

use std::io::{self, Read};

use tipstaff_core::json::Object;
use tipstaff_core::limits::BODY_BYTES_MAX;
use tipstaff_core::{Action, Digest, Json};

/// Version of this protocol; both sides are one program, but may be two releases of it.
pub(crate) const VERSION: i64 = 1;

/// An object from members whose names are distinct words.
pub(crate) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Json::Object(Object::new(members).unwrap_or_default())
}

/// A string or `null`.
pub(crate) fn text(value: Option<&str>) -> Json {
    value.map_or(Json::Null, Json::string)
}

/// A number, saturated.
pub(crate) fn number(value: u64) -> Json {
    Json::from(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The bytes of a frame.
pub(crate) fn frame(json: &Json) -> Vec<u8> {
    let body = json.to_canonical();
    let mut bytes = Vec::with_capacity(body.len() + 4);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// The wire form of an action.
pub(crate) fn action_to_json(action: &Action) -> Json {
    object([
        ("operation", Json::string(action.operation())),
        ("parameters", action.parameters().clone()),
        ("resource", text(action.resource())),
        ("server", Json::string(action.server())),
        ("tool", Json::string(action.tool())),
    ])
}

/// Reads the wire form of an action.
pub(crate) fn action_from_json(json: &Json) -> Option<Action> {
    let word = |name| json.get(name).and_then(Json::as_str);
    let resource = json.get("resource").and_then(Json::as_str);
    let parameters = json.get("parameters")?.clone();
    Action::new(word("server")?, word("tool")?, word("operation")?, parameters, resource).ok()
}

/// A digest member.
pub(crate) fn digest_of(json: &Json, name: &str) -> Option<Digest> {
    Digest::from_hex(json.get(name)?.as_str()?).ok()
}

/// A number member.
pub(crate) fn number_of(json: &Json, name: &str) -> Option<u64> {
    u64::try_from(json.get(name)?.as_integer()?).ok()
}

/// A text member.
pub(crate) fn text_of(json: &Json, name: &str) -> Option<String> {
    Some(json.get(name)?.as_str()?.to_owned())
}

/// Reads frames, and knows whether another one is already here.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
}

impl<R: Read> Frames<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), start: 0 }
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Json>> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(Some(frame));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let filled = self.buffer.len();
            self.buffer.resize(filled + (64 << 10), 0);
            let read = self.source.read(self.buffer.get_mut(filled..).unwrap_or_default());
            self.buffer.truncate(filled + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A frame that is here already.
    pub(crate) fn ready(&mut self) -> io::Result<Option<Json>> {
        let waiting = self.buffer.get(self.start..).unwrap_or_default();
        let Some((length, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > BODY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too large"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let json = Json::parse(body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        self.start += 4 + length;
        Ok(Some(json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_actions_round_trip() {
        let parameters = Json::parse(b"{\"a\":[1,\"x\"]}").unwrap();
        let action = Action::new("s", "t/u", "tools/call", parameters, Some("file:///r")).unwrap();
        let json = action_to_json(&action);
        assert_eq!(action_from_json(&json), Some(action));
        let bytes = [frame(&json), frame(&Json::Null)].concat();
        let mut frames = Frames::new(bytes.as_slice());
        assert_eq!(frames.next().unwrap(), Some(json));
        assert_eq!(frames.ready().unwrap(), Some(Json::Null));
        assert_eq!(frames.next().unwrap(), None);
        let mut large = Frames::new(&[255_u8, 255, 255, 255, 0][..]);
        assert!(large.next().is_err());
    }
}
