//! Data of persons who do not exist, with right check digits.

use super::slots::{Chance, DIGITS, groups, join};

fn luhn(body: &str) -> String {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') << usize::from(at % 2 == 0);
            value / 10 + value % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn weighted(body: &str, weights: &[u32]) -> u32 {
    body.bytes().zip(weights).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum()
}

fn date(c: &mut Chance) -> (usize, usize, usize) {
    (1940 + c.below(70), 1 + c.below(12), 1 + c.below(28))
}

pub fn person(name: &str, c: &mut Chance) -> Option<String> {
    let firsts = ["marta", "jonas", "ines", "pavel", "aylin", "tom", "greta", "luis", "mei", "olu"];
    let lasts = ["lindqvist", "caro", "novak", "brandt", "okafor", "tanaka", "moreau", "keller"];
    let hosts = [
        "nordlichtwerk.de",
        "caro-atelier.fr",
        "quillworks.io",
        "hafen-druck.com",
        "mail.tanaka.co.jp",
        "okafor.me",
        "uni-seehausen.de",
        "moreau.dev",
    ];
    Some(match name {
        "email" => {
            let (first, last, host) = (c.pick(&firsts), c.pick(&lasts), c.pick(&hosts));
            match c.below(4) {
                0 => format!("{first}.{last}@{host}"),
                1 => format!("{first}@{host}"),
                2 => format!("{}{last}{}@{host}", &first[..1], c.of(DIGITS, 2)),
                _ => format!("{last}+list@{host}"),
            }
        }
        "phoneint" => {
            let national = join(&[&c.of(b"123456789", 1), &c.of(DIGITS, 8)]);
            match c.below(6) {
                0 => format!("+49 171 {}", &c.of(b"23456789", 7)),
                1 => format!("+33 6 {}", groups(&c.of(b"23456789", 8), 2, " ")),
                2 => format!("+44 20 {} {}", c.of(b"3789", 4), c.of(b"23456789", 4)),
                3 => format!("+1 (212) {}-{}", c.of(b"23467", 3), c.of(DIGITS, 4)),
                4 => format!("+34{national}"),
                _ => format!("+86-138-{}-{}", c.of(b"1234567", 4), c.of(b"2345678", 4)),
            }
        }
        "phonede" => format!("0{} {}", c.of(b"3456789", 3), c.of(b"23456789", 7)),
        "phoneus" => match c.below(3) {
            0 => format!("(415) {}-{}", c.of(b"23467", 3), c.of(b"23456789", 4)),
            1 => format!("617-{}-{}", c.of(b"23467", 3), c.of(b"23456789", 4)),
            _ => format!("1-303-{}-{}", c.of(b"23467", 3), c.of(b"23456789", 4)),
        },
        "iban" | "ibanspaced" => {
            let country = c.pick(&["DE", "AT", "ES", "CH"]);
            let length = match country {
                "DE" => 18,
                "AT" => 16,
                "ES" => 20,
                _ => 17,
            };
            let body = c.of(DIGITS, length);
            let whole = format!("{body}{country}00");
            let rest = whole.bytes().fold(0_u32, |rest, byte| match byte {
                b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
                _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
            });
            let iban = format!("{country}{:02}{body}", 98 - rest);
            if name == "iban" { iban } else { groups(&iban, 4, " ") }
        }
        "card" | "cardspaced" | "carddash" => {
            let head = c.pick(&["4", "51", "55", "2221", "6011"]);
            let body = join(&[head, &c.of(DIGITS, 15 - head.len())]);
            match name {
                "card" => luhn(&body),
                "cardspaced" => groups(&luhn(&body), 4, " "),
                _ => groups(&luhn(&body), 4, "-"),
            }
        }
        "amex" => luhn(&join(&["37", &c.of(DIGITS, 12)])),
        "ssn" => format!(
            "{}{}-{}{}-{}",
            c.of(b"12345", 1),
            c.of(b"12345789", 2),
            c.of(b"12345678", 1),
            c.of(DIGITS, 1),
            c.of(b"123456789", 4)
        ),
        "cnid" => {
            let (year, month, day) = date(c);
            let body = format!("110105{year}{month:02}{day:02}{}", c.of(DIGITS, 3));
            let rest = weighted(&body, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) % 11;
            format!("{body}{}", char::from(b"10X98765432"[rest as usize]))
        }
        "cpf" => {
            let mut body = c.of(b"1234567", 9);
            for length in [9, 10] {
                let weights: Vec<u32> = (2..=length + 1).rev().collect();
                let rest = weighted(&body, &weights) * 10 % 11 % 10;
                body.push_str(&rest.to_string());
            }
            format!("{}.{}.{}-{}", &body[..3], &body[3..6], &body[6..9], &body[9..])
        }
        "dni" => {
            let digits = c.of(DIGITS, 8);
            let rest = digits.parse::<usize>().unwrap() % 23;
            format!("{digits}{}", char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[rest]))
        }
        "nir" => {
            let (year, month, _) = date(c);
            let body =
                format!("{}{:02}{month:02}75{}", 1 + c.below(2), year % 100, c.of(b"123456", 6));
            let key = 97 - body.parse::<u64>().unwrap() % 97;
            let whole = format!("{body}{key:02}");
            let cuts = [1, 2, 2, 2, 3, 3, 2];
            let mut at = 0;
            let parts = cuts.map(|length| {
                at += length;
                whole[at - length..at].to_owned()
            });
            parts.join(" ")
        }
        "steuer" => {
            let body = join(&[&c.of(b"123456789", 1), &c.of(DIGITS, 9)]);
            let mut product = 10;
            for digit in body.bytes() {
                let sum = (u32::from(digit - b'0') + product) % 10;
                product = 2 * if sum == 0 { 10 } else { sum } % 11;
            }
            format!("{body}{}", (11 - product) % 10)
        }
        "nhs" => loop {
            let body = c.of(b"123456789", 9);
            let check = (11 - weighted(&body, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
            if check < 10 {
                break format!("{} {} {}{check}", &body[..3], &body[3..6], &body[6..]);
            }
        },
        "pesel" => {
            let (year, month, day) = date(c);
            let body = format!("{:02}{month:02}{day:02}{}", year % 100, c.of(DIGITS, 4));
            let rest = weighted(&body, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10;
            format!("{body}{}", (10 - rest) % 10)
        }
        "mrz" => mrz(c),
        "date" => {
            let (year, month, day) = date(c);
            format!("{year}-{month:02}-{day:02}")
        }
        "datede" => {
            let (year, month, day) = date(c);
            format!("{day:02}.{month:02}.{year}")
        }
        _ => return None,
    })
}

fn mrz(c: &mut Chance) -> String {
    let worth = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        _ => 0,
    };
    let check = |text: &str| {
        let sum: u32 =
            text.bytes().zip([7, 3, 1].into_iter().cycle()).map(|(b, w)| worth(b) * w).sum();
        char::from(b'0' + (sum % 10) as u8)
    };
    let (year, month, day) = date(c);
    let number = join(&["L", &c.of(DIGITS, 8)]);
    let number = format!("{number}{}", check(&number));
    let birth = format!("{:02}{month:02}{day:02}", year % 100);
    let birth = format!("{birth}{}", check(&birth));
    let expiry = "310415";
    let rest = format!("{expiry}{}{}", check(expiry), "<<<<<<<<<<<<<<0");
    let all = check(&format!("{number}{birth}{rest}"));
    format!("{number}UTO{birth}F{rest}{all}")
}
