//! What a program that talks to other machines would do.
//!
//! The adversary carries data out, or fetches code to run.

use tipstaff_core::Tier;

use super::args::{has, operands};
use super::parse::Word;
use super::{Line, lead};

impl Line {
    pub(super) fn net_program(&mut self, name: &str, args: &[Word]) -> bool {
        match name {
            "curl" => self.curl(args),
            "wget" => self.wget(args),
            "http" | "https" | "httpie" | "xh" => {
                self.downloads = true;
                let get =
                    operands(args).first().is_some_and(|first| matches!(*first, "GET" | "HEAD"));
                let deletes = operands(args).first() == Some(&"DELETE");
                let (tier, class) = match (get, deletes) {
                    (_, true) => (Tier::T5, "http:delete"),
                    (true, _) => (Tier::T1, "http:get"),
                    _ => (Tier::T4, "http:write"),
                };
                self.found(tier, class);
            }
            "aria2c" | "fetch" | "axel" | "lynx" | "w3m" => {
                self.downloads = true;
                self.likely_paths(args);
                self.local("fs:write");
            }
            "ssh" | "mosh" | "autossh" | "sshpass" => {
                self.downloads = true;
                self.likely_paths(args);
                self.found(Tier::T4, "net:ssh");
                // What runs over there counts as well.
                if let Some(at) = args.iter().position(|word| !word.text.starts_with('-')) {
                    let remote: Vec<&str> =
                        args.iter().skip(at + 1).map(|word| word.text.as_str()).collect();
                    if !remote.is_empty() {
                        self.remote(&remote.join(" "));
                    }
                }
            }
            "scp" | "sftp" | "ftp" | "lftp" | "rclone" => {
                self.likely_paths(args);
                self.found(Tier::T4, "net:copy");
            }
            "rsync" => {
                self.files(args, 0);
                if has(args, "e", &["rsh", "rsync-path"]) {
                    self.opaque();
                }
                if has(
                    args,
                    "",
                    &["delete", "delete-after", "delete-before", "remove-source-files"],
                ) {
                    self.found(Tier::T5, "fs:delete-recursive");
                } else if args.iter().any(|word| word.text.contains(':')) {
                    self.found(Tier::T4, "net:copy");
                } else {
                    self.found(Tier::T3, "fs:write");
                }
            }
            "nc" | "ncat" | "netcat" | "socat" | "telnet" | "openssl"
                if name != "openssl" || operands(args).first() == Some(&"s_client") =>
            {
                self.downloads = true;
                self.likely_paths(args);
                self.found(Tier::T4, "net:connect");
            }
            "ping" | "dig" | "nslookup" | "host" | "traceroute" | "whois" | "nmap" => {
                self.found(Tier::T2, "net:query");
            }
            "mail" | "mailx" | "sendmail" | "mutt" | "msmtp" | "swaks" => {
                self.likely_paths(args);
                self.found(Tier::T4, "mail:send");
            }
            _ => return false,
        }
        true
    }

    /// A command for another machine: its effects count, its paths are not ours.
    fn remote(&mut self, text: &str) {
        let (paths, bases) = (self.paths.clone(), self.bases.clone());
        self.text(text);
        self.paths = paths;
        self.bases = bases;
    }

    fn curl(&mut self, args: &[Word]) {
        self.downloads = true;
        let mut get = true;
        let mut deletes = false;
        let mut saves = false;
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            let mut value_of = |glued: &str| {
                if glued.is_empty() {
                    words.next().map(|word| word.text.clone())
                } else {
                    Some(glued.to_owned())
                }
            };
            let (option, value) = if let Some(long) = text.strip_prefix("--") {
                let (long, glued) = long.split_once('=').unwrap_or((long, ""));
                let Some(letter) = curl_letter(long) else { continue };
                (letter, if "OJIGq".contains(letter) { None } else { value_of(glued) })
            } else if let Some(cluster) =
                text.strip_prefix('-').filter(|cluster| !cluster.is_empty())
            {
                let mut found = ('-', None);
                for (at, c) in cluster.char_indices() {
                    let glued = cluster.get(at + c.len_utf8()..).unwrap_or_default();
                    if matches!(c, 'O' | 'J') {
                        saves = true;
                    } else if "XdFTotHAbceuxmKQrtyYzUCDhwPE".contains(c) {
                        found = (c, value_of(glued));
                        break;
                    }
                }
                found
            } else {
                if word.computed {
                    get = false;
                }
                if let Some(path) = text.strip_prefix("file:") {
                    self.path(&format!("/{}", path.trim_start_matches('/')));
                }
                continue;
            };
            let value = value.unwrap_or_default();
            match option {
                'X' => {
                    let method = value.to_ascii_uppercase();
                    deletes |= method == "DELETE";
                    get &= matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
                }
                'd' | 'F' | 'T' => {
                    get = false;
                    let file = value
                        .split_once(['@', '<'])
                        .map_or(if option == 'T' { value.as_str() } else { "" }, |(_, file)| {
                            file.split(';').next().unwrap_or_default()
                        });
                    self.path(file);
                }
                'o' | 'D' | 'c' => {
                    saves |= value != "-" && value != "/dev/null";
                    self.path(&value);
                    self.downloaded.push(value);
                }
                'O' | 'J' => saves = true,
                'K' => self.opaque(),
                'E' => self.path(&value),
                'b' | 'H' => self.path(value.strip_prefix('@').unwrap_or_default()),
                'Q' => get = false,
                _ => {}
            }
        }
        if saves {
            for word in args.iter().filter(|word| word.text.contains("://")) {
                let name = word.text.rsplit('/').next().unwrap_or_default().to_owned();
                self.downloaded.push(name);
            }
            self.local("fs:write");
        }
        let (tier, class) = match (get, deletes) {
            (_, true) => (Tier::T5, "http:delete"),
            (true, false) => (Tier::T1, "http:get"),
            (false, false) => {
                return self.led("http:write", lead::post(args));
            }
        };
        self.found(tier, class);
    }

    fn wget(&mut self, args: &[Word]) {
        self.downloads = true;
        let mut get = true;
        let mut deletes = false;
        let mut saves = true;
        let mut take = false;
        for word in args {
            let text = word.text.as_str();
            get &= !word.computed;
            if take {
                take = false;
                saves = text != "-";
                self.path(text);
                self.downloaded.push(text.to_owned());
            } else if text.starts_with("--post") || text.starts_with("--body") {
                get = false;
                self.likely_paths(std::slice::from_ref(word));
            } else if text.starts_with("--method") {
                deletes |= text.to_ascii_uppercase().ends_with("DELETE");
                get &= text.ends_with("GET");
            } else if text.starts_with("--use-askpass")
                || text.starts_with("--config")
                || text.starts_with("--exec")
            {
                self.opaque();
            } else if let Some(file) = text.strip_prefix("--output-document=") {
                saves = file != "-";
                self.path(file);
                self.downloaded.push(file.to_owned());
            } else if text == "--output-document" {
                take = true;
            } else if text == "--spider" {
                saves = false;
            } else if let Some(cluster) =
                text.strip_prefix('-').filter(|cluster| !cluster.starts_with('-'))
            {
                if cluster.contains('e') {
                    self.opaque();
                }
                if let Some((_, file)) = cluster.split_once('O') {
                    take = file.is_empty();
                    if !take {
                        saves = file != "-";
                        self.path(file);
                        self.downloaded.push(file.to_owned());
                    }
                }
            } else if text.contains("://") {
                self.downloaded.push(text.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
        if saves {
            self.local("fs:write");
        }
        let (tier, class) = match (get, deletes) {
            (_, true) => (Tier::T5, "http:delete"),
            (true, false) => (Tier::T1, "http:get"),
            (false, false) => (Tier::T4, "http:write"),
        };
        self.found(tier, class);
    }
}

/// The letter of a long option of curl that matters here, which may be cut short.
fn curl_letter(long: &str) -> Option<char> {
    const LONG: &[(&str, char)] = &[
        ("request", 'X'),
        ("data", 'd'),
        ("json", 'd'),
        ("url-query", 'd'),
        ("form", 'F'),
        ("upload-file", 'T'),
        ("output", 'o'),
        ("remote-name", 'O'),
        ("remote-header-name", 'J'),
        ("remote-name-all", 'O'),
        ("config", 'K'),
        ("cookie", 'b'),
        ("cookie-jar", 'c'),
        ("cert", 'E'),
        ("key", 'E'),
        ("header", 'H'),
        ("dump-header", 'D'),
        ("quote", 'Q'),
        ("mail-from", 'Q'),
        ("user", 'u'),
        ("user-agent", 'A'),
        ("referer", 'e'),
        ("proxy", 'x'),
        ("max-time", 'm'),
        ("write-out", 'w'),
        ("cacert", 'E'),
        ("output-dir", 'o'),
        ("trace", 'o'),
        ("trace-ascii", 'o'),
        ("stderr", 'o'),
        ("netrc-file", 'E'),
        ("connect-timeout", 'm'),
        ("retry", 'm'),
        ("unix-socket", 'E'),
    ];
    if long.starts_with("data") || long.starts_with("form") {
        return Some(if long.starts_with("data") { 'd' } else { 'F' });
    }
    let exact = LONG.iter().find(|(name, _)| *name == long);
    let cut = || LONG.iter().find(|(name, _)| long.len() >= 3 && name.starts_with(long));
    exact.or_else(cut).map(|(_, letter)| *letter)
}
