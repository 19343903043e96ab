//! Which commands need a home that is there.
//!
//! The adversary is a mistyped `--home`: what was made by accident must not look as if it were empty, watched or paused.

use super::{Command, PolicyCommand, PrincipalCommand};

/// What a command needs of the home folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// That it is there: a mistyped name is no empty home, and nothing else is paused by it.
    Home,
    /// Nothing: it makes one, does without, or says itself what is missing.
    Nothing,
}

impl Command {
    /// What it needs before it does anything.
    pub(crate) const fn needs(&self) -> Needs {
        match self {
            Self::Login { .. }
            | Self::Logout { .. }
            | Self::Tail
            | Self::Queue { .. }
            | Self::Approve { .. }
            | Self::Withdraw { .. }
            | Self::Refuse { .. }
            | Self::Session(_)
            | Self::Principal(
                PrincipalCommand::Enrol { .. }
                | PrincipalCommand::Rotate { .. }
                | PrincipalCommand::Roles { .. }
                | PrincipalCommand::Services { .. }
                | PrincipalCommand::Suspend { .. }
                | PrincipalCommand::Restore { .. }
                | PrincipalCommand::Retire { .. }
                | PrincipalCommand::Compromise { .. }
                | PrincipalCommand::List { .. }
                | PrincipalCommand::Show { .. },
            )
            | Self::Approver(_)
            | Self::Group(_)
            | Self::Envelope(_)
            | Self::Whoami { .. }
            | Self::Grant { .. }
            | Self::Revoke { .. }
            | Self::Grants
            | Self::Pause
            | Self::Resume
            | Self::Why { .. }
            | Self::Receipts(_)
            | Self::Keys(_)
            | Self::Replay
            | Self::Policy(PolicyCommand::Suggest { .. })
            | Self::Tools(_)
            | Self::Log(_) => Needs::Home,
            Self::Init
            | Self::Demo { .. }
            | Self::Wrap { .. }
            | Self::Install { .. }
            | Self::Doctor
            | Self::Hook { .. }
            | Self::Serve { .. }
            | Self::Conformance { .. }
            | Self::ConformanceTools { .. }
            | Self::Principal(
                PrincipalCommand::Key { .. } | PrincipalCommand::Certificate { .. },
            )
            | Self::Attenuate { .. }
            | Self::Inspect { .. }
            | Self::Drift(_)
            | Self::Verify { .. }
            | Self::Classify { .. }
            | Self::Policy(
                PolicyCommand::Check { .. }
                | PolicyCommand::Test { .. }
                | PolicyCommand::Compile { .. }
                | PolicyCommand::WhoCan { .. }
                | PolicyCommand::WhatCan { .. }
                | PolicyCommand::Prove { .. }
                | PolicyCommand::Explain { .. },
            )
            | Self::Completions { .. }
            | Self::Notes { .. }
            | Self::Monitor => Needs::Nothing,
        }
    }
}
