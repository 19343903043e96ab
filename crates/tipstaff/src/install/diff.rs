//! How two versions of a text differ, line by line, for a person's eyes.

use std::ops::Range;

/// How far two texts are looked through for the place where they meet again.
const WINDOW: usize = 400;
const CONTEXT: usize = 2;
/// Longest line that is shown whole, in characters.
const WIDTH: usize = 300;

/// The lines that differ, with their neighbours.
pub(crate) fn diff(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    let mut shown = 0;
    while i < old.len() || j < new.len() {
        if i < old.len() && old.get(i) == new.get(j) {
            i += 1;
            j += 1;
            continue;
        }
        let (skip_old, skip_new) = meeting(&old, &new, i, j);
        let begin = i.saturating_sub(CONTEXT).max(shown);
        if begin > shown || out.is_empty() {
            out.push(format!("@@ line {} @@", begin + 1));
        }
        // Of a long line the part is shown where the two begin to differ.
        let same = common(old.get(i).copied(), new.get(j).copied()).saturating_sub(WIDTH / 5);
        out.extend(lines("  ", &old, begin..i, 0));
        out.extend(lines("- ", &old, i..i + skip_old, same));
        out.extend(lines("+ ", &new, j..j + skip_new, same));
        i += skip_old;
        j += skip_new;
        shown = i;
        // The lines behind it, as far as they are the same.
        while shown < i + CONTEXT
            && old.get(shown).is_some()
            && old.get(shown) == new.get(j + shown - i)
        {
            out.extend(lines("  ", &old, shown..shown + 1, 0));
            shown += 1;
        }
    }
    out
}

/// How many characters two lines share at their beginning.
fn common(old: Option<&str>, new: Option<&str>) -> usize {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count()
}

fn lines(mark: &str, all: &[&str], range: Range<usize>, skip: usize) -> Vec<String> {
    let part = all.get(range.start..range.end.min(all.len())).unwrap_or_default();
    part.iter()
        .map(|line| {
            if line.chars().count() <= WIDTH {
                return format!("{mark}{line}");
            }
            let before = if skip > 0 { "... " } else { "" };
            let cut: String = line.chars().skip(skip).take(WIDTH).collect();
            format!("{mark}{before}{cut} ...")
        })
        .collect()
}

/// The nearest lines behind `i` and `j` that are the same; the rest if there are none.
fn meeting(old: &[&str], new: &[&str], i: usize, j: usize) -> (usize, usize) {
    for distance in 1..WINDOW {
        for skip in 0..=distance {
            let (a, b) = (skip, distance - skip);
            let (left, right) = (old.get(i + a), new.get(j + b));
            if left.is_some() && left == right {
                return (a, b);
            }
        }
    }
    (old.len().saturating_sub(i), new.len().saturating_sub(j))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let new = "a\nb\nC\nC2\nd\ne\nf\ng\nh\n";
        let wanted = [
            "@@ line 1 @@",
            "  a",
            "  b",
            "- c",
            "+ C",
            "+ C2",
            "  d",
            "  e",
            "@@ line 7 @@",
            "  g",
            "  h",
            "- i",
        ];
        assert_eq!(diff(old, new), wanted);
        assert!(diff(old, old).is_empty());
        assert_eq!(diff("", "x"), ["@@ line 1 @@", "+ x"]);
        let long = "a".repeat(1000);
        let shown = diff(&format!("{long}b"), &format!("{long}c"));
        assert!(shown.iter().all(|line| line.len() < 400));
        assert!(shown[1].contains('b') && shown[2].contains('c'), "{shown:?}");
    }
}
