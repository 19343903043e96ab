#!/usr/bin/env python3
"""Damages good inputs in many ways and asserts that verify.py refuses each of them.

    selftest.py [--tlog FOLDER --vkey FILE] [--export FILE --jwks FILE]

Without arguments: the vectors in vectors/receipts, and the published tiled log in the folder that
TIPSTAFF_REFEREES names (else ../shared/referees beside the project). Given a log or an export, those
are damaged too.
"""

import argparse
import base64
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
import verify

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TESTDATA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
OTHER_KEY = base64.urlsafe_b64encode(bytes([0x33] + [0] * 30 + [0x07])).rstrip(b"=").decode()
count = 0


def run(expected, what, *arguments):
    global count
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = verify.main(list(arguments))
        except SystemExit as error:
            code = error.code
    if code != expected:
        sys.exit(f"FAILED: {what}: exit code {code}, not {expected}\n{out.getvalue()}")
    count += 1
    return out.getvalue()


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def vectors(folder):
    """Every case of the manifest, by reason and place."""
    global count
    keys = verify.read_jwks(os.path.join(folder, "jwks.json"))
    for case in json.loads(read(os.path.join(folder, "manifest.json")))["cases"]:
        data = read(os.path.join(folder, case["file"])).decode()
        found, chain = (None, None), None
        try:
            if case["pointer"]:
                elements = verify.read_json(data)
                for name in case["pointer"].split("/")[1:]:
                    elements = elements[name]
            else:
                elements = []
                for at, line in enumerate(data.splitlines()):
                    try:
                        elements.append(verify.read_json(line))
                    except ValueError as error:
                        raise verify.Refused("malformed", str(error), at) from None
            is_signed = any("signature" in element for element in elements)
            chain = verify.verify_chain(elements, keys if is_signed else None)
        except verify.Refused as error:
            found = (error.reason, error.at)
        if found != (case["reason"], case["brokenAt"]):
            sys.exit(f"FAILED: {case['file']}: {found}, not {case['reason'], case['brokenAt']}")
        if chain:
            ours = (chain.head, chain.closed, chain.next)
            if ours != (case["head"], case["closed"], case["length"]):
                sys.exit(f"FAILED: {case['file']}: {ours}")
        count += 1
        if case["file"].endswith(".jsonl"):
            path, jwks = os.path.join(folder, case["file"]), os.path.join(folder, "jwks.json")
            run(0 if case["valid"] else 1, case["file"], "export", path, "--jwks", jwks)


def damage_export(path, jwks, work):
    lines = read(path).split(b"\n")[:-1]
    chains = {}
    for line in lines:
        element = verify.read_json(line.decode())
        chains[element["receipt"]["chain"]] = element["hash"]
    head = list(chains.values())[-1]
    run(0, "the export as it is", "export", path, "--jwks", jwks)
    run(0, "with its head", "export", path, "--jwks", jwks, "--head", head)
    run(1, "another head", "export", path, "--jwks", jwks, "--head", "ab" * 32)
    run(2, "a head that is none", "export", path, "--jwks", jwks, "--head", "x")
    run(2, "no such file", "export", path + ".missing", "--jwks", jwks)
    run(2, "no key set", "export", path)
    damaged = os.path.join(work, "damaged.jsonl")

    def refused(what, changed, *more):
        write(damaged, b"".join(line + b"\n" for line in changed))
        return run(1, what, "export", damaged, "--jwks", jwks, *more)

    def cases():
        for at, line in enumerate(lines):
            element = verify.read_json(line.decode())
            for name in sorted(element["receipt"]):
                edited = dict(element["receipt"], **{name: "x"})
                whole = dict(element, receipt=edited)
                yield f"member {name} of line {at}", at, verify.canonical(whole).encode()
            for name in ("hash", "key_id", "signature"):
                text = element[name]
                other = ("B" if text[5] == "A" else "A") if name != "hash" else "0" if text[5] != "0" else "1"
                whole = dict(element, **{name: text[:5] + other + text[6:]})
                yield f"{name} of line {at}", at, verify.canonical(whole).encode()
            yield f"a space in line {at}", at, line.replace(b":", b": ", 1)
            yield f"line {at} cut", at, line[:-10]

    for what, at, line in list(cases())[:600]:
        refused(what, lines[:at] + [line] + lines[at + 1 :])
    last = {verify.read_json(line.decode())["receipt"]["chain"]: at for at, line in enumerate(lines)}
    for at in range(len(lines)):
        if at not in last.values():
            refused(f"line {at} dropped", lines[:at] + lines[at + 1 :])
        refused(f"line {at} twice", lines[: at + 1] + lines[at:])
    by_chain = [verify.read_json(line.decode())["receipt"]["chain"] for line in lines]
    for at in range(len(lines) - 1):
        if by_chain[at] == by_chain[at + 1]:
            refused(f"lines {at} and {at + 1} swapped", lines[:at] + [lines[at + 1], lines[at]] + lines[at + 2 :])
    refused("nothing left", [])
    tail = [line for at, line in enumerate(lines) if at != last[by_chain[-1]]]
    if tail and by_chain[-1] in {verify.read_json(line.decode())["receipt"]["chain"] for line in tail}:
        refused("the tail cut off", tail, "--head", head)
        write(damaged, b"".join(line + b"\n" for line in tail))
        text = run(0, "the tail cut off, without a head", "export", damaged, "--jwks", jwks)
        assert "NOT closed" in text, text
    write(damaged, read(path)[:-1])
    run(1, "the last newline cut off", "export", damaged, "--jwks", jwks)
    other = write(os.path.join(work, "other.json"), json.dumps(
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": OTHER_KEY}]}).encode())
    run(1, "another key", "export", path, "--jwks", other)
    wrong = json.loads(read(jwks))
    wrong["keys"][0]["kid"] = "x" * 43
    write(other, json.dumps(wrong).encode())
    run(2, "a key id that is not the thumbprint", "export", path, "--jwks", other)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def damage_log(folder, vkey, work):
    run(0, "the log as it is", "log", folder, "--vkey", vkey)
    name, key_hash, key = verify.read_vkey(vkey)
    size, _ = verify.open_checkpoint(read(os.path.join(folder, "checkpoint")), (name, key_hash, key))
    copy = os.path.join(work, "log")
    needed, counted, level = [], size, 0
    for index, width in verify.tiles_of(size):
        needed.append(verify.tile_path("entries", index, width))
    while counted:
        needed += [verify.tile_path(level, i, w) for i, w in verify.tiles_of(counted)]
        counted, level = counted // 256, level + 1
    for path in ["checkpoint", *needed]:
        data = read(os.path.join(folder, path))
        places = sorted({0, 1, len(data) // 3, len(data) // 2, len(data) - 1})
        changes = [(f"byte {at} of {path}", flipped(data, at)) for at in places]
        changes += [(f"{path} cut", data[:-1]), (f"{path} longer", data + b"x"), (f"{path} empty", b""), (f"{path} gone", None)]
        for what, changed in changes:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            # A partial tile may be answered from the full one: only one of them is there.
            target = os.path.join(copy, path)
            os.chmod(target, 0o600)
            os.remove(target) if changed is None else write(target, changed)
            run(1, what, "log", copy, "--vkey", vkey)
    stranger = bytes([1]) + base64.urlsafe_b64decode(OTHER_KEY + "=")
    digest = verify.hashlib.sha256(name.encode() + b"\n" + stranger).digest()[:4].hex()
    other = write(os.path.join(work, "other.vkey"), f"{name}+{digest}+{base64.b64encode(stranger).decode()}".encode())
    run(1, "another key", "log", folder, "--vkey", other)
    text = read(vkey).decode().strip()
    run(2, "a key with another hash", "log", folder, "--vkey",
        write(other, text.replace("+", "x+", 1).encode()))
    damage_proofs(folder, vkey, work, size)


def inclusion(leaves, index):
    """RFC 9162, 2.1.3.1, as it is written there."""
    if len(leaves) <= 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return inclusion(leaves[:split], index) + [verify.root_of(leaves[split:])]
    return inclusion(leaves[split:], index - split) + [verify.root_of(leaves[:split])]


def damage_proofs(folder, vkey, work, size):
    entries = []
    for index, width in verify.tiles_of(size):
        data, held = verify.read_tile(folder, "entries", index, width)
        at = 0
        while at < len(data) and len(entries) < size:
            length = int.from_bytes(data[at : at + 2], "big")
            entries.append(data[at + 2 : at + 2 + length])
            at += 2 + length
    leaves = [verify.hash_leaf(entry) for entry in entries]
    note = read(os.path.join(folder, "checkpoint"))
    proof_path, leaf_path = os.path.join(work, "p.proof"), os.path.join(work, "leaf")
    for index in sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size))):
        hashes = [base64.b64encode(node) + b"\n" for node in inclusion(leaves, index)]

        def proof(hashes, index=index, head=b"c2sp.org/tlog-proof@v1\n", note=note):
            return write(proof_path, head + b"index %d\n" % index + b"".join(hashes) + b"\n" + note)

        arguments = ("--leaf", write(leaf_path, entries[index] + b"\n"), "--vkey", vkey)
        run(0, f"proof {index}", "proof", proof(hashes), *arguments)
        if index != size - 1 or size & 1 == 0:
            run(1, f"proof {index} as of the next", "proof", proof(hashes, index=index + 1), *arguments)
        run(1, f"proof {index} beyond the tree", "proof", proof(hashes, index=size), *arguments)
        run(1, f"proof {index} too long", "proof", proof(hashes + hashes[:1]), *arguments)
        run(1, f"proof {index} too short", "proof", proof(hashes[:-1]), *arguments)
        # One hash, or equal ones, have no other order.
        if hashes[1:] + hashes[:1] != hashes:
            run(1, f"proof {index} reversed", "proof", proof(hashes[1:] + hashes[:1]), *arguments)
        run(1, f"proof {index} of another form", "proof", proof(hashes, head=b"c2sp.org/tlog-proof@v2\n"), *arguments)
        run(1, f"proof {index} with another note", "proof", proof(hashes, note=flipped(note, len(note) - 9)), *arguments)
        run(1, f"proof {index} of another leaf", "proof", proof(hashes), "--leaf", write(leaf_path, b"other"), "--vkey", vkey)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--tlog", "--vkey", "--export", "--jwks"):
        parser.add_argument(name)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = os.path.join(ROOT, "vectors", "receipts")
        vectors(folder)
        jwks = os.path.join(folder, "jwks.json")
        for name in ("good.jsonl", "later-fields.jsonl", "unknown-member.jsonl"):
            damage_export(os.path.join(folder, name), jwks, work)
        referees = os.environ.get("TIPSTAFF_REFEREES", os.path.join(ROOT, "..", "shared", "referees"))
        published = os.path.join(referees, "tlog")
        if os.path.isdir(published):
            vkey = write(os.path.join(work, "vkey"), TESTDATA_KEY.encode())
            damage_log(published, vkey, work)
        else:
            print("SKIPPED: no published log; set TIPSTAFF_REFEREES to its folder")
        if options.tlog:
            damage_log(options.tlog, options.vkey, work)
        if options.export:
            damage_export(options.export, options.jwks, work)
    print(f"ok: {count} checks")


if __name__ == "__main__":
    main()
