//! What a client of MCP can read, and what it likes best.
//!
//! The adversary is a client that could not read its answer: whoever doesn't name both forms is told so
//! before anything is forwarded.

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};

use super::mcp::{No, no};
use super::stream::Answered;

pub(super) const JSON: &str = "application/json";
pub(super) const EVENTS: &str = "text/event-stream";

/// Checks that the client can read each of the kinds.
pub(super) fn accepts(headers: &HeaderMap, kinds: &[&str]) -> Result<(), No> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<&str> = values.flat_map(|value| value.split(',')).map(media).collect();
    let accepted = |kind: &str| {
        let group = kind.split('/').next().unwrap_or_default();
        ranges.iter().any(|range| {
            range.eq_ignore_ascii_case(kind)
                || *range == "*/*"
                || range.strip_suffix("/*").is_some_and(|start| start.eq_ignore_ascii_case(group))
        })
    };
    if kinds.iter().all(|kind| accepted(kind)) {
        return Ok(());
    }
    let told = format!("The header Accept must name {}.", kinds.join(" and "));
    Err(no(StatusCode::NOT_ACCEPTABLE, &told))
}

/// A media type without its parameters.
pub(super) fn media(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether a client likes events better than a lone message: it has to take both, and what it names first,
/// or gives more weight, it prefers.
pub(super) fn prefers(headers: &HeaderMap) -> Answered {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
    let place = |kind: &str| {
        let found = ranges.iter().position(|range| media(range).eq_ignore_ascii_case(kind))?;
        Some((found, ranges.get(found).map_or(1.0, |range| weight(range))))
    };
    match (place(JSON), place(EVENTS)) {
        (Some((json, light)), Some((events, heavy))) => {
            let first = events < json;
            if heavy > light || heavy >= light && first {
                Answered::Events
            } else {
                Answered::Alone
            }
        }
        _ => Answered::Alone,
    }
}

/// The weight of a media range.
fn weight(range: &str) -> f32 {
    let mut parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let weight = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.and_then(|(_, weight)| weight.trim().parse().ok()).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_named_first_or_weighs_more_is_preferred() {
        for (accept, form) in [
            ("application/json, text/event-stream", Answered::Alone),
            ("text/event-stream, application/json", Answered::Events),
            ("text/event-stream;q=0.5, application/json", Answered::Alone),
            ("application/json;q=0.5, text/event-stream", Answered::Events),
            ("TEXT/Event-Stream ; x=1; Q=1 , application/json", Answered::Events),
            ("text/event-stream;q=x, application/json;q=NaN", Answered::Alone),
            ("*/*", Answered::Alone),
            ("text/*, application/json", Answered::Alone),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers(&headers), form, "{accept}");
            assert!(accepts(&headers, &[JSON, EVENTS]).is_ok(), "{accept}");
        }
        assert!(accepts(&HeaderMap::new(), &[JSON]).is_err());
    }
}
