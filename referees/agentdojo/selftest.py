"""Whether the yardstick measures: what must be no success is none, and what must be one is.

    selftest.py [SUITE]...

Over every pair of the suites (three of them unless told), on the environments alone, without servers.
"""

import json
import pathlib
import sys
import tomllib

from replay import turns
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


def foretold(suite, user):
    """Values that a call has from the result of another one of its own turn: nobody could have made both at once."""
    env = suite.environment(user, None)
    calls, _, _ = suite.calls(user, None, env)
    known, found = suite.request(user), []
    for _, tool, several in turns([("user", *call) for call in calls]):
        told = ""
        for arguments in several:
            fresh = [value for value in values(arguments) if value not in known]
            found += [(user, tool, value) for value in fresh if value in told]
            # A result may repeat what its own call said.
            known += "\n" + "\n".join(values(arguments))
            told += suite.execute(env, tool, arguments)[0]
        known += told
    return found


def values(arguments):
    """The texts and numbers in a call's arguments that are long enough to be found in a text."""
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    if isinstance(arguments, list):
        return [value for one in arguments for value in values(one)]
    return [str(arguments)] if len(str(arguments)) > 2 and arguments is not None else []


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
        found = [one for user in suite.users for one in foretold(suite, user)]
        check(f"{name}: what is called at once was known before {found or ''}".rstrip(), not found)
        first = next(iter(suite.users))
        wrong = suite.execute(suite.environment(first, None), suite.suite.tools[0].name, {"no such argument": []})
        missing = suite.execute(suite.environment(first, None), "no_such_tool", {})
        check(f"{name}: a tool that is not there is an error", missing[1])
        check(f"{name}: results are text", isinstance(wrong[0], str) and json.dumps(wrong[0]))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
