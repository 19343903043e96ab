//! What a yes to later calls is good for, as a value.

use tipstaff_core::key::SigningKey;

use super::*;
use crate::approval::Reply;

pub(crate) fn kind() -> ActionKind {
    ActionKind {
        server: "claude".to_owned(),
        tool: "Bash".to_owned(),
        class: "git:push".to_owned(),
        acts: vec!["git push origin main".to_owned()],
        folders: vec!["/w".to_owned()],
    }
}

const SALT: Salt = Salt([7; 16]);

pub(crate) fn repeat() -> Repeat {
    Repeat {
        count: 3,
        kind: kind_digest(&kind(), SALT),
        labels: Labels::NONE.with(Label::Internal),
        rule: "high-tiers".to_owned(),
        session: "s-1".to_owned(),
        tier: Tier::T4,
        until: Millis(100),
    }
}

pub(crate) fn covering() -> Covering {
    Covering {
        folder: "/w".to_owned(),
        of: Digest::of(b"yes"),
        policy_set: Digest::of(b"p"),
        repeat: repeat(),
        salt: SALT,
        used: 2,
    }
}

#[test]
fn every_bound_is_a_bound() {
    let own = kind();
    let seen = || Seen {
        now: Millis(99),
        labels: Labels::NONE.with(Label::Internal).with(Label::External),
        carries: Labels::NONE.with(Label::Personal),
        kind: Some(&own),
        tier: Tier::T4,
        rule: Some("high-tiers"),
        policy_set: Digest::of(b"p"),
    };
    assert_eq!(covering().unfit(&seen()), None);
    let other = ActionKind { acts: vec!["git push origin dev".to_owned()], ..kind() };
    let elsewhere = ActionKind { folders: vec!["/x".to_owned()], ..kind() };
    let tool = ActionKind { tool: "Other".to_owned(), ..kind() };
    for (seen, why) in [
        (Seen { now: Millis(100), ..seen() }, "its time is over"),
        (Seen { labels: Labels::NONE.with(Label::Untrusted), ..seen() }, "its session has met"),
        (Seen { carries: Labels::NONE.with(Label::Secret), ..seen() }, "like a secret"),
        (Seen { kind: Some(&other), ..seen() }, "another kind"),
        (Seen { kind: Some(&elsewhere), ..seen() }, "another kind"),
        (Seen { kind: Some(&tool), ..seen() }, "another kind"),
        (Seen { kind: None, ..seen() }, "another kind"),
        (Seen { tier: Tier::T5, ..seen() }, "can change more"),
        (Seen { rule: Some("other"), ..seen() }, "another rule"),
        (Seen { rule: None, ..seen() }, "another rule"),
        (Seen { policy_set: Digest::of(b"q"), ..seen() }, "policies changed"),
    ] {
        let said = covering().unfit(&seen).unwrap_or_else(|| panic!("{why}"));
        assert!(said.contains(why), "{said}: {why}");
    }
    let spent = Covering { used: 3, ..covering() };
    assert_eq!(spent.unfit(&seen()), Some("it is used up"));
    let unsalted = Covering { salt: Salt([8; 16]), ..covering() };
    assert_eq!(unsalted.unfit(&seen()), Some("it is of another kind"));
}

#[test]
fn it_ends() {
    let asked = Millis(50);
    assert!(repeat().is_bounded(asked));
    let last = Millis(50 + LASTS_MAX_MS);
    assert!(Repeat { until: last, count: COUNT_MAX, ..repeat() }.is_bounded(asked));
    for endless in [
        Repeat { until: Millis(last.0 + 1), ..repeat() },
        Repeat { until: asked, ..repeat() },
        Repeat { count: 0, ..repeat() },
        Repeat { count: COUNT_MAX + 1, ..repeat() },
        Repeat { tier: Tier::T5, ..repeat() },
    ] {
        assert!(!endless.is_bounded(asked), "{endless:?}");
    }
}

/// Every bound is under the signature, and neither kind of yes passes for the other.
#[test]
fn what_is_signed_is_these_bounds_and_no_other() {
    let key = SigningKey::from_seed(&[5; 32].into()).unwrap();
    let of = Digest::of(b"of");
    let said = Statement {
        reply: Reply::Approve,
        action: of,
        expires: Millis(7),
        log: "o".to_owned(),
        of,
        policy_set: of,
        requester: "r".to_owned(),
        repeat: Some(repeat()),
    };
    let signature = said.sign(&key);
    let is_signed = |said: &Statement| said.is_signed(key.verifying_key(), &signature);
    assert!(is_signed(&said));
    let read = Json::object(said.members()).unwrap();
    assert_eq!(Statement::from_json(&read), Some(said.clone()));
    assert!(!is_signed(&Statement { repeat: None, ..said.clone() }));
    let with = |repeat| Statement { repeat: Some(repeat), ..said.clone() };
    for other in [
        Repeat { count: 4, ..repeat() },
        Repeat { kind: of, ..repeat() },
        Repeat { labels: Labels::NONE, ..repeat() },
        Repeat { rule: "x".to_owned(), ..repeat() },
        Repeat { session: "s-2".to_owned(), ..repeat() },
        Repeat { tier: Tier::T3, ..repeat() },
        Repeat { until: Millis(101), ..repeat() },
    ] {
        assert!(!is_signed(&with(other.clone())), "{other:?}");
    }
}

#[test]
fn what_is_kept_reads_back() {
    let mut out = String::new();
    covering().write(&mut out);
    let json = Json::parse(out.as_bytes()).unwrap();
    assert_eq!(json.to_canonical(), out);
    assert_eq!(Covering::from_json(&json), Some(covering()));
    let kept = Json::parse(kept_kind(&kind(), SALT).as_bytes()).unwrap();
    assert_eq!(ActionKind::from_json(kept.get("kind").unwrap()), Some(kind()));
    assert_eq!(salt_of(&kept), Some(SALT));
}

proptest::proptest! {
    /// Whatever is read has one spelling, so that no two readers see two yeses in one signature.
    #[test]
    fn a_statement_has_one_text(
        count in 0_u64..200,
        until in 0_u64..1 << 50,
        tier in 1_u8..6,
        rule in ".{0,20}",
        session in ".{0,20}",
        labels in proptest::collection::vec(0_usize..7, 0..7),
    ) {
        let labels = labels.into_iter().map(|at| Label::ALL[at]).collect();
        let tier = Tier::from_number(tier).unwrap();
        let until = Millis(until);
        let repeat = Repeat { count, until, tier, rule, session, labels, ..repeat() };
        let text = repeat.to_json().to_canonical();
        let read = Json::parse(text.as_bytes()).ok().and_then(|json| Repeat::from_json(&json));
        proptest::prop_assert_eq!(read, Some(repeat));
    }
}
