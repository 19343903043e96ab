//! Capabilities as trees: each block under the one that it was made from.
//!
//! The adversary is a tree that hides what hangs on a block. What was granted stands in the log; what was made from it
//! without asking anybody is known here once a door presented it, and the page says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tipstaff_core::Json;

use super::super::conformance::escaped;
use super::{array, text};

/// Levels that are drawn; a token has fewer blocks.
const DEPTH_MAX: usize = 64;

/// All blocks that are known.
#[derive(Debug, Default)]
pub(super) struct Forest {
    blocks: BTreeMap<String, Block>,
    roots: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Block {
    below: BTreeSet<String>,
    checks: BTreeSet<String>,
    /// Who was given it, or may present a token that ends with it.
    holders: BTreeSet<String>,
    revoked: bool,
}

impl Forest {
    /// That of what was granted and of what was presented.
    pub(super) fn of(known: &Json, presented: &Json) -> Self {
        let mut forest = Self::default();
        let nothing = Json::Null;
        let grants = known.get("grants").unwrap_or(&nothing);
        for grant in array(grants, "granted") {
            let id = text(grant, "id").to_owned();
            forest.block(&id).holders.insert(text(grant, "to").to_owned());
            forest.roots.insert(id);
        }
        for token in presented.as_array().unwrap_or_default() {
            let ids: Vec<&str> = array(token, "ids").iter().filter_map(Json::as_str).collect();
            for pair in ids.windows(2) {
                if let [above, below] = pair {
                    forest.block(above).below.insert((*below).to_owned());
                    let _ = forest.block(below);
                }
            }
            for check in array(token, "checks") {
                let at = check.get("block").and_then(Json::as_integer);
                let at = at.and_then(|at| ids.get(usize::try_from(at).ok()?));
                if let Some(id) = at {
                    forest.block(id).checks.insert(text(check, "check").to_owned());
                }
            }
            if let Some(last) = ids.last() {
                forest.block(last).holders.insert(text(token, "holder").to_owned());
            }
        }
        for id in array(grants, "revoked").iter().filter_map(Json::as_str) {
            if let Some(block) = forest.blocks.get_mut(id) {
                block.revoked = true;
            }
        }
        forest
    }

    fn block(&mut self, id: &str) -> &mut Block {
        self.blocks.entry(id.to_owned()).or_default()
    }

    /// How many blocks a block's revocation ends, with itself.
    fn count(&self, id: &str, depth: usize) -> usize {
        let below = self.blocks.get(id).into_iter().flat_map(|block| &block.below);
        let below = below.filter(|_| depth < DEPTH_MAX).map(|id| self.count(id, depth + 1));
        1 + below.sum::<usize>()
    }

    /// Draws all trees. `cut` is the beginning of a block's id: what its revocation would end is struck out.
    pub(super) fn draw(&self, page: &mut String, cut: Option<&str>) {
        if self.roots.is_empty() {
            page.push_str(
                "<p>Nothing was granted. <code>tipstaff grant --help</code> shows how.</p>",
            );
            return;
        }
        page.push_str(
            "<p class=\"what\">What a holder made from a capability is known here once a door presented it, since \
             this monitor was started. Revoking a block ends it and all below, those that are not known too. \
             Choose a block to see what its revocation would cut.</p><ul class=\"tree\">",
        );
        for root in &self.roots {
            self.draw_one(page, root, cut, Ends::Stands, 0);
        }
        page.push_str("</ul>");
    }

    fn draw_one(&self, page: &mut String, id: &str, cut: Option<&str>, above: Ends, depth: usize) {
        let Some(block) = self.blocks.get(id).filter(|_| depth < DEPTH_MAX) else { return };
        let is_cut = cut.is_some_and(|cut| id.starts_with(cut));
        let ends = match (above, block.revoked, is_cut) {
            (Ends::Revoked, _, _) | (_, true, _) => Ends::Revoked,
            (Ends::Cut, ..) | (_, _, true) => Ends::Cut,
            (Ends::Stands, ..) => Ends::Stands,
        };
        let short = id.get(..12).unwrap_or(id);
        let class = if ends == Ends::Stands { "" } else { "cut" };
        let holders: Vec<String> = block.holders.iter().map(|holder| escaped(holder)).collect();
        let _ = write!(
            page,
            "<li><a class=\"{class}\" href=\"/console?cut={short}\"><code>{short}</code> {}</a>",
            holders.join(", "),
        );
        if block.revoked {
            page.push_str(" <b>revoked</b>");
        }
        if is_cut && !block.revoked {
            let _ = write!(
                page,
                " <b>its revocation would cut {} that are known</b>: <code>tipstaff revoke {}</code>",
                self.count(id, 0),
                escaped(id),
            );
        }
        for check in &block.checks {
            let _ = write!(page, "<br><code class=\"what\">{}</code>", escaped(check));
        }
        if !block.below.is_empty() {
            page.push_str("<ul>");
            for below in &block.below {
                self.draw_one(page, below, cut, ends, depth + 1);
            }
            page.push_str("</ul>");
        }
        page.push_str("</li>");
    }
}

/// Whether a block counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Stands,
    /// It would not, after the revocation that is looked at.
    Cut,
    Revoked,
}

#[cfg(test)]
mod tests {
    use tipstaff_core::Digest;

    use super::*;

    fn id(n: u8) -> String {
        Digest::of(&[n]).to_hex()
    }

    fn parsed(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_cut_strikes_out_what_hangs_below_and_nothing_else() {
        let known = parsed(&format!(
            r#"{{"grants":{{"granted":[{{"id":"{}","to":"coder"}},{{"id":"{}","to":"tester"}}],"revoked":[]}}}}"#,
            id(1),
            id(9)
        ));
        let token = |ids: &[u8], holder: &str| {
            let ids: Vec<String> = ids.iter().map(|n| format!("\"{}\"", id(*n))).collect();
            format!(
                r#"{{"checks":[{{"block":0,"check":"check if <b>"}}],"holder":"{holder}","ids":[{}]}}"#,
                ids.join(",")
            )
        };
        let presented = [token(&[1, 2, 3], "a"), token(&[1, 2, 4], "b"), token(&[1, 5], "c")];
        let forest = Forest::of(&known, &parsed(&format!("[{}]", presented.join(","))));
        let mut page = String::new();
        let cut = id(2);
        forest.draw(&mut page, cut.get(..12));
        let struck = |n: u8| {
            let short = id(n).get(..12).unwrap().to_owned();
            page.contains(&format!("class=\"cut\" href=\"/console?cut={short}\""))
        };
        assert_eq!(
            [1, 2, 3, 4, 5, 9].map(struck),
            [false, true, true, true, false, false],
            "{page}"
        );
        assert!(page.contains("would cut 3 that are known"), "{page}");
        assert!(page.contains("check if &lt;b&gt;") && !page.contains("<b>\""), "{page}");
    }

    #[test]
    fn what_was_revoked_is_struck_out_with_all_below() {
        let known = parsed(&format!(
            r#"{{"grants":{{"granted":[{{"id":"{0}","to":"coder"}}],"revoked":["{0}"]}}}}"#,
            id(1)
        ));
        let token = format!(r#"[{{"checks":[],"holder":"a","ids":["{}","{}"]}}]"#, id(1), id(2));
        let forest = Forest::of(&known, &parsed(&token));
        let mut page = String::new();
        forest.draw(&mut page, None);
        assert_eq!(page.matches("class=\"cut\"").count(), 2, "{page}");
        assert!(page.contains("<b>revoked</b>"));
    }
}
