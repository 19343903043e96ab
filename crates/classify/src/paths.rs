//! The absolute form of a path that an action names, by its text alone.
//!
//! The adversary spells one place in a way that two readers take for two: `..`, `%2e`, `~`, a `file:`
//! URI. Everybody who reads a path here reads it by this module. Pure: the caller resolves symbolic links.

/// The absolute form of a path as an action spells it, with its `.` and `..`, without looking at the
/// file system.
///
/// Expands `~` and `file:` (with percent-encoding). `None` for what is no local path: another URI
/// scheme, or a file URI on another host.
#[must_use]
pub fn absolute(text: &str, cwd: &str, user_home: &str) -> Option<String> {
    let decoded;
    let mut text = text;
    if let Some(rest) = strip_file_scheme(text) {
        let path = match rest.strip_prefix("//") {
            Some(authority) => {
                let (host, _) = authority.split_once('/').unwrap_or((authority, ""));
                if !host.is_empty()
                    && !host.eq_ignore_ascii_case("localhost")
                    && host != "127.0.0.1"
                {
                    return None;
                }
                authority.strip_prefix(host).unwrap_or(authority)
            }
            None => rest,
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        decoded = percent_decode(path)?;
        text = &decoded;
    } else if has_scheme(text) {
        return None;
    }
    if text.is_empty() {
        return None;
    }
    Some(if text.starts_with('/') {
        text.to_owned()
    } else if text == "~" {
        user_home.to_owned()
    } else if let Some(rest) = text.strip_prefix("~/") {
        format!("{user_home}/{rest}")
    } else if let Some(rest) = text.strip_prefix('~') {
        // Another user's home is nowhere near ours.
        format!("/~/{rest}")
    } else {
        format!("{cwd}/{text}")
    })
}

/// [`absolute`] and [`normalize`].
#[must_use]
pub fn lexical_absolute(text: &str, cwd: &str, user_home: &str) -> Option<String> {
    Some(normalize(&absolute(text, cwd, user_home)?))
}

/// Resolves `.` and `..` of an absolute path by text.
#[must_use]
pub fn normalize(absolute: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

fn strip_file_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    // `file:name` is a relative file name to everyone but a URI reader; only `file:/…` is a URI.
    (scheme.eq_ignore_ascii_case("file") && rest.starts_with('/')).then_some(rest)
}

fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_by_text() {
        for (text, wanted) in [
            ("a/./b/../c", Some("/w/a/c")),
            ("../../../x", Some("/x")),
            ("/a//b/", Some("/a/b")),
            ("~", Some("/home/u")),
            ("~/x", Some("/home/u/x")),
            ("~root/x", Some("/~/root/x")),
            ("file:///a/%2e%2e/b%20c", Some("/b c")),
            ("FILE://localhost/a", Some("/a")),
            ("file:/a", Some("/a")),
            ("file://elsewhere/a", None),
            ("file:///%zz", None),
            ("http://x/y", None),
            ("", None),
            ("C:x", Some("/w/C:x")),
        ] {
            assert_eq!(lexical_absolute(text, "/w", "/home/u").as_deref(), wanted, "{text}");
        }
    }
}
