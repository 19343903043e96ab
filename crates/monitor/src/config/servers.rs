//! `[servers.NAME]`: the MCP servers that `serve` stands in front of, and how each is reached.
//!
//! The adversary is a secret in a file that is kept for ever: the text of the configuration goes into the
//! log's object store. So credentials are references to the environment, to a file or to the system's
//! keyring, a value that looks like one is refused where it stands in the open, and no value is ever shown.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::login::{self, LoginConfig};

/// Most servers behind one home.
const SERVERS_MAX: usize = 32;
/// Longest name of a server: it stands in front of its tools' names.
const NAME_MAX: usize = 40;
/// What stands between a server's name and its tool's.
pub const SEPARATOR: &str = "__";
/// Headers that carry credentials.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// Words in names of variables and headers that carry credentials.
const SECRET_WORDS: [&str; 6] = ["TOKEN", "SECRET", "KEY", "PASSWORD", "PASSWD", "CREDENTIAL"];

/// The servers of a configuration, by name.
pub type Servers = BTreeMap<String, ServerConfig>;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The command that starts it, with its arguments; it speaks over its standard streams.
    #[serde(default)]
    pub command: Vec<String>,
    /// Where it is reached over HTTP, instead.
    pub url: Option<String>,
    /// Variables that it gets beside the safe ones.
    #[serde(default)]
    pub env: BTreeMap<String, Setting>,
    /// Headers that it gets with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, Setting>,
    /// How a person logs in to it.
    pub oauth: Option<LoginConfig>,
}

/// A value, or where it is kept. What is shown of it is only the kind.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Setting {
    /// Written in the configuration.
    Plain(String),
    /// `env:NAME`: a variable of the process that serves.
    Variable(String),
    /// `bearer:NAME`: a variable that holds a token, which goes with the word `Bearer` before it.
    Bearer(String),
    /// `file:NAME`: a file in the home's `secrets` folder.
    File(String),
    /// `keyring:SERVICE/ACCOUNT`: an entry of the system's keyring.
    Keyring {
        /// What it is for.
        service: String,
        /// Whose it is; what stands behind the last slash.
        account: String,
    },
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            Self::Variable(name.to_owned())
        } else if let Some(name) = text.strip_prefix("bearer:") {
            Self::Bearer(name.to_owned())
        } else if let Some(name) = text.strip_prefix("file:") {
            Self::File(name.to_owned())
        } else if let Some(entry) = text.strip_prefix("keyring:") {
            let (service, account) = entry.rsplit_once('/').unwrap_or((entry, ""));
            Self::Keyring { service: service.to_owned(), account: account.to_owned() }
        } else {
            Self::Plain(text)
        }
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain"),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Bearer(name) => write!(f, "bearer:{name}"),
            Self::File(name) => write!(f, "file:{name}"),
            Self::Keyring { service, account } => write!(f, "keyring:{service}/{account}"),
        }
    }
}

impl ServerConfig {
    /// Whether a server may be called so. No such name holds a slash.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(plain)
    }

    /// Whether the operator has set what it is sent as `Authorization`.
    #[must_use]
    pub fn has_authorization(&self) -> bool {
        self.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"))
    }

    /// A server that is reached at an address.
    ///
    /// # Errors
    /// What is wrong, as a sentence in which no value stands.
    pub fn at_url(url: String, headers: BTreeMap<String, Setting>) -> Result<Self, String> {
        let (command, env) = (Vec::new(), BTreeMap::new());
        let server = Self { command, url: Some(url), env, headers, oauth: None };
        fault_of_reach(&server).map_or(Ok(server), Err)
    }
}

/// What is wrong with the servers of a configuration, if anything. No value stands in the answer.
pub(super) fn fault(servers: &Servers) -> Option<String> {
    if servers.len() > SERVERS_MAX {
        return Some(format!("there are more than {SERVERS_MAX} servers"));
    }
    servers.iter().find_map(|(name, server)| {
        fault_of(name, server).map(|fault| format!("servers.{name}: {fault}"))
    })
}

fn fault_of(name: &str, server: &ServerConfig) -> Option<String> {
    if !ServerConfig::is_name(name) {
        return Some(format!("a name has 1 to {NAME_MAX} of the characters a-z A-Z 0-9 - _ ."));
    }
    if name.contains(SEPARATOR) || name.starts_with('_') || name.ends_with('_') {
        return Some(format!("`{SEPARATOR}` separates names, so no name holds or touches it"));
    }
    fault_of_reach(server)
}

/// What is wrong with the way that it is reached.
fn fault_of_reach(server: &ServerConfig) -> Option<String> {
    match (server.command.first().is_some_and(|word| !word.is_empty()), &server.url) {
        (true, None) | (false, Some(_)) => {}
        _ => return Some("give either a `command` or a `url`".to_owned()),
    }
    if let Some(url) = &server.url {
        if let Some(fault) = url_fault(url) {
            return Some(fault.to_owned());
        }
        if !server.env.is_empty() {
            return Some("`env` is for servers with a `command`; use `headers`".to_owned());
        }
    } else if !server.headers.is_empty() {
        return Some("`headers` is for servers with a `url`; use `env`".to_owned());
    }
    if let Some(oauth) = &server.oauth {
        if server.url.is_none() || server.has_authorization() {
            let what =
                "`oauth` is for servers with a `url` and no header `Authorization` of its own";
            return Some(what.to_owned());
        }
        if let Some(fault) = login::fault(oauth) {
            return Some(fault);
        }
    }
    let settings = server.env.iter().chain(&server.headers);
    settings.into_iter().find_map(|(name, setting)| setting_fault(name, setting))
}

pub(super) fn url_fault(url: &str) -> Option<&'static str> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("credentials don't belong in a `url`; use `headers`");
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.chars().all(|c| c.is_ascii_digit()) { host } else { authority }
    });
    match scheme {
        "https" if !host.is_empty() => None,
        "http" if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => None,
        "http" => Some("a `url` over http must be on this machine; use https"),
        _ => Some("a `url` begins with https:// or, on this machine, http://"),
    }
}

/// What is wrong with a value or where it is kept.
pub(super) fn setting_fault(name: &str, setting: &Setting) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let lower = name.to_ascii_lowercase();
    match setting {
        Setting::Plain(_)
            if SECRET_HEADERS.contains(&lower.as_str())
                || SECRET_WORDS.iter().any(|word| upper.contains(word)) =>
        {
            Some(format!(
                "`{name}` looks like a credential; write \"env:VARIABLE\", \"file:NAME\" (a file of mode \
                 600 in the home's secrets folder) or \"keyring:SERVICE/ACCOUNT\" instead of its value"
            ))
        }
        Setting::Variable(variable) | Setting::Bearer(variable) if variable.is_empty() => {
            Some(format!("`{name}` names no variable"))
        }
        Setting::File(file)
            if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', '\0']) =>
        {
            Some(format!("`{name}` must name a file in the home's secrets folder after `file:`"))
        }
        Setting::Keyring { service, account } if !is_plain(service) || !is_plain(account) => {
            Some(format!("`{name}` must name an entry as `keyring:SERVICE/ACCOUNT`"))
        }
        _ => None,
    }
}

/// Whether a word of a keyring's entry can only be taken for one: it becomes an argument of a program.
fn is_plain(word: &str) -> bool {
    const WORD_MAX: usize = 256;
    !word.is_empty()
        && word.len() <= WORD_MAX
        && !word.starts_with('-')
        && !word.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn fault(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn servers_by_command_and_by_url() {
        let text = "[servers.files]\ncommand = [\"npx\", \"files\"]\nenv = { MODE = \"x\", A_TOKEN = \"env:T\" }\n\
             [servers.far]\nurl = \"https://example.com/mcp\"\nheaders = { Authorization = \"file:far\" }\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.servers.len(), 2);
        let shown = format!("{config:?}");
        assert!(shown.contains("env:T") && shown.contains("file:far"), "{shown}");
        assert!(shown.contains("\"MODE\": Plain"), "{shown}");
    }

    #[test]
    fn an_entry_of_the_keyring_is_named_by_service_and_account() {
        let setting = Setting::from("keyring:a/b c/me".to_owned());
        let entry = Setting::Keyring { service: "a/b c".into(), account: "me".into() };
        assert_eq!((&setting, format!("{setting:?}").as_str()), (&entry, "keyring:a/b c/me"));
        let text = |setting: &str| {
            format!("[servers.a]\ncommand = [\"x\"]\nenv = {{ A_TOKEN = {setting:?} }}\n")
        };
        Config::parse(&text("keyring:a/b")).unwrap();
        for wrong in
            ["keyring:", "keyring:a", "keyring:/b", "keyring:a/", "keyring:-a/b", "keyring:a/-b"]
        {
            assert!(fault(&text(wrong)).contains("SERVICE/ACCOUNT"), "{wrong}");
        }
        assert!(fault(&text("keyring:a\nx/b")).contains("SERVICE/ACCOUNT"));
    }

    #[test]
    fn a_credential_in_the_open_is_refused_and_not_repeated() {
        for (line, name) in [
            ("command = [\"x\"]\nenv = { GITHUB_TOKEN = \"s3cret\" }", "GITHUB_TOKEN"),
            ("command = [\"x\"]\nenv = { api_key = \"s3cret\" }", "api_key"),
            (
                "url = \"https://h/\"\nheaders = { Authorization = \"Bearer s3cret\" }",
                "Authorization",
            ),
            ("url = \"https://h/\"\nheaders = { cookie = \"s3cret\" }", "cookie"),
        ] {
            let fault = fault(&format!("[servers.a]\n{line}\n"));
            assert!(fault.contains(name) && fault.contains("file:"), "{fault}");
            assert!(!fault.contains("s3cret"), "{fault}");
        }
        assert!(!fault("[servers.a]\nurl = \"https://me:s3cret@h/\"\n").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "[servers.a__b]\ncommand = [\"x\"]\n",
            "[servers.a_]\ncommand = [\"x\"]\n",
            "[servers.\"a/b\"]\ncommand = [\"x\"]\n",
            "[servers.a]\n",
            "[servers.a]\ncommand = []\n",
            "[servers.a]\ncommand = [\"x\"]\nurl = \"https://h/\"\n",
            "[servers.a]\nurl = \"http://example.com/\"\n",
            "[servers.a]\nurl = \"http://localhost.evil/\"\n",
            "[servers.a]\nurl = \"file:///etc/passwd\"\n",
            "[servers.a]\nurl = \"no url\"\n",
            "[servers.a]\ncommand = [\"x\"]\nenv = { A = \"file:../x\" }\n",
            "[servers.a]\ncommand = [\"x\"]\nheaders = { A = \"b\" }\n",
            "[servers.a]\ncommand = [\"x\"]\nnew = 1\n",
        ] {
            fault(text);
        }
    }
}
