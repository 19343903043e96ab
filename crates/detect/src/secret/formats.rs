//! The published forms of tokens: prefix, alphabet, length. The adversary is a token that a general rule
//! would take for an identifier.

use crate::findings::Detector;
use Alphabet::{Alphanumeric, Base32, Base64, Dotted, Hex, Path, Word};
use Detector::{AwsAccessKey, GithubToken, KnownToken};

/// What a token is made of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alphabet {
    Alphanumeric,
    /// With `_` and `-`.
    Word,
    /// With `_`, `-` and `.`.
    Dotted,
    Base64,
    Hex,
    Base32,
    /// With `_`, `-` and `/`.
    Path,
}

/// The form of one kind of token.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) prefix: &'static str,
    pub(super) detector: Detector,
    pub(super) alphabet: Alphabet,
    pub(super) least: usize,
    pub(super) most: usize,
    /// Least entropy in bits for each character, so that `xxxx…` and `1234…` are not tokens.
    pub(super) bits: f32,
    pub(super) has_checksum: bool,
}

const fn form(prefix: &'static str, alphabet: Alphabet, least: usize, most: usize) -> Format {
    let bits = if matches!(alphabet, Hex) { 2.6 } else { 3.0 };
    Format { prefix, detector: KnownToken, alphabet, least, most, bits, has_checksum: false }
}

const fn aws(prefix: &'static str) -> Format {
    Format { detector: AwsAccessKey, bits: 2.6, ..form(prefix, Base32, 16, 16) }
}

const fn github(prefix: &'static str) -> Format {
    Format {
        detector: GithubToken,
        bits: 3.4,
        has_checksum: true,
        ..form(prefix, Alphanumeric, 36, 40)
    }
}

/// Long forms come before short ones that they begin with.
pub(super) const FORMATS: &[Format] = &[
    aws("AKIA"),
    aws("ASIA"),
    aws("ABIA"),
    aws("ACCA"),
    github("ghp_"),
    github("gho_"),
    github("ghu_"),
    github("ghs_"),
    github("ghr_"),
    Format { detector: GithubToken, ..form("github_pat_", Word, 82, 82) },
    Format { has_checksum: true, ..form("npm_", Alphanumeric, 36, 36) },
    form("pypi-AgE", Word, 50, 400),
    form("rubygems_", Hex, 48, 48),
    form("cio", Alphanumeric, 32, 32),
    form("glpat-", Dotted, 20, 64),
    form("gldt-", Word, 20, 64),
    form("glrt-", Word, 20, 64),
    form("glcbt-", Word, 20, 64),
    form("glptt-", Hex, 40, 40),
    form("glsoat-", Word, 20, 64),
    form("xoxb-", Word, 24, 120),
    form("xoxp-", Word, 24, 160),
    form("xoxa-", Word, 24, 160),
    form("xoxe-", Word, 24, 240),
    form("xoxs-", Word, 24, 160),
    form("xoxr-", Word, 24, 160),
    form("xapp-", Word, 40, 160),
    form("hooks.slack.com/services/T", Path, 40, 60),
    form("hooks.slack.com/workflows/T", Path, 40, 80),
    form("sk_live_", Alphanumeric, 16, 128),
    form("sk_test_", Alphanumeric, 16, 128),
    form("rk_live_", Alphanumeric, 16, 128),
    form("rk_test_", Alphanumeric, 16, 128),
    form("whsec_", Base64, 24, 80),
    form("AIza", Word, 35, 35),
    form("GOCSPX-", Word, 28, 28),
    form("ya29.", Dotted, 40, 400),
    form("1//0", Word, 40, 140),
    form("sk-ant-", Word, 40, 140),
    form("sk-proj-", Word, 40, 200),
    form("sk-svcacct-", Word, 40, 200),
    form("sk-admin-", Word, 40, 200),
    form("sk-or-v1-", Hex, 64, 64),
    Format { bits: 3.5, ..form("sk-", Alphanumeric, 20, 64) },
    form("hf_", Alphanumeric, 34, 37),
    form("r8_", Alphanumeric, 37, 37),
    form("gsk_", Alphanumeric, 48, 56),
    form("xai-", Alphanumeric, 70, 90),
    form("pplx-", Alphanumeric, 40, 60),
    form("nvapi-", Word, 60, 72),
    form("SG.", Dotted, 60, 72),
    form("key-", Hex, 32, 32),
    form("SK", Hex, 32, 32),
    form("shpat_", Hex, 32, 32),
    form("shpca_", Hex, 32, 32),
    form("shppa_", Hex, 32, 32),
    form("shpss_", Hex, 32, 32),
    form("dop_v1_", Hex, 64, 64),
    form("doo_v1_", Hex, 64, 64),
    form("dor_v1_", Hex, 64, 64),
    form("dapi", Hex, 32, 34),
    form("hvs.", Word, 24, 200),
    form("hvb.", Word, 60, 300),
    form("ATATT3x", Base64, 80, 220),
    form("ATCTT3x", Base64, 80, 220),
    form("ATBB", Alphanumeric, 28, 40),
    form("dp.pt.", Alphanumeric, 40, 44),
    form("dp.st.", Dotted, 40, 60),
    form("lin_api_", Alphanumeric, 40, 40),
    form("ntn_", Alphanumeric, 43, 50),
    form("secret_", Alphanumeric, 43, 43),
    form("PMAK-", Word, 59, 59),
    form("pul-", Hex, 40, 40),
    form("NRAK-", Alphanumeric, 27, 27),
    form("NRJS-", Hex, 19, 19),
    form("sntrys_", Base64, 40, 250),
    form("sntryu_", Hex, 64, 64),
    form("sq0atp-", Word, 22, 22),
    form("sq0csp-", Word, 43, 43),
    form("EAAAE", Word, 55, 65),
    form("figd_", Word, 38, 48),
    form("sbp_", Hex, 40, 40),
    form("sb_secret_", Word, 22, 60),
    form("dckr_pat_", Word, 27, 27),
    form("glsa_", Word, 41, 41),
    form("glc_ey", Base64, 32, 400),
    form("pscale_tkn_", Dotted, 32, 64),
    form("pscale_pw_", Dotted, 32, 64),
    form("tskey-auth-", Word, 24, 70),
    form("tskey-api-", Word, 24, 70),
    form("FlyV1", Base64, 60, 400),
    form("fo1_", Word, 43, 43),
    form("PRIVATE-TOKEN-", Word, 20, 64),
    form("EZAK", Alphanumeric, 54, 54),
    form("rnd_", Alphanumeric, 28, 40),
    form("ops_eyJ", Base64, 100, 1200),
    form("v1.0-", Hex, 140, 170),
    form("phc_", Alphanumeric, 40, 46),
    form("phx_", Alphanumeric, 40, 50),
    form("tvly-", Word, 28, 60),
    form("bkua_", Hex, 40, 40),
    form("CCIPAT_", Word, 50, 80),
    form("sgp_", Word, 40, 80),
    form("zpka_", Word, 40, 60),
    form("t1.9eu", Dotted, 80, 400),
    form("dt0c01.", Dotted, 80, 120),
    form("SWMTKN-1-", Word, 60, 90),
    form("HRKU-", Word, 36, 70),
    form("amzn.mws.", Word, 36, 36),
    form("dnkey-", Word, 60, 100),
    form("LTAI", Alphanumeric, 16, 20),
    form("AKID", Alphanumeric, 32, 32),
];
