//! Values given to names that say what they are: `password = …`, `"apiKey": "…"`, `https://user:pass@host`.
//! The adversary has a password of no form at all.

use std::ops::Range;
use std::sync::LazyLock;

use crate::bytes::{Needles, ahead, at, behind, ends, is_word, part, run};
use crate::findings::Detector;
use crate::view::{Sink, View};

use super::entropy;

/// Longest name and value that are read.
const NAME_MAX: usize = 48;
const VALUE_MAX: usize = 256;

/// Names whose values are passwords: people choose these, so that they need not look random.
const PASSWORDS: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"passphrase",
    b"pwd",
    b"_pass",
    b"passwort",
    b"kennwort",
    b"userpass",
    b"dbpass",
    b"motdepasse",
    b"mot_de_passe",
    b"contrasena",
    b"senha",
    b"mysql_pwd",
    b"pass",
];

/// Names whose values are drawn by machines.
const KEYS: &[&[u8]] = &[
    b"secret",
    b"token",
    b"apikey",
    b"api_key",
    b"api-key",
    b"secretkey",
    b"secret_key",
    b"secret-key",
    b"accesskey",
    b"access_key",
    b"access-key",
    b"privatekey",
    b"private_key",
    b"authkey",
    b"auth_key",
    b"encryption_key",
    b"encryptionkey",
    b"signing_key",
    b"signingkey",
    b"master_key",
    b"masterkey",
    b"account_key",
    b"accountkey",
    b"secret_key_base",
    b"client_secret",
    b"credential",
    b"credentials",
    b"authorization",
    b"auth",
    b"storage_key",
    b"sharedaccesskey",
    b"license_key",
    b"session_key",
    b"cookie_secret",
    b"app_key",
    b"service_key",
    b"auth_token",
    b"bearer",
    b"x-api-key",
    b"sharedaccesssignature",
    b"tokens",
    b"secrets",
    b"webhook_secret",
    b"connection_string",
];

/// Names that end like those and hold no credential.
const HARMLESS: &[&[u8]] = &[
    b"page_token",
    b"pagetoken",
    b"next_token",
    b"nexttoken",
    b"continuation_token",
    b"continuationtoken",
    b"cancellationtoken",
    b"max_tokens",
    b"total_tokens",
    b"prompt_tokens",
    b"completion_tokens",
    b"sync_token",
    b"synctoken",
    b"public_token",
    b"compass",
    b"bypass",
    b"surpass",
    b"trespass",
    b"encompass",
    b"csstoken",
    b"designtoken",
    b"design_token",
    b"tokens_used",
    b"num_tokens",
    b"has_password",
    b"reset_password",
    b"no_auth",
];

/// What placeholders contain, in lower case.
const PLACEHOLDERS: &[&[u8]] = &[
    b"example",
    b"changeme",
    b"change_me",
    b"change-me",
    b"placeholder",
    b"redacted",
    b"your",
    b"xxxx",
    b"****",
    b"....",
    b"dummy",
    b"replace",
    b"insert",
    b"${",
    b"{{",
    b"$(",
    b"%(",
    b"<",
    b"process.env",
    b"environ",
    b"getenv",
    b"todo",
    b"sample",
    b"secrets.",
    b"vault:",
    b"not_set",
    b"undefined",
    b"null",
    b"none",
    b"false",
    b"true",
    b"config.",
    b"settings.",
    b"self.",
    b"this.",
    b"keyvault",
    b"ref+",
    b"\xe2\x80\xa2",
    b"mock",
    b"fake",
    b"hunter2hunter",
    b"op://",
    b"arn:aws",
    b"file:",
    b"/run/secrets",
];

static IS_PLACEHOLDER: LazyLock<Needles> = LazyLock::new(|| Needles::new(PLACEHOLDERS));

/// Endings by their last letter, since nearly all names end in none of them.
struct ByLast([Vec<&'static [u8]>; 26]);

static IS_PASSWORD: LazyLock<ByLast> = LazyLock::new(|| ByLast::new(PASSWORDS));
static IS_KEY: LazyLock<ByLast> = LazyLock::new(|| ByLast::new(KEYS));

impl ByLast {
    fn new(endings: &[&'static [u8]]) -> Self {
        let mut lists = [const { Vec::new() }; 26];
        for ending in endings {
            if let Some(list) = slot(ending).and_then(|slot| lists.get_mut(slot)) {
                list.push(*ending);
            }
        }
        Self(lists)
    }

    fn of(&self, name: &[u8]) -> &[&'static [u8]] {
        slot(name).and_then(|slot| self.0.get(slot)).map_or(&[], Vec::as_slice)
    }
}

fn slot(name: &[u8]) -> Option<usize> {
    let last = name.last()? | 0x20;
    last.is_ascii_lowercase().then(|| usize::from(last - b'a'))
}

/// The `=` or `:` at a position: does it give a secret to a name?
pub(crate) fn separator(view: &View<'_>, sink: &mut Sink, position: usize) {
    let text = view.text;
    // `==`, `::`, `:=` and `=>` are read at their last sign.
    let next = at(text, position + 1);
    if matches!(next, b'=' | b':') {
        return;
    }
    let before = behind(text, position, NAME_MAX);
    let is_gap =
        |byte: &u8| matches!(byte, b' ' | b'"' | b'\'' | b':' | b'`' | b'?' | b']' | b'*' | b'>');
    let gap = before.iter().rev().take_while(|byte| is_gap(byte)).count().min(4);
    let named = ahead(before, 0, before.len() - gap.min(before.len()));
    let length = named.iter().rev().take_while(|byte| is_word(**byte) || **byte == b'-').count();
    let name = part(named, named.len() - length..named.len());
    let name = name.strip_suffix(b"_1").or_else(|| name.strip_suffix(b"_2")).unwrap_or(name);
    let is = |names: &ByLast| names.of(name).iter().any(|one| ends(name, one));
    let is_password = is(&IS_PASSWORD) || name.eq_ignore_ascii_case(b"pw");
    if !is_password && !is(&IS_KEY) || HARMLESS.iter().any(|one| ends(name, one)) {
        return;
    }
    let mut from = position + 1;
    if at(text, from) == b'>' || at(text, from) == b'~' {
        from += 1;
    }
    let spaces = run(text, from, 3, |byte| byte == b' ' || byte == b'\t');
    from += spaces;
    if let Some(end) = value(text, from, is_password, spaces > 0 && at(text, position) == b':') {
        sink.report(view, Detector::Assignment, position - gap - length..end);
    }
}

/// An option of a command, such as `--password`, with its value after a space.
pub(crate) fn option(view: &View<'_>, sink: &mut Sink, option: Range<usize>) {
    let name = part(view.text, option.clone());
    let is = |names: &ByLast| names.of(name).iter().any(|one| ends(name, one));
    let is_password = is(&IS_PASSWORD);
    if (is_password || is(&IS_KEY))
        && let Some(end) = value(view.text, option.end + 1, is_password, false)
    {
        sink.report(view, Detector::Assignment, option.start..end);
    }
}

/// The end of the value that begins here, if it may be a secret.
fn value(text: &[u8], from: usize, is_password: bool, is_prose: bool) -> Option<usize> {
    let mut from = from;
    if matches!(at(text, from), b'b' | b'r' | b'f' | b'@')
        && matches!(at(text, from + 1), b'"' | b'\'')
    {
        from += 1;
    }
    let quote = at(text, from);
    let is_quoted = matches!(quote, b'"' | b'\'' | b'`');
    let mut start = from + usize::from(is_quoted);
    for scheme in [b"bearer ".as_slice(), b"basic ", b"token "] {
        if crate::bytes::begins(ahead(text, start, 8), scheme) {
            start += scheme.len();
        }
    }
    let length = run(text, start, VALUE_MAX, |byte| {
        if is_quoted {
            byte != quote && byte >= 0x20
        } else {
            byte > b' '
                && !matches!(
                    byte,
                    b'"' | b'\'' | b',' | b';' | b'<' | b'>' | b')' | b'}' | b'`' | b'|'
                )
        }
    });
    let found = part(text, start..start + length);
    let is_closed = is_quoted && at(text, start + length) == quote;
    (is_plausible(found, is_password, is_closed, is_prose)).then_some(start + length)
}

fn is_plausible(value: &[u8], is_password: bool, is_quoted: bool, is_prose: bool) -> bool {
    let least = if is_password { 6 } else { 12 };
    if value.len() < least || value.len() >= VALUE_MAX || value.contains(&b' ') {
        return false;
    }
    if matches!(
        value.first(),
        Some(b'$' | b'%' | b'{' | b'(' | b'/' | b'[' | b'&' | b'.' | b'\\' | b'@' | b'!')
    ) && !is_password
        || matches!(value.first(), Some(b'$' | b'{' | b'[' | b'(' | b'&' | b'/' | b'\\'))
        || IS_PLACEHOLDER.are_in(ahead(value, 0, 64))
    {
        return false;
    }
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic() || **byte >= 0x80).count();
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let others = value.len() - letters - digits;
    let is_code = value.iter().any(|byte| matches!(byte, b'(' | b'[' | b'{' | b'\\'))
        || value.windows(2).any(|two| two == b"::" || two == b"->");
    if !is_quoted && is_code {
        return false;
    }
    // A path, an address, a name in code, a version.
    if value.windows(3).any(|three| three == b"://")
        || !is_quoted && digits == 0 && others <= 2 && !is_password
    {
        return false;
    }
    // A name in code, such as `_some_type_7`.
    let is_name = !is_quoted
        && digits <= 2
        && value.contains(&b'_')
        && value.iter().all(|byte| is_word(*byte))
        && !(value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase));
    if is_name && !is_password {
        return false;
    }
    let distinct = entropy::bits(value);
    if is_password {
        let is_mixed = letters > 0 && (digits > 0 || others > 0);
        let is_identifier = others > 0
            && digits == 0
            && value.iter().all(|b| is_word(*b) || matches!(b, b'.' | b'-'));
        return distinct >= 2.2
            && is_mixed
            && !is_identifier
            && !(is_prose && !is_quoted && digits == 0);
    }
    distinct >= 3.0 && letters > 0 && digits > 0 || distinct >= 3.9 && is_quoted && digits > 0
}

/// `://`: a name and a password before the host?
/// Where the `@` is.
pub(crate) fn address(view: &View<'_>, sink: &mut Sink, position: usize) -> usize {
    let text = view.text;
    let start = position + 3;
    let length = run(text, start, 200, |byte| {
        byte > b' '
            && !matches!(
                byte,
                b'/' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'?' | b'#' | b'|' | b'^' | b')'
            )
    });
    let authority = ahead(text, start, length);
    let Some(sign) = authority.iter().rposition(|byte| *byte == b'@') else { return 0 };
    let user = ahead(authority, 0, sign);
    let Some(colon) = user.iter().position(|byte| *byte == b':') else { return 0 };
    let password = part(user, colon + 1..user.len());
    let host = at(authority, sign + 1);
    let is_plain = matches!(
        password.to_ascii_lowercase().as_slice(),
        b"password"
            | b"pass"
            | b"passwd"
            | b"secret"
            | b"pwd"
            | b"x-oauth-basic"
            | b"user"
            | b"token"
            | b"postgres"
    );
    let is_placeholder = IS_PLACEHOLDER.are_in(password)
        || matches!(password.first(), Some(b'$' | b'{' | b'[' | b'%' | b':' | b'*'));
    if password.len() >= 4 && !is_plain && !is_placeholder && host.is_ascii_alphanumeric() {
        sink.report(view, Detector::UrlCredentials, start..start + sign);
    }
    start + sign
}
