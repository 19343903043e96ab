//! Programs that change the machine itself: disks, power, accounts, services, processes.
//!
//! The adversary needs only one of these to leave the sandbox or to stay after it.

use tipstaff_core::Tier;

use super::Line;
use super::args::{has, operands};
use super::parse::Word;

impl Line {
    pub(super) fn system_program(&mut self, name: &str, args: &[Word]) -> bool {
        let names = operands(args);
        let sub = names.first().copied().unwrap_or_default();
        match name {
            "dd" => {
                self.found(Tier::T1, "fs:read");
                for word in args {
                    if let Some(from) = word.text.strip_prefix("if=") {
                        self.path(from);
                    } else if let Some(to) = word.text.strip_prefix("of=") {
                        self.path(to);
                        let device =
                            to.starts_with("/dev/") && to != "/dev/null" || to.contains("..");
                        let finding =
                            if device { (Tier::T5, "disk:write") } else { (Tier::T3, "fs:write") };
                        self.found(finding.0, finding.1);
                    }
                }
            }
            "fdisk" | "parted" | "wipefs" | "mkswap" | "mount" | "umount" | "losetup"
            | "cryptsetup" | "sfdisk" | "gdisk" | "sgdisk" | "diskutil" | "lvremove"
            | "vgremove" | "pvremove" | "zfs" | "zpool" | "blkdiscard" | "hdparm" | "swapoff"
            | "swapon" => {
                self.likely_paths(args);
                self.found(Tier::T5, "disk:write");
            }
            _ if name == "mkfs" || name.starts_with("mkfs.") || name.starts_with("newfs") => {
                self.likely_paths(args);
                self.found(Tier::T5, "disk:write");
            }
            "shutdown" | "reboot" | "halt" | "poweroff" | "init" | "telinit" => {
                self.found(Tier::T5, "system:power")
            }
            "kill"
                if args
                    .first()
                    .is_some_and(|word| matches!(word.text.as_str(), "-l" | "-L" | "-0")) =>
            {
                self.found(Tier::T1, "shell:info")
            }
            // Only what the same shell has started.
            "kill" if !names.is_empty() && names.iter().all(|name| is_job(name)) => {
                self.found(Tier::T2, "shell:state");
            }
            "kill" | "pkill" | "killall" | "fuser" | "skill" => {
                let all = args.iter().any(|word| matches!(word.text.as_str(), "-1" | "1" | "0"));
                self.found(if all { Tier::T5 } else { Tier::T4 }, "process:kill");
            }
            "renice" => self.found(Tier::T3, "process:kill"),
            "crontab" if has(args, "l", &[]) && names.is_empty() && !has(args, "re", &[]) => {
                self.found(Tier::T1, "shell:info");
            }
            "crontab" | "at" | "batch" => {
                self.likely_paths(args);
                self.found(Tier::T5, "system:persist");
            }
            "systemctl" | "rc-service" => {
                let reads = matches!(
                    sub,
                    "status"
                        | "show"
                        | "cat"
                        | "is-active"
                        | "is-enabled"
                        | "is-failed"
                        | "list-units"
                        | "list-unit-files"
                        | "list-timers"
                        | "list-sockets"
                        | "list-jobs"
                );
                let finding = match sub {
                    _ if reads => (Tier::T1, "shell:info"),
                    "poweroff" | "reboot" | "halt" | "suspend" | "kexec" => {
                        (Tier::T5, "system:power")
                    }
                    _ => (Tier::T5, "system:service"),
                };
                self.found(finding.0, finding.1);
            }
            "service" if names.get(1) == Some(&"status") => self.found(Tier::T1, "shell:info"),
            "launchctl" if matches!(sub, "list" | "print") => self.found(Tier::T1, "shell:info"),
            "service" | "launchctl" | "update-rc.d" | "chkconfig" | "supervisorctl" => {
                self.found(Tier::T5, "system:service");
            }
            "iptables" | "ip6tables" | "nft" | "ufw" | "firewall-cmd" | "pfctl" | "ipset" => {
                let changes = has(
                    args,
                    "ADIRFXPNZE",
                    &[
                        "append",
                        "delete",
                        "insert",
                        "flush",
                        "policy",
                        "new-chain",
                        "replace",
                        "rename-chain",
                        "zero",
                    ],
                );
                let reads = has(args, "LS", &["list", "list-all", "list-rules"]) && !changes
                    || matches!(sub, "status" | "list");
                let finding =
                    if reads { (Tier::T1, "shell:info") } else { (Tier::T5, "system:firewall") };
                self.found(finding.0, finding.1);
            }
            "useradd" | "userdel" | "usermod" | "adduser" | "deluser" | "passwd" | "groupadd"
            | "groupdel" | "visudo" | "chpasswd" | "gpasswd" | "chsh" | "vipw" | "dscl" => {
                self.found(Tier::T5, "system:account")
            }
            "insmod" | "rmmod" | "modprobe" | "kexec" | "setenforce" | "timedatectl"
            | "hostnamectl" => {
                self.found(Tier::T5, "system:kernel");
            }
            "sysctl" => {
                let writes = has(args, "wp", &["write", "load", "system"])
                    || args.iter().any(|word| word.text.contains('='));
                let finding =
                    if writes { (Tier::T5, "system:kernel") } else { (Tier::T1, "shell:info") };
                self.found(finding.0, finding.1);
            }
            "ip" | "ifconfig" | "route" | "nmcli" => {
                let reads =
                    names.iter().skip(1).all(|word| matches!(*word, "show" | "list" | "ls"));
                let finding =
                    if reads { (Tier::T1, "shell:info") } else { (Tier::T5, "system:network") };
                self.found(finding.0, finding.1);
            }
            _ => return false,
        }
        true
    }
}

/// `%1`
fn is_job(name: &str) -> bool {
    name.strip_prefix('%')
        .is_some_and(|job| !job.is_empty() && job.chars().all(|c| c.is_ascii_digit()))
}
