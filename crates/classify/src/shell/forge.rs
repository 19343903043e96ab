//! Command lines of forges (`gh`, `glab`).
//!
//! The adversary writes where others read, or merges, with a tool that mostly reads.

use tipstaff_core::Tier;

use super::args::has;
use super::parse::Word;

pub(super) fn forge(args: &[Word], names: &[&str]) -> (Tier, &'static str) {
    let first = names.first().copied().unwrap_or_default();
    let second = names.get(1).copied().unwrap_or_default();
    match (first, second) {
        ("api", path) => {
            let upper = |wanted: &str| {
                args.iter().any(|word| word.text.to_ascii_uppercase().ends_with(wanted))
            };
            if upper("DELETE") {
                (Tier::T5, "repo:delete")
            } else if path == "graphql" && asks_graphql(args) {
                (Tier::T1, "repo:read")
            } else if path == "graphql"
                || has(args, "XfF", &["method", "field", "raw-field", "input"])
            {
                (Tier::T4, "repo:write")
            } else {
                (Tier::T1, "repo:read")
            }
        }
        ("alias" | "extension" | "ext", _) => (Tier::T4, "shell:opaque"),
        ("secret" | "auth" | "variable" | "ssh-key" | "gpg-key", _) if second != "status" => {
            (Tier::T4, "repo:write")
        }
        (_, "delete" | "remove") => (Tier::T5, "repo:delete"),
        ("pr" | "mr", "merge") => (Tier::T4, "repo:merge"),
        ("release", "create" | "upload" | "edit") => (Tier::T4, "repo:release"),
        ("repo", "clone") | ("pr", "checkout") | ("release" | "run", "download") => {
            (Tier::T3, "git:write")
        }
        (_, "list" | "ls" | "view" | "status" | "diff" | "checks" | "watch") => {
            (Tier::T1, "repo:read")
        }
        ("status" | "search" | "help" | "version" | "browse" | "", _) => (Tier::T1, "repo:read"),
        _ => (Tier::T4, "repo:write"),
    }
}

/// Whether the fields of a GraphQL request hold one literal query. What changes something is called a mutation.
fn asks_graphql(args: &[Word]) -> bool {
    let (mut fields, mut queries) = (false, 0);
    for word in args {
        let text = word.text.as_str();
        let field = fields;
        fields = matches!(text, "-f" | "-F" | "--field" | "--raw-field");
        let query = text.strip_prefix("query=").filter(|_| field);
        if let Some(query) = query {
            queries += 1;
            if word.computed || query.starts_with('@') || query.contains("mutation") {
                return false;
            }
        } else if field && (word.computed || text.contains("=@"))
            || text.starts_with('-') && !fields && !matches!(text, "--jq" | "-q" | "--paginate")
        {
            return false;
        }
    }
    queries == 1
}
