//! Statements that a policy set has to keep before it is in force.
//!
//! The adversary is a rule that opens what was promised to stay shut. Whoever starts the monitor brings what can
//! prove statements; without it, or without an answer, a set that has something to prove is refused. No verdict
//! rests on a proof: a set that is in force already stays when a proof of another fails.

use serde::Deserialize;
use tipstaff_policy::{PolicyFault, PolicySet};

use crate::error::MonitorError;
use crate::home::Home;
use crate::policies::Rules;

/// Proves statements about all requests.
pub trait Requirements: std::fmt::Debug + Send + Sync {
    /// Whether a set keeps every statement. `solver` is the program that the configuration names.
    ///
    /// # Errors
    /// A fault for each statement that is not so, or is not proved.
    fn hold(
        &self,
        set: &PolicySet,
        classes: &[&str],
        required: &[String],
        solver: Option<&str>,
    ) -> Result<(), Vec<PolicyFault>>;
}

/// What a configuration says of policies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoliciesConfig {
    /// Statements that a set has to keep to be put in force.
    pub require: Vec<String>,
    /// The solver that proves them: the whole path of `cvc5`.
    pub solver: Option<String>,
}

/// Most statements that a configuration requires: each is a run of the solver.
const REQUIRED_MAX: usize = 64;

impl PoliciesConfig {
    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        let relative = self.solver.as_ref().filter(|at| !std::path::Path::new(at).is_absolute());
        if let Some(at) = relative {
            return Some(format!("policies.solver `{at}` is not absolute; write its whole path"));
        }
        if self.require.len() > REQUIRED_MAX {
            return Some(format!("`policies.require` has more than {REQUIRED_MAX} statements"));
        }
        let nobody = !self.require.is_empty() && self.solver.is_none();
        nobody.then(|| "`policies.require` needs `policies.solver`, the path of cvc5".to_owned())
    }
}

/// Whether rules keep what the configuration requires.
///
/// # Errors
/// [`MonitorError::Policies`] with what is not so, or not proved.
pub(crate) fn keep(
    home: &Home,
    rules: &Rules,
    config: &PoliciesConfig,
) -> Result<(), MonitorError> {
    if config.require.is_empty() {
        return Ok(());
    }
    let Some(requirements) = home.requirements() else {
        let fault = PolicyFault {
            file: "config.toml".to_owned(),
            line: 1,
            column: 1,
            message: "`policies.require` can't be proved by this monitor".to_owned(),
            hint: Some("start it with the `tipstaff` command line".to_owned()),
        };
        return Err(MonitorError::Policies(vec![fault]));
    };
    let classes: Vec<&str> = rules.catalogue.classes().collect();
    requirements
        .hold(&rules.set, &classes, &config.require, config.solver.as_deref())
        .map_err(MonitorError::Policies)
}
