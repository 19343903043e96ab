//! E-mail addresses. The adversary is a list of them; the nuisance is everything else with an `@`: versions,
//! decorators, images for dense screens, remotes.

use crate::bytes::{ahead, at, behind, ends};
use crate::findings::Detector;
use crate::view::{Sink, View};

/// Longest name and host.
const NAME_MAX: usize = 64;
const HOST_MAX: usize = 128;

/// Names that belong to no person.
const ROLES: &[&[u8]] = &[
    b"git",
    b"noreply",
    b"no-reply",
    b"donotreply",
    b"do-not-reply",
    b"postmaster",
    b"mailer-daemon",
    b"bounce",
    b"hostmaster",
    b"hg",
    b"svn",
    b"root",
];

/// Domains that are reserved for documentation, or for machines.
const RESERVED: &[&[u8]] = &[
    b"example.com",
    b"example.org",
    b"example.net",
    b"example.edu",
    b".example",
    b".test",
    b".invalid",
    b".localhost",
    b"users.noreply.github.com",
    b".local",
    b".internal",
    b".gserviceaccount.com",
];

/// Top-level domains longer than two letters that people have addresses under.
const LONG_DOMAINS: &[&[u8]] = &[
    b"com",
    b"org",
    b"net",
    b"edu",
    b"gov",
    b"mil",
    b"int",
    b"info",
    b"biz",
    b"name",
    b"pro",
    b"dev",
    b"app",
    b"cloud",
    b"online",
    b"email",
    b"tech",
    b"shop",
    b"site",
    b"xyz",
    b"club",
    b"store",
    b"agency",
    b"berlin",
    b"london",
    b"paris",
    b"wien",
    b"hamburg",
    b"bayern",
    b"academy",
    b"capital",
    b"care",
    b"center",
    b"company",
    b"consulting",
    b"digital",
    b"finance",
    b"foundation",
    b"fund",
    b"global",
    b"group",
    b"health",
    b"legal",
    b"life",
    b"live",
    b"media",
    b"network",
    b"news",
    b"one",
    b"partners",
    b"solutions",
    b"studio",
    b"support",
    b"systems",
    b"team",
    b"today",
    b"university",
    b"ventures",
    b"work",
    b"works",
    b"world",
    b"swiss",
    b"ngo",
    b"law",
    b"bank",
    b"mobi",
    b"museum",
    b"travel",
    b"jobs",
    b"cat",
    b"asia",
    b"blog",
    b"design",
    b"page",
    b"space",
    b"website",
    b"me",
];

/// The `@` at a position.
pub(crate) fn at_sign(view: &View<'_>, sink: &mut Sink, position: usize) {
    let text = view.text;
    if !at(text, position + 1).is_ascii_alphanumeric() {
        return;
    }
    let before = behind(text, position, NAME_MAX + 1);
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'%' | b'\'')
    };
    let length = before.iter().rev().take_while(|byte| is_name(byte)).count();
    let name = ahead(before, before.len() - length, length);
    let name = name.trim_ascii_start();
    let skipped = name.iter().take_while(|byte| !byte.is_ascii_alphanumeric()).count();
    let name = ahead(name, skipped, name.len());
    if name.is_empty() || length > NAME_MAX || name.last() == Some(&b'.') {
        return;
    }
    let host = ahead(text, position + 1, HOST_MAX);
    let host_length = host
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        .count();
    let host = ahead(host, 0, host_length);
    let host = host.strip_suffix(b".").unwrap_or(host);
    let host = host.strip_suffix(b"-").unwrap_or(host);
    let Some(dot) = host.iter().rposition(|byte| *byte == b'.') else { return };
    let top = ahead(host, dot + 1, host.len());
    let is_top = top.len() == 2 && top.iter().all(u8::is_ascii_alphabetic)
        || LONG_DOMAINS.iter().any(|known| top.eq_ignore_ascii_case(known));
    let is_role = ROLES.iter().any(|role| name.eq_ignore_ascii_case(role));
    let is_reserved = RESERVED.iter().any(|known| ends(host, known));
    let next = at(text, position + 1 + host.len());
    if is_top && !is_role && !is_reserved && dot > 0 && !matches!(next, b'@' | b'(') {
        sink.report(view, Detector::Email, position - name.len()..position + 1 + host.len());
    }
}
