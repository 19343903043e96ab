"""The conformance suite: which scenarios a revision requires, running them, comparing two runs, the report.

A check of the suite counts as the same if its status is. INFO in place of SUCCESS is told in the report
but is no failure: the suite says so where it leaves the choice to the server.
"""

import datetime
import json
import re
import subprocess

from checks import check, count, difference, normal

REVISION = "2025-11-25"
# What the suite examines here is the transport, where the gateway is the server: its notes name
# addresses, ids and headers, which are of each server's own making.
OF_TRANSPORT = {
    "server-initialize",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
    "server-session-lifecycle",
    "server-sse-polling",
}
IN_SHORT = [
    "server-initialize",
    "tools-call-with-progress",
    "tools-call-sampling",
    "elicitation-sep1330-enums",
    "resources-subscribe",
    "dns-rebinding-protection",
]
# What is not in here is a fault, whatever it is called.
GOOD = {"SUCCESS", "INFO"}


class Suite:
    def __init__(self, node, folder, short):
        self.program = [node, str(folder / "dist/index.js")]
        self.short = short
        self.scored, self.scored_client, self.others = [], [], []
        self.read(folder / f"requirements/{REVISION}.yaml")

    def read(self, file):
        part = name = None
        for line in file.read_text().splitlines():
            if re.fullmatch(r"\w+:", line):
                part = line[:-1]
            elif part == "server" and line.startswith("  - "):
                self.scored.append(line[4:])
            elif part == "client" and line.startswith("  - "):
                self.scored_client.append(line[4:])
            elif part == "not_scored" and "scenario: " in line:
                name = line.split("scenario: ")[1]
            elif part == "not_scored" and line == "    leg: server":
                self.others.append(name)

    def run(self, words, out, limit):
        ran = subprocess.run(
            [*self.program, *words, "-o", str(out)], capture_output=True, text=True, timeout=limit, cwd=out.parent
        )
        return ran.returncode, (ran.stdout[-1500:] + ran.stderr[-500:] if ran.returncode else "")

    def server(self, url, out):
        """Every check of a run against a server, by scenario."""
        runs = (
            [["--scenario", name, "--spec-version", REVISION] for name in IN_SHORT]
            if self.short
            else [["--requirements", REVISION]]
        )
        ends = [self.run(["server", "--url", url, *more], out, 900) for more in runs]
        found = {}
        for file in sorted(out.glob("server-*/checks.json")):
            scenario = re.match(r"server-(.*)-\d{4}-\d\d-\d\dT", file.parent.name)[1]
            found[scenario] = json.loads(file.read_text())
        return {"code": max(code for code, _ in ends), "checks": found, "said": "".join(said for _, said in ends)}

    def client(self, command, out):
        """The scenarios in which the suite is the server. Those of auth/ need OAuth, which the gateway's client has not."""
        found = {}
        for scenario in self.scored_client:
            if scenario.startswith("auth/"):
                continue
            more = ["--command", command, "--scenario", scenario, "--spec-version", REVISION]
            _, said = self.run(["client", *more], out, 120)
            files = list(out.glob(f"{scenario}-2*/checks.json"))
            found[scenario] = json.loads(files[0].read_text()) if files else []
            # The suite notes each request of its own server too.
            found[scenario] = [
                one for one in found[scenario] if not re.match("incoming-|outgoing-|server-info", one["id"])
            ]
            check(f"suite, as a client: {scenario} is green", is_green(found[scenario]), said or found[scenario])
        return found

    def direct_is_complete(self, direct):
        wanted = IN_SHORT if self.short else self.scored
        checks = direct["checks"]
        red = {name: faults(checks.get(name, [])) for name in wanted if not is_green(checks.get(name))}
        check(f"suite: directly, {len(wanted) - len(red)} of {len(wanted)} scored scenarios are green", not red, red)
        check("suite: the direct run ends well", direct["code"] == 0, direct["said"])

    def compare(self, where, direct, through):
        """Compares two runs; returns the differences that are told of, with what the suite says of each."""
        told = []
        check(f"suite, {where}: ends well", through["code"] == 0, through["said"])
        for scenario, expected in direct["checks"].items():
            found = through["checks"].get(scenario, [])
            one, other = statuses(expected), statuses(found)
            bad = []
            for name in sorted(set(one) | set(other)):
                if one.get(name) == other.get(name):
                    continue
                told.append((scenario, name, one.get(name), other.get(name), said_of(name, found)))
                if not is_allowed(scenario in self.scored, other.get(name)):
                    bad.append(told[-1])
            check(f"suite, {where}: {scenario} has the same checks", not bad and bool(found), bad or through["said"])
            if scenario in self.scored and scenario not in OF_TRANSPORT:
                details = [normal([one.get("details") for one in checks]) for checks in (expected, found)]
                check(f"suite, {where}: {scenario} saw the same", details[0] == details[1], difference(*details))
        return told

    def report(self, file, versions, direct, runs, told, as_client):
        lines = [
            "# MCP conformance, directly and through the gateway",
            "",
            f"Written by `referees/mcp-conformance/run` on {datetime.date.today()}; not edited by hand.",
            "",
            "| what | version |",
            "|---|---|",
            *(f"| {name} | {number} |" for name, number in versions.items()),
            f"| requirements | {REVISION} |",
            "",
        ]
        columns = [direct, *runs.values()]
        for title, names in (("Scored", self.scored), ("Run and not scored", self.others)):
            lines += [f"## {title}", "", *table("scenario", "directly", *runs)]
            for name in names:
                lines.append(row(name, *(cell(column["checks"].get(name)) for column in columns)))
            green = [sum(is_green(column["checks"].get(name)) for name in names) for column in columns]
            lines += [row("**green**", *(f"**{n} of {len(names)}**" for n in green)), ""]
        lines += ["## The gateway as a client of the suite", "", *table("scenario", "through, http")]
        for name in self.scored_client:
            lines.append(row(name, cell(as_client[name]) if name in as_client else "not run: needs OAuth"))
        lines += ["", "## Differences", ""]
        rows = [(where, *one) for where, found in told.items() for one in found]
        if rows:
            lines += table("where", "scenario", "check", "directly", "through", "what the suite says")
        else:
            lines.append("None.")
        for where, scenario, name, one, other, said in rows:
            lines.append(row(where, scenario, name, counted(one), counted(other), said))
        lines += [
            "",
            f"The suite, the inspector and both clients together: {count['passed']} passed, {count['failed']} failed.",
            "",
        ]
        file.write_text("\n".join(lines))


def is_allowed(scored, found):
    """Whether a status may differ. What isn't scored may also be left out, since it tells of choices."""
    if found is None:
        return not scored
    return set(found) <= (GOOD if scored else GOOD | {"SKIPPED"})


def statuses(checks):
    """Statuses by check id; a scenario may use an id several times."""
    found = {}
    for one in checks:
        found.setdefault(one["id"], []).append(one["status"])
    return found


def faults(checks):
    return [one for one in checks if one["status"] not in GOOD]


def is_green(checks):
    return bool(checks) and not faults(checks)


def said_of(name, checks):
    for one in checks:
        if one["id"] == name:
            return one.get("errorMessage") or (one.get("details") or {}).get("message") or ""
    return ""


def row(*cells):
    return f"| {' | '.join(cells)} |"


def table(*head):
    return [row(*head), f"|{'---|' * len(head)}"]


def counted(statuses):
    if not statuses:
        return "not made"
    return ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses), reverse=True))


def cell(checks):
    if not checks:
        return "missing"
    return ("ok: " if is_green(checks) else "not ok: ") + counted([one["status"] for one in checks])
