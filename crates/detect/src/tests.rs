use super::*;

fn kinds(text: &str) -> Vec<&'static str> {
    scan(text.as_bytes(), &Limits::default()).detectors().map(|(one, _)| one.as_str()).collect()
}

#[test]
fn smoke() {
    assert_eq!(kinds("hello world, nothing here"), Vec::<&str>::new());
}
