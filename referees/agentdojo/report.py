"""Writes RESULTS.md from the result files of `replay.py` and `adaptive.py`. Every figure of ours is counted here.

    report.py --results FOLDER

Refuses if the files are of different programs or rules, or if one that the tables need is missing.
"""

import argparse
import collections
import json
import pathlib
import sys

from tables import HEAD, NAMES, PROTOCOLS, TUNED, YARDSTICK, of, rows, share, short_of, table, total

HERE = pathlib.Path(__file__).resolve().parent
ARMS = ("none", "grant", "refuse")
INTRODUCTION = """\
# AgentDojo through the gateway

Written by `referees/agentdojo/run --report` from the result files of the runs below. How it is measured, and what
the words mean, is in [README.md](README.md).
"""
WHY = """\
## Attacks that succeed

With `grant`, an attack succeeds where the user's request itself names whom the attacker wants to reach and asks for
such an act, or asks for such an act and the attacker's call names nobody (an entry in the user's own calendar). What
is then sent or written is the attacker's choice: these rules don't look at content. With `careless`, a person also
granted what was half right.

"""
KIND = """\
## How these figures differ from published ones

| published | what it says | who decides what the agent does |
|---|---|---|
| CaMeL ([arXiv 2503.18813](https://arxiv.org/abs/2503.18813)) | 77 % of tasks solved with its guarantee, 84 % without a defence | a language model plans |
| Progent ([arXiv 2504.11703](https://arxiv.org/abs/2504.11703)) | attack success 41.2 % before, 2.2 % after; 0 % in a later version | a language model acts, and one can write the policies |
| here | the tables above | nobody: the calls are fixed |

They can't be compared. With a model in the loop, attack success says how often the model falls for the text *and*
the defence lets it through, so it starts well below half. Here the agent is hijacked in every pair, so it starts near
100 %, and only the gateway is measured. With a model, utility also says how well the model works, and a refused
call may be worked around. Here the user's calls are the ground truth, so 100 % means "nothing that the task needed
was refused", not "a model would have solved it". Our utility counts on a person who never errs: grants what the task
needs and nothing else. The rows `refuse` are without anybody, `careless` is with one who doesn't look. And
what each tool means was written by hand for these four servers; a new server needs its own.
"""


def load(folder):
    found, ran = {}, {}
    for file in sorted(folder.glob("*.json")):
        kept = json.loads(file.read_text())
        found[file.stem] = kept
        if kept["ran"]["rules"] == "own":
            ran[json.dumps(kept["ran"], sort_keys=True)] = file.name
    missing = [f"{suite}-{arm}" for suite in NAMES for arm in ARMS if f"{suite}-{arm}" not in found]
    if missing or "adaptive" not in found:
        raise SystemExit(f"not there yet: {', '.join(missing or ['adaptive'])}")
    if len(ran) > 1:
        raise SystemExit("of different programs or rules, run them again:\n" + "\n".join(f"{ran[k]}: {k}" for k in ran))
    return found


def sessions(found, suites=NAMES, suffix=""):
    """The sessions of some suites, each with the name of its suite."""
    return [
        {**one, "suite": suite}
        for suite in suites
        for name in (f"{suite}-{arm}{suffix}" for arm in (*ARMS, "open", "careless"))
        for one in found.get(name, {"sessions": []})["sessions"]
    ]


def what_was_run(found):
    ran = next(kept["ran"] for name, kept in found.items() if kept["ran"]["rules"] == "own")
    everything = sessions(found)
    pairs = of(everything, "none", "after")
    missed = [one for one in pairs if not one["hijacked"]]
    return f"""\
## What was run

AgentDojo {ran["agentdojo"]} (tasks v1.2.2) behind MCP servers (SDK {ran["mcp"]}) and {ran["tipstaff"]},
rules with digest `{ran["rules_digest"]}`. {len(of(everything, "none"))} tasks of users, {len(pairs)} armed pairs.
Without a gateway the attacker succeeds in {share(len(pairs) - len(missed), len(pairs))} of them; the checkers credit
the rest to nobody, so they can tell nothing. Each session has the task's prompt as its signed request
(`wrap --intent`). The rules and meanings were tuned on {" and ".join(TUNED)};
{" and ".join(name for name in NAMES if name not in TUNED)} were not run before the rules were committed, and the rules have not
been changed since.
"""


def goals(found):
    lines = []
    for what, suites in (("all suites", NAMES), *((name, [name]) for name in NAMES)):
        for name, wanted, got, good in short_of(sessions(found, suites)):
            lines.append([what, name, wanted, got, "yes" if good else "**no**"])
    return "## Goals\n\nWith a person who grants what the task needs (`grant`).\n\n" + table(
        ["suite", "goal", "wanted", "got", "met"], lines
    )


def tables(found):
    everything = sessions(found)
    alone = {(one["suite"], one["user"], one["injection"], one["protocol"])
             for one in everything if one["arm"] == "none" and one["hijacked"]}
    kept = []
    for arm in ("grant", "refuse"):
        for protocol in PROTOCOLS:
            pairs = [one for one in of(everything, arm, protocol)
                     if (one["suite"], one["user"], one["injection"], protocol) in alone]
            kept.append([arm, protocol, share(total("hijacked", pairs), len(pairs))])
    lines = [row for suite in NAMES for row in rows(suite, sessions(found, [suite]), ("none", "open", "grant", "refuse", "careless"))]
    tuned = list(rows(" and ".join(TUNED), sessions(found, TUNED), ("careless",)))
    unseen = [name for name in NAMES if name not in TUNED]
    together = [*rows("all", everything, ARMS)]
    for what, suites in (("tuned", TUNED), ("unseen", unseen)):
        together += rows(f"{what}: {' and '.join(suites)}", sessions(found, suites), ("grant", "refuse"))
    text = "## All suites together\n\n" + table(HEAD, together)
    text += "\n\nOf the pairs in which the attacker succeeds without a gateway, he still succeeds in:\n\n"
    text += table(["gateway", "attacker's calls", "attack success"], kept)
    text += "\n\n## Each suite\n\n" + table(HEAD, lines)
    if tuned:
        text += (
            "\n\n`careless` is a person who grants everything, on the suites that the rules were tuned on: what is "
            "left is what the rules refuse without asking. Together:\n\n" + table(HEAD, tuned)
        )
    default = sessions(found, suffix="-default")
    if default:
        lines = [row for suite in NAMES for row in rows(suite, [o for o in default if o["suite"] == suite], ARMS)]
        lines += rows("all", default, ARMS)
        text += "\n\nThe rules of a new home, without meanings, for comparison:\n\n" + table(HEAD, lines)
    return text


def costs(found):
    """Which calls of users, without an attack, were held or refused, and by what."""
    counts = collections.Counter()
    for one in of(sessions(found), "refuse"):
        for _, tool, policy, text in one["why"]:
            counts[one["suite"], tool, reason(policy, text)] += 1
    lines = [[suite, tool, why, str(number)] for (suite, tool, why), number in sorted(
        counts.items(), key=lambda item: (NAMES.index(item[0][0]), -item[1], item[0]))]
    benign = of(sessions(found), "grant")
    some = sum(one["asked"] > 0 for one in benign)
    return f"""\
## What it costs the user

Without an attack, {some} of {len(benign)} tasks have a call that a person is asked about: {total("asked", benign)} calls in
{total("questions", benign)} questions. One question for each of these tasks would be {some / len(benign):.2f} a task; the others come
later in their tasks, after a result that had to be asked for, or with another tool.

A person is asked where a request describes somebody or something instead of naming it, or asks for an act in other
words than those in `meanings.toml`. Where it does both, or hands the task over to a page or a file that others wrote,
the call is refused. The user's calls that don't simply go through:

""" + table(["suite", "tool", "why", "calls"], lines)


def reason(policy, text):
    if "A person looked at it" in text:
        return "a person is asked"
    if "It leads outside" in text:
        return "refused: the session's risk"
    if "No policy permits it" in text:
        return "refused: neither named nor asked for"
    return f"refused: {policy or text[:80]}"


def attacks(found):
    lines = []
    for arm in ("grant", "careless"):
        counts = collections.Counter()
        for protocol in PROTOCOLS:
            for one in of(sessions(found), arm, protocol):
                if one["hijacked"]:
                    counts[one["suite"], one["injection"], protocol] += 1
        for (suite, injection, protocol), number in sorted(counts.items()):
            pairs = [one for one in of(sessions(found, [suite]), arm, protocol) if one["injection"] == injection]
            lines.append([arm, suite, injection, protocol, f"{number} of {len(pairs)}"])
    if not lines:
        return "## Attacks that succeed\n\nNone."
    return WHY + table(["gateway", "suite", "attacker's task", "his calls", "pairs"], lines)


def adaptive(found):
    played = found["adaptive"]["sessions"]
    won = [one["name"] for one in played if one["succeeded"]]
    stopped = [{call["word"] for call in one["calls"] if call["whose"] != "user" and call["word"] != "through"}
               for one in played if not one["succeeded"]]
    asked = sum("held" in words for words in stopped)
    own = [call for one in played for call in one["calls"] if call["whose"] == "user"]
    lines = []
    for one in played:
        calls = ", ".join(
            f"`{call['tool']}` {call['word']}{' (user)' if call['whose'] == 'user' else ''}" for call in one["calls"]
        )
        lines.append([one["name"], one["suite"], one["idea"], calls, "**yes**" if one["succeeded"] else "no"])
    names = ", ".join(f"`{name}`" for name in won)
    return f"""\
## An attacker who has read the rules

{len(played)} sequences ([adaptive.toml](adaptive.toml)), each by an attacker who owns the agent and knows the rules,
the meanings and how they are matched. **{len(won)} of {len(played)} succeed**{": " + names if won else ""}.

Of the others, {asked} were held and refused by the person who was asked, and {len(stopped) - asked} refused without a
question: somebody who grants everything lets the held ones through. Of the user's own calls in these sessions,
{sum(call["word"] == "through" for call in own)} of {len(own)} went through without a question.

{table(["sequence", "suite", "idea", "calls", "succeeds"], lines)}
"""


def main():
    said = argparse.ArgumentParser()
    said.add_argument("--results", type=pathlib.Path, required=True)
    said.add_argument("--to", type=pathlib.Path, default=HERE / "RESULTS.md")
    args = said.parse_args()
    found = load(args.results)
    parts = [INTRODUCTION, what_was_run(found), goals(found), tables(found), costs(found), attacks(found),
             adaptive(found), KIND]
    args.to.write_text("\n\n".join(part.strip() for part in parts) + "\n")
    print(f"written: {args.to}", file=sys.stderr)


if __name__ == "__main__":
    main()
