//! The words of commands about authority: who may act, who is there, what was given on, what is said between them.
//!
//! No adversary: this is the spelling. What each demands of its caller is with the command.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Invite principals into a group; whoever is there already keeps the seat
    #[command(
        after_help = "Example:\n  tipstaff group convene night-shift coder tester --join-within 10m --inactive-after 1h\n  tipstaff group join night-shift --key coder.key\n\nWhoever is there has the group's name as a role: Role::\"night-shift\" in policies."
    )]
    Convene {
        /// The group's name
        group: String,
        /// Who has a seat
        #[arg(required = true, value_name = "NAME")]
        members: Vec<String>,
        /// How long the invitation stands: a number with s, m, h or d
        #[arg(long, value_name = "TIME", default_value = "10m")]
        join_within: String,
        /// How long a seat stands without a word of its holder
        #[arg(long, value_name = "TIME", default_value = "1h")]
        inactive_after: String,
    },
    /// Say that a member is there; again before half of the time until eviction is over, it changes nothing
    Join {
        /// The group's name
        group: String,
        /// The member's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// End a group
    Dissolve {
        /// The group's name
        group: String,
    },
    /// List the groups, and how each seat stands
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PrincipalCommand {
    /// Make a key for a principal, in a file that only you can read; prints its `did:key`
    Key {
        /// The file, which must not be there
        file: PathBuf,
    },
    /// Make a certificate for a principal's key, with which its client connects over TLS; needs no home
    #[command(
        after_help = "Example:\n  tipstaff principal certificate coder.key --out coder.crt --pem coder.pem\n  curl --cacert ca.pem --cert coder.crt --key coder.pem https://gateway.example:4443/healthz\n\nThe certificate is signed with the key itself. Who has the key is what the home's log says, so that suspending the principal ends what the certificate opens."
    )]
    Certificate {
        /// The key, as `principal key` wrote it
        file: PathBuf,
        /// Where to write the certificate, in PEM
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        /// Where to write the same key in PEM (PKCS #8), as other programs read it
        #[arg(long, value_name = "FILE")]
        pem: Option<PathBuf>,
        /// What stands in it as a name, for people
        #[arg(long, value_name = "NAME", default_value = "tipstaff principal")]
        name: String,
        /// How long it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: u64,
    },
    /// Enrol a principal with its first key
    #[command(
        after_help = "Example:\n  tipstaff principal key ada.key\n  tipstaff principal enrol ada --kind human --key did:key:z6Mk...\n  tipstaff principal enrol coder --kind agent --owner ada --key did:key:z6Mk... --role reader\n  tipstaff wrap --key coder.key -- npx -y @modelcontextprotocol/server-filesystem@2026.8.31 ./notes"
    )]
    Enrol {
        /// Its name, for ever: a-z, 0-9, `.`, `-`, `_`
        #[arg(required_unless_present = "from")]
        name: Option<String>,
        /// What it is
        #[arg(long, value_parser = ["human", "service", "agent", "system", "node"], required_unless_present = "from")]
        kind: Option<String>,
        /// For whom it acts: a person or service (everyone but a person has one)
        #[arg(long, value_name = "NAME")]
        owner: Option<String>,
        /// Its public key
        #[arg(long, value_name = "DID:KEY", required_unless_present = "from")]
        key: Option<String>,
        /// A role that it has (repeatable)
        #[arg(long, value_name = "NAME")]
        role: Vec<String>,
        /// Many, one a line: {"name":..,"kind":..,"owner":..,"roles":[..],"key":"did:key:.."}; without `key` one is made
        /// in the home's keys/principals. Who is enrolled already is passed over
        #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "kind", "owner", "key", "role"])]
        from: Option<PathBuf>,
    },
    /// Give a principal a new key; the old one is valid too for a while
    Rotate {
        /// Whose
        name: String,
        /// The new public key
        #[arg(long, value_name = "DID:KEY")]
        key: String,
        /// How long both are valid: a number with s, m, h or d
        #[arg(long, value_name = "TIME", default_value = "1d")]
        overlap: String,
    },
    /// Say which roles a principal has, instead of those that it had
    Roles {
        /// Whose
        name: String,
        /// All of them
        roles: Vec<String>,
    },
    /// Say where a principal can be reached, instead of where it could be before: what its DID document has as services
    Services {
        /// Whose
        name: String,
        /// One of them: its id in the document, its type, and its address (repeatable)
        #[arg(long, num_args = 3, value_names = ["ID", "TYPE", "URL"])]
        service: Vec<String>,
    },
    /// Let a principal, and whom it owns, do nothing until it is restored
    Suspend {
        /// Who
        name: String,
    },
    /// Let a suspended principal act again
    Restore {
        /// Who
        name: String,
    },
    /// Let a principal, and whom it owns, never act again
    Retire {
        /// Who
        name: String,
    },
    /// Say that somebody else has a principal's key: what rests on it from a position of the log on
    /// doesn't count any more
    Compromise {
        /// Whose
        name: String,
        /// The key, as `tipstaff principal show` names it [default: the only one]
        #[arg(long, value_name = "KEY_ID")]
        key_id: Option<String>,
        /// The first position of the log at which somebody else may have had it
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u64,
    },
    /// Everybody, one a line, in the order of names
    List {
        /// Only those after this name
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// At most so many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// One of them: keys, owner, roles, services
    Show {
        /// Who
        name: String,
        /// As a DID document
        #[arg(long)]
        did: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvelopeCommand {
    /// Sign what is on standard input as a message for one principal; prints one line
    Seal {
        /// The sender's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Whom it is for
        #[arg(long, value_name = "NAME")]
        to: String,
    },
    /// Open the message on standard input, once: prints what it says
    Open {
        /// Whose message it has to be
        #[arg(long = "as", value_name = "NAME")]
        reader: String,
        /// How old it may be: a number with s, m, h or d, at most 1d
        #[arg(long, value_name = "TIME", default_value = "10m")]
        within: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApproverCommand {
    /// The keys that count, and those that were replaced
    Show,
    /// Replace the key, by its own word
    #[command(
        after_help = "The new key is made in the home, and put in the place of keys/approver.key once the order that names it has its receipt. Answers and orders that are signed with the old one after its end are refused, with a receipt."
    )]
    Rotate {
        /// How long the old key is valid beside it, where a copy of it is elsewhere: a number with s, m, h or d
        #[arg(long, value_name = "TIME", default_value = "0s")]
        overlap: String,
    },
    /// Replace a key that was lost: nobody gives its word, and the log says so for ever
    #[command(
        after_help = "Restore keys/approver.key from a backup if there is one; this is for when there is none. It needs the home's user, and no client connected. The control receipt has `recovered`: whoever reads the log sees that this key was not named by the one before it. What the old key approved before counts on."
    )]
    Recover {
        /// The key that was lost, as `tipstaff approver show` names it
        #[arg(long, value_name = "KEY_ID")]
        lost: String,
    },
}
