//! The home folder, and what every command needs of it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use tipstaff_identity::{HomeKeys, PublicKeys};
use tipstaff_ledger::note::NoteVerifier;
use tipstaff_ledger::{LogReader, SealingKey};
use tipstaff_monitor::{Client, Home};
use tipstaff_store::{Disk, NativeDisk};

use crate::outcome::{Failure, Outcome};

/// Where a command works, and how it answers.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) json: bool,
}

/// A home's log, opened for reading.
pub(crate) struct Opened {
    pub(crate) reader: LogReader,
    pub(crate) public: PublicKeys,
    pub(crate) verifier: NoteVerifier,
    pub(crate) sealing: SealingKey,
}

impl Place {
    pub(crate) fn new(home: Option<PathBuf>, json: bool) -> Result<Self, Failure> {
        let folder = home.or_else(default_home).ok_or_else(|| {
            Failure::Usage("no home folder: set --home, TIPSTAFF_HOME or HOME".to_owned())
        })?;
        let folder = std::path::absolute(&folder)
            .map_err(|e| Failure::undone("The home folder can't be named.", e, "Give --home."))?;
        let home = Home::at(&folder).proving(Arc::new(crate::policy::Proofs));
        Ok(Self { home, json })
    }

    /// Goes on if the home is there and can be read.
    pub(crate) fn must_be_there(&self) -> Outcome {
        let root = self.home.root().display();
        match self.home.root().join("keys").metadata() {
            Ok(_) if self.home.exists() => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let what = format!("The home at {root} can't be read.");
                let next = "Run this as the home's owner, or name another home with --home.";
                Err(Failure::undone(&what, error, next))
            }
            _ => {
                let what = format!("There is no home at {root}.");
                let next = "Run `tipstaff init`, or name another home with --home.";
                Err(Failure::undone(&what, "the folder has no keys", next))
            }
        }
    }

    /// The log as it stands; a running monitor is asked to publish first.
    pub(crate) fn open(&self) -> Result<Opened, Failure> {
        self.must_be_there()?;
        let keys = HomeKeys::open(self.home.root())
            .map_err(|e| Failure::undone("The keys can't be read.", e, "See `ls -l` of keys/."))?;
        // A monitor that can't answer has stopped; what is durable is read all the same.
        let _ = Client::control(&self.home, "flush", None);
        let public = keys.public();
        let damaged = "Look with `tipstaff log fsck`; restore the folder from a backup.";
        let bad =
            |e: &dyn ToString| Failure::undone("The log can't be read.", e.to_string(), damaged);
        let verifier =
            NoteVerifier::new(&public.origin, public.log.clone()).map_err(|e| bad(&e))?;
        let sealing = SealingKey::new(keys.home_key()).map_err(|e| bad(&e))?;
        let disk: Arc<dyn Disk> = Arc::new(NativeDisk::new(self.home.root()));
        let reader = LogReader::open(Arc::clone(&disk), &verifier).unwrap_or_else(|error| {
            // A damaged log stops the node; looking at what is left of it is what a person needs then.
            eprintln!(
                "tipstaff: {error}\n  what can still be read follows; see `tipstaff log fsck`"
            );
            LogReader::salvage(disk, &verifier)
        });
        Ok(Opened { reader, public, verifier, sealing })
    }
}

fn default_home() -> Option<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty()).map(PathBuf::from);
    let data = data.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")));
    Some(data?.join("tipstaff"))
}

pub(crate) fn init(at: &Place) -> Outcome {
    let existed = at.home.exists();
    at.home.create().map_err(|e| {
        Failure::undone("The home could not be made.", e, "Mend that and try again.")
    })?;
    let root = at.home.root().display().to_string();
    if at.json {
        println!("{}", serde_json::json!({ "home": root, "existed": existed }));
    } else if existed {
        println!("{root} was there already; nothing was changed.");
    } else {
        println!("Made {root}:");
        println!("  config.toml   which folders an agent may change (none yet: `roots`)");
        println!("  policies/     the default policy set");
        println!("  keys/         for this home alone");
        println!("Next: tipstaff wrap -- <the command of an MCP server>");
    }
    Ok(())
}

pub(crate) fn jwks(at: &Place) -> Outcome {
    let keys = HomeKeys::open(at.home.root()).map_err(|e| {
        Failure::undone("The keys can't be read.", e, "Restore them from a backup.")
    })?;
    let mut jwks = keys.public().to_jwks();
    if let (Some(members), Ok(verifier)) =
        (jwks.as_object_mut(), NoteVerifier::new(keys.origin(), keys.public().log))
    {
        members.insert("tipstaff/log_vkey".to_owned(), verifier.to_vkey().into());
    }
    println!("{}", serde_json::to_string_pretty(&jwks).unwrap_or_default());
    Ok(())
}
