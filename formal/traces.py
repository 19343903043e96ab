#!/usr/bin/env python3
"""Traces as TLA+: what a simulated or a real store says happened, as a behaviour that the specification may allow.

    traces.py module FILE...        prints the module `Traces` for traces in JSON lines
    traces.py home EXPORT ORDERS TOOLS CAPABILITY...
                                    prints the trace of a home: its exported receipts, its file of orders, which tool
                                    each verdict is about, and what `tipstaff --json inspect` says of its capabilities
    traces.py tamper KIND FILE      prints a trace with one thing changed, which must be refused

The adversary is a trace that says less than what happened, or is made to fit. Each line becomes one step of the
specification with the values that were observed; the specification works out for itself what a node knows and how
fresh that is, and a step that it does not allow ends the check. Standard library only.
"""
import base64
import hashlib
import json
import re
import sys
from pathlib import Path

HEAD = """------------------------------- MODULE Traces -------------------------------
(* Made by traces.py. *)
EXTENDS capabilities, TLC

VARIABLES which, at

S(tools, ceiling) == {<<tool, tier>> : tool \\in tools, tier \\in 1..ceiling}
TraceRights == {<<0, 1>>}
"""

TAIL = """
E == Traces[which][at]
Messages(kind) == {m \\in net : m.kind = kind /\\ m.node = E.node /\\ m.id = E.ask}

Match ==
    CASE E.op = "make" -> Make(E.parent, E.scope) /\\ Len(caps') = E.id
      [] E.op = "grant" -> Grant(E.id)
      [] E.op = "revoke" -> Revoke(E.id)
      [] E.op = "other" -> Other
      [] E.op = "ask" -> rev[E.node] = E.have /\\ Ask(E.node) /\\ sent'[E.node] = E.ask
      [] E.op = "tell" -> Len(log) = E.head /\\ \\E m \\in Messages("ask") : Tell(m, E.upto)
      [] E.op = "take" ->
            /\\ \\E m \\in Messages("answer") : m.upto = E.upto /\\ m.head = E.head /\\ Take(m)
            /\\ rev'[E.node] = E.revision
            /\\ (conf'[E.node].state = "confirmed") = E.fresh
      [] E.op = "judge" -> Knows(E.node) = E.revision /\\ Judge(E.node, E.act, E.cap, E.right)
      [] E.op = "start" -> Start(E.node, E.act)
      [] E.op = "crash" -> Crash(E.node)
      [] E.op = "pass" -> Pass(E.ms, E.clocks)

Step == at <= Len(Traces[which]) /\\ Match /\\ at' = at + 1 /\\ UNCHANGED which
Over == at > Len(Traces[which]) /\\ UNCHANGED <<vars, which, at>>

(* A trace that can't go on is a deadlock: it is refused at line `at`. Of  *)
(* those that have to be refused, none may come to its end.                *)
Refused == at <= Len(Traces[which])
TraceSpec ==
    /\\ Init /\\ which \\in DOMAIN Traces /\\ at = 1
    /\\ [][Step \\/ Over]_<<vars, which, at>>
=============================================================================
"""


def tla(value):
    """A value as TLA+."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value if value.startswith(("S(", "<<", "(")) else json.dumps(value)
    raise TypeError(value)


def steps(lines, nodes):
    """The steps of the specification for the lines of a trace, of at most so many nodes."""
    asks, counts, told = {}, {}, {}
    for line in lines:
        op = line["op"]
        node = line.get("node")
        if op in ("begin", "client", "reboot"):
            continue
        if op == "start" and line["tier"] < 3:
            continue
        step = {"op": op}
        if op == "make":
            tools = "{" + ", ".join(str(tool) for tool in line["tools"]) + "}"
            step |= {"id": line["id"], "parent": line["parent"], "scope": f"S({tools}, {line['ceiling']})"}
        elif op in ("grant", "revoke"):
            step |= {"id": line["id"]}
        elif op == "ask":
            counts[node] = counts.get(node, 0) + 1
            asks[line["ask"]] = counts[node]
            step |= {"node": node, "ask": counts[node], "have": line["have"]}
        elif op == "tell":
            told[line["message"]] = (line["upto"], line["head"])
            step |= {"node": node, "ask": asks.get(line["ask"], 0), "upto": line["upto"], "head": line["head"]}
        elif op == "take":
            upto, head = told[line["message"]]
            step |= {"node": node, "ask": asks.get(line["ask"], 0), "upto": upto, "head": head}
            step |= {"revision": line["revision"], "fresh": line["fresh"]}
        elif op == "judge":
            right = f"<<{line['tool']}, {line['tier']}>>"
            step |= {"node": node, "act": line["act"], "cap": line["cap"], "right": right}
            step |= {"revision": line["revision"]}
        elif op == "start":
            step |= {"node": node, "act": line["act"]}
        elif op == "crash":
            step |= {"node": node}
        elif op == "pass":
            # Whoever is not there has a clock without fault.
            clocks = line["clocks"] + [line["ms"]] * (nodes - len(line["clocks"]))
            clocks = " @@ ".join(f"{at} :> {by}" for at, by in enumerate(clocks))
            step |= {"ms": line["ms"], "clocks": f"({clocks})"}
        elif op != "other":
            raise SystemExit(f"a trace has no lines of `{op}`")
        yield step


TAMPERINGS = {
    "unheard": "the answers that an action rests on are left out",
    "wider": "an action is said to be of a tool that its capability does not name",
    "later": "ten more seconds pass before an effect starts",
    "revoked": "a capability is revoked before the last action that used it, and nobody takes notice",
    "acted-after": "whoever was suspended first is said to have acted once more (of a home)",
    "order-left-out": "an order that ends nothing is left out (of a home)",
    "grant-left-out": "an order that granted what was used is said to have been another one (of a home)",
    "used-after": "a capability is said to have been used once more after it was revoked (of a home)",
    "holder-out": "somebody through whom a capability came is suspended, and it is used all the same (of a home)",
    "other-tool": "a capability is said to have been used for a tool that it does not name (of a home)",
    "sooner": "an answer is said to be to the request after the one that it is to",
}


def tamper(kind, file):
    """A trace with one thing changed."""
    lines = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    if kind == "acted-after":
        ended = next(at for at, line in enumerate(lines) if line["op"] == "revoke")
        judge = next(line for line in reversed(lines[:ended]) if line["op"] == "judge")
        entries = sum(line["op"] in ("grant", "revoke", "other") for line in lines[:ended + 1])
        lines.insert(ended + 1, judge | {"revision": entries})
        return lines
    if kind == "order-left-out":
        del lines[next(at for at, line in enumerate(lines) if line["op"] == "other")]
        return lines
    if kind in ("grant-left-out", "used-after", "holder-out", "other-tool"):
        return tamper_with_capability(kind, lines)
    high = [at for at, line in enumerate(lines) if line["op"] == "judge" and line["tier"] >= 3]
    acted = max(high)
    judge = lines[acted]
    same = [at for at, line in enumerate(lines) if line.get("node") == judge["node"]]
    if kind == "unheard":
        for at in reversed(same):
            if at < acted and lines[at]["op"] == "take":
                del lines[at]
    elif kind == "wider":
        cap = next(line for line in lines if line["op"] == "make" and line["id"] == judge["cap"])
        judge["tool"] = min(set(range(6)) - set(cap["tools"]))
    elif kind == "later":
        starts = [at for at, line in enumerate(lines) if line["op"] == "start" and line["tier"] >= 3]
        clocks = next(line["clocks"] for line in lines if line["op"] == "pass")
        lines.insert(max(starts), {"op": "pass", "ms": 10000, "clocks": [10000] * len(clocks)})
    elif kind == "revoked":
        orders = [at for at, line in enumerate(lines) if line["op"] in ("grant", "revoke", "other")]
        known = orders[:judge["revision"]]
        lines[max(at for at in known if lines[at]["op"] != "grant")] = {"op": "revoke", "id": judge["cap"]}
    elif kind == "sooner":
        take = next(lines[at] for at in same if lines[at]["op"] == "take")
        tell = next(line for line in lines if line.get("message") == take["message"])
        asks = [lines[at]["ask"] for at in same if lines[at]["op"] == "ask"]
        tell["ask"] = take["ask"] = min(ask for ask in asks if ask > take["ask"])
    else:
        raise SystemExit(f"tamperings are {', '.join(TAMPERINGS)}")
    return lines


def tamper_with_capability(kind, lines):
    """A trace of a home up to the first use of a capability that was given on, or one later, with one thing changed.

    It ends there, so that nothing else can be why it is refused.
    """
    used = next(at for at, line in enumerate(lines) if line.get("by") == "capability" and line["through"])
    last = lines[used]
    made = {line["id"]: line for line in lines if line["op"] == "make"}
    root = last["cap"]
    while made[root]["parent"]:
        root = made[root]["parent"]
    if kind == "grant-left-out":
        return [{"op": "other"} if line == {"op": "grant", "id": root} else line for line in lines[:used + 1]]
    if kind == "used-after":
        ended = lines.index({"op": "revoke", "id": root})
        entries = sum(line["op"] in ("grant", "revoke", "other") for line in lines[:ended + 1])
        return lines[:ended + 1] + [last | {"revision": entries}]
    if kind == "holder-out":
        through = next(at for at in range(used, -1, -1) if lines[at].get("by") == "through")
        out, key = last["revision"] + 1, lines[through]
        return lines[:through] + [{"op": "revoke", "id": key["cap"]}, key | {"revision": out}]
    # Of what its giver has: only the block that gave it on says that it is not its holder's.
    return lines[:used] + [last | {"tool": min(set(made[root]["tools"]) - set(made[last["cap"]]["tools"]))}]


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def key_id(did):
    """RFC 7638 thumbprint of a `did:key` of an Ed25519 key."""
    number = 0
    for letter in did.removeprefix("did:key:z"):
        number = number * 58 + BASE58.index(letter)
    x = b64(number.to_bytes(34, "big")[2:])
    jwk = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return b64(hashlib.sha256(jwk.encode()).digest())


def b64(data):
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


TOOL = re.compile(r'(tool|server)\("([^"]*)"\)')
TIER = re.compile(r"check if tier\(\$v\), \$v <= (\d+);")


def scope(source, tools):
    """What a block leaves, by its checks of tools and tiers: which of these tools, and up to which tier."""
    left, ceiling = set(tools), 5
    for check in source.splitlines():
        named = TOOL.findall(check)
        if named:
            said = {(kind, name) for kind, name in named}
            left &= {tool for tool in tools if ("tool", tool) in said or ("server", tool.split("/")[0]) in said}
        if TIER.match(check):
            ceiling = min(ceiling, int(TIER.match(check)[1]))
    return sorted(tools[tool] for tool in left), ceiling


class Home:
    """What the orders of a home say, as capabilities: a principal's derives from its owner's, a key's from both.

    Enrolment grants, suspension, retirement and a lost key revoke; whoever is restored has another capability from
    then on, and so has everybody who acts for them. The end of an overlap is no order: it is not looked at.

    A token is one more, each of its blocks made from the one before, of the tools and tiers that its checks leave; its
    other checks are not looked at. A verdict that permits becomes an action of the key that proved its caller, one of
    each key that the token came through, and one of the token's last block: each has to be allowed by itself.
    """

    def __init__(self, tools, tokens):
        self.lines, self.made = [{"op": "begin", "nodes": 0}], 0
        self.owner, self.keys, self.cap, self.out, self.lost = {}, {}, {}, set(), set()
        names = {tool for token in tokens for block in token for kind, tool in TOOL.findall(block["source"])
                 if kind == "tool"}
        self.tools = {tool: at for at, tool in enumerate(sorted(names | set(tools)))}
        self.holders = {}
        for token in tokens:
            parent, through = 0, []
            for block in token:
                through = through + [key_id(block["holder"])]
                if ("block", block["id"]) not in self.cap:
                    self.cap["block", block["id"]] = self.make(parent, *scope(block["source"], self.tools))
                    self.holders[block["id"]] = through
                parent = self.cap["block", block["id"]]

    def make(self, parent, tools=None, ceiling=5):
        """A capability that may do this, or everything that its parent may."""
        self.made += 1
        tools = sorted(self.tools.values()) if tools is None else tools
        self.lines.append(
            {"op": "make", "id": self.made, "parent": parent, "tools": tools, "ceiling": ceiling})
        return self.made

    def anew(self, name):
        """Makes the capabilities of a principal, its keys, and all who act for it."""
        self.cap[name] = self.make(self.cap.get(self.owner[name], 0))
        for key in self.keys[name]:
            if key not in self.lost:
                self.cap["key", key] = self.make(self.cap[name])
        for other, owner in self.owner.items():
            if owner == name and other not in self.out:
                self.anew(other)

    def block(self, known):
        """A block by its id. One that no token here has is worth nothing, and may be revoked."""
        if ("block", known) not in self.cap:
            self.cap["block", known] = self.make(0)
        return self.cap["block", known]

    def order(self, change):
        """One order: one entry of the log."""
        what, name = change["what"], change.get("name")
        entry = {"op": "other"}
        if what == "enrol":
            self.owner[name], self.keys[name] = change["owner"], [key_id(change["key"])]
            self.anew(name)
            entry = {"op": "grant", "id": self.cap[name]}
        elif what == "rotate":
            key = key_id(change["key"])
            self.keys[name].append(key)
            self.cap["key", key] = self.make(self.cap[name])
        elif what in ("suspend", "retire"):
            self.out.add(name)
            entry = {"op": "revoke", "id": self.cap[name]}
        elif what == "restore":
            self.out.discard(name)
            self.anew(name)
            entry = {"op": "grant", "id": self.cap[name]}
        elif what == "compromise":
            self.lost.add(change["key_id"])
            entry = {"op": "revoke", "id": self.cap["key", change["key_id"]]}
        elif what in ("grant", "revoke"):
            entry = {"op": what, "id": self.block(change["id"])}
        self.lines.append(entry)

    def judged(self, receipt, tool, **said):
        """One action of one capability."""
        act = sum(line["op"] == "judge" for line in self.lines) + 1
        self.lines.append({"op": "judge", "node": 0, "act": act, "tool": self.tools[tool], "tier": receipt["tier"],
                           "revision": receipt["as_of"]["control"]} | said)

    def receipt(self, receipt, tool, orders):
        """One receipt of the export."""
        control, decision = receipt["control"], receipt["decision"]
        if control and control["what"] == "principals":
            if control["to"] not in orders:
                raise SystemExit(f"the order {control['to']} is not what its receipt says")
            self.order(json.loads(orders[control["to"]])["change"])
        elif control:
            self.lines.append({"op": "other"})
        elif receipt["kind"] == "verdict" and decision["verdict"] in ("ALLOW", "MODIFY"):
            authority = receipt["authority"] or {}
            holder, blocks = authority.get("holder"), authority.get("capability") or []
            if holder:
                self.judged(receipt, tool, by="holder", cap=self.cap.get(("key", holder), 0))
            if blocks:
                if blocks[-1] not in self.holders:
                    raise SystemExit(f"a verdict rests on block {blocks[-1]}, which no capability here has")
                through = self.holders[blocks[-1]]
                if through[-1] != holder:
                    raise SystemExit(f"block {blocks[-1]} is for another key than the one that used it")
                for key in through[:-1]:
                    self.judged(receipt, tool, by="through", cap=self.cap.get(("key", key), 0))
                self.judged(receipt, tool, by="capability", cap=self.block(blocks[-1]), through=len(through) - 1)


def home(export, orders, tools, *tokens):
    """The trace of a home, from its export, its orders, the tools asked for and what is inside of its capabilities."""
    texts = Path(orders).read_bytes().splitlines()
    orders = {hashlib.sha256(text).hexdigest(): text for text in texts}
    said = [json.loads(line) for line in Path(tools).read_text(encoding="utf-8").splitlines()]
    tools = {line["hash"]: line["tool"] for line in said}
    tokens = [json.loads(Path(token).read_text(encoding="utf-8"))["blocks"] for token in tokens]
    seen = Home(tools.values(), tokens)
    exported = [json.loads(line) for line in Path(export).read_text(encoding="utf-8").splitlines()]
    # An export goes chain by chain; the order of the log is that of their places in it.
    for line in sorted(exported, key=lambda line: line["receipt"]["as_of"]["size"]):
        seen.receipt(line["receipt"], tools.get(line["hash"]), orders)
    return seen.lines


def module(files):
    """The module for some traces."""
    texts = [Path(file).read_text(encoding="utf-8").splitlines() for file in files]
    traces = [[json.loads(line) for line in text] for text in texts]
    nodes = max(line["nodes"] for trace in traces for line in trace if line["op"] == "begin")
    out = [HEAD]
    for number, trace in enumerate(traces, 1):
        shown = ["[" + ", ".join(f"{k} |-> {tla(v)}" for k, v in step.items()) + "]" for step in steps(trace, nodes)]
        out.append(f"T{number} == <<\n  " + ",\n  ".join(shown) + "\n>>\n")
    names = (f"T{number}" for number in range(1, len(traces) + 1))
    out.append(f"TraceNodes == 0..{nodes - 1}\n")
    out.append("Traces == <<" + ", ".join(names) + ">>\n")
    return "".join(out) + TAIL


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    if sys.argv[1] == "module":
        print(module(sys.argv[2:]))
    elif sys.argv[1] == "tamper":
        for line in tamper(sys.argv[2], sys.argv[3]):
            print(json.dumps(line, sort_keys=True))
    elif sys.argv[1] == "home":
        for line in home(*sys.argv[2:]):
            print(json.dumps(line, sort_keys=True))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
