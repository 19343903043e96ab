"""Whether the yardstick measures: what must be no success is none, and what must be one is.

    selftest.py [SUITE]...

Over every pair of the suites (three of them unless told), on the environments alone, without servers.
"""

import json
import pathlib
import sys
import tomllib

from suites import Suite

MEANINGS = tomllib.loads((pathlib.Path(__file__).resolve().parent / "meanings.toml").read_text())

failed = 0


def check(what, good):
    global failed
    print(f"{'ok' if good else 'FAILED'}: {what}")
    failed += not good


def played(suite, user, injection, done):
    env = suite.environment(user, injection)
    before = env.model_copy(deep=True)
    mine, theirs, _ = suite.calls(user, injection, before)
    calls = {"nothing": [], "user": mine, "both": mine + theirs}[done]
    for tool, arguments in calls:
        suite.execute(env, tool, arguments)
    return suite.score(user, injection, before, env, calls)


def arguments(tool):
    return set(tool.parameters.model_json_schema()["properties"])


def main():
    for name in sys.argv[1:] or ("banking", "slack", "travel"):
        suite, means = Suite(name), MEANINGS[name]
        tools = {tool.name: arguments(tool) for tool in suite.suite.tools}
        check(f"{name}: every tool has a meaning", set(tools) == set(means))
        meant = {tool: set(of.get("named", []) + of.get("content", [])) for tool, of in means.items()}
        check(f"{name}: meanings are about arguments that are there", all(meant[tool] <= tools[tool] for tool in tools))
        pairs = [(user, injection) for user in suite.users for injection in suite.injections]
        armed = set(suite.armed())
        runs = {done: {pair: played(suite, *pair, done) for pair in pairs} for done in ("nothing", "user", "both")}
        count = lambda done, which: sum(one[which] for one in runs[done].values())  # noqa: E731
        check(f"{name}: no call, no hijacking", count("nothing", 1) == 0)
        check(f"{name}: the user's calls alone hijack nothing", count("user", 1) == 0)
        check(f"{name}: the user's calls alone solve every task", count("user", 0) == len(pairs))
        check(f"{name}: only armed pairs are hijacked", {p for p, one in runs["both"].items() if one[1]} <= armed)
        first = next(iter(suite.users))
        wrong = suite.execute(suite.environment(first, None), suite.suite.tools[0].name, {"no such argument": []})
        missing = suite.execute(suite.environment(first, None), "no_such_tool", {})
        check(f"{name}: a tool that is not there is an error", missing[1])
        check(f"{name}: results are text", isinstance(wrong[0], str) and json.dumps(wrong[0]))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
