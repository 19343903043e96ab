"""The referee's side of an agent and of the person who approves."""

import json
import pathlib
import queue
import subprocess
import sys
import threading
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
        self.lines = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.child.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def say(self, what):
        self.child.stdin.write(json.dumps(what) + "\n")
        self.child.stdin.flush()

    def hear(self, what, wait_s=LIMIT_S):
        line = self.lines.get(timeout=wait_s)
        if line is None:
            raise EOFError(f"the agent ended at {what}")
        return line

    def ask(self, what):
        self.say(what)
        return self.hear(what)

    def turn(self, calls, person=None):
        """Has calls made at once. The answers in the order of the calls, and how often the person was asked.

        The person looks when nothing goes on without: everything that has no answer yet waits in the queue.
        """
        what, answers, asked = {"calls": calls}, {}, 0
        self.say(what)
        until = time.monotonic() + LIMIT_S
        while len(answers) < len(calls):
            try:
                answer = self.hear(what, LOOK_S if person else LIMIT_S)
                answers[answer.pop("number")] = answer
            except queue.Empty:
                if time.monotonic() > until:
                    raise TimeoutError(f"no answer to {what}") from None
                if person:
                    asked += person.look(len(calls) - len(answers))
        return [answers[number] for number in range(len(calls))], asked

    def end(self):
        self.child.stdin.close()
        self.child.wait(LIMIT_S)


class Approver:
    """A person at the command line, who says yes or no to each held call, to all that wait in one go."""

    def __init__(self, tipstaff, home, may):
        self.command, self.may = [tipstaff, "--home", str(home), "--json"], may
        self.held = []

    def look(self, left):
        """Answers the held calls, oldest first, if they are all that is left. How many questions that was."""
        waiting = json.loads(self.run("queue"))
        if not waiting or len(waiting) < left:
            return 0
        said = {"approve": [], "refuse": []}
        for hold in waiting:
            call = hold["action"]["tool"], hold["action"]["parameters"]
            self.held.append(call)
            said["approve" if self.may(*call) else "refuse"].append(hold["of"])
        for word, ids in said.items():
            if ids:
                self.run(word, *ids)
        return 1

    def run(self, *words):
        ran = subprocess.run([*self.command, *words], capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"{words}: {ran.stdout}{ran.stderr}")
        return ran.stdout
