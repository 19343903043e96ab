//! The servers of a Codex configuration, by where they stand in the TOML text.
//!
//! The adversary is the same as in JSON; TOML has three ways to write one server, which all count.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::address::Address;
use super::servers::{Args, Entry, Kind, Parts, Passed, Server, Stdio, Style, Table, Word};

/// The servers of a Codex file.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn of_toml(text: &str) -> Result<Vec<Server>, String> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", line.matches('\n').count() + 1, error.message())
    })?;
    let servers = get(document.get_ref(), "mcp_servers").and_then(|(_, value)| value.as_table());
    let servers = servers.into_iter().flat_map(DeTable::iter).map(|(name, value)| {
        let kind = value
            .get_ref()
            .as_table()
            .map_or(Kind::Odd("it is no table"), |table| kind_of(table, text));
        Server { scope: None, name: name.get_ref().to_string(), kind }
    });
    Ok(servers.collect())
}

fn get<'a, 'i>(
    table: &'a DeTable<'i>,
    name: &str,
) -> Option<(&'a Spanned<std::borrow::Cow<'i, str>>, &'a DeValue<'i>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key, value.get_ref()))
}

fn word(value: &Spanned<DeValue<'_>>) -> Option<Word> {
    Some(Word { at: value.span(), text: value.get_ref().as_str()?.to_owned() })
}

fn kind_of(table: &DeTable<'_>, text: &str) -> Kind {
    if get(table, "command").is_none()
        && let Some((key, url)) = member(table, "url")
    {
        return address(table, (key, url), text);
    }
    let command = table.iter().find(|(key, _)| key.get_ref() == "command");
    let Some((key, command)) = command.and_then(|(key, value)| Some((key, word(value)?))) else {
        return Kind::Odd("it has neither a command nor an address");
    };
    let args = match table.iter().find(|(key, _)| key.get_ref() == "args") {
        None => None,
        Some((_, value)) => {
            let Some(array) = value.get_ref().as_array() else {
                return Kind::Odd("its args are no list");
            };
            let Some(words) = array.iter().map(word).collect() else {
                return Kind::Odd("its args are not all texts");
            };
            Some(Args { open: value.span().start + 1, words })
        }
    };
    let mut env: Vec<String> = get(table, "env")
        .and_then(|(_, value)| value.as_table())
        .into_iter()
        .flat_map(DeTable::iter)
        .map(|(name, _)| name.get_ref().to_string())
        .collect();
    let passed = get(table, "env_vars").and_then(|(_, value)| value.as_array());
    for variable in passed.into_iter().flat_map(|all| all.iter()) {
        let value = variable.get_ref();
        let name = value.as_table().and_then(|table| get(table, "name")?.1.as_str());
        if let Some(name) = value.as_str().or(name)
            && !env.iter().any(|known| known == name)
        {
            env.push(name.to_owned());
        }
    }
    let elsewhere = ["experimental_environment", "environment_id"];
    let obstacle = elsewhere
        .iter()
        .any(|name| get(table, name).is_some())
        .then_some("the client starts it in another environment, where the gateway is not");
    let passed = member(table, "env_vars").and_then(|(key, value)| {
        let all = value.get_ref().as_array()?.iter();
        let variables = all.map(|name| Some(name.get_ref().as_str()?.to_owned()));
        let variables = variables.collect::<Option<_>>()?;
        Some(Passed { name: key.span(), value: value.span(), variables })
    });
    let parts = Parts {
        name: key.span(),
        args: member(table, "args").map(|(key, value)| key.span().start..value.span().end),
        transport: None,
        table: member(table, "env").and_then(|(key, value)| texts(key, value, text)),
        passed,
    };
    Kind::Stdio(Box::new(Stdio { command, args, env, obstacle, style: style_of(key, text), parts }))
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

fn member<'a, 'i>(
    table: &'a DeTable<'i>,
    name: &str,
) -> Option<(&'a Key<'i>, &'a Spanned<DeValue<'i>>)> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}

fn style_of(key: &Key<'_>, text: &str) -> Style {
    let begin = text.get(..key.span().start).unwrap_or_default();
    let before = begin.rsplit_once('\n').map_or(begin, |(_, line)| line);
    if before.contains(['{', '=']) { Style::TomlInline } else { Style::TomlLine(before.to_owned()) }
}

/// A table of texts; `None` if it isn't written in one place.
fn texts(key: &Key<'_>, value: &Spanned<DeValue<'_>>, text: &str) -> Option<Table> {
    let table = value.get_ref().as_table()?;
    // `name.member = ...`: each member may stand elsewhere.
    let behind = text.get(key.span().end..)?.trim_start_matches([' ', '\t', '"', '\'']);
    if behind.starts_with('.') {
        return None;
    }
    let start = value.span().start;
    let is_inline = behind.starts_with('=') && text.get(start..)?.starts_with('{');
    let mut members: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            name: Word { at: key.span(), text: key.get_ref().to_string() },
            value: value.span(),
            text: value.get_ref().as_str().map(str::to_owned),
        })
        .collect();
    members.sort_by_key(|entry| entry.name.at.start);
    let open = is_inline.then_some(start + 1);
    if open.is_none() && members.is_empty() {
        return None;
    }
    Some(Table { span: key.span().start..value.span().end, name: key.span(), open, members })
}

fn address(table: &DeTable<'_>, (key, url): (&Key<'_>, &Spanned<DeValue<'_>>), text: &str) -> Kind {
    let Some(url) = word(url) else { return Kind::Odd("its url is no text") };
    let headers = member(table, "http_headers");
    let found = headers.and_then(|(key, value)| texts(key, value, text));
    let token = member(table, "bearer_token_env_var");
    let passed = token.and_then(|(key, value)| {
        let variables = vec![value.get_ref().as_str()?.to_owned()];
        Some(Passed { name: key.span(), value: value.span(), variables })
    });
    let has = |name: &&str| get(table, name).is_some();
    let obstacle = if headers.is_some() && found.is_none() {
        Some("its http_headers are not written in one place")
    } else if token.is_some() && passed.is_none() {
        Some("its bearer_token_env_var is no text")
    } else if has(&"env_http_headers") {
        Some("it takes headers from env_http_headers: write them in http_headers")
    } else if ["scopes", "oauth_resource", "oauth"].iter().any(has) {
        Some("the client logs in to it by itself, and the gateway can't")
    } else if ["args", "env", "env_vars", "cwd"].iter().any(has) {
        Some("it has an address, and members of a process beside it")
    } else {
        None
    };
    let parts = Parts { name: key.span(), args: None, transport: None, table: found, passed };
    let style = style_of(key, text);
    Kind::Remote(Box::new(Address { url, obstacle, style, parts }))
}

#[cfg(test)]
mod tests {
    use super::super::edit::spliced;
    use super::super::servers::Own;
    use super::*;

    fn own() -> Own {
        Own { exe: "/opt/tipstaff".to_owned(), home: "/h".to_owned() }
    }

    fn changed(
        text: &str,
        change: impl Fn(&Server, &Stdio) -> Vec<super::super::edit::Splice>,
    ) -> String {
        let servers = of_toml(text).unwrap();
        let splices = servers.iter().flat_map(|server| match &server.kind {
            Kind::Stdio(stdio) => change(server, stdio),
            _ => Vec::new(),
        });
        spliced(text, splices.collect())
    }

    #[test]
    fn every_way_to_write_a_server_is_wrapped_in_its_own_manner() {
        for (text, wanted) in [
            (
                "# mine\r\n[mcp_servers.a]\r\ncommand = \"npx\" # run\r\nargs = [\"-y\", 'x']\r\nenv = { K = \"v\" }\r\nenv_vars = [\"L\", { name = \"M\" }]\r\n",
                "# mine\r\n[mcp_servers.a]\r\ncommand = \"/opt/tipstaff\" # run\r\nargs = [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--env\", \"K\", \"--env\", \"L\", \"--env\", \"M\", \"--\", \"npx\", \"-y\", 'x']\r\nenv = { K = \"v\" }\r\nenv_vars = [\"L\", { name = \"M\" }]\r\n",
            ),
            (
                "[mcp_servers.\"b c\"]\n  command = 'x' # why",
                "[mcp_servers.\"b c\"]\n  command = \"/opt/tipstaff\" # why\n  args = [\"wrap\", \"--name\", \"b c\", \"--home\", \"/h\", \"--\", \"x\"]",
            ),
            (
                "mcp_servers.a.command = \"x\"\nmodel = \"m\"\n",
                "mcp_servers.a.command = \"/opt/tipstaff\"\nmcp_servers.a.args = [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--\", \"x\"]\nmodel = \"m\"\n",
            ),
            (
                "[mcp_servers]\na = { command = \"x\", enabled = true }\n",
                "[mcp_servers]\na = { command = \"/opt/tipstaff\", args = [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--\", \"x\"], enabled = true }\n",
            ),
            ("[mcp_servers.r]\nurl = \"https://x\"\n", "[mcp_servers.r]\nurl = \"https://x\"\n"),
        ] {
            let out = changed(text, |server, stdio| stdio.wrap(&server.name, &own(), text));
            assert_eq!(out, wanted);
            let back = changed(&out, |_, stdio| stdio.unwrap(&own(), &out));
            let (left, right): (toml::Table, toml::Table) = (
                toml::from_str(&back.replace("args = []", "")).unwrap_or_default(),
                toml::from_str(text).unwrap(),
            );
            if text.contains("args") {
                assert_eq!(left, right);
            }
            assert_eq!(of_toml(&back).unwrap().len(), of_toml(text).unwrap().len());
        }
        assert!(of_toml("a = 1\na = 2").unwrap_err().starts_with("line 2"));
    }
}
