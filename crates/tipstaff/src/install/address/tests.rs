use super::super::codex::of_toml;
use super::super::edit::spliced;
use super::super::servers::{Format, Server, of_json};
use super::*;

fn own() -> Own {
    Own { exe: "/opt/tipstaff".to_owned(), home: "/h".to_owned() }
}

fn servers(text: &str) -> Vec<Server> {
    if text.contains("mcp_servers") {
        of_toml(text).unwrap_or_else(|e| panic!("{e}: {text}"))
    } else {
        let node = Node::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        of_json(Format::McpServers, &node, text)
    }
}

fn wrapped(text: &str) -> String {
    let mut splices = Vec::new();
    for server in servers(text) {
        match server.kind {
            Kind::Remote(address) => {
                let include = ["open".to_owned(), "a".to_owned()];
                assert_eq!(address.left(&server.name, &include), None, "{text}");
                splices.extend(address.wrap(&server.name, &own(), text));
            }
            other => panic!("{other:?}"),
        }
    }
    spliced(text, splices)
}

fn unwrapped(text: &str) -> String {
    let splices = servers(text).into_iter().flat_map(|server| match server.kind {
        Kind::Stdio(stdio) => stdio.unwrap(&own(), text),
        _ => Vec::new(),
    });
    spliced(text, splices.collect())
}

#[test]
fn an_address_becomes_a_command_and_comes_back() {
    for (text, wanted) in [
        (
            r#"{"mcpServers":{"a":{"type":"http","url":"https://x.example/mcp","headers":{"Authorization":"Bearer s","X-B":"${B}"},"timeout":5}}}"#,
            r#"{"mcpServers":{"a":{"type":"stdio","command":"/opt/tipstaff", "args": ["wrap", "--name", "a", "--home", "/h", "--url", "https://x.example/mcp", "--header-env", "Authorization=TIPSTAFF_HEADER_AUTHORIZATION", "--header-env", "X-B=TIPSTAFF_HEADER_X_B"],"env":{"TIPSTAFF_HEADER_AUTHORIZATION":"Bearer s","TIPSTAFF_HEADER_X_B":"${B}"},"timeout":5}}}"#,
        ),
        (
            "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {\r\n\t\t\t\"headers\": { // mine\r\n\t\t\t\t\"X-A\": \"1\",\r\n\t\t\t\t\"x_a\": \"2\",\r\n\t\t\t},\r\n\t\t\t\"url\" : \"https://x.example/?key=s\" /* why */\r\n\t\t}\r\n\t}\r\n}",
            "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {\r\n\t\t\t\"env\": { // mine\r\n\t\t\t\t\"TIPSTAFF_URL\": \"https://x.example/?key=s\", \"TIPSTAFF_HEADER_X_A\": \"1\",\r\n\t\t\t\t\"TIPSTAFF_HEADER_X_A_\": \"2\",\r\n\t\t\t},\r\n\t\t\t\"command\" : \"/opt/tipstaff\",\r\n\t\t\t\"args\": [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--url\", \"env:TIPSTAFF_URL\", \"--header-env\", \"X-A=TIPSTAFF_HEADER_X_A\", \"--header-env\", \"x_a=TIPSTAFF_HEADER_X_A_\"] /* why */\r\n\t\t}\r\n\t}\r\n}",
        ),
        (
            "{\"mcpServers\": {\"open\": {\n  \"url\": \"https://x.example/s/0123456789abcdef0123456789\",\n  \"k\": 1}}}",
            "{\"mcpServers\": {\"open\": {\n  \"command\": \"/opt/tipstaff\",\n  \"args\": [\"wrap\", \"--name\", \"open\", \"--home\", \"/h\", \"--url\", \"env:TIPSTAFF_URL\"],\n  \"env\": {\"TIPSTAFF_URL\": \"https://x.example/s/0123456789abcdef0123456789\"},\n  \"k\": 1}}}",
        ),
        (
            "{\"mcpServers\": {\"here\": {\"url\": \"http://localhost:8000/mcp\"}}}",
            "{\"mcpServers\": {\"here\": {\"command\": \"/opt/tipstaff\", \"args\": [\"wrap\", \"--name\", \"here\", \"--home\", \"/h\", \"--url\", \"http://localhost:8000/mcp\"]}}}",
        ),
        (
            "[mcp_servers.a] # mine\nurl = 'https://x.example/mcp' # why\nbearer_token_env_var = \"TOKEN\"\nhttp_headers = { \"X.A\" = \"1\", B = 'v' }\nenabled = true\n",
            "[mcp_servers.a] # mine\ncommand = \"/opt/tipstaff\" # why\nargs = [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--url\", \"https://x.example/mcp\", \"--header-env\", \"X.A=TIPSTAFF_HEADER_X_A\", \"--header-env\", \"B=TIPSTAFF_HEADER_B\", \"--bearer-env\", \"TOKEN\"]\nenv_vars = [\"TOKEN\"]\nenv = { TIPSTAFF_HEADER_X_A = \"1\", TIPSTAFF_HEADER_B = 'v' }\nenabled = true\n",
        ),
        (
            "[mcp_servers.a]\nurl = \"https://x.example/?k=s\"\n\n[mcp_servers.a.http_headers]\n  A = \"1\"\n  B = \"2\"\n",
            "[mcp_servers.a]\ncommand = \"/opt/tipstaff\"\nargs = [\"wrap\", \"--name\", \"a\", \"--home\", \"/h\", \"--url\", \"env:TIPSTAFF_URL\", \"--header-env\", \"A=TIPSTAFF_HEADER_A\", \"--header-env\", \"B=TIPSTAFF_HEADER_B\"]\n\n[mcp_servers.a.env]\n  TIPSTAFF_URL = \"https://x.example/?k=s\"\n  TIPSTAFF_HEADER_A = \"1\"\n  TIPSTAFF_HEADER_B = \"2\"\n",
        ),
        (
            "mcp_servers.open = { url = \"https://x.example/?k=s\", enabled = true }\n",
            "mcp_servers.open = { command = \"/opt/tipstaff\", args = [\"wrap\", \"--name\", \"open\", \"--home\", \"/h\", \"--url\", \"env:TIPSTAFF_URL\"], env = { TIPSTAFF_URL = \"https://x.example/?k=s\" }, enabled = true }\n",
        ),
        (
            "mcp_servers.open.url = \"https://x.example/mcp\"\r\nmodel = 1",
            "mcp_servers.open.command = \"/opt/tipstaff\"\r\nmcp_servers.open.args = [\"wrap\", \"--name\", \"open\", \"--home\", \"/h\", \"--url\", \"https://x.example/mcp\"]\r\nmodel = 1",
        ),
    ] {
        let out = wrapped(text);
        assert_eq!(out, wanted);
        let back = unwrapped(&out);
        // What a text was quoted with is not remembered for an address that stood in the open.
        assert_eq!(back, text.replace("'https://x.example/mcp'", "\"https://x.example/mcp\""));
        // No value of a header and no address with a secret stands among the words.
        for server in servers(&out) {
            let Kind::Stdio(stdio) = server.kind else { panic!("{out}") };
            let words = stdio.args.unwrap().words;
            assert!(words.iter().all(|w| !w.text.contains("=s") && !w.text.contains("0123")));
        }
    }
}

#[test]
fn variables_that_somebody_added_since_are_kept() {
    let text = r#"{"mcpServers":{"a":{"url":"https://x.example/mcp","headers":{"A":"1"}}}}"#;
    let edited = wrapped(text).replace(r#""env":{"#, r#""env":{"MINE":"2", "#);
    let back = unwrapped(&edited);
    let value: serde_json::Value = serde_json::from_str(&back).unwrap();
    let entry = &value["mcpServers"]["a"];
    assert_eq!(entry["headers"], serde_json::json!({"A": "1"}), "{back}");
    assert_eq!(entry["env"], serde_json::json!({"MINE": "2"}), "{back}");
    assert_eq!(entry["url"], "https://x.example/mcp");
}

#[test]
fn what_would_stop_working_is_left_and_says_why() {
    let json = |entry: &str| format!("{{\"mcpServers\":{{\"a\":{entry}}}}}");
    let toml = |lines: &str| format!("[mcp_servers.a]\nurl = \"https://x.example\"\n{lines}\n");
    for (text, wanted) in [
        (json(r#"{"type":"sse","url":"https://x"}"#), "SSE"),
        (json(r#"{"url":"https://x.example/sse/"}"#), "SSE"),
        (json(r#"{"type":"ws","url":"wss://x"}"#), "WebSocket"),
        (json(r#"{"type":"http"}"#), "not in `url`"),
        (json(r#"{"serverUrl":"https://x"}"#), "not in `url`"),
        (json(r#"{"url":"https://x.example/mcp"}"#), "--include a"),
        (json(r#"{"url":"https://localhost.example/mcp"}"#), "--include a"),
        (json(r#"{"url":"https://x","headers":{}}"#), "--include a"),
        (json(r#"{"url":"https://x","headers":{"X-Region":"eu"}}"#), "--include a"),
        (json(r#"{"url":"https://x","headers":{"A":"1"},"oauth":{}}"#), "logs in"),
        (json(r#"{"url":"https://x","headers":{"A":"1"},"headersHelper":"x"}"#), "logs in"),
        (json(r#"{"url":"https://x","headers":{"A":1}}"#), "not all texts"),
        (json(r#"{"url":"https://x","headers":{"A=B":"1"}}"#), "not all texts"),
        (json(r#"{"url":"https://x","headers":["A"]}"#), "no object"),
        (json(r#"{"url":"https://x","headers":{"A":"1"},"env":{}}"#), "members of a process"),
        (json(r#"{"url":"http://x.example","headers":{"A":"1"}}"#), "https"),
        (json(r#"{"url":"https://me:s@x","headers":{"A":"1"}}"#), "credentials"),
        (toml(""), "--include a"),
        (toml("http_headers.A = \"1\""), "one place"),
        (toml("env_http_headers = { A = \"V\" }"), "env_http_headers"),
        (toml("scopes = [\"a\"]"), "logs in"),
    ] {
        let servers = servers(&text);
        let why = match &servers.first().unwrap().kind {
            Kind::Remote(address) => address.left("a", &["b".to_owned()]).unwrap_or_default(),
            Kind::Odd(why) => (*why).to_owned(),
            Kind::Stdio(_) => panic!("{text}"),
        };
        assert!(why.contains(wanted), "{text}: {why}");
        assert!(!why.contains("me:s"), "{why}");
    }
}

#[test]
fn one_with_a_credential_or_on_this_machine_goes_behind() {
    for entry in [
        r#"{"url":"https://x.example/mcp","headers":{"authorization":"x"}}"#,
        r#"{"url":"https://x.example/mcp","headers":{"X-Region":"eu","CONTEXT7_API_KEY":"x"}}"#,
        r#"{"url":"https://x.example/mcp","headers":{"Private-Token":"${T}"}}"#,
        r#"{"type":"http","url":"http://127.0.0.1:3000/mcp"}"#,
        r#"{"url":"http://[::1]:3000/mcp"}"#,
    ] {
        let text = format!("{{\"mcpServers\":{{\"a\":{entry}}}}}");
        let servers = servers(&text);
        let Kind::Remote(address) = &servers.first().unwrap().kind else { panic!("{text}") };
        assert_eq!(address.left("a", &[]), None, "{text}");
    }
}
