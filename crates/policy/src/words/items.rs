//! Who, what and on what: the items of access words, and what to write where one is wrong.

use super::parse::{Read, Reader};
use super::scan::Kind;
use super::{Resource, TEXT_MAX, What, Who};

/// Operations of the protocol that are no tool calls.
pub(super) const OPERATIONS: [&str; 6] =
    ["complete", "elicit", "other", "prompt", "read", "sample"];

const WHO: &str = "write an agent's name, user(NAME), role(NAME), or * for anybody";
const ACTION: &str = "write a class (fs:write), a family (fs:*), a tier (T4, T4+, T1..T3), a tool (server/tool), a \
     server's tools (server/*), an operation (read, sample), or * for anything";
const RESOURCE: &str = "write roots, credentials, tipstaff, outside, server(NAME), \
                        argument(\"/pointer\", \"text*\"), or * for anything";

impl Reader<'_> {
    pub(super) fn who(&mut self) -> Read<Who> {
        let from = self.next;
        let Kind::Word(word) = self.peek().clone() else {
            return Err(self.fault(&format!("nobody is named by {}", self.shown()), WHO));
        };
        self.next += 1;
        match word.as_str() {
            "*" => Ok(Who::Anyone),
            "user" | "role" | "agent" if self.peek() == &Kind::Mark('(') => {
                self.next += 1;
                let name = self.name(&word)?;
                self.mark(')', "close the name with `)`")?;
                Ok(match word.as_str() {
                    "user" => Who::User(name),
                    "role" => Who::Role(name),
                    _ => Who::Agent(name),
                })
            }
            name if is_name(name) => Ok(Who::Agent(name.to_owned())),
            _ => Err(self.fault_at(from, &format!("`{word}` is no name"), WHO)),
        }
    }

    pub(super) fn action(&mut self) -> Read<What> {
        let from = self.next;
        let token = self.peek().clone();
        self.next += 1;
        let wrong = |reader: &Self, what: String| Err(reader.fault_at(from, &what, ACTION));
        let word = match token {
            Kind::Word(word) => word,
            Kind::Text(tool) if is_tool(&tool) => return Ok(What::Tool(tool)),
            Kind::Text(tool) => return wrong(self, format!("\"{tool}\" is no tool")),
            _ => {
                self.next = from;
                let what = format!("no action is named by {}", self.shown());
                return wrong(self, what);
            }
        };
        if word == "*" {
            return Ok(What::Anything);
        }
        if let Some((first, last)) = tiers(&word) {
            return Ok(What::Tiers(first, last));
        }
        let stars = word.matches('*').count();
        if let Some(server) = word.strip_suffix("/*").filter(|s| stars == 1 && is_server(s)) {
            return Ok(What::Server(server.to_owned()));
        }
        if let Some(family) = word.strip_suffix(":*").filter(|f| stars == 1 && !f.is_empty()) {
            return Ok(What::Family(family.to_owned()));
        }
        if stars > 0 {
            let what = format!("`*` stands for itself in no word such as `{word}`");
            return Err(self.fault_at(
                from,
                &what,
                "`*` stands alone, or ends server/* or family:*",
            ));
        }
        if OPERATIONS.contains(&word.as_str()) {
            Ok(What::Operation(word))
        } else if word.contains('/') {
            if is_tool(&word) {
                Ok(What::Tool(word))
            } else {
                wrong(self, format!("`{word}` is no tool"))
            }
        } else if word.len() <= TEXT_MAX && (word.contains(':') || word == "unclassified") {
            Ok(What::Class(word))
        } else {
            wrong(self, format!("`{word}` is no action"))
        }
    }

    pub(super) fn resource(&mut self) -> Read<Resource> {
        let from = self.next;
        let Kind::Word(word) = self.peek().clone() else {
            return Err(self.fault(&format!("no resource is named by {}", self.shown()), RESOURCE));
        };
        self.next += 1;
        Ok(match word.as_str() {
            "*" => Resource::Anything,
            "roots" => Resource::Roots,
            "credentials" => Resource::Credentials,
            "tipstaff" => Resource::Tipstaff,
            "outside" => Resource::Outside,
            "server" => {
                self.mark('(', "write server(NAME)")?;
                let at = self.next;
                let name = match self.peek().clone() {
                    Kind::Word(name) | Kind::Text(name) if is_server(&name) => name,
                    _ => {
                        return Err(self.fault_at(
                            at,
                            "this is no server's name",
                            "write server(NAME), without `/`",
                        ));
                    }
                };
                self.next += 1;
                self.mark(')', "close the name with `)`")?;
                Resource::Server(name)
            }
            "argument" => {
                let shape = "write argument(\"/pointer\", \"text*\")";
                self.mark('(', shape)?;
                let at = self.next;
                let pointer = self.text(shape)?;
                if !(pointer.is_empty() || pointer.starts_with('/')) {
                    return Err(self.fault_at(
                        at,
                        "this is no JSON pointer",
                        "begin it with `/`, such as \"/branch\"",
                    ));
                }
                self.mark(',', shape)?;
                let pattern = self.text(shape)?;
                self.mark(')', shape)?;
                Resource::Argument { pointer, pattern }
            }
            path if path.starts_with(['/', '~', '.']) => {
                let hint = "paths are compared with the declared folders: write roots, or \
                            argument(\"/path\", \"…\") for an argument's bare text";
                return Err(self.fault_at(from, "a path is no resource", hint));
            }
            _ => return Err(self.fault_at(from, &format!("`{word}` is no resource"), RESOURCE)),
        })
    }
}

/// The names of principals and roles, as they are enrolled, and pseudonyms.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins = text.bytes().next().is_some_and(plain);
    let holds = text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'-' | b'_'));
    begins && holds && text.len() <= 64
}

pub(super) fn is_tool(text: &str) -> bool {
    let parts = text.split_once('/');
    text.len() <= TEXT_MAX
        && parts.is_some_and(|(server, tool)| is_server(server) && !tool.is_empty())
}

pub(super) fn is_server(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_MAX && !text.contains('/')
}

/// `T4`, `T4+`, `T1..T3`.
fn tiers(word: &str) -> Option<(u8, u8)> {
    let tier = |text: &str| match text.strip_prefix('T')?.as_bytes() {
        [digit @ b'1'..=b'5'] => Some(digit - b'0'),
        _ => None,
    };
    let (first, last) = match (word.strip_suffix('+'), word.split_once("..")) {
        (Some(from), _) => (tier(from)?, 5),
        (None, Some((from, to))) => (tier(from)?, tier(to)?),
        (None, None) => (tier(word)?, tier(word)?),
    };
    (first <= last).then_some((first, last))
}
