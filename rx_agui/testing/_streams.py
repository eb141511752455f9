"""Legal AG-UI streams that no agent would send, from a seed.

What may happen in a stream happens in these, and close together: messages that
interleave, subagents, chunks that leave out whose they are, patches that fail, tests,
activities that do not replace, snapshots of messages in the middle of a message,
several runs in one response. Both stock clients accept every one of them;
tests/clients/test_streams.py asks them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from rx_agui.errors import require_positive

__all__ = ["random_stream"]

Event = dict[str, Any]
Owner = str | None

#: What has broken text before, besides ordinary text and none at all.
_TEXTS = ["a", "word ", "", "漢字", "👩‍🚀", "é", '"\\', "\n", "\u2028", "\0", "{", "}"]

#: Some are there, some not, some only after others have been added.
_PATHS = ["/n", "/a", "/l/-", "/l/0", "/l/7", "/o/k", "/o/j", "/o", "/x/y", "/o/k/z"]
#: Places that are set again and again: apart, in each other's way, or not there.
_AGAIN = [
    [("replace", "/n")],
    [("replace", "/missing")],
    [("add", "/l/-")],
    [("add", "/l/1")],
    [("add", "/o/new")],
    [("replace", "/n"), ("add", "/l/-")],
    [("replace", "/n"), ("replace", "/missing")],
    [("replace", "/o"), ("replace", "/o/k")],
    [("add", "/o/k"), ("replace", "/o/k/j")],
    [("add", "/l/0"), ("replace", "/l/2")],
    [("replace", "/l/3"), ("add", "/l/-")],
]
_ACTIVITY_PATHS = ["/n", "/l/-", "/x", "/x/y"]

_KEYS = ["k", "j", "with/slash", "with~tilde", "", "0"]


def random_stream(seed: int, events: int = 80) -> list[Event]:
    """Return a stream of one run or two, with about so many events.

    >>> stream = random_stream(1)
    >>> stream[0]["type"], stream[-1]["type"]
    ('RUN_STARTED', 'RUN_FINISHED')
    >>> stream == random_stream(1)
    True

    Args:
        seed: Equal seeds give equal streams.
        events: About how many; what was begun is ended behind them.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_positive(events=events)
    stream = _Stream(Random(seed))
    chance = stream.chance
    runs = chance.choice([1, 1, 2])
    for _ in range(runs):
        stream.run(events // runs)
    return stream.events


class _Stream:
    """What has been sent, and what may be sent next."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.events: list[Event] = []
        self._ids = 0
        #: Whose each is, by id: of messages and tool calls ever; the rest are open.
        self._owners: dict[str, Owner] = {}
        self._calls: dict[str, Owner] = {}
        self._activities: dict[str, Owner] = {}
        self._open: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}
        self._subagents: list[str] = []
        #: What each agent's chunks add to at present, as (kind, id); and what they did.
        self._lanes: dict[Owner, tuple[str, str]] = {}
        self._chunked: list[tuple[str, str, Owner]] = []

    def run(self, events: int) -> None:
        run = {"threadId": "thread-1", "runId": self._new("run")}
        self._say("RUN_STARTED", **run)
        self._lanes = {}
        if self.chance.random() < 0.8:
            self._snapshot()
        wanted = len(self.events) + events
        move = _Stream._go_on
        while len(self.events) < wanted:
            # Where nothing follows its like, nothing merges.
            if self.chance.random() < 0.4:
                (move,) = self.chance.choices(self._MOVES, self._WEIGHTS)
            move(self)
        for _, end in list(self._open.values()):
            end()
        for subagent in list(self._subagents):
            self._end_subagent(subagent)
        self._say("RUN_FINISHED", **run)
        self._lanes = {}

    # -- saying -------------------------------------------------------------------------

    def _new(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids}"

    def _say(self, type_: str, **fields: Any) -> None:
        event: Event = {"type": type_, **fields}
        if type_ not in ("RUN_STARTED", "RUN_FINISHED"):
            if self.chance.random() < 0.15:
                keys = self.chance.sample(["k", "l", "m"], self.chance.randint(1, 2))
                event["metadata"] = {key: self._value() for key in keys}
            if self.chance.random() < 0.08:
                event["rawEvent"] = self._value()
            if self.chance.random() < 0.2:
                event["timestamp"] = 1_700_000_000_000 + len(self.events)
        self.events.append(event)

    def _speak(self, type_: str, owner: Owner, **fields: Any) -> None:
        """Say it as that agent. It ends what the agent's chunks add to."""
        if owner is not None:
            fields["subagentRunId"] = owner
        self._lanes.pop(owner, None)
        self._say(type_, **fields)

    def _owner(self) -> Owner:
        return self.chance.choice([None, None, *self._subagents])

    def _as_of(self, owner: Owner) -> Owner:
        """Return the owner, or None: what continues may leave it out."""
        return owner if self.chance.random() < 0.7 else None

    def _text(self) -> str:
        return "".join(self.chance.choices(_TEXTS, k=self.chance.randint(0, 4)))

    def _value(self, depth: int = 0) -> Any:
        chance = self.chance
        kind = chance.randint(0, 5 if depth < 3 else 3)
        if kind == 4:
            return [self._value(depth + 1) for _ in range(chance.randint(0, 4))]
        if kind == 5:
            keys = chance.sample(_KEYS, chance.randint(0, 4))
            return {key: self._value(depth + 1) for key in keys}
        return [chance.randint(-9, 99), 0.5, self._text(), None][kind]

    # -- messages, tool calls, reasoning --------------------------------------------------

    def _message(self) -> None:
        id, owner = self._new("message"), self._owner()
        role = self.chance.choice(["assistant", "assistant", "user", "system"])
        self._owners[id] = owner
        self._speak("TEXT_MESSAGE_START", owner, messageId=id, role=role)
        self._begun(id, owner, "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "messageId")

    def _call(self) -> None:
        id, owner = self._new("call"), self._owner()
        self._calls[id] = owner
        more = {}
        parents = [parent for parent, whose in self._owners.items() if whose == owner]
        if parents and self.chance.random() < 0.5:
            more["parentMessageId"] = self.chance.choice(parents)
        self._speak(
            "TOOL_CALL_START", owner, toolCallId=id, toolCallName="look", **more
        )
        self._begun(id, owner, "TOOL_CALL_ARGS", "TOOL_CALL_END", "toolCallId")

    def _result(self) -> None:
        if self._calls:
            id, owner = self.chance.choice(list(self._calls.items()))
            said = {"toolCallId": id, "content": self._text(), "role": "tool"}
            self._speak(
                "TOOL_CALL_RESULT", owner, messageId=self._new("result"), **said
            )

    def _reasoning(self) -> None:
        id, owner = self._new("reasoning"), self._owner()
        self._owners[id] = owner
        spans = self.chance.random() < 0.5
        if spans:
            self._speak("REASONING_START", owner, messageId=id)
        self._speak("REASONING_MESSAGE_START", owner, messageId=id, role="reasoning")
        self._begun(
            id,
            owner,
            "REASONING_MESSAGE_CONTENT",
            "REASONING_MESSAGE_END",
            "messageId",
            *(["REASONING_END"] if spans else []),
        )

    def _begun(
        self, id: str, owner: Owner, delta: str, end: str, name: str, *more: str
    ) -> None:
        def go_on() -> None:
            self._speak(delta, self._as_of(owner), **{name: id}, delta=self._text())

        def stop() -> None:
            for type_ in (end, *more):
                self._speak(type_, self._as_of(owner), **{name: id})
            del self._open[id]

        self._open[id] = go_on, stop

    def _go_on(self) -> None:
        if self._open:
            go_on, _ = self.chance.choice(list(self._open.values()))
            for _ in range(self.chance.randint(1, 4)):
                go_on()

    def _interleave(self) -> None:
        several = list(self._open.values())[-3:]
        for _ in range(self.chance.randint(2, 8)):
            if several:
                self.chance.choice(several)[0]()
            if self.chance.random() < 0.2:
                self._patch()

    def _stop(self) -> None:
        if self._open:
            self.chance.choice(list(self._open.values()))[1]()

    def _encrypted(self) -> None:
        things = [("message", self._owners), ("tool-call", self._calls)]
        subtype, known = self.chance.choice(things)
        if known:
            id = self.chance.choice(list(known))
            said = {"entityId": id, "encryptedValue": self._text()}
            self._say("REASONING_ENCRYPTED_VALUE", subtype=subtype, **said)

    # -- chunks ---------------------------------------------------------------------------

    def _chunk(self) -> None:
        """Begin a message with a chunk, or one that was ended; and go on with it."""
        chance = self.chance
        elsewhere = [kind for kind, _ in self._lanes.values()]
        kind = chance.choice(["text", "tool", "reasoning", *elsewhere * 2])
        owner = self._owner()
        ended = [
            (k, i, o) for k, i, o in self._chunked if (k, i) not in self._lanes.values()
        ]
        if ended and chance.random() < 0.2:
            kind, id, owner = chance.choice(ended)
            if owner is not None and owner not in self._subagents:
                return
        else:
            id = self._new("chunked")
            self._chunked.append((kind, id, owner))
            (self._calls if kind == "tool" else self._owners)[id] = owner
        self._lanes[owner] = kind, id
        tag = {} if owner is None else {"subagentRunId": owner}
        said = {_ID_OF[kind]: id, **tag}
        if kind == "tool":
            said["toolCallName"] = "look"
        elif kind == "text" and chance.random() < 0.5:
            said["role"] = "assistant"
        if chance.random() < 0.8:
            said["delta"] = self._text()
        self._say(_CHUNK_OF[kind], **said)
        for _ in range(chance.randint(0, 6)):
            self._go_on_in_chunks()

    def _go_on_in_chunks(self) -> None:
        if not self._lanes:
            return
        chance = self.chance
        owner, (kind, id) = chance.choice(list(self._lanes.items()))
        said: Event = {"delta": self._text()} if chance.random() < 0.9 else {}
        if owner is not None and chance.random() < 0.6:
            said["subagentRunId"] = owner
        # Without an id, and without a subagent, it is the main agent's if that has one
        # of the kind; or of the one who has.
        others = [lane for lane, open_ in self._lanes.items() if open_[0] == kind]
        is_clear = "subagentRunId" in said or owner is None or others == [owner]
        if not is_clear or chance.random() < 0.5:
            said[_ID_OF[kind]] = id
        self._say(_CHUNK_OF[kind], **said)

    # -- the state --------------------------------------------------------------------------

    def _snapshot(self) -> None:
        state = {"n": 0, "l": [1, 2], "o": {"k": self._value()}, "big": self._value()}
        self._speak("STATE_SNAPSHOT", self._owner(), snapshot=state)

    def _patch(self) -> None:
        ops = self._ops(_PATHS)
        self._speak("STATE_DELTA", self.chance.choice([None, self._owner()]), delta=ops)

    def _count(self) -> None:
        """Emit patches as most agents do: of the same paths, again and again."""
        places = self.chance.choice(_AGAIN)
        for _ in range(self.chance.randint(2, 5)):
            said = [{"op": o, "path": p, "value": self._value()} for o, p in places]
            self._speak("STATE_DELTA", None, delta=said)

    def _ops(self, paths: list[str]) -> list[Event]:
        return [self._op(paths) for _ in range(self.chance.choice([1, 1, 1, 2, 3]))]

    def _op(self, paths: list[str]) -> Event:
        word = self.chance.choice(
            [*["replace", "add"] * 3, "remove", "test", "copy", "move"]
        )
        op: Event = {"op": word, "path": self.chance.choice(paths)}
        if word in ("replace", "add", "test"):
            op["value"] = (
                self._value() if word != "test" else self.chance.choice([0, 1])
            )
        elif word in ("copy", "move"):
            op["from"] = self.chance.choice(paths)
        return op

    # -- activities, snapshots of messages, what only passes through -------------------------

    def _activity(self) -> None:
        id = self.chance.choice(["activity-1", "activity-2", "activity-3"])
        said: Event = {"messageId": id, "activityType": "PLAN"}
        tag = {}
        if self.chance.random() < 0.6:
            said["content"] = {"n": self.chance.randint(0, 9), "l": [], "x": None}
            replaces = self.chance.choice([None, None, True, False])
            if replaces is not None:
                said["replace"] = replaces
            owner = self._owner()
            if id not in self._activities or replaces is not False:
                self._activities[id] = owner
            tag = {} if owner is None else {"subagentRunId": owner}
            self._say("ACTIVITY_SNAPSHOT", **said, **tag)
            return
        whose = self._activities.get(id)
        if whose is not None and self.chance.random() < 0.5:
            tag = {"subagentRunId": whose}
        for _ in range(self.chance.randint(1, 3)):
            self._say("ACTIVITY_DELTA", **said, **tag, patch=self._ops(_ACTIVITY_PATHS))

    def _messages(self) -> None:
        kept = self.chance.sample(list(self._owners), len(self._owners) // 2)
        messages: list[Event] = []
        for id in [*kept, self._new("message")]:
            owner = self._owners.setdefault(id, None)
            role = "reasoning" if id.startswith("reasoning") else "assistant"
            tag = {} if owner is None else {"subagentRunId": owner}
            messages.append({"id": id, "role": role, "content": self._text(), **tag})
        self._lanes = {}
        self._say("MESSAGES_SNAPSHOT", messages=messages)

    def _custom(self) -> None:
        self._speak("CUSTOM", None, name="look", value=self._value())

    def _raw(self) -> None:
        self._say("RAW", event=self._value())

    def _step(self) -> None:
        name, owner = self._new("step"), self._owner()
        self._speak("STEP_STARTED", owner, stepName=name)

        def stop() -> None:
            self._speak("STEP_FINISHED", owner, stepName=name)
            del self._open[name]

        self._open[name] = self._patch, stop

    def _subagent(self) -> None:
        if len(self._subagents) < 2:
            id = self._new("subagent")
            self._subagents.append(id)
            self._say("SUBAGENT_STARTED", subagentRunId=id, name="helper")
        elif self.chance.random() < 0.3:
            self._end_subagent(self.chance.choice(self._subagents))

    def _end_subagent(self, id: str) -> None:
        self._subagents.remove(id)
        self._lanes.pop(id, None)
        self._say("SUBAGENT_FINISHED", subagentRunId=id)

    _MOVES = (
        _go_on, _interleave, _message, _call, _reasoning, _stop, _result, _chunk,
        _go_on_in_chunks, _patch, _count, _snapshot, _activity, _encrypted, _messages,
        _custom, _raw, _step, _subagent,
    )  # fmt: skip
    _WEIGHTS = (8, 5, 3, 2, 2, 3, 1, 3, 4, 3, 3, 1, 4, 1, 0.5, 0.7, 0.7, 1, 1)


_ID_OF = {"text": "messageId", "tool": "toolCallId", "reasoning": "messageId"}
_CHUNK_OF = {
    "text": "TEXT_MESSAGE_CHUNK",
    "tool": "TOOL_CALL_CHUNK",
    "reasoning": "REASONING_MESSAGE_CHUNK",
}
