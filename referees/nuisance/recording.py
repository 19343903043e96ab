"""A recorded session as events: what its user wrote, what its agent called, and what came back.

Read from the JSON lines that Claude Code keeps of a session, or from what OpenCode exports of one. Folders of the
recording become folders of a scratch home, so that `~`, relative paths and the session's repository mean what they
meant.
"""

import dataclasses
import datetime
import json
import re

PAUSE_S = 300
"""Between two lines of a recording, a longer time is a pause of its user and counts nothing."""
OF_CLIENT = ("<", "[Request interrupted", "This session is being continued", "Caveat:", "/")
DECLINED = ("The user doesn't want to", "[Request interrupted by user for tool use]")
HOME = re.compile(r"^(/Users/[^/]+|/home/[^/]+|/root)(?=/|$)")


@dataclasses.dataclass
class Event:
    kind: str  # "prompt", "call" or "result"
    cwd: str
    id: str = ""
    tool: str = ""
    input: dict = dataclasses.field(default_factory=dict)
    text: object = None
    failed: bool = False
    at: float = 0.0  # seconds, of the line that it is from


@dataclasses.dataclass
class Recording:
    events: list
    declined: set
    home: str
    root: str
    minutes: float
    span: float


def lines(data):
    for line in data.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue  # a line that was cut off
        if isinstance(one, dict):
            yield one


def messages(one):
    """The messages of a line: its own, and that of an agent which the session's agent started."""
    if one.get("type") in ("user", "assistant"):
        yield one["type"], one.get("message"), one, one.get("isSidechain") or one.get("isMeta")
    inner = one.get("data")
    if one.get("type") == "progress" and isinstance(inner, dict) and inner.get("type") == "agent_progress":
        said = inner.get("message")
        if isinstance(said, dict) and isinstance(said.get("message"), dict):
            yield said.get("type"), said["message"], said, True


def words(content):
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return ""


def read(data):
    """A recording of either client."""
    if re.match(rb'\s*{\s*"info"', data):
        return opencode(json.loads(data))
    events, declined, folders, times = [], set(), {}, []
    called, ended, cwd, at = set(), set(), "", 0.0
    for one in lines(data):
        cwd = one.get("cwd") or cwd
        if one.get("cwd"):
            folders[cwd] = folders.get(cwd, 0) + 1
        if isinstance(one.get("timestamp"), str) and cwd:
            times.append(moment(one["timestamp"]))
            at = times[-1]
        for role, message, line, inner in messages(one):
            content = message.get("content") if isinstance(message, dict) else None
            parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
            if role == "assistant":
                for part in parts:
                    if part.get("type") == "tool_use" and part.get("id") not in called:
                        called.add(part.get("id"))
                        events.append(Event("call", cwd, part["id"], part["name"], part.get("input") or {},
                                            at=at))
                continue
            results = [part for part in parts if part.get("type") == "tool_result"]
            for part in results:
                if part.get("tool_use_id") not in called or part["tool_use_id"] in ended:
                    continue
                ended.add(part["tool_use_id"])
                text = words(part.get("content"))
                if text.startswith(DECLINED):
                    declined.add(part["tool_use_id"])
                kept = line.get("toolUseResult") if len(results) == 1 else None
                failed = bool(part.get("is_error"))
                events.append(Event("result", cwd, part["tool_use_id"], text=text if failed or not kept else kept,
                                    failed=failed))
            text = words(content).strip()
            if not results and not inner and text and not text.startswith(OF_CLIENT):
                events.append(Event("prompt", cwd, text=text))
    return Recording(events, declined, *place(folders), *duration(times))


OPENCODE = {
    # The tool of the same kind in Claude Code, and its names for the arguments.
    "bash": ("Bash", {}),
    "read": ("Read", {"filePath": "file_path"}),
    "write": ("Write", {"filePath": "file_path"}),
    "edit": ("Edit", {"filePath": "file_path"}),
    "grep": ("Grep", {"include": "glob"}),
    "glob": ("Glob", {}),
    "list": ("LS", {}),
    "apply_patch": ("apply_patch", {"patchText": "patch"}),
    "webfetch": ("WebFetch", {}),
    "websearch": ("WebSearch", {}),
    "codesearch": ("WebSearch", {}),
    "task": ("Task", {}),
    "todowrite": ("TodoWrite", {}),
}


def opencode(whole):
    folder, inner = whole["info"]["directory"], "parentID" in whole["info"]
    events, times = [], []
    for message in whole["messages"]:
        times += [one / 1000 for one in message["info"].get("time", {}).values()]
        for part in message.get("parts", []):
            if part.get("type") == "text" and message["info"]["role"] == "user" and not inner:
                events.append(Event("prompt", folder, text=part["text"]))
            if part.get("type") != "tool":
                continue
            state, number = part["state"], f"call-{len(events)}"
            at = state.get("time", {}).get("start", 0) / 1000
            tool, names = OPENCODE.get(part["tool"], (part["tool"], {}))
            given = {names.get(name, name): value for name, value in (state.get("input") or {}).items()}
            events.append(Event("call", folder, number, tool, given, at=at))
            failed = state.get("status") == "error"
            events.append(Event("result", folder, number, text=state.get("error" if failed else "output") or "",
                                failed=failed))
            times += [state["time"][name] / 1000 for name in ("start", "end") if name in state.get("time", {})]
    return Recording(events, set(), *place({folder: 1}), *duration(times))


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def duration(times):
    """Minutes at work, and minutes from the first line to the last."""
    times = sorted(times)
    gaps = [after - before for before, after in zip(times, times[1:])]
    return sum(gap for gap in gaps if gap <= PAUSE_S) / 60, sum(gaps) / 60


def place(folders):
    """Home and repository: the folder that most lines name, or the widest one around it below the home."""
    most = max(folders, key=folders.get, default="")
    found = HOME.match(most)
    home = found.group(1) if found else ""
    around = [folder for folder in folders if (most + "/").startswith(folder.rstrip("/") + "/")]
    around = [folder for folder in around if folder not in ("", "/", home)]
    return home, min(around, key=len, default=most)


class Moved:
    """Recorded paths as paths of a scratch home."""

    def __init__(self, recording, home):
        self.moves = []
        if recording.home:
            self.moves.append((self.whole(recording.home), str(home)))
        else:
            self.moves.append((self.whole(recording.root), str(home / "work")))

    @staticmethod
    def whole(path):
        return re.compile(r"(?<![\w.-])" + re.escape(path) + r"(?![\w.-])")

    def __call__(self, value):
        if isinstance(value, str):
            for before, after in self.moves:
                value = before.sub(lambda _, after=after: after, value)
            return value
        if isinstance(value, list):
            return [self(one) for one in value]
        if isinstance(value, dict):
            return {name: self(one) for name, one in value.items()}
        return value
