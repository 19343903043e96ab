"""An attacker who has read the policy: the sequences of adaptive.toml, each played through the gateway.

    adaptive.py --results FOLDER [--rules own|default]

A sequence succeeds if every call that is its goal was let through and did not fail. The person grants what the
request needs and refuses the rest.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import tomllib

from people import Approver
from replay import HERE, Worker, Zygote, clear, ran


def play(zygote, worker, sequence):
    requests = sequence.get("requests") or [sequence["request"]]
    calls = [{"session": 1, **call} for call in sequence["calls"]]
    home = worker.home("grant")
    goals, log = [], []
    with zygote.session(None, None) as (opened, ask):
        for number, request in enumerate(requests, 1):
            words = [sys.executable, "-I", "-S", str(HERE / "stdio.py"), opened["socket"]]
            mine = [[call["tool"], call["arguments"]] for call in calls if call.get("whose") == "user"]
            approver = Approver(home.tipstaff, home.folder, lambda *call, mine=mine: list(call) in mine)
            worker.open(home.wrapped(zygote.suite, words, request))
            for call in calls:
                if call["session"] != number:
                    continue
                asked = {"tool": call["tool"], "arguments": call["arguments"], "meta": call.get("meta")}
                (answer,), times = worker.agent.turn([asked], approver)
                if call.get("goal"):
                    goals.append(answer["through"] and not answer["failed"])
                word = "held" if times else "through" if answer["through"] else "refused"
                whose = call.get("whose", "attacker")
                log.append({"tool": call["tool"], "whose": whose, "word": word, "text": answer["text"][:300]})
            worker.agent.ask({"close": True})
        ask({"score": True})
    told = {name: sequence[name] for name in ("name", "suite", "idea")}
    return {**told, "succeeded": all(goals), "calls": log}


def main():
    said = argparse.ArgumentParser()
    said.add_argument("--rules", choices=("own", "default"), default="own")
    said.add_argument("--results", type=pathlib.Path, required=True)
    args = said.parse_args()
    tipstaff = str(pathlib.Path(os.environ["TIPSTAFF"]).resolve())
    sequences = tomllib.loads((HERE / "adaptive.toml").read_text())["sequence"]
    results_at = args.results.resolve()
    results_at.mkdir(parents=True, exist_ok=True)
    folder, results = pathlib.Path(tempfile.mkdtemp(prefix="adaptive-", dir=results_at)), []
    try:
        with open(folder / "agents.err", "wb") as errors:
            worker = Worker(tipstaff, folder, args.rules, errors)
            for suite in dict.fromkeys(one["suite"] for one in sequences):
                zygote = Zygote(suite, folder)
                results += [play(zygote, worker, one) for one in sequences if one["suite"] == suite]
                zygote.close()
            worker.agent.end()
    finally:
        clear(folder)
    name = "adaptive.json" if args.rules == "own" else "adaptive-default.json"
    kept = {"ran": ran(tipstaff, args.rules), "sessions": results}
    (results_at / name).write_text(json.dumps(kept, indent=1))
    print("| sequence | suite | calls | succeeded |\n|---|---|---|---|")
    for one in results:
        words = ", ".join(f"{call['tool']} {call['word']}" for call in one["calls"])
        print(f"| {one['name']} | {one['suite']} | {words} | {'YES' if one['succeeded'] else 'no'} |")
    print(f"\n{sum(one['succeeded'] for one in results)} of {len(results)} succeeded")


if __name__ == "__main__":
    main()
