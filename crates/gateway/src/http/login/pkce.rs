//! What binds a login to who began it: `state`, and PKCE with S256 (RFC 7636).
//!
//! The adversary puts a code of its own into somebody's login, or takes one on the way: without the words that this
//! process made up and told nobody, neither is worth anything.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tipstaff_core::Digest;
use tipstaff_identity::SystemRandom;
use tipstaff_store::Random as _;
use zeroize::Zeroizing;

use super::LoginFault;

/// The words of one login, of 256 random bits each.
pub(super) struct Words {
    pub(super) state: Zeroizing<String>,
    pub(super) verifier: Zeroizing<String>,
}

impl Words {
    pub(super) fn new() -> Result<Self, LoginFault> {
        Ok(Self { state: word()?, verifier: word()? })
    }

    /// What the issuer is shown before it sees the verifier.
    pub(super) fn challenge(&self) -> String {
        challenge(&self.verifier)
    }

    pub(super) fn is_state(&self, said: &str) -> bool {
        verify_slices_are_equal(self.state.as_bytes(), said.as_bytes()).is_ok()
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).as_bytes())
}

fn word() -> Result<Zeroizing<String>, LoginFault> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom.fill(&mut *bytes).map_err(|error| LoginFault::Kept(error.to_string()))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_the_one_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn words_are_of_one_login() {
        let (one, other) = (Words::new().unwrap(), Words::new().unwrap());
        assert!(one.is_state(&one.state) && !one.is_state(&other.state) && !one.is_state(""));
        assert_ne!(one.verifier.as_str(), one.state.as_str());
        assert_eq!(one.verifier.len(), 43);
    }
}
