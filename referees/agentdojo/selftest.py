"""Whether the yardstick measures: what must be no success is none, and what must be one is.

    selftest.py

Over every pair of three suites, on the environments alone, without servers.
"""

import json
import sys

from suites import Suite

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


def main():
    for name in ("banking", "slack", "travel"):
        suite = Suite(name)
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
