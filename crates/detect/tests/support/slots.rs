//! What the slots of the labelled sets stand for. Deterministic: a slot's name and number are the seed.

use super::people::person;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &[u8] = b"0123456789abcdef";
pub const DIGITS: &[u8] = b"0123456789";

pub struct Chance(u64);

impl Chance {
    fn new(name: &str, seed: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().chain([b':']).chain(seed.bytes()).fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn of(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }

    pub fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Replaces the slots of a text, inner ones first.
pub fn expand(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(end) = text.find('⟧') {
        let start = text[..end].rfind('⟦').expect("a slot without a start");
        let slot = &text[start + '⟦'.len_utf8()..end];
        let value = match slot.split_once('|') {
            Some((name, inner)) => wrapped(name, inner),
            None => {
                let (name, seed) = slot.split_once(':').expect("a slot without a number");
                drawn(name, seed)
            }
        };
        text.replace_range(start..end + '⟧'.len_utf8(), &value);
    }
    text
}

pub fn join(parts: &[&str]) -> String {
    parts.concat()
}

fn checked(prefix: &str, chance: &mut Chance) -> String {
    let body = chance.of(BASE62, 30);
    let mut left = crc32fast::hash(body.as_bytes());
    let mut tail = Vec::new();
    for _ in 0..6 {
        tail.push(char::from(BASE62[left as usize % 62]));
        left /= 62;
    }
    join(&[prefix, &body, &tail.iter().rev().collect::<String>()])
}

fn drawn(name: &str, seed: &str) -> String {
    let mut chance = Chance::new(name, seed);
    let c = &mut chance;
    if let Some(text) = token(name, seed, c).or_else(|| person(name, c)) {
        return text;
    }
    match name {
        "u" => char::from_u32(u32::from_str_radix(seed, 16).unwrap()).unwrap().to_string(),
        "uuid" => format!(
            "{}-{}-4{}-a{}-{}",
            c.of(HEX, 8),
            c.of(HEX, 4),
            c.of(HEX, 3),
            c.of(HEX, 3),
            c.of(HEX, 12)
        ),
        "sha1" => c.of(HEX, 40),
        "sha256" => c.of(HEX, 64),
        "sha512b64" => join(&[&c.of(BASE64, 85), "Q=="]),
        "sha256b64" => join(&[&c.of(BASE64, 42), "E"]),
        "snowflake" => join(&["1", &c.of(DIGITS, 17)]),
        "digits16bad" => join(&["9", &c.of(DIGITS, 15)]),
        "base32low52" => c.of(BASE32, 52).to_lowercase(),
        "base32up32" => c.of(BASE32, 32),
        "hexbin128" => c.of(HEX, 128),
        _ => {
            let base = name.trim_end_matches(|byte: char| byte.is_ascii_digit());
            let count =
                name[base.len()..].parse().unwrap_or_else(|_| panic!("unknown slot {name}"));
            match base {
                "rand" => c.of(BASE62, count),
                "hex" => c.of(HEX, count),
                "digits" => join(&[&c.of(b"12345678", 1), &c.of(DIGITS, count - 1)]),
                "b64bin" => c.of(BASE64, count),
                other => panic!("unknown slot {other}"),
            }
        }
    }
}

fn token(name: &str, seed: &str, c: &mut Chance) -> Option<String> {
    let word = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    Some(match name {
        "ghp" => checked("ghp_", c),
        "gho" => checked("gho_", c),
        "ghs" => checked("ghs_", c),
        "ghpat" => join(&["github", "_pat_", &c.of(BASE62, 22), "_", &c.of(BASE62, 59)]),
        "aws" => join(&["AK", "IA", &c.of(BASE32, 16)]),
        "asia" => join(&["AS", "IA", &c.of(BASE32, 16)]),
        "slackbot" => {
            join(&["xox", "b-", &c.of(DIGITS, 12), "-", &c.of(DIGITS, 13), "-", &c.of(BASE62, 24)])
        }
        "slackuser" => {
            join(&["xox", "p-", &c.of(DIGITS, 12), "-", &c.of(DIGITS, 12), "-", &c.of(HEX, 32)])
        }
        "slackhook" => join(&[
            "https://hooks.slack",
            ".com/services/T",
            &c.of(BASE32, 10),
            "/B",
            &c.of(BASE32, 10),
            "/",
            &c.of(BASE62, 24),
        ]),
        "stripe" => join(&["sk", "_live_", &c.of(BASE62, 24)]),
        "stripetest" => join(&["sk", "_test_", &c.of(BASE62, 24)]),
        "google" => join(&["AI", "za", &c.of(word, 35)]),
        "gocspx" => join(&["GOC", "SPX-", &c.of(word, 28)]),
        "openai" => join(&["sk", "-", &c.of(BASE62, 48)]),
        "openaiproj" => join(&["sk", "-proj-", &c.of(word, 120), "A"]),
        "anthropic" => join(&["sk", "-ant-api03-", &c.of(word, 93), "AA"]),
        "openrouter" => join(&["sk", "-or-v1-", &c.of(HEX, 64)]),
        "hf" => join(&["h", "f_", &c.of(&BASE62[10..], 34)]),
        "npm" => checked(&join(&["np", "m_"]), c),
        "pypi" => join(&["py", "pi-AgEIcHlwaS5vcmc", &c.of(word, 140)]),
        "gitlab" => join(&["gl", "pat-", &c.of(word, 20)]),
        "sendgrid" => join(&["S", "G.", &c.of(word, 22), ".", &c.of(word, 43)]),
        "shopify" => join(&["shp", "at_", &c.of(HEX, 32)]),
        "digitalocean" => join(&["dop", "_v1_", &c.of(HEX, 64)]),
        "databricks" => join(&["da", "pi", &c.of(HEX, 32)]),
        "vault" => join(&["hv", "s.", &c.of(word, 90)]),
        "linear" => join(&["lin", "_api_", &c.of(BASE62, 40)]),
        "notion" => join(&["nt", "n_", &c.of(BASE62, 46)]),
        "dockerpat" => join(&["dckr", "_pat_", &c.of(word, 27)]),
        "grafana" => join(&["gl", "sa_", &c.of(BASE62, 32), "_", &c.of(HEX, 8)]),
        "tailscale" => join(&["ts", "key-auth-", &c.of(BASE62, 12), "CNTRL-", &c.of(BASE62, 32)]),
        "postman" => join(&["PM", "AK-", &c.of(HEX, 24), "-", &c.of(HEX, 34)]),
        "mailgun" => join(&["ke", "y-", &c.of(HEX, 32)]),
        "doppler" => join(&["dp", ".pt.", &c.of(BASE62, 43)]),
        "figma" => join(&["fi", "gd_", &c.of(word, 40)]),
        "supabase" => join(&["sb", "p_", &c.of(HEX, 40)]),
        "jwt" => {
            let header = base64(b"{\"alg\":\"HS256\",\"typ\":\"JWT\"}", true);
            let claims =
                format!("{{\"sub\":\"{}\",\"iat\":17{}}}", c.of(DIGITS, 6), c.of(DIGITS, 8));
            let claims = base64(claims.as_bytes(), true);
            join(&[&header, ".", &claims, ".", &c.of(word, 43)])
        }
        "pem" | "pemec" | "pemopenssh" | "pemjson" => {
            let label = match name {
                "pem" => "RSA PRIVATE",
                "pemec" => "EC PRIVATE",
                "pemopenssh" => "OPENSSH PRIVATE",
                _ => "PRIVATE",
            };
            let line = if name == "pemjson" { "\\n" } else { "\n" };
            let body: Vec<String> = (0..6).map(|_| c.of(BASE64, 64)).collect();
            let (begin, end) = (join(&["-----BE", "GIN "]), "-----END ");
            [&begin, label, " KEY-----", line, &body.join(line), line, end, label, " KEY-----"]
                .concat()
        }
        "age" => join(&["AGE-SECRET", "-KEY-1", &c.of(b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)]),
        "pass" => {
            let words = [
                "harbour", "Lantern", "mosaic", "Pelican", "quartz", "Walnut", "Kestrel", "velvet",
            ];
            let signs = ["!", "#", "?", "_", "-", "%", "+", "="];
            let (word, sign, digits) = (c.pick(&words), c.pick(&signs), c.of(DIGITS, 3));
            match seed.bytes().last().unwrap_or(0) % 3 {
                0 => join(&[word, sign, &digits]),
                1 => join(&[&c.of(BASE62, 9), sign, &c.of(DIGITS, 2)]),
                _ => join(&[&digits, word, sign, c.pick(&words)]),
            }
        }
        _ => return None,
    })
}

pub fn groups(text: &str, size: usize, by: &str) -> String {
    let chunks: Vec<&str> =
        text.as_bytes().chunks(size).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    chunks.join(by)
}

fn base64(bytes: &[u8], is_url: bool) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            let found = BASE64[(number >> (18 - 6 * place)) as usize & 63];
            text.push(match found {
                b'+' if is_url => '-',
                b'/' if is_url => '_',
                other => char::from(other),
            });
        }
        if !is_url {
            text.push_str(&"==="[..3 - three.len()]);
        }
    }
    text
}

fn wrapped(name: &str, inner: &str) -> String {
    let bytes = inner.as_bytes();
    match name {
        "b64" => base64(bytes, false),
        "b64url" => base64(bytes, true),
        "b64b64" => base64(base64(bytes, false).as_bytes(), false),
        "b64lines" => groups(&base64(inner.repeat(3).as_bytes(), false), 64, "\n"),
        "utf16b64" => {
            let wide: Vec<u8> = inner.encode_utf16().flat_map(u16::to_le_bytes).collect();
            base64(&wide, false)
        }
        "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        "b32" => {
            let mut text = String::new();
            for five in bytes.chunks(5) {
                let number = five.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
                    << (8 * (5 - five.len()));
                for place in 0..(five.len() * 8).div_ceil(5) {
                    text.push(char::from(BASE32[(number >> (35 - 5 * place)) as usize & 31]));
                }
            }
            text
        }
        "gz" => {
            let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
            packed.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
            packed.extend(crc32fast::hash(bytes).to_le_bytes());
            packed.extend((bytes.len() as u32).to_le_bytes());
            base64(&packed, false)
        }
        "pct" => bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
        "escu" => inner.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
        "escx" => bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
        "ents" => inner.chars().map(|found| format!("&#{};", u32::from(found))).collect(),
        "tags" => {
            inner.bytes().filter_map(|byte| char::from_u32(0xe0000 + u32::from(byte))).collect()
        }
        "vs" => {
            let selector = |byte: u8| match byte {
                0..=15 => char::from_u32(0xfe00 + u32::from(byte)),
                _ => char::from_u32(0xe0100 + u32::from(byte) - 16),
            };
            inner.bytes().filter_map(selector).collect()
        }
        "zw" => {
            let middle = inner.len() / 2;
            format!("{}\u{200b}{}", &inner[..middle], &inner[middle..])
        }
        "zwbits" => bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
            .map(|bit| if bit == 1 { '\u{200b}' } else { '\u{200c}' })
            .collect(),
        "homo" => inner
            .chars()
            .map(|found| match found {
                'a' => 'а',
                'e' => 'е',
                'o' => 'о',
                'c' => 'с',
                other => other,
            })
            .collect(),
        "bidi1" => format!("\u{202e}{inner}\u{202c}"),
        "bidi2" => format!("\u{2066}{inner}\u{2069}"),
        "bidi3" => format!("\u{202b}{inner}\u{202c}"),
        other => panic!("unknown wrap {other}"),
    }
}
