"""The recordings that are used: where each is public, and the digest of its bytes.

    manifest.py --choose CLONES             writes recordings.tsv from bare clones
    manifest.py --fetch FOLDER [CLONES]     puts the recordings into a folder

A clone of `owner/name` is `CLONES/owner+name/repo`. Without CLONES, `--fetch` gets each commit from GitHub.
"""

import collections
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FILE = HERE / "recordings.tsv"
CHECKPOINTS = "refs/heads/entire/checkpoints/v1"
SOURCES = {
    # Where sessions are, how many the rules may be tuned on, and how many of the rest are held out. Who works there, in
    # which language, and so what is wrongly refused, differs by repository: most of what is held out is of others.
    "entireio/cli": (CHECKPOINTS, 40, 0),
    "PackmindHub/context-evaluator": (CHECKPOINTS, 25, 0),
    "Sarthib7/FundWise": ("HEAD", 1, 0),
    "FSM1/cipher-box": (CHECKPOINTS, 25, 25),
    "Beep206/CyberVPN": (CHECKPOINTS, 25, 25),
    "shunkakinoki/dotfiles": (CHECKPOINTS, 25, 0),
    "codyborders/pup-mcp": (CHECKPOINTS, 25, 0),
    "leolin84200704/posthog-impact-dashboard": ("HEAD", 1, 0),
    "dayhaysoos/nimbus": (CHECKPOINTS, 0, 60),
    "Reinhartsamuel/TokenForge": ("HEAD", 0, 1),
}
CALLS_MIN, CALLS_MAX = 10, 400

Line = collections.namedtuple("Line", "half repository commit path sha256 bytes")


def read():
    rows = [row.split("\t") for row in FILE.read_text().splitlines() if row and not row.startswith("#")]
    return [Line(*row) for row in rows]


def git(clone, *words):
    return subprocess.run(["git", "-C", str(clone), *words], capture_output=True, check=True).stdout


def choose(clones):
    """Of each source and each session the longest recording with 10 to 400 calls in a POSIX folder; of these, those
    whose session ids have the smallest digests. Nobody looked at what is in them first."""
    chosen = []
    for repository, (ref, tuned, held_out) in SOURCES.items():
        clone = clones / repository.replace("/", "+") / "repo"
        commit = git(clone, "rev-parse", ref).decode().strip()
        longest = {}
        for row in git(clone, "ls-tree", "-r", "-l", commit).decode().splitlines():
            (_, _, blob, size), path = row.split("\t")[0].split(), row.split("\t")[1]
            if not path.endswith(("full.jsonl", "claude-session.jsonl")) or not size.isdigit():
                continue
            data = git(clone, "cat-file", "blob", blob)
            session = re.search(rb'"sessionId":"([0-9a-f-]{36})"|"id": "(ses_\w+)"', data)
            calls = len(re.findall(rb'"type":"tool_use"|"type": "tool",', data))
            folder = re.search(rb'"(?:cwd|directory)": ?"(.)', data)
            if not session or not CALLS_MIN <= calls <= CALLS_MAX or not folder or folder[1] != b"/":
                continue
            name = session[1] or session[2]
            kept = (len(data), path, hashlib.sha256(data).hexdigest())
            longest[name] = max(kept, longest.get(name, kept))
        order = sorted(longest, key=lambda session: hashlib.sha256(session).digest())
        for number, session in enumerate(order[: tuned + held_out]):
            half = "tuned" if number < tuned else "held-out"
            size, path, digest = longest[session]
            chosen.append((half, repository, commit, path, digest, str(size)))
    head = "# half\trepository\tcommit\tpath\tSHA-256\tbytes"
    FILE.write_text("\n".join([head, *("\t".join(row) for row in chosen)]) + "\n")
    print(f"{len(chosen)} recordings")


def fetch(folder, clones):
    folder.mkdir(parents=True, exist_ok=True)
    by_source = collections.defaultdict(list)
    for line in read():
        by_source[line.repository, line.commit].append(line)
    for (repository, commit), wanted in by_source.items():
        with tempfile.TemporaryDirectory() as scratch:
            clone = clones / repository.replace("/", "+") / "repo" if clones else pathlib.Path(scratch)
            if not clones:
                subprocess.run(["git", "init", "--quiet", "--bare", str(clone)], check=True)
                git(clone, "fetch", "--quiet", "--depth", "1", f"https://github.com/{repository}", commit)
            for line in wanted:
                data = git(clone, "show", f"{commit}:{line.path}")
                if hashlib.sha256(data).hexdigest() != line.sha256:
                    raise RuntimeError(f"{repository} {line.path} is not what the manifest says")
                (folder / f"{line.sha256}.jsonl").write_bytes(data)
    print(f"{sum(map(len, by_source.values()))} recordings in {folder}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--choose", clones]:
            choose(pathlib.Path(clones))
        case ["--fetch", folder]:
            fetch(pathlib.Path(folder), None)
        case ["--fetch", folder, clones]:
            fetch(pathlib.Path(folder), pathlib.Path(clones))
        case _:
            sys.exit(__doc__)
