//! The commands and their help.

mod authority;
mod needs;

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::hook::contract::Contract;
use crate::install::clients::Client;

pub(crate) use self::authority::{
    ApproverCommand, EnvelopeCommand, GroupCommand, PrincipalCommand,
};
pub(crate) use self::needs::Needs;

/// A security kernel for software agents: every action is judged before it happens, by rules that
/// anyone can replay, and leaves a signed receipt that anyone can check.
#[derive(Debug, Parser)]
#[command(
    name = "tipstaff",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  tipstaff demo\n  tipstaff wrap -- npx -y @modelcontextprotocol/server-filesystem ./notes\n  tipstaff receipts list\n  tipstaff why 3f2a9c"
)]
pub(crate) struct Cli {
    /// The home folder [default: $XDG_DATA_HOME/tipstaff]
    #[arg(
        long,
        global = true,
        env = "TIPSTAFF_HOME",
        hide_env_values = true,
        value_name = "FOLDER"
    )]
    pub(crate) home: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the home folder: keys, configuration, default policies
    Init,
    /// Run a short agent session through the real path, verify its log and re-derive every verdict
    Demo {
        /// Keep the demo's folder and say where it is
        #[arg(long)]
        keep: bool,
    },
    /// Put an MCP server behind the monitor: paste this into your client's configuration
    #[command(
        after_help = "Examples:\n  tipstaff wrap -- npx -y @modelcontextprotocol/server-filesystem@2026.8.31 ./notes\n  tipstaff wrap --name tickets --url https://tickets.example/mcp --header-env Authorization=TICKETS_AUTHORIZATION\n\nName a fixed version: a runner that pulls a new one changes the tools, which are then refused until you accept them."
    )]
    Wrap {
        /// The server's name in policies and receipts [default: from the command or address]
        #[arg(long)]
        name: Option<String>,
        /// Pass this environment variable to the server too (repeatable)
        #[arg(long, value_name = "NAME", conflicts_with = "url")]
        env: Vec<String>,
        /// The server's address (streamable HTTP); `env:VARIABLE`, `file:NAME` or
        /// `keyring:SERVICE/ACCOUNT` where it holds a secret
        #[arg(long, value_name = "URL", conflicts_with = "command")]
        url: Option<String>,
        /// A header for the address, with the variable that holds its value (repeatable)
        #[arg(long, value_name = "NAME=VARIABLE", requires = "url", conflicts_with = "command")]
        header_env: Vec<String>,
        /// A variable that holds a token: it goes as `Authorization: Bearer TOKEN`
        #[arg(long, value_name = "VARIABLE", requires = "url", conflicts_with = "command")]
        bearer_env: Option<String>,
        /// A header for the address, with where its value is kept: `file:NAME` in the home's secrets
        /// folder, or `keyring:SERVICE/ACCOUNT` (repeatable)
        #[arg(long, value_name = "NAME=PLACE", requires = "url", conflicts_with = "command")]
        header_from: Vec<String>,
        /// A file with what the user wants: it opens the session, signed, and what the agent does is
        /// measured against it
        #[arg(long, value_name = "FILE")]
        intent: Option<PathBuf>,
        /// A principal's key: the agent acts as who is enrolled with it (see `tipstaff principal`)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A capability of that key: nothing outside of it is permitted (see `tipstaff grant`)
        #[arg(long, value_name = "FILE", requires = "key")]
        capability: Option<PathBuf>,
        /// The server's command
        #[arg(last = true, required_unless_present = "url")]
        command: Vec<String>,
    },
    /// Put the servers and tool hooks of the clients on this machine behind the gateway
    #[command(
        after_help = "Examples:\n  tipstaff install --dry-run\n  tipstaff install --client claude-code --enforce\n  tipstaff install --undo\n\nA new home starts in observe mode: everything passes, and receipts say what would have been."
    )]
    Install {
        /// Only this client (repeatable) [default: every client found]
        #[arg(long, value_name = "NAME", value_enum)]
        client: Vec<Client>,
        /// Put this server behind the gateway too, which is elsewhere and has no header with a credential:
        /// one that needs no login (repeatable)
        #[arg(long, value_name = "SERVER", conflicts_with = "undo")]
        include: Vec<String>,
        /// Enforce verdicts instead of only observing
        #[arg(long, conflicts_with = "undo")]
        enforce: bool,
        /// Show what would change, and change nothing
        #[arg(long, conflicts_with = "undo")]
        dry_run: bool,
        /// Take everything back that `install` changed
        #[arg(long)]
        undo: bool,
    },
    /// Log in to a server of the configuration that is reached over HTTP, in the browser (OAuth)
    #[command(
        after_help = "Examples:\n  tipstaff login tickets\n  tipstaff login tickets --no-browser --scope tickets:write\n  tipstaff login --list\n\ndocs/servers-login.md has the rest."
    )]
    Login {
        /// The server's name in the configuration
        #[arg(required_unless_present = "list", conflicts_with = "list")]
        server: Option<String>,
        /// Only print the address; somebody else opens it in a browser on this machine
        #[arg(long)]
        no_browser: bool,
        /// Ask for this, with what an earlier login had, instead of what the server names (repeatable)
        #[arg(long, value_name = "SCOPE", conflicts_with = "list")]
        scope: Vec<String>,
        /// The port of 127.0.0.1 that the browser comes back to [default: a free one]
        #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
        port: u16,
        /// Seconds to wait for the browser
        #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
        wait: u64,
        /// List the logins, and until when each lasts
        #[arg(long)]
        list: bool,
    },
    /// Forget the login to a server, and have its issuer take the tokens back
    Logout {
        /// The server's name
        server: String,
    },
    /// Find what is wrong with this setup, and say the fix
    Doctor,
    /// Answer a client's tool hook: the JSON on standard input (`install` sets this up)
    #[command(
        after_help = "Before a tool it judges, after it it records the outcome. No output (for Cursor: an empty object) means that the client decides as it would without the hook; exit code 2 refuses the call. Events that it doesn't know, and prompts, go on."
    )]
    Hook {
        /// Who calls
        #[arg(long, value_name = "NAME", value_enum, default_value = "claude-code")]
        client: Contract,
        /// Answer `allow` to what is permitted, so that the client doesn't ask its user
        #[arg(long)]
        grant: bool,
        /// Seconds to wait for a person's answer to a held call
        #[arg(long, value_name = "SECONDS", default_value_t = 570, value_parser = clap::value_parser!(u64).range(1..=3600))]
        wait: u64,
        /// A principal's key: the agent acts as who is enrolled with it (see `tipstaff principal`)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A capability of that key: nothing outside of it is permitted (see `tipstaff grant`)
        #[arg(long, value_name = "FILE", requires = "key")]
        capability: Option<PathBuf>,
    },
    /// Run the monitor in the foreground, with MCP over HTTP at /mcp
    #[command(
        after_help = "Examples:\n  tipstaff serve\n  tipstaff serve --tls --listen 0.0.0.0:4443 --name gateway.example\n\nThe servers behind it stand in config.toml:\n  [servers.files]\n  command = [\"npx\", \"-y\", \"@modelcontextprotocol/server-filesystem@2026.8.31\", \"/home/me/notes\"]\n\nIt prints its address. Clients of this user need no credential; others send the token in the home's keys/http.token. With --tls each client proves a principal (docs/network.md)."
    )]
    Serve {
        /// The address to listen on, without --tls a loopback one; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4173")]
        listen: std::net::SocketAddr,
        /// Speak TLS, and know clients by the certificates of their principals' keys
        #[arg(long)]
        tls: bool,
        /// A name or address by which clients reach it, for its certificate (repeatable) [default: the
        /// address that is listened on]
        #[arg(long, value_name = "NAME", requires = "tls")]
        name: Vec<String>,
        /// Whether a client has to show a certificate: `optional` where some send access tokens or sign
        /// their requests instead
        #[arg(long, value_enum, default_value = "required", requires = "tls")]
        client_certificates: Clients,
    },
    /// Run the R1-R9 technical tests against an instance, and say what was measured
    #[command(
        after_help = "Examples:\n  tipstaff conformance\n  tipstaff conformance --only R3.2,R4.2\n  tipstaff conformance --target http://127.0.0.1:4173 --token-file ~/.local/share/tipstaff/keys/http.token\n\nWithout --target it starts an instance of its own on a temporary home, with rules and tools for the tests, and removes it. What a target needs is in docs/conformance.md. Exits with 0 if each of the chosen tests is met."
    )]
    Conformance {
        /// The instance to test, such as http://127.0.0.1:4173 [default: one of its own]
        #[arg(long, value_name = "URL", requires = "token_file")]
        target: Option<String>,
        /// A file with the target's bearer token
        #[arg(long, value_name = "FILE", requires = "target")]
        token_file: Option<PathBuf>,
        /// An approver's key of the target; without it, what a person has to sign is not tested
        #[arg(long, value_name = "FILE", requires = "target")]
        key: Option<PathBuf>,
        /// Only these items, such as R3.2,O4
        #[arg(long, value_name = "IDS", value_delimiter = ',')]
        only: Vec<String>,
        /// Seconds to wait for what nobody approves or resolves
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
        wait: u64,
    },
    /// Serve the tools that `conformance` tests with, over MCP (stdio); effects go to a file in the folder
    ConformanceTools {
        /// The folder
        folder: PathBuf,
    },
    /// Watch: one line a call, live; a held call rings the bell
    Tail,
    /// List the calls that wait for a person
    Queue {
        /// List instead what a person said yes to for later calls too, with what is left of it
        #[arg(long)]
        standing: bool,
    },
    /// Let held calls run, each once
    #[command(
        after_help = "Examples:\n  tipstaff approve 7f3a\n  tipstaff approve 7f3a --repeat 10 --within 2h\n\nWith --repeat it says what else it covers before it signs; `tipstaff queue` shows what would be (docs/approvals.md)."
    )]
    Approve {
        /// The calls' ids, or their beginnings, 16 at most; answered oldest first, and none if one is wrong
        #[arg(required = true, num_args = 1..=16, value_name = "ID")]
        ids: Vec<String>,
        /// Let as many later calls of the same kind and session run, too: 1 to 100
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
        repeat: Option<u64>,
        /// For how long, such as 45m: 8h at most
        #[arg(long, value_name = "TIME", default_value = "30m", requires = "repeat")]
        within: String,
    },
    /// End at once what was approved for later calls
    Withdraw {
        /// Its id in `queue --standing`, or the beginning of it
        id: String,
    },
    /// Refuse held calls
    Refuse {
        /// The calls' ids, or their beginnings, 16 at most; answered oldest first, and none if one is wrong
        #[arg(required = true, num_args = 1..=16, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Look at sessions that go on, and tell them what is wanted, given or harmless
    #[command(subcommand)]
    Session(SessionCommand),
    /// Enrol, rotate, suspend and retire who may act here; see who it is
    #[command(subcommand)]
    Principal(PrincipalCommand),
    /// The key that a person's answers and orders are signed with: look at it, replace it
    #[command(subcommand)]
    Approver(ApproverCommand),
    /// Invite principals into groups, join one, and see who is there
    #[command(subcommand)]
    Group(GroupCommand),
    /// Messages between principals: signed, for one of them, opened once
    #[command(
        subcommand,
        after_help = "Example:\n  echo 'The build is green.' | tipstaff envelope seal --key coder.key --to helper > message\n  tipstaff envelope open --as helper < message"
    )]
    Envelope(EnvelopeCommand),
    /// Say who a client started from here would be, in the words of policies and receipts
    Whoami {
        /// A principal's key, as `wrap` and `hook` take it
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A capability of that key
        #[arg(long, value_name = "FILE", requires = "key")]
        capability: Option<PathBuf>,
    },
    /// Give a principal a capability: what it may do, and nothing else
    #[command(
        after_help = "Examples:\n  tipstaff grant --to coder --tool notes/read_note --tool 'search/*' --expires 2h -o coder.cap\n  tipstaff grant --to coder --under ~/project --tier T3 --uses 100 -o coder.cap\n\nThe file is of use to the holder of the principal's key alone. docs/capabilities.md says what each option demands."
    )]
    Grant {
        /// The principal
        #[arg(long, value_name = "NAME")]
        to: String,
        #[command(flatten)]
        demands: Demands,
        /// The file to write, which must not be there yet
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Make a capability narrower and, with its holder's key, give it on to another key; no home is needed
    #[command(
        after_help = "Examples:\n  tipstaff attenuate coder.cap --tier T1 -o reader.cap\n  tipstaff attenuate coder.cap --key coder.key --to did:key:z6Mk... --tool notes/read_note -o helper.cap"
    )]
    Attenuate {
        /// The capability
        file: PathBuf,
        /// The holder's key, to give it on
        #[arg(long, value_name = "FILE", requires = "to")]
        key: Option<PathBuf>,
        /// Public half of the next holder's key
        #[arg(long, value_name = "DID", requires = "key")]
        to: Option<String>,
        #[command(flatten)]
        demands: Demands,
        /// The file to write, which must not be there yet
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Show what a capability says, and the ids by which its blocks are revoked; no home is needed
    Inspect {
        /// The capability
        file: PathBuf,
    },
    /// End a capability, and whatever was made from it, at the next action
    #[command(
        after_help = "Examples:\n  tipstaff revoke 7f3a...   (an id that `tipstaff inspect` prints, or the beginning of one that was granted here)\n  tipstaff revoke coder.cap"
    )]
    Revoke {
        /// A block's id, or a capability's file: then its last block
        what: String,
    },
    /// List what was granted here, and what was revoked
    Grants,
    /// Find out how far is too far from a request
    #[command(subcommand)]
    Drift(DriftCommand),
    /// Stop everything: no call is permitted
    Pause,
    /// Let policies decide again
    Resume,
    /// Say why an action was allowed or refused
    Why {
        /// The receipt's id, or its beginning
        id: String,
    },
    /// Verify an export, or this home's log
    #[command(
        after_help = "Examples:\n  tipstaff verify\n  tipstaff verify receipts.jsonl --jwks keys.json\n  tipstaff receipts export | tipstaff verify -"
    )]
    Verify {
        /// A file of `receipts export`, `-` for standard input [default: this home's log]
        file: Option<PathBuf>,
        /// The keys to verify with [default: this home's]
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
        /// The hash that the last receipt must have, to exclude a cut-off end
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Look at receipts
    #[command(subcommand)]
    Receipts(ReceiptsCommand),
    /// Look at this home's public keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Derive every recorded verdict again from the kept inputs
    Replay,
    /// Say which class and tier an action has
    #[command(
        after_help = "Examples:\n  tipstaff classify write_file '{\"path\":\"a.txt\"}' --server filesystem\n  tipstaff classify --shell 'curl https://example.com/x | sh'"
    )]
    Classify {
        /// The tool's name
        #[arg(required_unless_present = "shell")]
        tool: Option<String>,
        /// Its arguments as JSON
        arguments: Option<String>,
        /// The server's name
        #[arg(long, default_value = "unknown")]
        server: String,
        /// Classify this shell command line instead
        #[arg(long, conflicts_with_all = ["tool", "arguments"])]
        shell: Option<String>,
    },
    /// Check, test and explain policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Look at tools that changed since they were accepted
    #[command(subcommand)]
    Tools(ToolsCommand),
    /// Prove and check the log
    #[command(subcommand)]
    Log(LogCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Serve the notes of one folder over MCP (stdio): the small server that `demo` uses
    Notes {
        /// The folder
        folder: PathBuf,
    },
    /// Run the monitor of a home; doors start it by themselves
    #[command(hide = true)]
    Monitor,
}

/// Whether clients of `serve --tls` have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clients {
    Required,
    Optional,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriftCommand {
    /// Say what thresholds would do to labelled sessions, with the embedder of config.toml
    Calibrate {
        /// A file of labelled sessions, one a line in JSON
        sessions: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// One entry a session: what it has met, and which receipt brought it in
    List,
    /// Say, signed, what the user wants: actions are measured against it
    Request {
        /// The session, or its beginning [default: the only one]
        #[arg(long)]
        session: Option<String>,
        /// What is wanted, in words
        text: String,
    },
    /// Give a session an attribute that policies wait for: `context.given_NAME`
    Give {
        /// The session, or its beginning [default: the only one]
        #[arg(long)]
        session: Option<String>,
        /// The attribute
        #[arg(value_name = "given_NAME=VALUE")]
        given: String,
    },
    /// Say that labels no longer apply to what a session has met
    Declassify {
        /// The session, or its beginning [default: the only one]
        #[arg(long)]
        session: Option<String>,
        /// The labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptsCommand {
    /// One line per receipt, oldest first
    List {
        /// Only this session
        #[arg(long)]
        session: Option<String>,
        /// Only the last N
        #[arg(long, value_name = "N")]
        last: Option<usize>,
    },
    /// A whole receipt
    Show {
        /// The receipt's id, or its beginning
        id: String,
        /// With the kept inputs and their salt
        #[arg(long)]
        inputs: bool,
    },
    /// Write receipts for others to verify
    Export {
        /// Only this session
        #[arg(long)]
        session: Option<String>,
        /// The format
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One signed receipt a line
    Jsonl,
    /// `{"receipts":[…]}` of one session, ready for a verify-chain endpoint
    Jtp,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// The key set that verifies receipts and checkpoints
    Jwks,
    /// Print the certificate that clients of `serve --tls` have to trust, in PEM
    Ca,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check the policies of this home, or of a folder
    Check {
        /// The folder
        folder: Option<PathBuf>,
    },
    /// Judge the cases of a file and compare with what they expect
    #[command(
        after_help = "A case per line: {\"server\":\"notes\",\"tool\":\"delete_note\",\"arguments\":{},\"expect\":\"STEP_UP\"}"
    )]
    Test {
        /// The file of cases
        file: PathBuf,
    },
    /// Draft rules from what was observed, with counts and with what each would change
    #[command(
        after_help = "Example:\n  tipstaff policy suggest > suggested.cedar\n\nRead it, keep what you want, and put it into the policies folder: nothing is in force before."
    )]
    Suggest {
        /// Look at so many days
        #[arg(long, default_value_t = 7)]
        days: u64,
        /// Look at what was enforced too, not only at what was observed
        #[arg(long)]
        all: bool,
    },
    /// Print the Cedar that a file of access words means
    #[command(
        after_help = "Example, a file team.access:\n  allow(coder, fs:write, roots)\n  ask(*, git:push, *)\n  deny(not role(admin), T5, *) \"Prepare it and stop before the last step.\"\n\nPut it into the policies folder as it is. docs/access-words.md has the words."
    )]
    Compile {
        /// The file, NAME.access
        file: PathBuf,
    },
    /// Say for each principal what the policies in force answer to an action
    #[command(
        after_help = "Examples:\n  tipstaff policy who-can git:push\n  tipstaff policy who-can github/create_pull_request\n  tipstaff policy who-can fs:write ./src/main.rs\n  tipstaff policy who-can T5 outside"
    )]
    WhoCan {
        /// A class, family, tier, tool, server's tools or operation, as in access words
        action: String,
        /// roots, credentials, tipstaff, outside, server(NAME), argument("/pointer", "text") or a path
        resource: Option<String>,
    },
    /// Say what the policies in force answer to everything that a principal could do
    WhatCan {
        /// Its name, or `anybody` for who proves nothing
        principal: String,
    },
    /// Prove statements over all requests, or find a request that breaks one; needs cvc5
    #[command(
        after_help = "Examples:\n  tipstaff policy prove \"no agent can ever do T5 without approval\"\n  tipstaff policy prove \"not role(admin) can never do git:push on not roots\"\n\nExit code 0: proved; 1: not so; 3: neither."
    )]
    Prove {
        /// The statements [default: those that the configuration requires]
        statements: Vec<String>,
        /// The policies of this folder, instead of those in force
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// The solver [default: of the configuration, else CVC5, else `cvc5` on the path]
        #[arg(long, value_name = "FILE")]
        solver: Option<PathBuf>,
    },
    /// Say what the policies answer to one call, and why
    Explain {
        /// The tool's name
        tool: String,
        /// Its arguments as JSON
        arguments: Option<String>,
        /// The server's name
        #[arg(long, default_value = "unknown")]
        server: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// Show how tools differ from what was accepted
    Diff,
    /// Accept a server's tools as they are listed now
    Accept {
        /// The server
        server: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Prove that a receipt is in the log (C2SP tlog-proof)
    Proof {
        /// The receipt's id, or its beginning
        id: String,
    },
    /// Check every tile, leaf, signature and chain of the log
    Fsck,
}

pub(crate) fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "tipstaff", &mut std::io::stdout());
}

/// What a block of a capability demands of an action.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Demands {
    /// A tool, `SERVER/NAME`, or all of a server, `SERVER/*` (repeatable: one of them)
    #[arg(long, value_name = "TOOL")]
    pub(crate) tool: Vec<String>,
    /// Every path that the action names is in this folder, and it names one (repeatable: in one of them)
    #[arg(long, value_name = "FOLDER")]
    pub(crate) under: Vec<String>,
    /// Every address in the arguments has this host, or one that ends so, `*.example.org`, and there is one
    /// (repeatable: one of them)
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// A whole-number argument, such as `n=1..10`, `n=..10`, `/list/0=1..` (repeatable: each)
    #[arg(long, value_name = "ARGUMENT=RANGE")]
    pub(crate) range: Vec<String>,
    /// A text argument that a pattern matches as a whole (repeatable: each)
    #[arg(long, value_name = "ARGUMENT=PATTERN")]
    pub(crate) pattern: Vec<String>,
    /// A text argument that is one of these (repeatable: each)
    #[arg(long, value_name = "ARGUMENT=A,B")]
    pub(crate) one_of: Vec<String>,
    /// The highest tier
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<String>,
    /// How often it permits something
    #[arg(long, value_name = "COUNT")]
    pub(crate) uses: Option<u64>,
    /// The most that a whole-number argument comes to over all uses (repeatable: each)
    #[arg(long, value_name = "ARGUMENT=MOST")]
    pub(crate) budget: Vec<String>,
    /// The chain of the only session
    #[arg(long, value_name = "SESSION")]
    pub(crate) session: Option<String>,
    /// How long it lasts, such as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// When it begins, from now, such as 10m
    #[arg(long, value_name = "TIME")]
    pub(crate) begins: Option<String>,
    /// The number of receipts in the log at which it ends
    #[arg(long, value_name = "COUNT")]
    pub(crate) until_position: Option<u64>,
    /// A check in Biscuit's own language (repeatable: each)
    #[arg(long, value_name = "CHECK")]
    pub(crate) check: Vec<String>,
}
