"""Counting checks, and comparing what came directly with what came through Tipstaff."""

import sys

count = {"passed": 0, "failed": 0}


def check(name, good, why=""):
    if good:
        count["passed"] += 1
        print(f"ok    {name}", flush=True)
    else:
        count["failed"] += 1
        print(f"FAIL  {name}  {str(why)[:1200]}", flush=True)


def finish():
    print(f"{count['passed']} passed, {count['failed']} failed")
    sys.exit(1 if count["failed"] else 0)


def normal(value):
    """Without what Tipstaff adds to `_meta`."""
    if isinstance(value, dict):
        value = {name: normal(inner) for name, inner in value.items()}
        meta = value.get("_meta")
        if isinstance(meta, dict):
            meta = {name: inner for name, inner in meta.items() if not name.startswith("tipstaff/")}
            value.pop("_meta")
            if meta:
                value["_meta"] = meta
        return value
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    return value


def difference(one, other, place=""):
    """The first place where two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(set(one) | set(other)):
            if one.get(name) != other.get(name):
                return difference(one.get(name), other.get(name), f"{place}/{name}")
    if isinstance(one, list) and isinstance(other, list):
        for at, (first, second) in enumerate(zip(one, other)):
            if first != second:
                return difference(first, second, f"{place}/{at}")
        return f"{place}: directly {len(one)} elements, through {len(other)}"
    return f"{place}: directly {one!r}, through {other!r}"
