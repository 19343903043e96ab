"""meanings.toml as Tipstaff's configuration: one `[meaning."SERVER/TOOL"]` for each tool."""

import json
import pathlib
import tomllib

TIERS = {"read": 1, "write": 3, "outward": 4, "access": 4, "identity": 4, "money": 5, "irreversible": 5}


def config(text):
    lines = []
    for server, tools in tomllib.loads(text).items():
        for tool, means in tools.items():
            gives = (["untrusted"] if means["output"] == "outsiders" else []) + means.get("holds", [])
            lines += [
                f"[meaning.{json.dumps(f'{server}/{tool}')}]",
                f"tier = {TIERS[means['effect']]}",
                f"gives = {json.dumps(gives)}",
                f"sink = {json.dumps(sink(means))}",
                f"named = {json.dumps(['/' + name for name in means.get('named', [])])}",
                f"acts = {json.dumps(means.get('acts', []))}",
                "",
            ]
    return "\n".join(lines)


def sink(means):
    effect, leads = means["effect"], means.get("named")
    if effect == "read":
        return "external" if leads else "none"
    return "local" if effect in ("write", "identity", "irreversible") else "external"


if __name__ == "__main__":
    print(config((pathlib.Path(__file__).parent / "meanings.toml").read_text()))
