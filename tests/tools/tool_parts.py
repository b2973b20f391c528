"""Actions that leave a trace, and a toolbox over them."""

import json
import sys

from kioskd.config.tool_schema import Action, Tools
from kioskd.endpoints.toolbox import ToolCall
from kioskd.tools.runner import ChildRunner
from kioskd.tools.toolbox import KioskTools

TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 200}},
    "required": ["text"],
    "additionalProperties": False,
}
COUNT = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["n"],
    "additionalProperties": False,
}
HANGS = {"type": "object", "properties": {"text": {"type": "string", "pattern": r"^(\w+\s?)+$"}}}
SCRIPT = """
import json, os, sys
given = sys.stdin.read()
with open({trace!r}, "a") as trace:
    trace.write(json.dumps({{"argv": sys.argv, "stdin": given, "cwd": os.getcwd(), "env": sorted(os.environ)}}) + "\\n")
{then}
"""


class Trace:
    """What was run: each command writes down how it was started, and by which arguments."""

    def __init__(self, folder):
        self.path = folder / "trace"
        self._folder = folder

    def action(self, name, parameters=None, then="print(json.dumps({'done': True}))", **fields):
        script = self._folder / f"{name}.py"
        script.write_text(SCRIPT.format(trace=str(self.path), then=then))
        command = (sys.executable, "-I", str(script), "--own")
        given = {} if parameters is None else {"parameters": parameters}
        return Action(name, f"does {name}", command, **given, **fields)

    @property
    def runs(self):
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line) for line in lines]


def toolbox(*actions, runner=None, built_in=None, **fields):
    return KioskTools(Tools(actions=actions, **fields), lambda _: runner or ChildRunner(), built_in)


def call(name, arguments="{}", call_id="call_1"):
    return ToolCall(call_id, name, arguments if isinstance(arguments, str) else json.dumps(arguments))
