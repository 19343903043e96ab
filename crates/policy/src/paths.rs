//! What the paths of an action touch: declared roots, Tipstaff's own home, credentials.
//!
//! The adversary names a folder that only looks like one inside a root (`/root2`), or reads the files
//! that other people's trust rests on. Pure: the caller makes paths absolute and resolves symbolic links.

/// A path that an action names, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where the action names it: a JSON pointer, or `resource`.
    pub pointer: String,
    /// Absolute, links resolved by the caller, separated by `/`, without `.` and `..`.
    pub path: String,
}

/// What paths are measured against.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// The folders in which the agent may work, in the same form as [`Place::path`].
    pub roots: &'a [String],
    /// Tipstaff's own home folder.
    pub home: &'a str,
    /// The home folder of the user.
    pub user_home: &'a str,
}

/// What the paths of an action touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct PathFacts {
    /// There is at least one path, and each is inside some root.
    pub inside_roots: bool,
    /// Some path is Tipstaff's home or inside it. A folder above it does not count: listing a home
    /// folder is no attack, and deleting one is a tier of its own.
    pub touches_tipstaff: bool,
    /// Some path is a well-known credential file or folder, or inside one.
    pub touches_credentials: bool,
}

/// Measures places.
#[must_use]
pub fn facts(places: &[Place], bounds: &Bounds<'_>) -> PathFacts {
    PathFacts {
        inside_roots: !places.is_empty()
            && places.iter().all(|place| bounds.roots.iter().any(|root| inside(&place.path, root))),
        touches_tipstaff: places.iter().any(|place| inside(&place.path, bounds.home)),
        touches_credentials: places.iter().any(|place| is_credential(&place.path)),
    }
}

/// Whether `path` is `folder` or below it, by whole components. An empty folder holds nothing.
fn inside(path: &str, folder: &str) -> bool {
    if folder.is_empty() {
        return false;
    }
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Folders of which everything inside is a credential, as runs of components.
const FOLDERS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".kube",
    ".password-store",
    ".docker/config.json",
    ".config/gh/hosts.yml",
    ".config/hub",
    ".config/op",
    ".config/rclone",
    ".local/share/keyrings",
    "library/keychains",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".terraform.d/credentials.tfrc.json",
    ".gem/credentials",
    ".m2/settings.xml",
    ".gradle/gradle.properties",
    ".config/containers/auth.json",
    ".oci/config",
    ".vault-token",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".config/github-copilot",
    ".config/doctl",
    ".fly/config.yml",
    ".bitcoin",
    ".ethereum/keystore",
    ".electrum",
    ".config/sops/age",
    ".local/share/kwalletd",
    "etc/shadow",
    "etc/gshadow",
    "etc/sudoers",
    "etc/sudoers.d",
    "etc/ssl/private",
    "etc/krb5.keytab",
    "etc/ssh",
    "var/run/secrets",
    "run/secrets",
];

/// File names that are credentials wherever they are.
const NAMES: &[&str] = &[
    ".netrc",
    "_netrc",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".git-credentials",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".env",
    ".envrc",
    ".htpasswd",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_ecdsa_sk",
    "id_ed25519_sk",
    "login data",
    "cookies",
    "cookies.sqlite",
    "logins.json",
    "key3.db",
    "key4.db",
    "local state",
    "web data",
    "login.keychain-db",
    "login.keychain",
    ".bash_history",
    ".zsh_history",
    ".sh_history",
    ".ash_history",
    ".history",
    "fish_history",
    ".python_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".node_repl_history",
    "consolehost_history.txt",
    ".rediscli_history",
    "credentials.json",
    "client_secret.json",
    "service-account.json",
    "kubeconfig",
    "wallet.dat",
    "ntds.dit",
    ".s3cfg",
    ".boto",
    ".dockercfg",
    ".vault_pass",
    "master.key",
    "secrets.yml",
    "secrets.yaml",
    "secrets.json",
    "secrets.toml",
    "terraform.tfstate",
];

/// Endings of key and password stores.
const ENDS: &[&str] = &[
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".kdbx",
    ".jks",
    ".keystore",
    ".ppk",
    ".asc.key",
    ".ovpn",
    ".keytab",
];

fn is_credential(path: &str) -> bool {
    let lower = path.to_lowercase();
    let parts: Vec<&str> = lower.split('/').filter(|part| !part.is_empty()).collect();
    let folder = FOLDERS.iter().any(|folder| {
        let wanted: Vec<&str> = folder.split('/').collect();
        // `etc/…` is only at the top; the others are in any home.
        let anywhere = folder.starts_with('.') || folder.starts_with("library");
        let runs = parts.windows(wanted.len()).take(if anywhere { usize::MAX } else { 2 });
        runs.into_iter()
            .any(|run| run.iter().zip(&wanted).all(|(part, name)| component(part, name)))
    });
    let process = matches!(parts.as_slice(), ["proc", _, .., "environ" | "mem"]);
    folder
        || process
        || parts.last().is_some_and(|name| {
            NAMES.iter().any(|known| component(name, known))
                || name
                    .strip_prefix(".env.")
                    .is_some_and(|kind| !matches!(kind, "example" | "sample" | "template"))
                || ENDS.iter().any(|end| name.ends_with(end))
        })
}

/// Whether a component is `name`, or a shell pattern that says more than `*` and matches it.
fn component(part: &str, name: &str) -> bool {
    if part == name {
        return true;
    }
    // Hardly any path holds a pattern, and every one is compared with a hundred names.
    if !part.bytes().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
        return false;
    }
    let literal = part.chars().filter(|c| !matches!(c, '*' | '?' | '[' | ']')).count();
    literal > 0
        && (name.starts_with('.') == part.starts_with(['.', '[', '?']))
        && matches_glob(part, name)
}

/// `*` any run, `?` any character, `[…]` read as `?`.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '[' {
            while chars.next().is_some_and(|c| c != ']') {}
            tokens.push('?');
        } else {
            tokens.push(c);
        }
    }
    // The set of places in the pattern that the text so far can lead to.
    let mut at = vec![false; tokens.len() + 1];
    let close = |at: &mut Vec<bool>| {
        for (index, token) in tokens.iter().enumerate() {
            if *token == '*'
                && at.get(index) == Some(&true)
                && let Some(next) = at.get_mut(index + 1)
            {
                *next = true;
            }
        }
    };
    if let Some(first) = at.first_mut() {
        *first = true;
    }
    close(&mut at);
    for c in text.chars() {
        let mut next = vec![false; tokens.len() + 1];
        for (index, token) in tokens.iter().enumerate() {
            if at.get(index) != Some(&true) {
                continue;
            }
            let to = match token {
                '*' => index,
                '?' => index + 1,
                literal if *literal == c => index + 1,
                _ => continue,
            };
            if let Some(place) = next.get_mut(to) {
                *place = true;
            }
        }
        close(&mut next);
        at = next;
    }
    at.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place { pointer: "/path".to_owned(), path: path.to_owned() }
    }

    fn measure(paths: &[&str]) -> PathFacts {
        let roots = ["/root".to_owned(), "/home/u/work/".to_owned()];
        let places: Vec<Place> = paths.iter().map(|path| place(path)).collect();
        facts(
            &places,
            &Bounds { roots: &roots, home: "/home/u/.local/share/tipstaff", user_home: "/home/u" },
        )
    }

    #[test]
    fn roots_hold_whole_components_and_every_path() {
        assert!(measure(&["/root", "/root/a", "/home/u/work/x"]).inside_roots);
        assert!(!measure(&["/root2"]).inside_roots);
        assert!(!measure(&["/root/a", "/etc/passwd"]).inside_roots);
        assert!(!measure(&[]).inside_roots);
        assert!(
            !facts(&[place("/a")], &Bounds { roots: &[String::new()], home: "", user_home: "" })
                .inside_roots
        );
    }

    #[test]
    fn the_own_home_counts_and_what_is_above_it_does_not() {
        assert!(measure(&["/home/u/.local/share/tipstaff"]).touches_tipstaff);
        assert!(measure(&["/x", "/home/u/.local/share/tipstaff/log/1"]).touches_tipstaff);
        assert!(!measure(&["/home/u/.local/share"]).touches_tipstaff);
        assert!(!measure(&["/home/u/.local/share/tipstaff2"]).touches_tipstaff);
    }

    #[test]
    fn credentials_are_known_wherever_they_are() {
        for path in [
            "/home/u/.ssh/id_rsa",
            "/home/u/.ssh",
            "/home/u/.SSH/config",
            "/x/.gnupg/a",
            "/home/u/.aws/credentials",
            "/home/u/.config/gcloud/x.db",
            "/home/u/.kube/config",
            "/a/.netrc",
            "/a/.npmrc",
            "/a/.docker/config.json",
            "/repo/.env",
            "/repo/.env.production",
            "/a/server.pem",
            "/a/B.KEY",
            "/a/x.kdbx",
            "/etc/shadow",
            "/etc/sudoers.d/x",
            "/home/u/.config/gh/hosts.yml",
            "/h/.cargo/credentials.toml",
            "/h/.bash_history",
            "/h/.config/google-chrome/Default/Login Data",
            "/proc/self/environ",
            "/h/.ss?/x",
            "/h/.s*/x",
            "/h/id_*",
        ] {
            assert!(measure(&[path]).touches_credentials, "{path}");
        }
        for path in [
            "/repo/src/main.rs",
            "/repo/.environment",
            "/repo/keys.rs",
            "/repo/.env.example",
            "/repo/etc/shadow.rs",
            "/repo/ssh/a",
            "/repo/*",
            "/repo/*.rs",
            "/repo/[slug].tsx",
            "/repo/monkey",
        ] {
            assert!(!measure(&[path]).touches_credentials, "{path}");
        }
    }
}
