"""The client of a replayed session: asks the hook, in a process of its own, because a session is known by the process
that starts its hooks, and because Tipstaff takes no approval from an agent or what it started.

One JSON line in ({"event", "home", "user"}), one out ({"code", "out", "err"}).
"""

import json
import os
import subprocess
import sys

for line in sys.stdin:
    asked = json.loads(line)
    environment = {"PATH": os.environ["PATH"], "HOME": asked["user"], "TIPSTAFF_HOME": asked["home"]}
    ran = subprocess.run([os.environ["TIPSTAFF"], "hook", "--wait", "60"], input=json.dumps(asked["event"]),
                         capture_output=True, text=True, env=environment, cwd=asked["user"])
    print(json.dumps({"code": ran.returncode, "out": ran.stdout, "err": ran.stderr}), flush=True)
