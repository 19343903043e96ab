use super::super::edit::spliced;
use super::*;

fn own() -> Own {
    Own { exe: "/opt/tip staff/tipstaff".to_owned(), home: "/h".to_owned() }
}

fn wrapped(text: &str) -> String {
    let mut splices = Vec::new();
    for server in of_json(Format::ClaudeCode, &Node::parse(text).unwrap(), text) {
        if let Kind::Stdio(stdio) = server.kind {
            splices.extend(stdio.wrap(&server.name, &own(), text));
        }
    }
    spliced(text, splices)
}

fn unwrapped(text: &str) -> String {
    let mut splices = Vec::new();
    for server in of_json(Format::ClaudeCode, &Node::parse(text).unwrap(), text) {
        if let Kind::Stdio(stdio) = server.kind {
            splices.extend(stdio.unwrap(&own(), text));
        }
    }
    spliced(text, splices)
}

#[test]
fn only_command_and_args_change() {
    let text = "{\"mcpServers\":{\"a\":{\"env\":{\"K\":\"v\",\"L\":null},\"command\":\"npx\",\"args\":[\n  // first\n  \"-y\" , \"x\"]}}}";
    let out = wrapped(text);
    assert_eq!(
        out,
        "{\"mcpServers\":{\"a\":{\"env\":{\"K\":\"v\",\"L\":null},\"command\":\"/opt/tip staff/tipstaff\",\"args\":[\n  // first\n  \"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--env\", \"K\", \"--\", \"npx\", \"-y\" , \"x\"]}}}"
    );
    assert_eq!(unwrapped(&out), text);
}

#[test]
fn a_server_without_arguments_gets_them() {
    for (text, wanted) in [
        (
            "{\"mcpServers\": {\"-a/b\": {\"command\": \"x\"}}}",
            "{\"mcpServers\": {\"-a/b\": {\"command\": \"/opt/tip staff/tipstaff\", \"args\": [\"wrap\", \"--name=-a_b\", \"--home\", \"/h\", \"--\", \"x\"]}}}",
        ),
        (
            "{\"projects\":{\"/p\":{\"mcpServers\":{\"a\":{\r\n\t\"command\" : \"x\",\r\n\t\"k\":1}}}}}",
            "{\"projects\":{\"/p\":{\"mcpServers\":{\"a\":{\r\n\t\"command\" : \"/opt/tip staff/tipstaff\",\r\n\t\"args\": [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--\", \"x\"],\r\n\t\"k\":1}}}}}",
        ),
    ] {
        let out = wrapped(text);
        assert_eq!(out, wanted);
        assert_eq!(wrapped(&unwrapped(&out)).replace("[]", ""), out);
    }
}

#[test]
fn what_cannot_be_wrapped_says_why() {
    let text = r#"{"mcpServers":{
        "u":{"url":"https://x"}, "t":{"type":"sse","command":"x"}, "n":1, "e":{},
        "a":{"command":"x","args":[1]}, "f":{"command":"x","envFile":"f"},
        "s":{"command":"x","sandboxEnabled":true}, "ok":{"command":"x","args":[]}}}"#;
    let kinds = of_json(Format::McpServers, &Node::parse(text).unwrap(), text);
    let said: Vec<&str> = kinds
        .iter()
        .map(|server| match &server.kind {
            Kind::Remote(_) => "remote",
            Kind::Odd(_) => "odd",
            Kind::Stdio(stdio) if stdio.obstacle.is_some() => "obstacle",
            Kind::Stdio(_) => "stdio",
        })
        .collect();
    assert_eq!(said, ["remote", "odd", "odd", "odd", "odd", "obstacle", "obstacle", "stdio"]);
}

#[test]
fn what_only_looks_wrapped_is_not() {
    for args in [r#"["wrap"]"#, r#"["wrap","--"]"#, r#"["notes","--","x"]"#, "[]"] {
        let text = format!(r#"{{"mcpServers":{{"a":{{"command":"tipstaff","args":{args}}}}}}}"#);
        let servers = of_json(Format::McpServers, &Node::parse(&text).unwrap(), &text);
        let Some(Kind::Stdio(stdio)) = servers.first().map(|server| &server.kind) else { panic!() };
        assert_eq!(stdio.wrapped(&own()), None, "{args}");
    }
}
