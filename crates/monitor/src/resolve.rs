//! Where the paths of a call lead on this machine.
//!
//! The adversary makes a link first and writes through it afterwards: to a file that isn't there yet, or
//! with a `..` behind it, which programs that normalise by text and those that ask the file system read
//! as two different places. Links are followed even if they dangle, and a path that has two readings is
//! judged by both.

use std::fs;
use std::path::{Path, PathBuf};

use tipstaff_classify::paths::{absolute, normalize};
use tipstaff_classify::{OWN_HOME, PathUse};

use crate::judge::Facts;

/// Links that are followed at most, like Linux does.
const LINKS_MAX: u32 = 40;

/// Follows the links of the part of each path that exists; the rest is as written.
pub(crate) fn resolve(facts: &mut Facts, paths: &[PathUse], cwd: &str) {
    for path in paths {
        if facts.resolved.contains_key(&path.text) {
            continue;
        }
        if path.text == OWN_HOME {
            facts.resolved.insert(path.text.clone(), facts.home.clone());
            continue;
        }
        let Some(spelled) = absolute(&path.text, cwd, &facts.user_home) else { continue };
        let place = text_of(&real_path(Path::new(&normalize(&spelled))));
        if spelled.split('/').any(|part| part == "..") {
            let other = text_of(&real_path(Path::new(&spelled)));
            if other != place {
                facts.physical.insert(path.text.clone(), other);
            }
        }
        facts.resolved.insert(path.text.clone(), place);
    }
}

/// The place that an absolute path leads to.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    follow(path, LINKS_MAX)
}

fn follow(path: &Path, links: u32) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        // The root, or a path that ends in `..`.
        return fs::canonicalize(path).unwrap_or_else(|_| normalize(&text_of(path)).into());
    };
    let folder = fs::canonicalize(parent).unwrap_or_else(|_| follow(parent, links));
    let here = folder.join(name);
    match fs::read_link(&here) {
        Ok(target) if links > 0 => follow(&folder.join(target), links - 1),
        _ => here,
    }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_even_where_nothing_is_yet() {
        let folder = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(at.join("root/sub")).unwrap();
        fs::create_dir(at.join("out")).unwrap();
        symlink("../out/new", at.join("root/dangling")).unwrap();
        symlink(at.join("out"), at.join("root/folder")).unwrap();
        symlink("loop", at.join("root/loop")).unwrap();
        for (path, leads) in [
            ("root/sub/new", "root/sub/new"),
            ("root/no/such/file", "root/no/such/file"),
            ("root/dangling", "out/new"),
            ("root/dangling/x", "out/new/x"),
            ("root/folder/a/b", "out/a/b"),
            ("root/folder/../x", "x"),
            ("root/sub/../x", "root/x"),
            ("root/loop", "root/loop"),
        ] {
            assert_eq!(real_path(&at.join(path)), at.join(leads), "{path}");
        }
        assert_eq!(real_path(Path::new("/")), Path::new("/"));
        assert_eq!(real_path(Path::new("/no/such/../..")), Path::new("/"));
    }
}
