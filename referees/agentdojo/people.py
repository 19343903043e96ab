"""The referee's side of an agent and of the person who approves."""

import json
import pathlib
import select
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 120
LOOK_S = 0.02


class Agent:
    """`agent.py` in a process of its own."""

    def __init__(self, errors):
        self.child = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "agent.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )

    def ask(self, what, meanwhile=None):
        self.child.stdin.write(json.dumps(what) + "\n")
        self.child.stdin.flush()
        until = time.monotonic() + LIMIT_S
        while not select.select([self.child.stdout], [], [], LOOK_S if meanwhile else LIMIT_S)[0]:
            if time.monotonic() > until:
                raise TimeoutError(f"no answer to {what}")
            meanwhile()
        line = self.child.stdout.readline()
        if not line:
            raise EOFError(f"the agent ended at {what}")
        return json.loads(line)

    def end(self):
        self.child.stdin.close()
        self.child.wait(LIMIT_S)


class Approver:
    """Answers held calls at the command line, and counts them."""

    def __init__(self, tipstaff, home):
        self.command = [tipstaff, "--home", str(home), "--json"]
        self.asked = 0

    def look(self, may):
        for held in json.loads(self.run("queue")):
            self.asked += 1
            self.run("approve" if may else "refuse", held["of"])

    def run(self, *words):
        ran = subprocess.run([*self.command, *words], capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"{words}: {ran.stdout}{ran.stderr}")
        return ran.stdout
