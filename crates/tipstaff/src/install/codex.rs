//! The servers of a Codex configuration, by where they stand in the TOML text.
//!
//! The adversary is the same as in JSON; TOML has three ways to write one server, which all count.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::servers::{Args, Kind, Server, Stdio, Style, Word};

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
    if get(table, "command").is_none() && get(table, "url").is_some() {
        return Kind::Remote;
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
    let begin = text.get(..key.span().start).unwrap_or_default();
    let before = begin.rsplit_once('\n').map_or(begin, |(_, line)| line);
    let style = if before.contains(['{', '=']) {
        Style::TomlInline
    } else {
        Style::TomlLine(before.to_owned())
    };
    Kind::Stdio(Stdio { command, args, env, obstacle, style })
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
            let back = changed(&out, |_, stdio| stdio.unwrap(&own()));
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
