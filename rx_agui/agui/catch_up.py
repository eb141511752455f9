"""What a reader must be sent who has seen nothing of a run that is under way.

    RUN_STARTED                                the run
    SUBAGENT_STARTED, STEP_STARTED             what is open around everything
    MESSAGES_SNAPSHOT                          if the run has told the whole list, else
    START m1, CONTENT "all of it", END           each message as one delta
    STATE_SNAPSHOT                             and patches that only the client can apply
    CUSTOM                                     the last of them
    START m2, CHUNK m3                         what is open, so that deltas may follow
    RUN_FINISHED                               if it is over

Behind it the tail goes on, and the client ends with the messages and the state it
would have had from the beginning. Two forms, because two readers come:

* one that has nothing, or the messages of earlier runs that we know nothing of. A
  snapshot without those would delete them, so this run's are told one by one;
* one that lost its connection in the middle, holds half a message, and repeats its
  request. One by one, that text would be there twice. A snapshot sets it right, and
  when the run itself has told the whole list there is nothing it could delete.

A snapshot puts what a reader does not have behind what it has. So results of tool
calls go as events behind it, which finds them their place behind their call; and where
activities or reasoning, which a snapshot must not speak of unless the run's own did,
stand between other messages, empty ones are sent ahead to hold the others' places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from rx_agui.agui.reducer import Call, Message, Reducer

__all__ = ["prelude_lines"]

Event = dict[str, Any]


def prelude_lines(fold: Reducer) -> list[bytes]:
    """The prelude, as JSON, an event a line.

    Never empty: the last line carries the number. If all that was folded means nothing
    to a client, it is the last event that came.
    """
    return [*_Prelude(fold)] or [fold.line]


class _Prelude:
    def __init__(self, fold: Reducer) -> None:
        self.fold = fold
        self.is_over = bool(fold.ends)
        #: What was opened again already, where its message stands.
        self.told: set[str] = set()

    def __iter__(self) -> Iterator[bytes]:
        fold = self.fold
        if fold.run is not None:
            yield _line(fold.run)
        yield from [one for one in fold.subagents if _begins(one)]
        yield from fold.steps.values()
        yield from map(_line, fold.spans.values())
        yield from fold.early
        for event in self.snapshot() if fold.whole else self.one_by_one():
            yield event if isinstance(event, bytes) else _line(event)
        if fold.state_known:
            yield _line({"type": "STATE_SNAPSHOT", "snapshot": fold.state})
        yield from fold.state_late
        yield from fold.kept
        yield from [one for one in fold.subagents if not _begins(one)]
        if not self.is_over:
            yield from map(_line, self.open())
        yield from fold.ends

    # -- one by one -----------------------------------------------------------------

    def one_by_one(self) -> Iterator[Event | bytes]:
        for message in self.fold.messages:
            yield from self.events(message)

    def events(self, message: Message) -> Iterator[Event | bytes]:
        """What makes this message, where there is none."""
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
            yield from self.grown(message, "TEXT_MESSAGE", self.fold.texts)

    def thought(self, message: Message) -> Iterator[Event]:
        id = message.body["id"]
        span = self.fold.thoughts.get(id) if id not in self.fold.spans else None
        if span is not None:
            yield span
        yield from self.grown(message, "REASONING_MESSAGE", self.fold.reasoning)
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
        if id in self.fold.calls:
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
        fold = self.fold
        if not self.is_over:
            yield from self.open_without_message()
        results = _results_in_place(fold)
        apart = {id(one) for one in fold.messages if self.stands_apart(one)} | results
        first_apart = [i for i, m in enumerate(fold.messages) if self.stands_apart(m)]
        for message in fold.messages[: first_apart[-1] + 1 if first_apart else 0]:
            if self.stands_apart(message):
                yield from self.events(message)
            elif id(message) not in apart:
                holder = {"messageId": message.body["id"]}
                yield {"type": "TEXT_MESSAGE_START", **holder, "role": "assistant"}
                yield {"type": "TEXT_MESSAGE_END", **holder}
        whole = [_whole(one) for one in fold.messages if id(one) not in apart]
        yield {"type": "MESSAGES_SNAPSHOT", "messages": whole}
        for message in fold.messages:
            if id(message) in results:
                yield from self.events(message)
            elif id(message) not in apart:
                yield from message.late
        for message in fold.messages:
            for call in message.calls or ():
                yield from self.unanswered(call)

    def stands_apart(self, message: Message) -> bool:
        """Whether a snapshot must not speak of it; see above."""
        if message.origin == "activity":
            return not self.fold.owns_activities
        return message.origin == "reasoning" and not self.fold.owns_reasoning

    def open_without_message(self) -> Iterator[Event]:
        """What is open, though a snapshot has deleted its message; so may ours."""
        for event in self.open():
            kind, id = _opens(event)
            if event["type"] == "TOOL_CALL_START":
                there = self.fold.call(id) is not None
            else:
                there = self.fold.message(id) is not None
            if not there and not event["type"].endswith("CHUNK"):
                self.told.add(f"{kind}/{id}")
                event.pop("parentMessageId", None)  # which may be there, and would move
                yield event

    def unanswered(self, call: Call) -> Iterator[Event]:
        """A call that this run made: the client tells its own tools by the START."""
        id = call.body["id"]
        if call.start is None or id in self.fold.answered or id in self.fold.calls:
            return
        name = call.body["function"]["name"]
        yield _plain({**call.start, "toolCallName": name})
        yield {"type": "TOOL_CALL_END", "toolCallId": id}

    # -- what is open ------------------------------------------------------------------

    def open(self) -> Iterator[Event]:
        """A START for all that is open and was not opened yet; chunks come last.

        Anything else would end what is being assembled from chunks.
        """
        fold = self.fold
        for start in (
            *fold.texts.values(),
            *fold.reasoning.values(),
            *fold.calls.values(),
        ):
            kind, id = _opens(start)
            if f"{kind}/{id}" not in self.told:
                yield _plain(start)
        for lane in fold.lanes.values():
            chunk = {**_plain(lane.start), "type": lane.kind}
            if lane.kind == "REASONING_MESSAGE_CHUNK":
                del chunk["role"]  # of which its chunks know nothing
            yield chunk


def _results_in_place(fold: Reducer) -> set[int]:
    """Results of this run that stand where the client would put them: last in a row."""
    found: set[int] = set()
    row: set[int] = set()
    owned: set[str] = set()
    for message in fold.messages:
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
    """The event, with the metadata its thing has by now."""
    event = _plain(event)
    if "metadata" in body:
        event["metadata"] = body["metadata"]
    return event


def _plain(event: Event) -> Event:
    """The event, without what was said at that moment only."""
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
    """What is opened, and its id."""
    kind = str(start["type"]).removesuffix("_START")
    return kind, start["toolCallId" if kind.startswith("TOOL") else "messageId"]


def _begins(line: bytes) -> bool:
    return bool(orjson.loads(line)["type"] == "SUBAGENT_STARTED")


def _line(event: Event) -> bytes:
    try:
        return b"%b" % orjson.dumps(event)  # which keeps 4 KB for it; see codec
    except TypeError:  # nested deeper than orjson writes, though it has read it
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
