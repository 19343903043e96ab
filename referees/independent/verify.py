#!/usr/bin/env python3
"""Checks an export, a tiled log or an inclusion proof of Tipstaff with nothing of Tipstaff.

Written from docs/formats.md. Needs Python 3.9 and the package `cryptography`.

    verify.py export FILE --jwks FILE [--head HASH]
    verify.py log FOLDER --vkey FILE
    verify.py proof PROOF --leaf FILE --vkey FILE

Exit codes: 0 it holds, 1 it does not, 2 wrong use.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ZERO = "0" * 64
INTEGER_MAX = 2**53 - 1
SHAPE = "aarm-1.0"
PROFILE = "tipstaff-receipt-1"
TILE = 256
# Order of the subgroup of Ed25519: a signature has one spelling only if S is below it (RFC 8032, 5.1.7).
ORDER = 2**252 + 27742317777372353535851937790883648493
KINDS = {"approval", "control", "deferral", "outcome", "session", "verdict", "void"}
DOORS = {"api", "cli", "hook", "mcp-http", "mcp-stdio", "monitor"}
ENFORCEMENTS = {"cooperative", "inline", "observe"}
PROOFS = {"key", "local", "mtls", "none", "oauth"}
VERDICTS = {"ALLOW", "DEFER", "DENY", "MODIFY", "STEP_UP"}
STATUSES = {"ambiguous", "error", "ok"}


class Refused(Exception):
    """It does not hold. `reason` is a word of docs/formats.md, `at` the element."""

    def __init__(self, reason, text, at=None):
        super().__init__(text)
        self.reason, self.at = reason, at


# ---- strict JSON and RFC 8785, for integers and fractions that a double keeps ----


def read_json(text):
    def unique(members):
        names = [name for name, _ in members]
        if len(set(names)) != len(names):
            raise ValueError("a name occurs twice")
        return dict(members)

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def canonical(value):
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise ValueError("an integer is too large")
        return str(value)
    if isinstance(value, float):
        return canonical_fraction(value)
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return "{" + ",".join(canonical_string(n) + ":" + canonical(value[n]) for n in names) + "}"


def canonical_string(text):
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    out = []
    for char in text:
        code = ord(char)
        if 0xD800 <= code <= 0xDFFF:
            raise ValueError("half a surrogate pair")
        out.append(short.get(code) or (f"\\u{code:04x}" if code < 32 else char))
    return '"' + "".join(out) + '"'


def canonical_fraction(value):
    """The spelling of ECMAScript's Number::toString: receipts have none, unknown members may."""
    if value != value or abs(value) > INTEGER_MAX:
        raise ValueError("a number is out of range")
    if value == int(value):
        return str(int(value))
    sign, value = ("-", -value) if value < 0 else ("", value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).rstrip("0")
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.lstrip("0")
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    rest = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"


# ---- keys and signatures ----


def b64url(text, length, what):
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError(f"{what} is not base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(raw) != length or base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError(f"{what} is not {length} bytes in base64url")
    return raw


def b64(text, what):
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("malformed", f"{what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise Refused("malformed", f"{what} is base64 in another spelling")
    return raw


def thumbprint(x):
    jwk = canonical({"crv": "Ed25519", "kty": "OKP", "x": x})
    return base64.urlsafe_b64encode(hashlib.sha256(jwk.encode()).digest()).rstrip(b"=").decode()


def read_jwks(path):
    keys = {}
    with open(path, encoding="utf-8") as file:
        members = read_json(file.read()).get("keys")
    if not isinstance(members, list):
        raise ValueError("the key set has no list of keys")
    for jwk in members:
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
            continue
        raw = b64url(jwk.get("x"), 32, "x")
        kid = thumbprint(jwk["x"])
        if jwk.get("kid", kid) != kid:
            raise ValueError(f"key id {jwk['kid']} is not the thumbprint of its key")
        keys[kid] = raw
    return keys


def ed25519(key, message, signature):
    """Canonical S, canonical and not small-order points, cofactorless: the rule of docs/formats.md."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    if small_or_odd(key) or small_or_odd(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def small_or_odd(point):
    """Whether these 32 bytes are a point of small order, or not the one spelling of a point."""
    prime = 2**255 - 19
    y = int.from_bytes(point, "little") & (2**255 - 1)
    order_8 = int("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16)
    return y >= prime or y in (0, 1, prime - 1, order_8, prime - order_8)


# ---- receipts ----


def is_digest(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def is_count(value):
    return type(value) is int and 0 <= value <= INTEGER_MAX


def is_text(value):
    return isinstance(value, str)


def is_any(_value):
    return True


def maybe(check):
    return lambda value: value is None or check(value)


def one_of(words):
    return lambda value: isinstance(value, str) and value in words


def is_texts(value):
    return isinstance(value, list) and all(map(is_text, value))


def shaped(shape):
    def check(value):
        return isinstance(value, dict) and all(n in value and c(value[n]) for n, c in shape.items())

    return check


LEVEL = shaped({"id": maybe(is_text), "proof": one_of(PROOFS)})
EIGHT = {
    "v": is_text,
    "ts": is_text,
    "actor": is_text,
    "action": is_text,
    "tier": lambda value: type(value) is int and 1 <= value <= 5,
    "context_digest": is_text,
    "prev_hash": is_digest,
    "chain_seq": is_count,
}
MEMBERS = {
    **EIGHT,
    "v": one_of({SHAPE}),
    "context_digest": is_digest,
    "profile": one_of({PROFILE}),
    "approval": is_any,
    "as_of": shaped({"control": is_count, "log": is_text, "size": is_count}),
    "authority": is_any,
    "chain": is_text,
    "context": maybe(
        shaped(
            {
                "count": is_count,
                "distance_method": maybe(is_text),
                "distance_ppm": maybe(is_count),
                "head": is_digest,
                "labels": maybe(is_texts),
            }
        )
    ),
    "continues": maybe(is_digest),
    "control": maybe(shaped({"from": maybe(is_digest), "to": is_digest, "what": is_text})),
    "decision": maybe(
        shaped(
            {
                "catalogue": is_digest,
                "engine": is_text,
                "policy_set": is_digest,
                "reason": is_text,
                "rule": maybe(is_text),
                "schema": is_digest,
                "tool_pins": is_digest,
                "verdict": one_of(VERDICTS),
            }
        )
    ),
    "deferral": is_any,
    "door": one_of(DOORS),
    "enforcement": one_of(ENFORCEMENTS),
    "identity": shaped({n: LEVEL for n in ("agent", "principal", "roles", "service", "session")}),
    "inputs_digest": maybe(is_digest),
    "key_id": is_text,
    "kind": one_of(KINDS),
    "now": is_count,
    "obligations": is_any,
    "of": maybe(is_digest),
    "outcome": maybe(
        shaped(
            {
                "bytes": is_count,
                "duration_us": is_count,
                "labels": maybe(is_texts),
                "result_digest": maybe(is_digest),
                "status": one_of(STATUSES),
            }
        )
    ),
    "requested_digest": maybe(is_digest),
    "session": is_text,
}


def spell_time(millis):
    """RFC 3339 with milliseconds, by the proleptic Gregorian calendar."""
    days, rest = divmod(millis, 86_400_000)
    days += 719_468
    era, day = divmod(days, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    seconds, ms = divmod(rest, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{year:04}-{month:02}-{day:02}T{clock}.{ms:03}Z"


def check_members(receipt):
    """The name of the first member that is wrong, or None."""
    if not isinstance(receipt, dict):
        return "receipt"
    for name, check in (MEMBERS if "profile" in receipt else EIGHT).items():
        if name not in receipt or not check(receipt[name]):
            return name
    if "profile" in receipt and receipt["ts"] != spell_time(receipt["now"]):
        return "ts"
    return None


class Chain:
    """Follows one chain."""

    def __init__(self):
        self.next, self.head, self.closed = 0, ZERO, False

    def push(self, element, keys):
        """`element` is a receipt, or an export line; without keys only the links are checked."""
        wrapped = isinstance(element, dict) and "receipt" in element
        receipt = element["receipt"] if wrapped else element
        try:
            text = canonical(receipt).encode()
        except ValueError as error:
            raise Refused("malformed", str(error)) from None
        found = hashlib.sha256(text).hexdigest()
        if wrapped and element.get("hash") is not None and element["hash"] != found:
            raise Refused("hash_mismatch", "the hash beside the receipt is not the receipt's")
        wrong = check_members(receipt)
        if wrong:
            raise Refused("malformed", f"member {wrong} is missing or of the wrong type")
        seq, prev = receipt["chain_seq"], receipt["prev_hash"]
        if self.next == 0 and (seq != 0 or prev != ZERO):
            raise Refused("bad_genesis", "the chain does not begin with number 0 after zeros")
        if seq != self.next:
            raise Refused("seq_gap", f"number {seq} where {self.next} is due")
        if prev != self.head:
            raise Refused("prev_hash_mismatch", "it does not commit to the receipt before it")
        if wrapped and keys is not None:
            check_signature(element, receipt, text, keys)
        self.next, self.head = seq + 1, found
        self.closed = receipt.get("kind") == "session" and receipt["action"] == "session:close"


def check_signature(element, receipt, text, keys):
    kid = receipt.get("key_id", element.get("key_id"))
    if element.get("key_id", kid) != kid:
        raise Refused("bad_signature", "the key beside the receipt is not the one inside")
    if kid not in keys:
        raise Refused("bad_signature", f"key {kid} is not in the key set")
    try:
        signature = b64url(element.get("signature"), 64, "signature")
    except ValueError as error:
        raise Refused("bad_signature", str(error)) from None
    if not ed25519(keys[kid], text, signature):
        raise Refused("bad_signature", "the signature does not verify")


def verify_chain(elements, keys=None):
    """The chain, or Refused with the index of the element that breaks it."""
    if not elements:
        raise Refused("empty", "there are no receipts", 0)
    chain = Chain()
    for at, element in enumerate(elements):
        try:
            chain.push(element, keys)
        except Refused as error:
            error.at = at
            raise
    return chain


def verify_export(path, keys, head):
    with open(path, "rb") as file:
        data = file.read()
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise Refused("malformed", "the last line is cut off")
    chains = {}
    for number, line in enumerate(lines, 1):
        try:
            element = read_json(line.decode("utf-8"))
            if not isinstance(element, dict) or canonical(element).encode() != line:
                raise ValueError("the line is not in its canonical form")
        except (ValueError, RecursionError) as error:
            raise Refused("malformed", f"line {number}: {error}") from None
        if set(element) != {"hash", "key_id", "receipt", "signature"}:
            raise Refused("malformed", f"line {number}: not an export line")
        receipt = element["receipt"]
        name = receipt.get("chain") if isinstance(receipt, dict) else None
        chain = chains.setdefault(name, Chain())
        try:
            if not isinstance(name, str):
                raise Refused("malformed", "member chain is missing or of the wrong type")
            if "profile" not in receipt:
                raise Refused("malformed", "member profile is missing")
            chain.push(element, keys)
        except Refused as error:
            raise Refused(error.reason, f"line {number}: {error}") from None
    if not chains:
        raise Refused("empty", "there are no receipts")
    if head is not None and head not in {chain.head for chain in chains.values()}:
        raise Refused("truncated", f"no chain ends in {head}: the tail was cut off, or is another's")
    for name, chain in sorted(chains.items()):
        if chain.closed:
            end = "closed by its last receipt"
        elif chain.head == head:
            end = "ends in the head that was given"
        else:
            end = "NOT closed: a cut tail can't be excluded without its head"
        print(f"ok: chain {name}: {chain.next} receipts, head {chain.head}, {end}")


# ---- the tiled log ----


def hash_leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def hash_node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    """RFC 6962, 2.1: split at the largest power of two below the size."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    stack = []
    for index, node in enumerate(hashes):
        while index & 1:
            node = hash_node(stack.pop(), node)
            index >>= 1
        stack.append(node)
    root = stack.pop()
    while stack:
        root = hash_node(stack.pop(), root)
    return root


def read_vkey(path):
    with open(path, encoding="utf-8") as file:
        text = file.read().strip()
    name, _, rest = text.partition("+")
    key_hash, _, key = rest.partition("+")
    raw = base64.b64decode(key, validate=True)
    if len(raw) != 33 or raw[0] != 1:
        raise ValueError("the verifier key is not Ed25519")
    found = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    if not name or found.hex() != key_hash:
        raise ValueError("the verifier key's hash is not the key's")
    return name, found, raw[1:]


def open_checkpoint(note, vkey):
    """Origin, size and root of a note that the key signed."""
    name, key_hash, key = vkey
    try:
        text, separator, signatures = note.decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError:
        raise Refused("malformed", "the checkpoint is not text") from None
    if not separator or not signatures.endswith("\n"):
        raise Refused("malformed", "the checkpoint is not a signed note")
    text += "\n"
    if any(ord(char) < 32 and char != "\n" for char in text + signatures):
        raise Refused("malformed", "the checkpoint has control characters")
    verified = False
    for line in signatures[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise Refused("malformed", "a signature line of the checkpoint is malformed")
        raw = b64(parts[2], "a signature")
        if parts[1] == name and raw[:4] == key_hash:
            if not ed25519(key, text.encode(), raw[4:]):
                raise Refused("bad_signature", "the checkpoint's signature does not verify")
            verified = True
    if not verified:
        raise Refused("bad_signature", "the checkpoint is not signed by the expected key")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or lines[0] != name or "" in lines:
        raise Refused("malformed", "the checkpoint is not one of this log")
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        raise Refused("malformed", "the checkpoint's size is malformed")
    root = b64(lines[2], "the root")
    if len(root) != 32:
        raise Refused("malformed", "the root is not 32 bytes")
    return int(lines[1]), root


def tile_path(level, index, width):
    name = f"{index % 1000:03}"
    while index >= 1000:
        index //= 1000
        name = f"x{index % 1000:03}/{name}"
    return f"tile/{level}/{name}" + (f".p/{width}" if width < TILE else "")


def read_tile(folder, level, index, width):
    """The bytes of a tile and how many items they are: a partial one may have become a full one."""
    for wanted in (width, TILE):
        try:
            with open(os.path.join(folder, tile_path(level, index, wanted)), "rb") as file:
                return file.read(), wanted
        except FileNotFoundError:
            pass
    raise Refused("missing", f"{tile_path(level, index, width)} is missing")


def tiles_of(count):
    return [(index, min(TILE, count - index * TILE)) for index in range(-(-count // TILE))]


def verify_log(folder, vkey):
    path = os.path.join(folder, "checkpoint")
    if not os.path.isfile(path):
        raise Refused("missing", "there is no checkpoint")
    with open(path, "rb") as file:
        size, root = open_checkpoint(file.read(), vkey)
    print(f"ok: checkpoint of {vkey[0]}: {size} leaves, signed")
    leaves = []
    for index, width in tiles_of(size):
        data, held = read_tile(folder, "entries", index, width)
        entries, at = [], 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length]
            if at + 2 > len(data) or len(entry) < length:
                raise Refused("malformed", f"bundle {index} is cut off")
            entries.append(entry)
            at += 2 + length
        if len(entries) != held:
            raise Refused("malformed", f"bundle {index} has {len(entries)} entries, not {held}")
        leaves += map(hash_leaf, entries[:width])
    if root_of(leaves) != root:
        raise Refused("root_mismatch", "the entries don't have the checkpoint's root")
    print("ok: the entries have the checkpoint's root")
    level, expected = 0, leaves
    while expected:
        found = []
        for index, width in tiles_of(len(expected)):
            data, held = read_tile(folder, level, index, width)
            if len(data) != held * 32:
                raise Refused("malformed", f"{tile_path(level, index, held)} has the wrong length")
            found += [data[at : at + 32] for at in range(0, width * 32, 32)]
        if found != expected:
            at = next(i for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1])
            raise Refused("root_mismatch", f"level {level}, hash {at} is not what the entries give")
        if level == 0 and root_of(found) != root:
            raise Refused("root_mismatch", "the tiles don't have the checkpoint's root")
        whole = len(expected) // TILE * TILE
        expected = [root_of(expected[at : at + TILE]) for at in range(0, whole, TILE)]
        level += 1
    print(f"ok: the tiles of {level} levels have the checkpoint's root")


def verify_proof(path, leaf, vkey):
    with open(path, "rb") as file:
        data = file.read()
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Refused("malformed", "the proof is not text") from None
    if not separator or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Refused("malformed", "it is not a proof file")
    if lines and lines[0].startswith("extra "):
        b64(lines.pop(0)[6:], "the extra data")
    if not lines or not re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines[0]):
        raise Refused("malformed", "the proof names no leaf")
    index = int(lines.pop(0)[6:])
    hashes = [b64(line, "a hash") for line in lines]
    size, root = open_checkpoint(note, vkey)
    if index >= size or any(len(node) != 32 for node in hashes):
        raise Refused("malformed", "the proof is of no leaf of this checkpoint")
    # RFC 9162, 2.1.3.2.
    node, position, last = hash_leaf(leaf), index, size - 1
    for sibling in hashes:
        if last == 0:
            raise Refused("proof", "the proof has too many hashes")
        if position & 1 or position == last:
            node = hash_node(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = hash_node(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise Refused("proof", "the proof has too few hashes")
    if node != root:
        raise Refused("proof", "the proof does not lead from this leaf to the root")
    print(f"ok: the leaf is number {index} of the {size} under the checkpoint of {vkey[0]}")


def read_leaf(path):
    """One export line; the newline that ends the line is no part of the leaf."""
    with open(path, "rb") as file:
        data = file.read()
    return data[:-1] if data.endswith(b"\n") else data


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="receipts as JSON lines")
    export.add_argument("file")
    export.add_argument("--jwks", required=True, help="public keys of receipts")
    export.add_argument("--head", help="hash that a chain has to end in")
    log = commands.add_parser("log", help="a tiled log")
    log.add_argument("folder")
    log.add_argument("--vkey", required=True, help="file with the log's verifier key")
    proof = commands.add_parser("proof", help="an inclusion proof")
    proof.add_argument("file")
    proof.add_argument("--leaf", required=True, help="file with the leaf, one export line")
    proof.add_argument("--vkey", required=True, help="file with the log's verifier key")
    options = parser.parse_args(arguments)
    try:
        if options.command == "export":
            if options.head is not None and not is_digest(options.head):
                raise ValueError("--head is not 64 lower-case hex digits")
            keys = read_jwks(options.jwks)
            run = lambda: verify_export(options.file, keys, options.head)
        elif options.command == "log":
            vkey = read_vkey(options.vkey)
            run = lambda: verify_log(options.folder, vkey)
        else:
            vkey, leaf = read_vkey(options.vkey), read_leaf(options.leaf)
            run = lambda: verify_proof(options.file, leaf, vkey)
    except (OSError, ValueError, AttributeError) as error:
        print(f"wrong use: {error}", file=sys.stderr)
        return 2
    try:
        run()
        return 0
    except Refused as error:
        print(f"REFUSED: {error.reason}: {error}")
        return 1
    except OSError as error:
        print(f"wrong use: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
