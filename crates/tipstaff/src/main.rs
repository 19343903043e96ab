//! The command line: thin, one file per command family.
//!
//! The adversary here is a misunderstanding: every answer is one sentence, its cause and the next step,
//! and the exit code says what kind it is (0 fine, 1 the answer is no, 2 wrong use, 3 could not be
//! done).

#![expect(clippy::print_stderr, reason = "a command line prints")]

/// Like the standard macro, but a reader that went away ends the command instead of panicking.
macro_rules! println {
    ($($text:tt)*) => { $crate::outcome::emit(format_args!("{}\n", format_args!($($text)*))) };
}

/// Like the standard macro, but a reader that went away ends the command instead of panicking.
macro_rules! print {
    ($($text:tt)*) => { $crate::outcome::emit(format_args!($($text)*)) };
}

mod approver;
mod capability;
mod cli;
mod conformance;
mod demo;
mod doctor;
mod drift;
mod envelope;
mod group;
mod home;
mod hook;
mod install;
mod log;
mod login;
mod measure;
mod outcome;
mod policy;
mod principal;
mod queue;
mod receipts;
mod serve;
mod session;
mod standing;
mod suggest;
mod tail;
mod tools;
mod verify;
mod wrap;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tipstaff_monitor::Reply;

use crate::cli::{
    Cli, Command, DriftCommand, KeysCommand, LogCommand, Needs, PolicyCommand, ReceiptsCommand,
    SessionCommand, ToolsCommand,
};
use crate::hook::{Options, Permitted};
use crate::install::{Step, Strictness, Wanted};
use crate::outcome::{Failure, Outcome};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let json = cli.json;
    if let Command::Hook { client, grant, wait, key, capability } = &cli.command {
        let permitted = if *grant { Permitted::Grant } else { Permitted::Defer };
        let wait = Duration::from_secs(*wait);
        let caller = match wrap::caller(key.as_deref(), capability.as_deref()) {
            Ok(caller) => caller,
            Err(_) => {
                return hook::refuse(
                    "the key of its principal (--key), or its capability (--capability), can't be read",
                );
            }
        };
        return hook(cli.home, &Options { contract: *client, permitted, wait, caller });
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(json);
            ExitCode::from(failure.code())
        }
    }
}

/// A hook has two answers alone: code 0 with what it says, and code 2, which refuses the call.
fn hook(home: Option<PathBuf>, options: &Options) -> ExitCode {
    match home::Place::new(home, false) {
        Ok(at) => hook::run(&at, options),
        Err(_) => hook::refuse("no home folder: set --home, TIPSTAFF_HOME or HOME"),
    }
}

/// Help, or what was wrong with the words of the command.
fn misused(error: &clap::Error) -> ExitCode {
    let json = std::env::args().take_while(|word| word != "--").any(|word| word == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let what = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
        let failure = Failure::Usage(what.to_owned());
        failure.print(true);
        return ExitCode::from(failure.code());
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: Cli) -> Outcome {
    let at = home::Place::new(cli.home, cli.json)?;
    match cli.command.needs() {
        Needs::Home => at.must_be_there()?,
        Needs::Nothing => {}
    }
    match cli.command {
        Command::Init => home::init(&at),
        Command::Demo { keep } => demo::run(&at, keep),
        Command::Wrap { name, env, url: None, command, intent, key, capability, .. } => {
            let proof = (key.as_deref(), capability.as_deref());
            wrap::wrap(&at, name, env, command, (intent.as_deref(), proof))
        }
        Command::Wrap {
            name,
            url: Some(url),
            header_env,
            bearer_env,
            header_from,
            intent,
            key,
            capability,
            ..
        } => {
            let (bearer, from) = (bearer_env, header_from);
            let given = wrap::Given { from_env: header_env, bearer, from, intent, key, capability };
            wrap::wrap_url(&at, name, url, given)
        }
        Command::Install { client, include, enforce, dry_run, undo } => {
            let strictness = if enforce { Strictness::Enforce } else { Strictness::AsItIs };
            let step = match (dry_run, undo) {
                (_, true) => Step::Undo,
                (true, false) => Step::DryRun(strictness),
                (false, false) => Step::Install(strictness),
            };
            install::run(&at, &Wanted { clients: client, include, step })
        }
        Command::Serve { listen, tls, name, client_certificates } => {
            let tls = tls.then_some((name, client_certificates));
            serve::serve(&at, listen, tls)
        }
        Command::Conformance { target, token_file, key, only, wait } => {
            conformance::run(&at, &conformance::Wanted { target, token_file, key, only, wait })
        }
        Command::ConformanceTools { folder } => conformance::tools(&folder),
        Command::Tail => tail::run(&at),
        Command::Queue { standing: false } => queue::list(&at),
        Command::Queue { standing: true } => standing::list(&at),
        Command::Approve { ids, repeat: None, .. } => {
            queue::answer(&at, &ids, Reply::Approve, None)
        }
        Command::Approve { ids, repeat: Some(count), within } => {
            let wanted = standing::Wanted::read(&ids, count, &within)?;
            queue::answer(&at, &ids, Reply::Approve, Some(&wanted))
        }
        Command::Refuse { ids } => queue::answer(&at, &ids, Reply::Refuse, None),
        Command::Withdraw { id } => standing::withdraw(&at, &id),
        Command::Session(SessionCommand::List) => session::list(&at),
        Command::Session(SessionCommand::Request { session, text }) => {
            session::request(&at, session.as_deref(), &text)
        }
        Command::Session(SessionCommand::Give { session, given }) => {
            session::give(&at, session.as_deref(), &given)
        }
        Command::Session(SessionCommand::Declassify { session, labels }) => {
            session::declassify(&at, session.as_deref(), &labels)
        }
        Command::Principal(command) => principal::run(&at, command),
        Command::Approver(command) => approver::run(&at, command),
        Command::Envelope(command) => envelope::run(&at, command),
        Command::Group(command) => group::run(&at, command),
        Command::Whoami { key, capability } => {
            principal::whoami(&at, key.as_deref(), capability.as_deref())
        }
        Command::Grant { to, demands, output } => capability::grant(&at, &to, &demands, &output),
        Command::Attenuate { file, key, to, demands, output } => {
            let to = key.as_deref().zip(to.as_deref());
            capability::attenuate(&at, &file, to, &demands, &output)
        }
        Command::Inspect { file } => capability::inspect(&at, &file),
        Command::Revoke { what } => capability::revoke(&at, &what),
        Command::Grants => capability::list(&at),
        Command::Drift(DriftCommand::Calibrate { sessions }) => drift::run(&at, &sessions),
        Command::Pause => queue::pause(&at),
        Command::Resume => queue::resume(&at),
        Command::Why { id } => receipts::why(&at, &id),
        Command::Verify { file, jwks, head } => {
            verify::run(&at, file.as_deref(), jwks.as_deref(), head)
        }
        Command::Receipts(ReceiptsCommand::List { session, last }) => {
            receipts::list(&at, session.as_deref(), last)
        }
        Command::Receipts(ReceiptsCommand::Show { id, inputs }) => receipts::show(&at, &id, inputs),
        Command::Receipts(ReceiptsCommand::Export { session, format }) => {
            receipts::export(&at, session.as_deref(), format)
        }
        Command::Keys(KeysCommand::Jwks) => home::jwks(&at),
        Command::Keys(KeysCommand::Ca) => serve::authority(&at),
        Command::Replay => receipts::replay(&at),
        Command::Classify { tool, arguments, server, shell } => {
            policy::classify(&at, tool, arguments.as_deref(), &server, shell)
        }
        Command::Policy(PolicyCommand::Check { folder }) => policy::check(&at, folder),
        Command::Policy(PolicyCommand::Compile { file }) => policy::compile(&at, &file),
        Command::Policy(PolicyCommand::WhoCan { action, resource }) => {
            policy::who_can(&at, &action, resource.as_deref())
        }
        Command::Policy(PolicyCommand::WhatCan { principal }) => policy::what_can(&at, &principal),
        Command::Policy(PolicyCommand::Prove { statements, folder, solver }) => {
            policy::prove(&at, &statements, folder, solver)
        }
        Command::Policy(PolicyCommand::Test { file }) => policy::test(&at, &file),
        Command::Policy(PolicyCommand::Explain { tool, arguments, server }) => {
            policy::explain(&at, &tool, arguments.as_deref(), &server)
        }
        Command::Policy(PolicyCommand::Suggest { days, all }) => suggest::run(&at, days, all),
        Command::Tools(ToolsCommand::Diff) => tools::diff(&at),
        Command::Tools(ToolsCommand::Accept { server }) => tools::accept(&at, &server),
        Command::Log(LogCommand::Proof { id }) => log::proof(&at, &id),
        Command::Log(LogCommand::Fsck) => log::fsck(&at),
        Command::Completions { shell } => {
            cli::completions(shell);
            Ok(())
        }
        Command::Login { server, no_browser, scope, port, wait, list: _ } => match server {
            Some(server) => {
                login::login(&at, &server, &login::Wanted { no_browser, scope, port, wait })
            }
            None => login::list(&at),
        },
        Command::Logout { server } => login::logout(&at, &server),
        Command::Doctor => doctor::run(&at),
        // It was answered before: its exit codes are the client's.
        Command::Hook { .. } => Ok(()),
        Command::Notes { folder } => wrap::notes(&folder),
        Command::Monitor => wrap::monitor(&at),
    }
}
