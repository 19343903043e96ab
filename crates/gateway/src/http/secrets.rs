//! What a server gets of the operator's credentials.
//!
//! The adversary reads logs, errors and memory dumps of types: a resolved value is wiped after use, has
//! no `Debug` that shows it, and a fault names the setting and where it should be, never what is there.

mod keyring;

use std::path::Path;

use tipstaff_monitor::Setting;
use zeroize::Zeroizing;

use super::token::read_private;

/// A resolved value.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(value: &str) -> Self {
        Self(Zeroizing::new(value.to_owned()))
    }

    /// The same, for another holder.
    pub(super) fn again(&self) -> Self {
        Self(self.0.clone())
    }

    /// The value, for the one place that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The value of a setting, or a sentence about why there is none.
pub(super) fn resolve(home: &Path, name: &str, setting: &Setting) -> Result<Secret, String> {
    match setting {
        Setting::Plain(value) => Ok(Secret(Zeroizing::new(value.clone()))),
        Setting::Variable(variable) => of_variable(name, variable).map(Secret),
        Setting::Bearer(variable) => {
            let token = of_variable(name, variable)?;
            Ok(Secret(Zeroizing::new(format!("Bearer {}", *token))))
        }
        Setting::File(file) => match read_private(&home.join("secrets").join(file)) {
            Ok(value) => Ok(Secret(value)),
            Err(error) => Err(format!("`{name}`: {error}")),
        },
        Setting::Keyring { service, account } => match keyring::look_up(service, account) {
            Ok(value) => Ok(Secret(value)),
            Err(error) => Err(format!("`{name}`: {error}")),
        },
    }
}

fn of_variable(name: &str, variable: &str) -> Result<Zeroizing<String>, String> {
    let value = std::env::var(variable).map(Zeroizing::new);
    value.map_err(|_| format!("`{name}` needs the variable {variable}, which is not set"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_of_others_is_refused_and_no_value_is_shown() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("secrets")).unwrap();
        let file = home.path().join("secrets/a");
        fs::write(&file, "s3cret\n").unwrap();
        let setting = Setting::File("a".into());
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let fault = resolve(home.path(), "TOKEN", &setting).unwrap_err();
        assert!(fault.contains("chmod 600") && !fault.contains("s3cret"), "{fault}");
        mode(0o600);
        let secret = resolve(home.path(), "TOKEN", &setting).unwrap();
        assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("s3cret", "Secret"));
        let missing = Setting::Variable("TIPSTAFF_NO_SUCH_VARIABLE".into());
        assert!(resolve(home.path(), "A", &missing).unwrap_err().contains("not set"));
        assert!(resolve(home.path(), "A", &Setting::File("b".into())).is_err());
    }
}
