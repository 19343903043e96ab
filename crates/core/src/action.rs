//! What an agent wants to do, parsed once (law 2).
//!
//! The adversary is a door that judges one reading of the bytes and executes another. An [`Action`] is
//! immutable; what is executed is made from it, never from the bytes that it was read from.

use crate::digest::Digest;
use crate::error::CoreError;
use crate::json::Json;
use crate::limits::NAME_BYTES_MAX;

/// One thing that an agent asks for.
///
/// INVARIANT: names are at most [`NAME_BYTES_MAX`] bytes and hold no control characters; `parameters`
/// came through the strict parser or was built from parts that did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    server: String,
    tool: String,
    operation: String,
    parameters: Json,
    resource: Option<String>,
}

/// A 128-bit salt that keeps a digest of few possible inputs from being guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl Action {
    /// An action on `tool` of `server`: `operation` is the protocol's verb (`tools/call`),
    /// `resource` the thing that it names, if the protocol names one (a resource URI).
    ///
    /// # Errors
    /// [`CoreError::Malformed`] if a name is empty, has control characters, or is too long.
    pub fn new(
        server: &str,
        tool: &str,
        operation: &str,
        parameters: Json,
        resource: Option<&str>,
    ) -> Result<Self, CoreError> {
        for (name, what) in [(server, "server name"), (tool, "tool name"), (operation, "operation")]
        {
            let slashed = what == "server name" && name.contains('/');
            if name.is_empty()
                || slashed
                || name.len() > NAME_BYTES_MAX
                || name.chars().any(char::is_control)
            {
                return Err(CoreError::Malformed(what));
            }
        }
        Ok(Self {
            server: server.to_owned(),
            tool: tool.to_owned(),
            operation: operation.to_owned(),
            parameters,
            resource: resource.map(str::to_owned),
        })
    }

    /// The same action with other parameters: what a MODIFY verdict executes.
    #[must_use]
    pub fn with_parameters(&self, parameters: Json) -> Self {
        Self { parameters, ..self.clone() }
    }

    /// The upstream that would carry it out.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The tool, within its server.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The protocol's verb.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// The arguments.
    #[must_use]
    pub const fn parameters(&self) -> &Json {
        &self.parameters
    }

    /// The resource that the protocol names, if any.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// `server/tool`, the name by which policies know the tool.
    #[must_use]
    pub fn qualified_tool(&self) -> String {
        format!("{}/{}", self.server, self.tool)
    }

    /// `inputs_digest`: SHA-256 of the RFC 8785 form of `{operation, parameters, resource, salt, tool}`,
    /// where `tool` is `server/tool` and `salt` 32 hex digits. Whoever holds the salt can match a call
    /// to its receipt; nobody else can guess it.
    #[must_use]
    pub fn inputs_digest(&self, salt: Salt) -> Digest {
        Digest::of(self.inputs(salt).as_bytes())
    }

    /// The canonical text that [`Action::inputs_digest`] is the digest of.
    #[must_use]
    pub fn inputs(&self, salt: Salt) -> String {
        let mut out = String::with_capacity(256);
        out.push_str("{\"operation\":");
        crate::json::write_string(&mut out, &self.operation);
        out.push_str(",\"parameters\":");
        self.parameters.write_canonical(&mut out);
        out.push_str(",\"resource\":");
        match &self.resource {
            Some(resource) => crate::json::write_string(&mut out, resource),
            None => out.push_str("null"),
        }
        out.push_str(",\"salt\":\"");
        crate::digest::push_hex(&mut out, &salt.0);
        out.push_str("\",\"tool\":");
        crate::json::write_string(&mut out, &self.qualified_tool());
        out.push('}');
        out
    }

    /// Reads back what [`Action::inputs`] wrote.
    ///
    /// # Errors
    /// [`CoreError`] if the text is not such a canonical object.
    pub fn from_inputs(text: &str) -> Result<(Self, Salt), CoreError> {
        let malformed = CoreError::Malformed("inputs");
        let json = Json::parse(text.as_bytes())?;
        let (Some(tool), Some(operation), Some(salt), Some(parameters)) = (
            json.get("tool").and_then(Json::as_str),
            json.get("operation").and_then(Json::as_str),
            json.get("salt").and_then(Json::as_str),
            json.get("parameters"),
        ) else {
            return Err(malformed);
        };
        let (server, tool) = tool.split_once('/').ok_or_else(|| malformed.clone())?;
        let salt = Digest::from_hex(&format!("{salt:0<64}"))?;
        let salt = *salt.as_bytes().first_chunk::<16>().ok_or(malformed)?;
        let resource = json.get("resource").and_then(Json::as_str);
        let action = Self::new(server, tool, operation, parameters.clone(), resource)?;
        Ok((action, Salt(salt)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_canonical_and_read_back() {
        let parameters = Json::parse(br#"{"z":1,"a":[true,null,"x"]}"#).unwrap();
        let action =
            Action::new("fs", "write", "tools/call", parameters, Some("file:///x")).unwrap();
        let salt = Salt([7; 16]);
        let text = action.inputs(salt);
        let again = Json::parse(text.as_bytes()).unwrap().to_canonical();
        assert_eq!(text, again);
        assert_eq!(Action::from_inputs(&text).unwrap(), (action.clone(), salt));
        assert_ne!(action.inputs_digest(salt), action.inputs_digest(Salt([8; 16])));
    }

    #[test]
    fn names_with_control_characters_or_slashed_servers_are_refused() {
        assert!(Action::new("", "t", "o", Json::Null, None).is_err());
        assert!(Action::new("s", "t\n", "o", Json::Null, None).is_err());
        assert!(Action::new("s", &"t".repeat(300), "o", Json::Null, None).is_err());
    }
}
