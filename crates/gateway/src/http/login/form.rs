//! Forms: what a browser brings back, and what is posted to an issuer.
//!
//! The adversary names one parameter twice, so that two readers take different ones: then there is none.

use zeroize::Zeroizing;

/// Most parameters.
const PARAMETERS_MAX: usize = 64;

/// A form of some names and values.
pub(super) fn write(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    let length = pairs.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    // Room for all of it, so that no part is left behind where the text grew.
    let mut form = Zeroizing::new(String::with_capacity(length));
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        escape(&mut form, value);
    }
    form
}

/// One value as a form has it.
pub(super) fn escaped(value: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(3 * value.len()));
    escape(&mut text, value);
    text
}

fn escape(to: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            for half in [byte >> 4, byte & 15] {
                to.push(char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
}

/// The parameters of a form; `None` if it is none, or names one twice.
pub(super) fn read(form: &str) -> Option<Vec<(String, Zeroizing<String>)>> {
    let mut found: Vec<(String, Zeroizing<String>)> = Vec::new();
    for pair in form.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name)?;
        if found.len() >= PARAMETERS_MAX || found.iter().any(|(known, _)| *known == *name) {
            return None;
        }
        found.push((name.to_string(), unescape(value)?));
    }
    Some(found)
}

fn unescape(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut half = || char::from(rest.next()?).to_digit(16);
                u8::try_from(half()? << 4 | half()?).ok()?
            }
            byte => byte,
        });
    }
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_that_stands_twice_makes_no_form() {
        assert_eq!(read("code=a%20b+c&state=%C3%A4").unwrap()[0].1.as_str(), "a b c");
        for wrong in
            ["code=a&code=b", "code=a&c%6Fde=b", "code=%", "code=%zz", "code=%4", "code=%ff"]
        {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("a{n}=1")).collect();
        assert!(read(&many.join("&")).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in "\\PC{0,40}", text in "[ -~]{0,60}") {
            let form = write(&[("a", &value), ("b", "x&y=z")]);
            let found = read(&form).unwrap();
            prop_assert_eq!(found[0].1.as_str(), value.as_str());
            prop_assert_eq!(found[1].1.as_str(), "x&y=z");
            prop_assert!(form.bytes().all(|b| b.is_ascii_graphic()));
            let _ = read(&text);
        }
    }
}
