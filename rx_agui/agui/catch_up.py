"""The events that bring a new reader to the present of a run that is under way.

    RUN_STARTED                                the run
    SUBAGENT_STARTED, STEP_STARTED             the frames around everything
    MESSAGES_SNAPSHOT                          if the run sent the whole list, else
    START m1, CONTENT "all of it", END           each message as one delta
    STATE_SNAPSHOT                             and patches that only the client can apply
    CUSTOM                                     the last of them
    START m2, CHUNK m3                         open constructs, so that deltas may follow
    RUN_FINISHED                               if it is over

Behind it the tail goes on, and the client ends with the messages and the state it
would have had from the beginning. There are two forms, for two kinds of readers:

* one that has nothing, or the messages of earlier runs, which the log does not know. A
  snapshot without those would delete them, so this run's are sent one by one;
* one that lost its connection in the middle, holds half a message, and repeats its
  request. One by one, that text would be there twice. A snapshot sets it right, and
  if the run itself sent the whole list it deletes nothing.

A snapshot puts what a reader does not have behind what it has. So results of tool
calls go as events behind it, which finds them their place behind their call; and where
activities or reasoning, which a snapshot must not speak of unless the run's own did,
stand between other messages, empty ones are sent ahead to hold the others' places.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from rx_agui.agui.encoding import dumps
from rx_agui.agui.events import EVENTS
from rx_agui.agui.message import Call, Event, Message
from rx_agui.agui.reducer import Reducer

__all__ = ["catch_up_lines"]


def catch_up_lines(reducer: Reducer) -> list[bytes]:
    """Return the prelude as lines of JSON, one event each.

    Never empty, since the last line carries the number: if no event so far means anything
    to a client, it is the last one.

    >>> reducer = Reducer()
    >>> reducer.add(b'{"type":"STATE_SNAPSHOT","snapshot":{"n":1}}')
    >>> reducer.add(
    ...     b'{"type":"STATE_DELTA","delta":[{"op":"replace","path":"/n","value":2}]}'
    ... )
    >>> catch_up_lines(reducer)
    [b'{"type":"STATE_SNAPSHOT","snapshot":{"n":2}}']
    """
    return [*_Prelude(reducer)] or [reducer.line]


class _Prelude:
    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer
        self.is_over = bool(reducer.ends)
        #: Constructs that were opened again already, where their message stands.
        self.told: set[str] = set()
        #: A message without an id can only be continued as the last one.
        self.messages = [one for one in reducer.messages if one is not reducer.thinking]

    def __iter__(self) -> Iterator[bytes]:
        reducer = self.reducer
        if reducer.run is not None:
            yield _line(reducer.run)
        yield from [one for one in reducer.subagents if _begins(one)]
        yield from reducer.steps.values()
        yield from map(_line, reducer.spans.values())
        yield from reducer.early
        for event in self.snapshot() if reducer.whole else self.one_by_one():
            yield event if isinstance(event, bytes) else _line(event)
        if reducer.state.is_known:
            yield _line({"type": "STATE_SNAPSHOT", "snapshot": reducer.state.value})
        yield from reducer.state.late
        yield from reducer.kept
        yield from [one for one in reducer.subagents if not _begins(one)]
        if not self.is_over:
            yield from map(_line, self.open())
        yield from reducer.ends

    # -- one by one -----------------------------------------------------------------

    def one_by_one(self) -> Iterator[Event | bytes]:
        for message in self.messages:
            yield from self.events(message)

    def events(self, message: Message) -> Iterator[Event | bytes]:
        """Yield the events that make this message, where there is none."""
        match message.origin:
            case "activity":
                yield from self.activity(message)
                return
            case "result":
                yield {**_same_message(message, "TOOL_CALL_RESULT"), **_sealed(message)}
            case "text":
                yield from self.text(message)
                yield from self.tool_calls(message)
            case "reasoning":
                yield from self.thought(message)
            case _:
                yield from self.tool_calls(message)
                yield from self.text(message)
        yield from _encrypted("message", message.body)

    def text(self, message: Message) -> Iterator[Event]:
        if message.start is not None:
            yield from self.grown(message, "TEXT_MESSAGE", self.reducer.texts)

    def thought(self, message: Message) -> Iterator[Event]:
        id = message.body["id"]
        span = self.reducer.thoughts.get(id) if id not in self.reducer.spans else None
        if span is not None:
            yield span
        yield from self.grown(message, "REASONING_MESSAGE", self.reducer.reasoning)
        if span is not None:
            yield {"type": "REASONING_END", "messageId": id}

    def grown(
        self, message: Message, kind: str, still_open: dict[str, Event]
    ) -> Iterator[Event]:
        id = message.body["id"]
        assert message.start is not None
        start = {
            **message.start,
            "type": f"{kind}_START",
            "role": message.body["role"],
        }
        yield _described(start, message.body)
        if message.text is not None and (text := str(message.text)):
            yield {"type": f"{kind}_CONTENT", "messageId": id, "delta": text}
        if id in still_open:
            self.told.add(f"{kind}/{id}")
        else:
            yield {"type": f"{kind}_END", "messageId": id}

    def tool_calls(self, message: Message) -> Iterator[Event]:
        for call in message.calls or ():
            yield from self.tool_call(call)

    def tool_call(self, call: Call) -> Iterator[Event]:
        id = call.body["id"]
        assert call.start is not None
        name = call.body["function"]["name"]
        yield _described({**call.start, "toolCallName": name}, call.body)
        if arguments := str(call.arguments):
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": arguments}
        if id in self.reducer.calls:
            self.told.add(f"TOOL_CALL/{id}")
        else:
            yield {"type": "TOOL_CALL_END", "toolCallId": id}
        yield from _encrypted("tool-call", call.body)

    def activity(self, message: Message) -> Iterator[Event | bytes]:
        assert message.start is not None
        yield {
            **_described(message.start, message.body),
            "activityType": message.body["activityType"],
            "content": message.body["content"],
        }
        yield from message.late

    # -- as a snapshot ----------------------------------------------------------------

    def snapshot(self) -> Iterator[Event | bytes]:
        reducer = self.reducer
        if not self.is_over:
            yield from self.open_without_message()
        results = _results_in_place(reducer)
        apart = {id(one) for one in self.messages if self.stands_apart(one)} | results
        first_apart = [i for i, m in enumerate(self.messages) if self.stands_apart(m)]
        for message in self.messages[: first_apart[-1] + 1 if first_apart else 0]:
            if self.stands_apart(message):
                yield from self.events(message)
            elif id(message) not in apart:
                holder = {"messageId": message.body["id"]}
                yield {"type": "TEXT_MESSAGE_START", **holder, "role": "assistant"}
                yield {"type": "TEXT_MESSAGE_END", **holder}
        whole = [_whole(one) for one in self.messages if id(one) not in apart]
        yield {"type": "MESSAGES_SNAPSHOT", "messages": whole}
        for message in self.messages:
            if id(message) in results:
                yield from self.events(message)
            elif id(message) not in apart:
                yield from message.late
        for message in self.messages:
            for call in message.calls or ():
                yield from self.unanswered(call)

    def stands_apart(self, message: Message) -> bool:
        """Whether a snapshot must leave it out; see above."""
        if message.origin == "activity":
            return not self.reducer.owns_activities
        return message.origin == "reasoning" and not self.reducer.owns_reasoning

    def open_without_message(self) -> Iterator[Event]:
        """Yield a START for open constructs whose message a snapshot has deleted."""
        for event in self.open():
            if not EVENTS[event["type"]].key:
                continue
            kind, id = _opens(event)
            if event["type"] == "TOOL_CALL_START":
                there = self.reducer.call(id) is not None
            else:
                there = self.reducer.message(id) is not None
            if not there and not event["type"].endswith("CHUNK"):
                self.told.add(f"{kind}/{id}")
                event.pop("parentMessageId", None)  # which may be there, and would move
                yield event

    def unanswered(self, call: Call) -> Iterator[Event]:
        """Yield START and END of an unanswered call, by which a client runs its own tools."""
        id = call.body["id"]
        if (
            call.start is None
            or id in self.reducer.answered
            or id in self.reducer.calls
        ):
            return
        name = call.body["function"]["name"]
        yield _plain({**call.start, "toolCallName": name})
        yield {"type": "TOOL_CALL_END", "toolCallId": id}

    # -- what is open ------------------------------------------------------------------

    def open(self) -> Iterator[Event]:
        """Yield a START for all that is open and was not opened yet; chunks come last.

        Anything else would end what is being assembled from chunks.
        """
        reducer = self.reducer
        for start in (
            *reducer.texts.values(),
            *reducer.reasoning.values(),
            *reducer.calls.values(),
        ):
            kind, id = _opens(start)
            if f"{kind}/{id}" not in self.told:
                yield _plain(start)
        if reducer.thinking is not None:
            yield from _thinking(reducer.thinking)
        for chunked in reducer.chunks.values():
            chunk = {**_plain(chunked.start), "type": chunked.kind}
            if "role" not in EVENTS[chunked.kind].optional:
                chunk.pop("role", None)
            yield chunk


def _thinking(message: Message) -> Iterator[Event]:
    """Yield the open message that has no id, as far as it has come."""
    assert message.start is not None
    start = _described(message.start, message.body)
    del start["messageId"]
    yield start
    if text := str(message.text):
        yield {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": text}


def _results_in_place(reducer: Reducer) -> set[int]:
    """Return the results of this run that a client would put where they are."""
    found: set[int] = set()
    row: set[int] = set()
    owned: set[str] = set()
    for message in reducer.messages:
        if message.body["role"] != "tool":
            found |= row
            row = set()
            owned = {call.body["id"] for call in message.calls or ()}
        elif message.origin == "result" and message.body["toolCallId"] in owned:
            row.add(id(message))
        else:
            row.clear()
    return found | row


def _whole(message: Message) -> Event:
    body = dict(message.body)
    if message.text is not None:
        body["content"] = str(message.text)
    if message.calls is not None:
        body["toolCalls"] = [
            {
                **call.body,
                "function": {**call.body["function"], "arguments": str(call.arguments)},
            }
            for call in message.calls
        ]
    return body


def _sealed(message: Message) -> Event:
    return {"content": str(message.text)} if message.text is not None else {}


def _same_message(message: Message, kind: str) -> Event:
    assert message.start is not None
    return _described({**message.start, "type": kind}, message.body)


def _described(event: Event, body: Event) -> Event:
    """Return the event with the metadata that its construct has by now."""
    event = _plain(event)
    if "metadata" in body:
        event["metadata"] = body["metadata"]
    return event


def _plain(event: Event) -> Event:
    """Return the event without the fields that were of the moment only."""
    return {k: v for k, v in event.items() if k not in _OF_THE_MOMENT}


_OF_THE_MOMENT = frozenset(["metadata", "rawEvent", "timestamp"])


def _encrypted(subtype: str, body: Event) -> Iterator[Event]:
    if "encryptedValue" in body:
        yield {
            "type": "REASONING_ENCRYPTED_VALUE",
            "subtype": subtype,
            "entityId": body["id"],
            "encryptedValue": body["encryptedValue"],
        }


def _opens(start: Event) -> tuple[str, str]:
    """Return the construct that a START opens, and its id."""
    name = str(start["type"])
    return name.removesuffix("_START"), start[EVENTS[name].key]


def _begins(line: bytes) -> bool:
    return bool(orjson.loads(line)["type"] == "SUBAGENT_STARTED")


def _line(event: Event) -> bytes:
    return b"%b" % dumps(event)  # which keeps 4 KB for it; see encoding.py
