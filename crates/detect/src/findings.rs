//! What was found: counts and places, never the text. The adversary reads logs: a finding that printed
//! the secret would be the leak.

use std::ops::Range;

/// What kind of data was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A credential: whoever has it can act with it.
    Secret,
    /// Data about a person.
    Personal,
    /// Text that tells an agent what to do.
    Instruction,
    /// Text that a reader does not see, or sees as something else.
    HiddenText,
    /// Text in another encoding.
    Encoded,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Secret, Self::Personal, Self::Instruction, Self::HiddenText, Self::Encoded];

    /// The spelling in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Personal => "personal",
            Self::Instruction => "instruction",
            Self::HiddenText => "hidden_text",
            Self::Encoded => "encoded",
        }
    }
}

macro_rules! detectors {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $kind:ident;)*) => {
        /// Which rule found something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Detector { $($(#[$doc])* $name),* }

        impl Detector {
            /// All detectors.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind of what it finds.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind),* }
            }

            /// The spelling in output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

detectors! {
    /// An AWS access key id.
    AwsAccessKey, "aws_access_key", Secret;
    /// A token with a published prefix and length.
    KnownToken, "known_token", Secret;
    /// A GitHub token.
    GithubToken, "github_token", Secret;
    /// A JSON Web Token.
    Jwt, "jwt", Secret;
    /// A private key in PEM, OpenPGP, PuTTY or age form.
    PrivateKey, "pem_private_key", Secret;
    /// A name and password in an address.
    UrlCredentials, "url_credentials", Secret;
    /// A value given to a name such as `password`.
    Assignment, "assignment", Secret;
    /// A long random token.
    HighEntropy, "high_entropy", Secret;
    /// An e-mail address.
    Email, "email", Personal;
    /// A phone number.
    Phone, "phone", Personal;
    /// An international bank account number.
    Iban, "iban", Personal;
    /// The number of a payment card.
    Card, "card", Personal;
    /// A United States social security number.
    Ssn, "us_ssn", Personal;
    /// A national number of a person with check digits.
    NationalId, "national_id", Personal;
    /// The machine-readable line of a passport.
    Passport, "passport_mrz", Personal;
    /// A date of birth.
    BirthDate, "birth_date", Personal;
    /// Text that tells an agent what to do.
    Instruction, "instruction", Instruction;
    /// Bidirectional controls.
    Bidi, "bidi", HiddenText;
    /// Unicode tag characters.
    TagCharacters, "tag_characters", HiddenText;
    /// Characters without width.
    ZeroWidth, "zero_width", HiddenText;
    /// Variation selectors that carry bytes.
    VariationSelectors, "variation_selectors", HiddenText;
    /// A Latin word with letters of another script that look alike.
    Homoglyph, "homoglyph", HiddenText;
    /// Terminal sequences that conceal text.
    Terminal, "terminal_conceal", HiddenText;
    /// Base64 of text.
    Base64, "base64", Encoded;
    /// Base64 of compressed data.
    Gzip, "gzip", Encoded;
    /// Base32 of text.
    Base32, "base32", Encoded;
    /// Hexadecimal digits of text.
    Hex, "hex", Encoded;
    /// Percent-encoding of letters that need none.
    Percent, "percent", Encoded;
    /// Escapes or character references of letters that need none.
    Escapes, "escapes", Encoded;
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it.
    pub detector: Detector,
    /// Where it is in the scanned bytes.
    pub range: Range<usize>,
    /// How many layers of encoding it lay under.
    pub depth: u8,
}

const DETECTORS: usize = Detector::ALL.len();

/// The findings of one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    counts: [u64; DETECTORS],
    kept: Vec<Finding>,
    kept_of_kind: [usize; Kind::ALL.len()],
    pub(crate) truncated: bool,
}

impl Findings {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [0; DETECTORS],
            kept: Vec::new(),
            kept_of_kind: [0; Kind::ALL.len()],
            truncated: false,
        }
    }

    pub(crate) fn add(&mut self, finding: Finding, keep: usize) {
        if let Some(count) = self.counts.get_mut(finding.detector as usize) {
            *count += 1;
        }
        if let Some(kept) = self.kept_of_kind.get_mut(finding.detector.kind() as usize)
            && *kept < keep
        {
            *kept += 1;
            self.kept.push(finding);
        }
    }

    /// The kinds that were found, each once.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().filter(|kind| self.count(*kind) > 0)
    }

    /// The detectors that found something, with how often.
    pub fn detectors(&self) -> impl Iterator<Item = (Detector, u64)> + '_ {
        let counts = Detector::ALL.iter().copied().zip(self.counts);
        counts.filter(|(_, count)| *count > 0)
    }

    /// Whether a kind was found.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.count(kind) > 0
    }

    /// How often a kind was found.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        let of_kind = self.detectors().filter(|(detector, _)| detector.kind() == kind);
        of_kind.map(|(_, count)| count).sum()
    }

    /// The first findings of each kind, as many as the limits keep.
    pub fn first(&self) -> impl Iterator<Item = &Finding> {
        self.kept.iter()
    }

    /// Whether there was more to look at than the limits allow: more bytes, or more layers of encoding.
    /// Then "nothing found" is not known.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether nothing was found and everything was looked at.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.truncated && self.counts.iter().all(|count| *count == 0)
    }
}
