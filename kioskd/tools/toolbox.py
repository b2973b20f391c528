"""The tools of this kiosk as an endpoint sees them: what is offered, what is refused, and what is done only once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from attrs import define, field, frozen

from kioskd.config.schema import Settings
from kioskd.config.tool_schema import Action, Tools
from kioskd.dialogue import effects as f
from kioskd.dialogue.effects import Effect
from kioskd.dialogue.events import Event
from kioskd.endpoints.toolbox import Structured, ToolCall, ToolOffer
from kioskd.tools import arguments, command
from kioskd.tools.arguments import BadArgumentsError
from kioskd.tools.built_in import BuiltInTool, RefusedError
from kioskd.tools.command import NobodyKnowsError, NotStartedError, Ran
from kioskd.tools.runner import Runner

log = logging.getLogger(__name__)

CALLS_MAX = 16  # a turn
AT_ONCE = 4
QUESTIONS_KEPT = 4  # a late call is of a turn or two before
_MADE_TWICE = "it was called already in this turn; what came of that is not known"
_MADE_OTHERWISE = "this came of the same tool before, called with these arguments; it is not called twice in a turn"
_NAME_SHOWN = 64


@frozen(eq=False, repr=False)
class _Tool:
    """What stands behind a name."""

    offer: ToolOffer
    side_effects: bool
    does: BuiltInTool | Action


@define(eq=False, repr=False)
class _Once:
    """A call that is not made again for the same question. `asking`: how often that was asked by then."""

    asking: int
    given: Mapping[str, Any]
    done: trio.Event = field(factory=trio.Event)
    result: str | None = None


@define(eq=False, repr=False)
class _Question:
    """The calls that a question has brought about, whatever turns and endpoints it has been asked in."""

    calls: int = 0
    asking: int = 1
    made: dict[tuple[str, str], _Once] = field(factory=dict)

    def before(self, name: str) -> _Once | None:
        """The last call of this name, of when it was asked before: asked again, a model words its call differently."""
        calls = [once for (called, _), once in self.made.items() if called == name and once.asking < self.asking]
        return calls[-1] if calls else None


class KioskTools:
    """The toolbox (see `endpoints.toolbox`). While `run` runs, a call that was begun ends whoever stops waiting for it.

    An observer of the daemon, from which it learns which turns are the same question.
    """

    def __init__(
        self, settings: Tools, runner_for: Callable[[Tools], Runner], built_in: Mapping[str, BuiltInTool] | None = None
    ) -> None:
        self._runner_for = runner_for
        self._built_in = dict(built_in or {})
        self._nursery: trio.Nursery | None = None
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._questions: dict[int, _Question] = {}  # by turn
        self._latest = 0
        self._use(settings)

    def _use(self, settings: Tools) -> None:
        self._settings = settings
        self._runner = self._runner_for(settings)
        mine = [self._built_in[each.value] for each in settings.built_in if each.value in self._built_in]
        tools = [_Tool(each.offer, each.side_effects, each) for each in mine] + [
            _Tool(ToolOffer(each.name, each.description, command.schema_of(settings, each)), each.side_effects, each)
            for each in settings.actions
        ]
        self._tools = {each.offer.name: each for each in tools}
        self._takes_answers = self._tools.pop(settings.answer_action or "", None)

    def lend(self, built_in: Mapping[str, BuiltInTool]) -> None:
        """What the kiosk itself can do, by name: offered as far as the settings want it."""
        self._built_in = dict(built_in)
        self._use(self._settings)

    def adjust(self, settings: Settings) -> None:
        """See `kioskd.pulse.Adjustable`."""
        if settings.tools != self._settings:
            self._use(settings.tools)

    @property
    def offers(self) -> Sequence[ToolOffer]:
        """See Toolbox."""
        return tuple(each.offer for each in self._tools.values())

    @property
    def structured(self) -> Structured | None:
        """See Toolbox."""
        schema = self._settings.answer_schema
        if schema is None or self._takes_answers is None:
            return None
        return Structured(schema, self._settings.answer_spoken)

    async def run(self) -> None:
        """Until cancelled, what was begun goes on whatever happens to an endpoint."""
        try:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def __call__(self, what: Event | Effect, now: float) -> None:
        """An observer of the daemon: turns in which the same question is asked again share what was done."""
        match what:
            case f.Ask(turn):
                self._latest = turn
            case f.AskAgain(turn, cut_turn):
                self._again(turn, cut_turn)
            case f.ContinueAnswer(turn):
                self._again(turn, self._latest)

    def _again(self, turn: int, cut_turn: int) -> None:
        question = self._questions[turn] = self._question(cut_turn)
        question.asking += 1
        self._latest = turn

    def _question(self, turn: int) -> _Question:
        question = self._questions.setdefault(turn, _Question())
        while len(self._questions) > QUESTIONS_KEPT:
            del self._questions[next(iter(self._questions))]
        return question

    # A call

    async def call(self, turn: int, call: ToolCall) -> str:
        """See Toolbox."""
        tool = self._tools.get(call.name)
        if tool is None:
            shown = ascii(call.name[:_NAME_SHOWN])
            log.warning("turn %d: refused: the model calls %s, which the settings don't declare", turn, shown)
            return _error("there is no such tool")
        question = self._question(turn)
        question.calls += 1
        if question.calls > CALLS_MAX:
            log.warning("turn %d: refused: %s, after %d calls in this turn", turn, call.name, CALLS_MAX)
            return _error("too many calls in this turn; answer with what you have")
        return await self._checked(turn, tool, call.arguments)

    async def answer(self, turn: int, text: str) -> None:
        """See Toolbox."""
        if self._takes_answers is None:
            log.warning("turn %d: an answer goes nowhere: tools.answer_action was taken out of the settings", turn)
        else:
            await self._checked(turn, self._takes_answers, text)

    async def _checked(self, turn: int, tool: _Tool, text: str) -> str:
        try:
            given = arguments.read(text)
            if not (isinstance(tool.does, Action) and self._runner.checks):
                arguments.hold_against(tool.offer.parameters, given)
            return await self._once(self._question(turn), turn, tool, given)
        except BadArgumentsError as error:
            return _refused(turn, tool, error)
        except Exception:
            log.exception("turn %d: a tool failed", turn)
            return _error("it failed")

    async def _once(self, question: _Question, turn: int, tool: _Tool, given: Mapping[str, Any]) -> str:
        """Do it, or, where it was done for this question already, tell what came of it."""
        name, as_asked = tool.offer.name, arguments.alike(given)
        once = question.made.get((name, as_asked)) or question.before(name)
        try:
            if once is None:
                once = _Once(question.asking, given)
                if tool.side_effects:
                    question.made[name, as_asked] = once
                if self._nursery is not None:
                    self._nursery.start_soon(self._perform, question, once, turn, tool)
                else:
                    await self._perform(question, once, turn, tool)
            else:
                log.info("turn %d: %s is not called twice in a turn", turn, name)
            await once.done.wait()
        except trio.Cancelled:
            question.asking += 1  # whoever asked has gone: a call that still comes is of the turn asked anew
            raise
        if once.result is None:
            return _error(_MADE_TWICE)
        if arguments.alike(once.given) == as_asked:
            return once.result
        return json.dumps({**json.loads(once.result), "note": _MADE_OTHERWISE, "arguments": once.given})

    async def _perform(self, question: _Question, once: _Once, turn: int, tool: _Tool) -> None:
        name, given, begun = tool.offer.name, once.given, trio.current_time()
        try:
            if isinstance(tool.does, Action):
                async with self._limiter:
                    once.result = _told(await self._runner.run(tool.does, arguments.written(given)), tool.does)
            else:
                once.result = json.dumps({"result": tool.does.do(turn, given)})
            log.info("turn %d: %s: done within %.1f s", turn, name, trio.current_time() - begun)
        except (NotStartedError, RefusedError, BadArgumentsError) as error:
            question.made.pop((name, arguments.alike(given)), None)  # nothing was done: it may be tried again
            if isinstance(error, BadArgumentsError):
                once.result = _refused(turn, tool, error)
            else:
                log.warning("turn %d: %s was not done: %s", turn, name, error)
                once.result = _error(str(error) if isinstance(error, RefusedError) else "it can't be done now")
        except NobodyKnowsError as error:
            log.warning("turn %d: %s: %s", turn, name, error)
            once.result = _error("nobody knows whether it was done")
        except Exception:
            log.exception("turn %d: %s failed", turn, name)
            once.result = _error("it failed")
        finally:
            once.done.set()


def _told(ran: Ran, action: Action) -> str:
    """What the model is told of it, as JSON."""
    if ran.timed_out:
        return _error(f"it took longer than {action.longest_s:g} s and was stopped")
    if ran.code != 0:
        return json.dumps({"error": f"it failed (exit code {ran.code})", "output": ran.output[:1000]})
    try:
        value = json.loads(ran.output, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = ran.output
    return json.dumps({"result": value, "truncated": True} if ran.truncated else {"result": value})


def _refused(turn: int, tool: _Tool, error: BadArgumentsError) -> str:
    log.warning("turn %d: refused: the arguments of %s: %s", turn, tool.offer.name, error.place)
    return _error(f"the arguments are refused: {error}")


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _error(words: str) -> str:
    return json.dumps({"error": words})
