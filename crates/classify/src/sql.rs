//! What a SQL text would do: the highest of what its statements would do.
//!
//! The adversary hides a second statement, or a write inside a query.

use tipstaff_core::Tier;

/// Every class of this module.
pub(crate) const CLASSES: &[&str] = &["sql:destroy", "sql:read", "sql:write"];

/// Judges all statements of `text`.
pub(crate) fn judge(text: &str) -> (Tier, &'static str) {
    let plain = judge_tokens(tokens(text, Reading::Plain));
    if !dialects_differ(text) {
        return plain;
    }
    // Nothing is left out, so that this reading holds whatever the server would see.
    let everything = judge_tokens(tokens(text, Reading::Everything));
    if everything.0 > plain.0 { everything } else { plain }
}

/// What a reading leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Comments and plain string literals.
    Plain,
    /// Nothing.
    Everything,
}

/// Whether SQL dialects may disagree on where a literal or a comment of `text` ends.
fn dialects_differ(text: &str) -> bool {
    let single = text.contains('\'');
    let other = text.contains(['"', '`', '[', '$', '\\']);
    let comment = text.contains("--") || text.contains("/*") || text.contains('#');
    let tight = text.split("--").skip(1).any(|rest| rest.starts_with(|c: char| !c.is_whitespace()));
    other && (single || comment) || single && comment || tight
}

fn judge_tokens(tokens: Vec<String>) -> (Tier, &'static str) {
    let mut worst = (Tier::T1, "sql:read");
    let mut statement = Vec::new();
    for token in tokens.into_iter().chain([";".to_owned()]) {
        if token == ";" {
            let found = judge_statement(&statement);
            if found.0 > worst.0 {
                worst = found;
            }
            statement.clear();
        } else {
            statement.push(token);
        }
    }
    worst
}

fn judge_statement(words: &[String]) -> (Tier, &'static str) {
    let any = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    let first = words.first().map(String::as_str).unwrap_or_default();
    let destroys = any(&["DROP", "TRUNCATE", "GRANT", "REVOKE", "SHUTDOWN"])
        || any(&["DELETE"]) && !any(&["WHERE"])
        || any(&["PROGRAM", "XP_CMDSHELL", "LOAD_EXTENSION", "LO_EXPORT", "PG_TERMINATE_BACKEND"])
        || any(&["UPDATE"]) && !any(&["WHERE"]) && first == "UPDATE";
    if destroys {
        return (Tier::T5, "sql:destroy");
    }
    let writes = any(&[
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "ALTER",
        "MERGE",
        "REPLACE",
        "UPSERT",
        "INTO",
        "COPY",
        "CALL",
        "SETVAL",
        "NEXTVAL",
        "OUTFILE",
        "DUMPFILE",
        "ATTACH",
        "LOCK",
        "LO_IMPORT",
        "DBLINK",
        "DBLINK_EXEC",
        "PG_READ_FILE",
        "LOAD_FILE",
        "READFILE",
        "WRITEFILE",
        "SET_CONFIG",
    ]);
    let reads = matches!(
        first,
        "" | "SELECT"
            | "WITH"
            | "EXPLAIN"
            | "SHOW"
            | "DESCRIBE"
            | "DESC"
            | "VALUES"
            | "TABLE"
            | "BEGIN"
            | "COMMIT"
            | "ROLLBACK"
            | "START"
            | "END"
            | "USE"
            | "("
    );
    let pragma = first == "PRAGMA" && !any(&["="]) && !any(&["("]);
    if !writes && (reads || pragma) { (Tier::T1, "sql:read") } else { (Tier::T4, "sql:write") }
}

/// Upper-case words and the signs that matter.
fn tokens(text: &str, reading: Reading) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut end = |word: &mut String, sign: Option<char>| {
        if !word.is_empty() {
            found.push(std::mem::take(word).to_uppercase());
        }
        found.extend(sign.map(String::from));
    };
    while let Some(c) = chars.next() {
        match c {
            '-' if reading == Reading::Plain && chars.peek() == Some(&'-') => {
                end(&mut word, None);
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            '/' if reading == Reading::Plain && chars.peek() == Some(&'*') => {
                chars.next();
                end(&mut word, None);
                // MySQL runs what stands in `/*! … */`.
                if chars.next_if_eq(&'!').is_some() {
                    continue;
                }
                let mut last = ' ';
                for c in chars.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            '\'' if reading == Reading::Plain => {
                end(&mut word, None);
                while chars.next().is_some_and(|c| c != '\'') {}
            }
            ';' | '(' | '=' => end(&mut word, Some(c)),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            _ => end(&mut word, None),
        }
    }
    end(&mut word, None);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_what_they_are() {
        for (text, tier) in [
            ("SELECT * FROM t", 1),
            ("select 'drop table x' from t", 1),
            ("EXPLAIN SELECT 1", 1),
            ("PRAGMA table_info", 1),
            ("PRAGMA journal_mode = OFF", 4),
            ("WITH x AS (SELECT 1) SELECT * FROM x", 1),
            ("WITH x AS (DELETE FROM t WHERE a = 1 RETURNING *) SELECT * FROM x", 4),
            ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT 1", 4),
            ("INSERT INTO t VALUES ('a;b')", 4),
            ("UPDATE t SET a = 1 WHERE b = 2", 4),
            ("CREATE TABLE t (a int)", 4),
            ("DELETE FROM t WHERE a = 1", 4),
            ("DELETE FROM t", 5),
            ("DELETE FROM t -- WHERE a", 5),
            ("DELETE FROM t /* WHERE a */", 5),
            ("SELECT 1; DROP TABLE t", 5),
            ("SELECT 1;\n-- x\ntruncate t;", 5),
            ("GRANT ALL ON t TO x", 5),
            ("DR/**/OP TABLE t", 4),
            ("SELECT 1 /*! ; DROP TABLE t */", 5),
            ("SELECT '\\'; DROP TABLE t; --'", 5),
            ("SELECT \"a'b\"; DROP TABLE t; --'", 5),
            ("SELECT $$'$$; DROP TABLE t; --'", 5),
            ("SELECT 5--1; DROP TABLE t", 5),
            ("/* /* */ ' */ DROP TABLE t; --'", 5),
            ("SELECT \"a -- b\"; DROP TABLE t", 5),
            ("SELECT 1 -- do not delete", 1),
            ("COPY t TO PROGRAM 'sh'", 5),
            ("SELECT * INTO OUTFILE '/x' FROM t", 4),
            ("VACUUM", 4),
            ("", 1),
        ] {
            assert_eq!(judge(text).0.number(), tier, "{text}");
            assert!(CLASSES.contains(&judge(text).1));
        }
    }
}
