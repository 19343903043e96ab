//! Which addresses a connection may go to.
//!
//! The adversary is a far party that names an address for us to ask, and means one of this network: a router, a
//! service without a password on this machine, a cloud's own metadata. What an operator wrote goes anywhere; what
//! somebody else names has to be public, and is looked at when the name has become a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a connection may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Reach {
    /// Anywhere: the operator named it.
    Anywhere,
    /// Public addresses alone.
    Public,
    /// Those of the operator's own network, too.
    Private,
    /// And those of this machine.
    Here,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    Private,
    Here,
    /// Link-local, multicast, reserved: nothing that is named from outside lies there.
    Never,
}

impl Reach {
    /// Whether an address is within it.
    pub(in crate::http) fn permits(self, ip: IpAddr) -> bool {
        match (self, class(ip)) {
            (Self::Anywhere, _) | (_, Class::Public) => true,
            (_, Class::Never) | (Self::Public, _) => false,
            (Self::Private, class) => class == Class::Private,
            (Self::Here, _) => true,
        }
    }

    /// What may be named by a server whose host the operator wrote so. A name says nothing: whoever it belongs to
    /// chooses what it stands for.
    pub(in crate::http) fn of_host(host: &str) -> Self {
        if host == "localhost" {
            return Self::Here;
        }
        match host.trim_matches(['[', ']']).parse().map(class) {
            Ok(Class::Here) => Self::Here,
            Ok(Class::Private) => Self::Private,
            _ => Self::Public,
        }
    }
}

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

fn class_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [127, ..] => Class::Here,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        [0, ..] | [169, 254, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [224..=255, ..] => {
            Class::Never
        }
        _ => Class::Public,
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return class_v4(inner);
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let inner =
        |high: u16, low: u16| class_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        _ if ip.is_loopback() => Class::Here,
        // What a translator (RFC 6052) or a tunnel (RFC 3056) makes an address of version 4 of.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => inner(g, h),
        (0x2002, _) => inner(b, c),
        (0x2001, 0) => Class::Never,
        (0xfc00..=0xfdff, _) => Class::Private,
        (0x2000..=0x3fff, _) => Class::Public,
        _ => Class::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(reach: Reach, ip: &str) -> bool {
        reach.permits(ip.parse().unwrap())
    }

    #[test]
    fn what_others_name_has_to_be_public() {
        for public in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1"] {
            assert!(permits(Reach::Public, public), "{public}");
        }
        let private = [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
        ];
        for private in private {
            assert!(!permits(Reach::Public, private), "{private}");
            assert!(permits(Reach::Private, private), "{private}");
            assert!(permits(Reach::Here, private), "{private}");
        }
        for here in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"] {
            assert!(!permits(Reach::Public, here) && !permits(Reach::Private, here), "{here}");
            assert!(permits(Reach::Here, here), "{here}");
        }
        let never = [
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "2001::1",
            "2002:a9fe:a9fe::1",
        ];
        for never in never {
            for reach in [Reach::Public, Reach::Private, Reach::Here] {
                assert!(!permits(reach, never), "{never}");
            }
            assert!(permits(Reach::Anywhere, never), "{never}");
        }
    }

    #[test]
    fn a_name_widens_nothing() {
        for (host, reach) in [
            ("localhost", Reach::Here),
            ("127.0.0.1", Reach::Here),
            ("[::1]", Reach::Here),
            ("10.1.2.3", Reach::Private),
            ("[fd00::1]", Reach::Private),
            ("169.254.169.254", Reach::Public),
            ("1.1.1.1", Reach::Public),
            ("localhost.evil.example", Reach::Public),
            ("router.lan", Reach::Public),
        ] {
            assert_eq!(Reach::of_host(host), reach, "{host}");
        }
    }
}
