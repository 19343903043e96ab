//! The catalogue of known tools: a reviewed table, pinned by its digest.
//!
//! The adversary would like a tool to be known as something milder than it is; the table is content
//! that a receipt names, so that a verdict can be derived again from the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use tipstaff_core::{Digest, Tier};

use crate::{UNCLASSIFIED, pattern, shell, sql};

/// The known tools and protocol operations.
#[derive(Debug, Clone)]
pub struct Catalogue {
    text: String,
    digest: Digest,
    rows: Vec<Row>,
    /// Row numbers by lower-case tool name.
    by_tool: BTreeMap<String, Vec<usize>>,
    classes: BTreeSet<String>,
}

/// One known tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The class, such as `fs:read`.
    pub class: String,
    /// The tier; for a kind that judges arguments, the least tier.
    pub tier: Tier,
    /// `*`, or words of which the server's name must hold one, separated by `|`.
    pub server: String,
    /// The tool's name, or the operation's.
    pub tool: String,
    /// Where paths, or the text to judge, are in the arguments.
    pub pointers: Pointers,
    /// How arguments are judged.
    pub kind: Kind,
    /// The server and version that the row was written from.
    pub source: String,
}

/// Where a tool's paths (or commands) are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointers {
    /// Not known: any argument that looks like one.
    Guess,
    /// The tool has none.
    Nowhere,
    /// JSON pointers, where `*` is any index of an array.
    At(Vec<String>),
}

/// How a row's arguments are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They are not: the tool alone decides.
    Plain,
    /// As a shell command line.
    Shell,
    /// As SQL.
    Sql,
    /// As an HTTP request.
    Http,
    /// As a patch that names its files.
    Patch,
    /// The row is for a protocol operation, not for a tool.
    Operation,
}

/// What is wrong with the text of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A line does not have the seven columns.
    #[error("catalogue line {line}: seven columns separated by tabs are needed")]
    Columns {
        /// The line, from 1.
        line: usize,
    },
    /// A column holds what it cannot hold.
    #[error("catalogue line {line}: the {column} is not valid")]
    Column {
        /// The line, from 1.
        line: usize,
        /// The column's name.
        column: &'static str,
    },
    /// Two lines are for the same server pattern and tool.
    #[error("catalogue line {line}: this server pattern and tool have a line already")]
    Duplicate {
        /// The later line, from 1.
        line: usize,
    },
}

impl Catalogue {
    /// The catalogue of this release.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Catalogue> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            // A test holds that the text parses; without rows every tool would be unclassified.
            Self::parse(include_str!("catalogue.tsv")).unwrap_or_else(|_| Self::empty())
        })
    }

    fn empty() -> Self {
        Self {
            text: String::new(),
            digest: Digest::of(b""),
            rows: Vec::new(),
            by_tool: BTreeMap::new(),
            classes: fixed_classes(),
        }
    }

    /// Reads a catalogue.
    ///
    /// # Errors
    /// [`CatalogueError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut found =
            Self { text: text.to_owned(), digest: Digest::of(text.as_bytes()), ..Self::empty() };
        let mut keys = BTreeSet::new();
        for (line, content) in (1..).zip(text.lines()) {
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let row = Row::parse(line, content)?;
            let tool = row.tool.to_ascii_lowercase();
            let operation = row.kind == Kind::Operation;
            if !keys.insert((operation, row.server.to_ascii_lowercase(), tool.clone())) {
                return Err(CatalogueError::Duplicate { line });
            }
            found.classes.insert(row.class.clone());
            found.by_tool.entry(tool).or_default().push(found.rows.len());
            found.rows.push(row);
        }
        Ok(found)
    }

    /// The text that was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The digest of the text.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Every class that [`crate::classify`] can give with this catalogue, sorted, each once.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(String::as_str)
    }

    /// The rows in the order of the text.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// The row of a protocol operation.
    pub(crate) fn operation(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == Kind::Operation && row.tool == name)
    }

    /// The row of a tool. Rows that name the server go before those that do not; of several that do,
    /// the one with the highest tier counts.
    pub(crate) fn tool(&self, server: &str, tool: &str) -> Option<&Row> {
        let numbers = self.by_tool.get(&tool.to_ascii_lowercase())?;
        let server = server.to_ascii_lowercase();
        numbers
            .iter()
            .filter_map(|number| self.rows.get(*number))
            .filter(|row| row.kind != Kind::Operation && names_server(&row.server, &server))
            .max_by_key(|row| (row.server != "*", row.tier))
    }
}

impl Row {
    fn parse(line: usize, content: &str) -> Result<Self, CatalogueError> {
        let columns: Vec<&str> = content.split('\t').collect();
        let [class, tier, server, tool, pointers, kind, source] = columns.as_slice() else {
            return Err(CatalogueError::Columns { line });
        };
        let bad = |column| CatalogueError::Column { line, column };
        let plain = |text: &str| !text.is_empty() && text.trim() == text;
        for (text, column) in
            [(class, "class"), (server, "server"), (tool, "tool"), (source, "source")]
        {
            if !plain(text) {
                return Err(bad(column));
            }
        }
        let tier = tier
            .strip_prefix('T')
            .and_then(|number| number.parse().ok())
            .and_then(Tier::from_number);
        let pointers = match *pointers {
            "" => Pointers::Guess,
            "-" => Pointers::Nowhere,
            list => {
                let list: Vec<String> = list.split(',').map(str::to_owned).collect();
                if list.iter().any(|pointer| !pointer.starts_with('/')) {
                    return Err(bad("argument pointers"));
                }
                Pointers::At(list)
            }
        };
        let kind = match *kind {
            "plain" => Kind::Plain,
            "shell" => Kind::Shell,
            "sql" => Kind::Sql,
            "http" => Kind::Http,
            "patch" => Kind::Patch,
            "operation" => Kind::Operation,
            _ => return Err(bad("kind")),
        };
        Ok(Self {
            class: (*class).to_owned(),
            tier: tier.ok_or_else(|| bad("tier"))?,
            server: (*server).to_owned(),
            tool: (*tool).to_owned(),
            pointers,
            kind,
            source: (*source).to_owned(),
        })
    }
}

/// Whether a server's name holds one of the pattern's words: a long word anywhere, a short one (`fs`)
/// only as a whole part of the name.
fn names_server(pattern: &str, server: &str) -> bool {
    pattern.split('|').any(|word| {
        word == "*"
            || word.len() >= 5 && server.contains(word)
            || server.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word)
            || word.contains(['-', '_']) && server.contains(word)
    })
}

fn fixed_classes() -> BTreeSet<String> {
    let lists = [shell::CLASSES, sql::CLASSES, pattern::CLASSES, &[UNCLASSIFIED]];
    lists.into_iter().flatten().map(|class| (*class).to_owned()).collect()
}
