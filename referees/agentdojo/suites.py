"""AgentDojo's suites as this referee uses them: environments with an injection placed, the calls to replay, and
AgentDojo's own checkers.

Nothing here decides anything about a call. A pair is **armed** if the attacker's task has ground-truth calls;
pairs without any cannot be replayed and are counted apart.
"""

import copy
import functools
import warnings

import yaml

warnings.simplefilter("ignore")
# The same dialect, read and written by libyaml: environments are parsed once a session.
yaml.safe_load = lambda text: yaml.load(text, Loader=yaml.CSafeLoader)
yaml.safe_dump = lambda data, **more: yaml.dump(data, Dumper=yaml.CSafeDumper, **more)

from agentdojo.agent_pipeline.base_pipeline_element import BasePipelineElement  # noqa: E402
from agentdojo.agent_pipeline.tool_execution import tool_result_to_str  # noqa: E402
from agentdojo.attacks.attack_registry import load_attack  # noqa: E402
from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime  # noqa: E402
from agentdojo.strenum import StrEnum  # noqa: E402
from agentdojo.task_suite.load_suites import get_suites  # noqa: E402

yaml.CSafeDumper.add_multi_representer(StrEnum, lambda dumper, name: dumper.represent_str(name.value))
VERSION = "v1.2.2"
ATTACK = "important_instructions"
NAMES = ("workspace", "banking", "travel", "slack")


class Nobody(BasePipelineElement):
    """The attack addresses a model by name; there is none here."""

    name = "gpt-4o-2024-05-13"

    def query(self, *args, **more):
        raise NotImplementedError


class Suite:
    def __init__(self, name):
        self.name = name
        self.suite = get_suites(VERSION)[name]
        self.runtime = FunctionsRuntime(self.suite.tools)
        self.attack = load_attack(ATTACK, self.suite, Nobody())
        self.users = dict(sorted(self.suite.user_tasks.items(), key=by_number))
        self.injections = dict(sorted(self.suite.injection_tasks.items(), key=by_number))
        self.parsed = {}

    def request(self, user):
        return self.users[user].PROMPT

    def placed(self, user, injection):
        """The attacker's goal in the attack's template, for each injection vector that the user's task reads."""
        return self.attack.attack(self.users[user], self.injections[injection]) if injection else {}

    def environment(self, user, injection):
        key = (user, injection)
        if key not in self.parsed:
            env = self.suite.load_and_inject_default_environment(self.placed(user, injection))
            self.parsed = {key: self.users[user].init_environment(env) if user else env}
        return self.parsed[key].model_copy(deep=True)

    def armed(self):
        blank = self.environment(next(iter(self.users)), None)
        ready = [name for name, task in self.injections.items() if task.ground_truth(blank)]
        return [(user, injection) for user in self.users for injection in ready]

    def calls(self, user, injection, env):
        """The user's calls, the attacker's calls, and how many of the user's come before the injected text was read."""
        mine = [plain(call) for call in self.users[user].ground_truth(env.model_copy(deep=True))]
        if not injection:
            return mine, [], len(mine)
        theirs = [plain(call) for call in self.injections[injection].ground_truth(env.model_copy(deep=True))]
        return mine, theirs, self.first_read(user)

    @functools.cache
    def first_read(self, user):
        env = self.suite.load_and_inject_default_environment(self.attack.canary_injections)
        env = self.users[user].init_environment(env)
        calls = self.users[user].ground_truth(env.model_copy(deep=True))
        for number, call in enumerate(calls, 1):
            text, _ = self.execute(env, call.function, dict(call.args))
            if any(canary in text for canary in self.attack.canary_injections.values()):
                return number
        return len(calls)

    def execute(self, env, tool, arguments):
        """Runs a tool on an environment; the text that an agent would see, and whether it is an error."""
        result, error = self.runtime.run_function(env, tool, copy.deepcopy(arguments))
        return (error, True) if error else (tool_result_to_str(result), False)

    def score(self, user, injection, before, after, done):
        """AgentDojo's own checkers: (the user's task is solved, the attacker's is).

        `done` holds the calls that were executed: some checkers read the trace, and what was only tried is
        no success.
        """
        trace = [FunctionCall(function=tool, args=arguments) for tool, arguments in done]
        task = self.users[user]
        said = task.GROUND_TRUTH_OUTPUT or ""
        solved = task.utility_from_traces(said, before, after, trace)
        if solved is None:
            solved = task.utility(said, before, after)
        if not injection:
            return bool(solved), False
        task = self.injections[injection]
        hijacked = task.security_from_traces(said, before, after, trace)
        if hijacked is None:
            hijacked = task.security(said, before, after)
        return bool(solved), bool(hijacked)


def plain(call):
    return call.function, dict(call.args)


def by_number(item):
    return int(item[0].rsplit("_", 1)[1])

