"""What Biscuit's own tool and `tipstaff` make of each other's tokens. Runs in an empty folder; see README.md."""

import base64
import hashlib
import json
import os
import select
import subprocess
import sys

TIPSTAFF, BISCUIT = os.environ["TIPSTAFF"], os.environ["BISCUIT"]
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
failed = []


def expect(what, holds, seen=""):
    print(f"{'ok     ' if holds else 'FAILED '} {what}" + ("" if holds else f"\n        {seen}"))
    if not holds:
        failed.append(what)


def run(program, *words, stdin=None):
    done = subprocess.run([program, *words], input=stdin, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def tipstaff(*words):
    code, out, err = run(TIPSTAFF, *words)
    assert code == 0, (words, out, err)
    return out


def biscuit(*words, stdin=None):
    code, out, err = run(BISCUIT, *words, stdin=stdin)
    assert code == 0, (words, out, err)
    return out


def public(did):
    """The key of a `did:key` of Ed25519, as Biscuit writes it."""
    number = 0
    for letter in did.removeprefix("did:key:z"):
        number = number * 58 + ALPHABET.index(letter)
    data = number.to_bytes(34, "big")
    assert data[:2] == b"\xed\x01"
    return f"ed25519/{data[2:].hex()}"


def lines(source):
    return [line.strip().rstrip(";") for line in source.strip().splitlines()]


def write(name, text):
    with open(name, "w", encoding="ascii") as file:
        file.write(text.strip() + "\n")
    return name


class Server:
    """The notes server behind `wrap`, with a principal's key and a capability."""

    def __init__(self, key, capability):
        words = ["wrap", "--name", "notes", "--key", key, "--capability", capability]
        self.child = subprocess.Popen(
            [TIPSTAFF, *words, "--", TIPSTAFF, "notes", os.path.abspath("notes")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.id = 0
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                "clientInfo": {"name": "referee", "version": "1"}})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.ask("tools/list", {})

    def send(self, message):
        self.child.stdin.write(json.dumps(message) + "\n")
        self.child.stdin.flush()

    def ask(self, method, params):
        self.id += 1
        self.send({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params})
        while True:
            ready, _, _ = select.select([self.child.stdout], [], [], 30)
            assert ready, f"no answer to {method}"
            answer = json.loads(self.child.stdout.readline())
            if answer.get("id") == self.id and "method" not in answer:
                return answer

    def call(self, tool, **arguments):
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        text = json.dumps(answer)
        result = answer.get("result", {})
        return ("result" in answer and not result.get("isError")), text

    def end(self):
        self.child.stdin.close()
        self.child.wait(20)


def worth(key, capability):
    """Whether reading a note passes, whether listing them does, and what was said."""
    server = Server(key, capability)
    read, said = server.call("read_note", name="a.md")
    listed, other = server.call("list_notes")
    server.end()
    return read, listed, said + other


os.mkdir("notes")
with open("notes/a.md", "w", encoding="ascii") as note:
    note.write("hi\n")
tipstaff("init")
keys = {name: tipstaff("principal", "key", f"{name}.key").strip() for name in ("ada", "coder", "helper")}
tipstaff("principal", "enrol", "ada", "--kind", "human", "--key", keys["ada"])
for name in ("coder", "helper"):
    tipstaff("principal", "enrol", name, "--kind", "agent", "--owner", "ada", "--key", keys[name])
tipstaff("grant", "--to", "coder", "--tool", "notes/*", "--tier", "T3", "--expires", "8h", "-o", "coder.cap")
root = json.loads(tipstaff("--json", "grants"))["granted"][0]["root"]
tipstaff("attenuate", "coder.cap", "--key", "coder.key", "--to", keys["helper"], "--tool", "notes/read_note",
         "-o", "helper.cap")

for name, by in (("coder.cap", [None]), ("helper.cap", [None, keys["coder"]])):
    ours = json.loads(tipstaff("--json", "inspect", name))["blocks"]
    theirs = json.loads(biscuit("inspect", "--json", "--public-key", public(root), name))
    blocks = theirs["token"]["blocks"]
    expect(f"{name}: its signatures hold under the key that the grant's order names", theirs["signatures_check"] is True,
           theirs)
    same = [lines(block["source"]) for block in ours] == [lines(block["code"]) for block in blocks]
    expect(f"{name}: both read the same blocks", same and len(blocks) == len(by), (ours, blocks))
    ids = [hashlib.sha256(bytes.fromhex(block["revocation_id"])).hexdigest() for block in blocks]
    expect(f"{name}: the ids are SHA-256 of Biscuit's revocation ids", ids == [block["id"] for block in ours], ids)
    signed = [block["external_key"] and block["external_key"].replace("ed25519-pub/", "ed25519/") for block in blocks]
    expect(f"{name}: the same key gave it on", signed == [did and public(did) for did in by], signed)

code, _, said = run(BISCUIT, "inspect", "--public-key", public(keys["helper"]), "coder.cap")
expect("coder.cap: under another key it does not hold", code != 0 or "failed" in said.lower(), said)

read, listed, said = worth("coder.key", "coder.cap")
expect("as granted: reading and listing pass", read and listed, said)

# Narrowed by the foreign tool, without any key.
write("narrow.cap", biscuit("attenuate", "coder.cap", "--block", 'check if tool("notes/read_note")'))
read, listed, said = worth("coder.key", "narrow.cap")
expect("narrowed by biscuit: reading passes, listing does not", read and not listed and "no_authority" not in said, said)
write("late.cap", biscuit("attenuate", "coder.cap", "--block", "check if time($t), $t < 2020-01-01T00:00:00Z"))
read, listed, said = worth("coder.key", "late.cap")
expect("narrowed to a time that is over: nothing passes", not read and not listed, said)
# A block that says facts of its own must widen nothing.
write("wide.cap", biscuit("attenuate", "narrow.cap", "--block",
                          'tool("notes/read_note"); tool("notes/list_notes"); server("notes"); tier(1)'))
read, listed, said = worth("coder.key", "wide.cap")
expect("with facts added by biscuit: listing still does not pass", not listed, said)

# Given on by the foreign tool: a block of a third party, signed with the holder's key.
tipstaff("principal", "certificate", "coder.key", "--out", "coder.crt", "--pem", "coder.pem")
request = biscuit("generate-third-party-block-request", "coder.cap")
block = biscuit("generate-third-party-block", "--private-key-file", "coder.pem", "--private-key-format", "pem", "--block",
                f'holder("{keys["helper"]}"); check if tool("notes/read_note")', "-", stdin=request)
write("given.cap", biscuit("append-third-party-block", "--block-contents", block.strip(), "coder.cap"))
read, listed, said = worth("helper.key", "given.cap")
expect("given on by biscuit with the holder's key: the helper reads and does not list", read and not listed, said)
read, listed, said = worth("coder.key", "given.cap")
expect("given on: it is the helper's alone", not read and not listed, said)
# The same by somebody who is not the holder.
tipstaff("principal", "certificate", "helper.key", "--out", "helper.crt", "--pem", "helper.pem")
block = biscuit("generate-third-party-block", "--private-key-file", "helper.pem", "--private-key-format", "pem", "--block",
                f'holder("{keys["helper"]}")', "-", stdin=request)
write("stolen.cap", biscuit("append-third-party-block", "--block-contents", block.strip(), "coder.cap"))
read, listed, said = worth("helper.key", "stolen.cap")
expect("given on by who is not its holder: nothing passes", not read and not listed, said)

# Sealed: it is worth what it was, and nobody adds to it.
write("sealed.cap", biscuit("seal", "narrow.cap"))
read, listed, said = worth("coder.key", "sealed.cap")
expect("sealed by biscuit: it is worth what it was", read and not listed, said)
code, _, said = run(TIPSTAFF, "attenuate", "sealed.cap", "--tier", "T1", "-o", "more.cap")
expect("sealed by biscuit: it can't be narrowed, and the command says so", code != 0 and said.strip() != "", said)

# Under a root of its own, with the same words.
source = "\n".join(line + ";" for line in lines(json.loads(tipstaff("--json", "inspect", "coder.cap"))["blocks"][0]["source"]))
private = biscuit("keypair", "--only-private-key").strip()
write("forged.cap", biscuit("generate", "--private-key", private, "-", stdin=source))
read, listed, said = worth("coder.key", "forged.cap")
expect("made by biscuit under another root: nothing passes", not read and not listed, said)

# Damaged in each eighth of its bytes: neither takes it.
with open("coder.cap", encoding="ascii") as file:
    text = file.read().strip()
token = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
taken = []
for at in range(0, len(token), len(token) // 8):
    hurt = bytearray(token)
    hurt[at] ^= 1
    write("hurt.cap", base64.urlsafe_b64encode(bytes(hurt)).decode())
    theirs = run(BISCUIT, "inspect", "--public-key", public(root), "hurt.cap")
    code, out, _ = run(TIPSTAFF, "--json", "whoami", "--key", "coder.key", "--capability", "hurt.cap")
    good = code == 0 and json.loads(out.splitlines()[-1]).get("refused") is None
    if theirs[0] == 0 and "failed" not in theirs[2].lower() or good:
        taken.append((at, theirs, out))
expect("damaged: neither takes any of them", not taken, taken)

if failed:
    sys.exit(f"{len(failed)} checks failed")
print("all checks passed")
