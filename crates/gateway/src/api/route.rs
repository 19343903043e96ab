//! Which paths there are.
//!
//! The adversary writes a path that leads somewhere else: dots, doubled or encoded slashes. Paths are
//! never decoded: each has one spelling, and what isn't one of these is not found.

use tipstaff_core::limits::BODY_BYTES_MAX;
use tipstaff_ledger::tile::TileId;

/// Longest chain to verify in bytes (contract: over 10 MiB is refused).
pub(crate) const CHAIN_BYTES_MAX: usize = 10 << 20;

/// Longest signed statement in bytes: a request of 16 KiB with every byte spelled out, and what is around it.
pub(crate) const SIGNED_BYTES_MAX: usize = 128 << 10;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Action,
    Approve,
    Checkpoint,
    Conformance,
    ConformancePage,
    Console,
    Health,
    KeySet,
    Metrics,
    OpenApi,
    Outcome { receipt: &'a str },
    Receipt { id: &'a str },
    Queue,
    Receipts,
    Sample,
    ServiceLevel,
    Sessions,
    Tell,
    Tile(TileId),
    VerifyChain,
}

/// How a route is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// GET, and HEAD.
    Get,
    Post,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever has the home's token, or signs as a principal.
    Actor,
    /// Whoever has the home's token.
    Bearer,
    /// Whoever has the home's token, or whose connection the kernel says is the home's user's: a page for people, which
    /// changes nothing and which no page of another origin can read.
    Viewer,
    /// Anyone: what is answered is public or comes from the caller.
    Anyone,
}

impl<'a> Route<'a> {
    /// The route of a path as it stands in the request.
    pub(crate) fn find(path: &'a str) -> Option<Self> {
        match path {
            "/.well-known/jwks.json" => return Some(Self::KeySet),
            "/aarm/conformance" => return Some(Self::ConformancePage),
            "/console" => return Some(Self::Console),
            "/api/openapi.json" => return Some(Self::OpenApi),
            "/api/v1/aarm/conformance" => return Some(Self::Conformance),
            "/api/v1/aarm/sample-chain" => return Some(Self::Sample),
            "/api/v1/aarm/verify-chain" => return Some(Self::VerifyChain),
            "/api/v1/actions" => return Some(Self::Action),
            "/api/v1/approvals" => return Some(Self::Approve),
            "/api/v1/queue" => return Some(Self::Queue),
            "/api/v1/receipts" => return Some(Self::Receipts),
            "/api/v1/sessions" => return Some(Self::Sessions),
            "/api/v1/told" => return Some(Self::Tell),
            "/api/v1/trust/sla" => return Some(Self::ServiceLevel),
            "/healthz" => return Some(Self::Health),
            "/log/checkpoint" => return Some(Self::Checkpoint),
            "/metrics" => return Some(Self::Metrics),
            _ => {}
        }
        if let Some(tile) = path.strip_prefix("/log/").filter(|rest| rest.starts_with("tile/")) {
            return TileId::parse(tile).ok().map(Self::Tile);
        }
        let segment = |text: &'a str| (!text.is_empty() && !text.contains('/')).then_some(text);
        if let Some(id) = path.strip_prefix("/api/v1/receipts/") {
            return segment(id).map(|id| Self::Receipt { id });
        }
        let receipt = path.strip_prefix("/api/v1/actions/")?.strip_suffix("/outcome")?;
        segment(receipt).map(|receipt| Self::Outcome { receipt })
    }

    /// How it is asked.
    pub(crate) const fn verb(self) -> Verb {
        match self {
            Self::Action
            | Self::Approve
            | Self::Outcome { .. }
            | Self::Tell
            | Self::VerifyChain => Verb::Post,
            _ => Verb::Get,
        }
    }

    /// Who may ask.
    pub(crate) const fn access(self) -> Access {
        match self {
            Self::Checkpoint
            | Self::Conformance
            | Self::ConformancePage
            | Self::Health
            | Self::KeySet
            | Self::OpenApi
            | Self::Sample
            | Self::Tile(_)
            | Self::VerifyChain => Access::Anyone,
            Self::Action | Self::Outcome { .. } => Access::Actor,
            Self::Console => Access::Viewer,
            Self::Approve
            | Self::Metrics
            | Self::Queue
            | Self::Receipt { .. }
            | Self::Receipts
            | Self::ServiceLevel
            | Self::Sessions
            | Self::Tell => Access::Bearer,
        }
    }

    /// Most bytes that a body may have.
    pub(crate) const fn body_max(self) -> usize {
        match self {
            Self::VerifyChain => CHAIN_BYTES_MAX,
            Self::Action | Self::Outcome { .. } => BODY_BYTES_MAX,
            Self::Approve | Self::Tell => SIGNED_BYTES_MAX,
            _ => 0,
        }
    }

    /// Its path in the description, and its label in counters.
    pub(crate) const fn template(self) -> &'static str {
        match self {
            Self::Action => "/api/v1/actions",
            Self::Approve => "/api/v1/approvals",
            Self::Checkpoint => "/log/checkpoint",
            Self::Conformance => "/api/v1/aarm/conformance",
            Self::Console => "/console",
            Self::ConformancePage => "/aarm/conformance",
            Self::Health => "/healthz",
            Self::KeySet => "/.well-known/jwks.json",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/api/openapi.json",
            Self::Outcome { .. } => "/api/v1/actions/{receipt}/outcome",
            Self::Queue => "/api/v1/queue",
            Self::Receipt { .. } => "/api/v1/receipts/{id}",
            Self::Receipts => "/api/v1/receipts",
            Self::Sample => "/api/v1/aarm/sample-chain",
            Self::ServiceLevel => "/api/v1/trust/sla",
            Self::Sessions => "/api/v1/sessions",
            Self::Tell => "/api/v1/told",
            Self::Tile(_) => "/log/tile/{tile}",
            Self::VerifyChain => "/api/v1/aarm/verify-chain",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One path of each route.
    pub(crate) const PATHS: [&str; 20] = [
        "/console",
        "/aarm/conformance",
        "/api/v1/aarm/conformance",
        "/api/v1/approvals",
        "/api/v1/queue",
        "/api/v1/sessions",
        "/api/v1/told",
        "/.well-known/jwks.json",
        "/api/openapi.json",
        "/api/v1/aarm/sample-chain",
        "/api/v1/aarm/verify-chain",
        "/api/v1/actions",
        "/api/v1/actions/00/outcome",
        "/api/v1/receipts",
        "/api/v1/receipts/00",
        "/api/v1/trust/sla",
        "/healthz",
        "/log/checkpoint",
        "/log/tile/0/000.p/1",
        "/metrics",
    ];

    #[test]
    fn each_path_has_one_spelling() {
        for path in PATHS {
            assert!(Route::find(path).is_some(), "{path}");
            for wrong in
                [format!("{path}/"), format!("/{path}"), format!("{path}%2e"), path.to_uppercase()]
            {
                let found = Route::find(&wrong);
                // An id is looked at by whoever looks it up.
                let is_id = matches!(found, Some(Route::Receipt { .. } | Route::Outcome { .. }));
                assert!(found.is_none() || is_id, "{wrong}");
            }
        }
        for wrong in [
            "",
            "/",
            "/log",
            "/log/",
            "/log/tile",
            "/log/tile/",
            "/log/tile/0/",
            "/log/tile/0/0",
            "/log/tile/00/000",
            "/log/tile/0/000.p/0",
            "/log/tile/0/000.p/256",
            "/log/tile/0/000.p/01",
            "/log/tile/0/x000/000",
            "/log/tile/64/000",
            "/log/tile/-1/000",
            "/log/tile/+1/000",
            "/log/tile/entries/../../../keys/receipts.key",
            "/log/../keys/http.token",
            "/log/checkpoint/..",
            "/log/tile/entries/%2e%2e/000",
            "/log//tile/0/000",
            "/log/tile/entries/x001/x2/003",
            "/api/v1/receipts/",
            "/api/v1/receipts/a/b",
            "/api/v1/actions//outcome",
            "/api/v1/actions/a/b/outcome",
            "/api/v1/actions/outcome",
            "/keys/http.token",
        ] {
            assert_eq!(Route::find(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_tile_path_names_a_file_of_the_log_and_nothing_else(path in "/log/(tile|\\.\\.|x[0-9]{3}|[0-9.p/%a-z+-])*") {
            if let Some(Route::Tile(id)) = Route::find(&path) {
                prop_assert_eq!(format!("/log/{}", id.path()), path.clone());
                prop_assert!(!path.contains("..") && !path.contains("//") && !path.contains('%'));
            }
        }

        #[test]
        fn any_path_is_answered(path in "\\PC*") {
            let _ = Route::find(&path);
        }
    }
}
