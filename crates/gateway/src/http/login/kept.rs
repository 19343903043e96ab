//! A login as it lies in the home: `logins/SERVER.json`, for its owner alone.
//!
//! The adversary is another user of the machine, a crash in the middle of a renewal, and a configuration that now names
//! another server: a file that others can read is refused, one state or the next is there and never half of one, and
//! what was kept for one address is nothing for another.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tipstaff_core::Json;
use tipstaff_store::{Disk as _, NativeDisk};
use zeroize::Zeroizing;

use super::super::secrets::Secret;
use super::super::token::read_private;
use super::LoginFault;
use super::address::Address;
use super::client::{Client, Method, Proof};
use super::metadata::object;
use super::scopes::Scopes;
use super::tokens::{Tokens, word};

const FOLDER: &str = "logins";
/// Most logins of a home that are listed.
const LOGINS_MAX: usize = 256;
/// Longest time before its end at which a token is renewed, in seconds, and which part of its life at most.
const MARGIN_MAX: u64 = 60;
const MARGIN_PART: u64 = 5;

/// A login to one server.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) server: String,
    /// The server's address when the login was made.
    pub(super) url: String,
    pub(super) issuer: String,
    pub(super) resource: String,
    pub(super) token: Address,
    pub(super) revocation: Option<Address>,
    pub(super) client: Client,
    /// None once it is over.
    pub(super) access: Option<Secret>,
    pub(super) refresh: Option<Secret>,
    /// Seconds since 1970.
    pub(super) since: u64,
    pub(super) ends: Option<u64>,
    pub(super) life: Option<u64>,
    pub(super) scopes: Scopes,
}

/// Which state of a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64, i64, i64, u64);

impl Kept {
    /// Takes what the issuer gave, at a time in seconds. A refresh token that isn't replaced stays.
    pub(super) fn take(&mut self, tokens: Tokens, now: u64) {
        self.access = Some(tokens.access);
        if tokens.refresh.is_some() {
            self.refresh = tokens.refresh;
        }
        self.life = tokens.life;
        self.ends = tokens.life.map(|life| now.saturating_add(life));
        if let Some(scopes) = tokens.scopes {
            self.scopes = scopes;
        }
    }

    /// The issuer gives nothing more.
    pub(super) fn end(&mut self) {
        (self.access, self.refresh) = (None, None);
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.access.is_none() || self.refresh.is_none() && self.ends.is_some_and(|end| end <= now)
    }

    /// Whether the access token ends so soon that it should be renewed first.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let margin = self.life.map_or(0, |life| (life / MARGIN_PART).min(MARGIN_MAX));
        self.ends.is_some_and(|end| end.saturating_sub(margin) <= now)
    }

    pub(super) fn has_ended(&self, now: u64) -> bool {
        self.ends.is_some_and(|end| end <= now)
    }

    fn parse(text: &str) -> Option<Self> {
        let json = object(text.as_bytes())?;
        let text = |member: &str| json.get(member).and_then(Json::as_str);
        let number = |member: &str| u64::try_from(json.get(member)?.as_integer()?).ok();
        let secret = |member: &str| text(member).and_then(word).map(Secret::new);
        let proof = match (text("client_secret"), text("client_secret_of")) {
            (Some(given), None) => Proof::Given(Secret::new(given)),
            (None, Some("configuration")) => Proof::Configured,
            _ => Proof::None,
        };
        let method = Method::parse(text("client_method")?)?;
        Some(Self {
            server: text("server")?.to_owned(),
            url: text("url")?.to_owned(),
            issuer: text("issuer")?.to_owned(),
            resource: text("resource")?.to_owned(),
            token: Address::parse(text("token_endpoint")?)?,
            revocation: text("revocation_endpoint").and_then(Address::parse),
            client: Client { id: text("client_id")?.to_owned(), proof, method },
            access: secret("access_token"),
            refresh: secret("refresh_token"),
            since: number("since")?,
            ends: number("ends"),
            life: number("life"),
            scopes: Scopes::parse(text("scope").unwrap_or_default())?,
        })
    }

    fn write(&self) -> Zeroizing<String> {
        let number = |value: u64| {
            Json::Number(tipstaff_core::json::Number::integer(
                i64::try_from(value).unwrap_or(i64::MAX),
            ))
        };
        let text = |name: &str, value: &str| (name.to_owned(), Json::string(value));
        let mut members = vec![
            text("client_id", &self.client.id),
            text("client_method", self.client.method.as_str()),
            text("issuer", &self.issuer),
            text("resource", &self.resource),
            text("scope", &self.scopes.joined()),
            text("server", &self.server),
            text("token_endpoint", self.token.as_str()),
            text("url", &self.url),
            ("since".to_owned(), number(self.since)),
        ];
        match &self.client.proof {
            Proof::None => {}
            Proof::Given(secret) => members.push(text("client_secret", secret.reveal())),
            Proof::Configured => members.push(text("client_secret_of", "configuration")),
        }
        let maybe = [("access_token", &self.access), ("refresh_token", &self.refresh)];
        let known = maybe.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        members.extend(known.map(|(name, value)| text(name, value.reveal())));
        if let Some(place) = &self.revocation {
            members.push(text("revocation_endpoint", place.as_str()));
        }
        let numbers = [("ends", self.ends), ("life", self.life)];
        members.extend(
            numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), number(value?)))),
        );
        Zeroizing::new(Json::object(members).unwrap_or(Json::Null).to_canonical())
    }
}

/// The login of a server, and which state of its file that is.
pub(super) fn read(home: &Path, name: &str) -> Result<Option<(Kept, Seen)>, LoginFault> {
    let path = path(home, name);
    let Some(seen) = seen(home, name)? else { return Ok(None) };
    let text = read_private(&path).map_err(|error| LoginFault::Kept(error.to_string()))?;
    let kept = Kept::parse(&text).filter(|kept| kept.server == name).ok_or_else(|| {
        LoginFault::Kept(format!(
            "{} holds no login of `{name}`; remove it and log in again",
            path.display()
        ))
    })?;
    Ok(Some((kept, seen)))
}

/// Which state a server's file is in.
pub(super) fn seen(home: &Path, name: &str) -> Result<Option<Seen>, LoginFault> {
    match fs::metadata(path(home, name)) {
        Ok(found) => Ok(Some(Seen(found.ino(), found.mtime(), found.mtime_nsec(), found.size()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoginFault::Kept(format!("{}: {error}", path(home, name).display()))),
    }
}

/// Puts a login in place, whole and durable.
pub(super) fn write(home: &Path, kept: &Kept) -> Result<(), LoginFault> {
    folder(home)?;
    let file = Path::new(FOLDER).join(format!("{}.json", kept.server));
    let written = NativeDisk::new(home).replace(&file, kept.write().as_bytes());
    written.map_err(|error| LoginFault::Kept(error.to_string()))
}

/// Forgets a login.
pub(super) fn remove(home: &Path, name: &str) -> Result<(), LoginFault> {
    let removed = NativeDisk::new(home).remove(&Path::new(FOLDER).join(format!("{name}.json")));
    removed.map_err(|error| LoginFault::Kept(error.to_string()))
}

/// One at a time renews a server's login: a refresh token is used once.
pub(super) fn lock(home: &Path, name: &str) -> Result<File, LoginFault> {
    folder(home)?;
    let path = home.join(FOLDER).join(format!("{name}.lock"));
    let made = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let held = made.and_then(|file| file.lock().map(|()| file));
    held.map_err(|error| LoginFault::Kept(format!("{}: {error}", path.display())))
}

/// The names of the servers that are logged in to.
pub(super) fn names(home: &Path) -> Result<Vec<String>, LoginFault> {
    let found = NativeDisk::new(home).list(Path::new(FOLDER));
    let found = found.map_err(|error| LoginFault::Kept(error.to_string()))?;
    let mut names: Vec<String> =
        found.iter().filter_map(|file| Some(file.strip_suffix(".json")?.to_owned())).collect();
    names.sort_unstable();
    names.truncate(LOGINS_MAX);
    Ok(names)
}

fn path(home: &Path, name: &str) -> PathBuf {
    home.join(FOLDER).join(format!("{name}.json"))
}

fn folder(home: &Path) -> Result<(), LoginFault> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(home.join(FOLDER));
    made.map_err(|error| LoginFault::Kept(format!("{}: {error}", home.join(FOLDER).display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn kept(access: &str, refresh: Option<&str>) -> Kept {
        Kept {
            server: "far".into(),
            url: "https://far.example/mcp".into(),
            issuer: "https://login.example".into(),
            resource: "https://far.example/mcp".into(),
            token: Address::parse("https://login.example/t").unwrap(),
            revocation: None,
            client: Client {
                id: "me".into(),
                proof: Proof::Given(Secret::new("s5cret")),
                method: Method::Basic,
            },
            access: Some(Secret::new(access)),
            refresh: refresh.map(Secret::new),
            since: 1,
            ends: Some(3601),
            life: Some(3600),
            scopes: Scopes::parse("a b").unwrap(),
        }
    }

    #[test]
    fn a_login_lies_for_its_owner_alone_and_shows_no_token() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(home.path(), "far").unwrap().is_none());
        let one = kept("s3cret", Some("s4cret"));
        write(home.path(), &one).unwrap();
        let file = path(home.path(), "far");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let (again, seen_first) = read(home.path(), "far").unwrap().unwrap();
        assert_eq!(again.write(), one.write());
        let shown = format!("{again:?}");
        assert!(
            ["s3cret", "s4cret", "s5cret"].iter().all(|secret| !shown.contains(secret)),
            "{shown}"
        );
        write(home.path(), &kept("other", None)).unwrap();
        assert_ne!(seen(home.path(), "far").unwrap(), Some(seen_first));
        assert_eq!(names(home.path()).unwrap(), ["far"]);
        // One of another server under this name, one for others, and none at all.
        fs::copy(&file, path(home.path(), "near")).unwrap();
        assert!(matches!(read(home.path(), "near"), Err(LoginFault::Kept(_))));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(home.path(), "far"), Err(LoginFault::Kept(_))));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "{}").unwrap();
        assert!(matches!(read(home.path(), "far"), Err(LoginFault::Kept(_))));
        remove(home.path(), "far").unwrap();
        assert!(read(home.path(), "far").unwrap().is_none());
    }

    #[test]
    fn a_token_is_renewed_before_its_end() {
        let mut one = kept("a", Some("r"));
        for (now, due, over) in
            [(1, false, false), (3540, false, false), (3541, true, false), (3601, true, false)]
        {
            assert_eq!((one.is_due(now), one.is_over(now)), (due, over), "{now}");
        }
        let short =
            Tokens { access: Secret::new("b"), refresh: None, life: Some(10), scopes: None };
        one.take(short, 100);
        assert_eq!((one.is_due(107), one.is_due(108)), (false, true));
        assert_eq!(one.refresh.as_ref().unwrap().reveal(), "r", "what isn't replaced stays");
        let rotated = Tokens {
            access: Secret::new("c"),
            refresh: Some(Secret::new("q")),
            life: None,
            scopes: None,
        };
        one.take(rotated, 200);
        assert_eq!(one.refresh.as_ref().unwrap().reveal(), "q");
        assert!(!one.is_due(u64::MAX), "one without an end");
        one.end();
        assert!(one.is_over(1) && !one.write().contains("\"q\""));
        assert!(kept("a", None).is_over(3601) && !kept("a", None).is_over(3600));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\{?[\"a-z_:,{}0-9]{0,80}\\}?") {
            let _ = Kept::parse(&text);
        }
    }
}
