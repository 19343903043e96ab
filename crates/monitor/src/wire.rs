//! Frames between doors and monitor: a length (u32 LE) and strict JSON.
//!
//! The adversary is a process of the same machine that speaks nonsense or too much. Frames are bounded
//! and read by the same strict parser as everything else.

use std::io;

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

/// An array of digests.
pub(crate) fn digests(json: &Json) -> Option<Vec<Digest>> {
    json.as_array()?.iter().map(|digest| Digest::from_hex(digest.as_str()?).ok()).collect()
}

/// A number member.
pub(crate) fn number_of(json: &Json, name: &str) -> Option<u64> {
    u64::try_from(json.get(name)?.as_integer()?).ok()
}

/// A text member.
pub(crate) fn text_of(json: &Json, name: &str) -> Option<String> {
    Some(json.get(name)?.as_str()?.to_owned())
}

/// Bytes that are read at a time.
const READ: usize = 64 << 10;

/// Reads frames, and knows whether another one is already here.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    source: R,
    buffer: Vec<u8>,
    /// What was read and not given out yet.
    start: usize,
    end: usize,
}

/// Where frames come from.
pub(crate) trait Source {
    /// Reads what is here; `None` if nothing is, 0 at the end.
    fn try_read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>>;

    /// Returns when there is likely to be something to read.
    fn wait(&mut self) -> io::Result<()>;
}

/// What a look at the source brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Something,
    Nothing,
    End,
}

impl<R: Source> Frames<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Json>> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(Some(frame));
            }
            match self.fill()? {
                Heard::Something => {}
                Heard::Nothing => self.source.wait()?,
                Heard::End => return Ok(None),
            }
        }
    }

    /// Takes in what is here, without waiting.
    pub(crate) fn fill(&mut self) -> io::Result<Heard> {
        self.make_room();
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        Ok(match self.source.try_read(room)? {
            None => Heard::Nothing,
            Some(0) => Heard::End,
            Some(read) => {
                self.end += read;
                Heard::Something
            }
        })
    }

    /// Room for one more read, without clearing what was cleared before.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // A large frame is rare: its room is not kept.
        if self.end == 0 {
            self.buffer.truncate(READ);
            self.buffer.shrink_to(READ);
        }
        if self.buffer.len() < self.end + READ / 2 {
            self.buffer.resize(self.end + READ, 0);
        }
    }

    /// A frame that is here already.
    pub(crate) fn ready(&mut self) -> io::Result<Option<Json>> {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
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

    impl Source for &[u8] {
        fn try_read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
            io::Read::read(self, into).map(Some)
        }

        fn wait(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

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
