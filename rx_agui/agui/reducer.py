"""What a run has come to: its events folded, as the stock client folds them.

    RUN_STARTED  START m1  CONTENT "Hel"  CONTENT "lo"  STATE_SNAPSHOT  STATE_DELTA ...
        └──────────┴───────────┴──────────────┴──────────────┴──────────────┴──▶ Fold
    run       RUN_STARTED
    messages  m1 "Hello", still open
    state     {"n": 2}

The rules are those of `@ag-ui/client` (apply/default.ts for messages and state,
verify/verify.ts for what is open, chunks/transform.ts for chunks, in _lanes.py), and
tests/replay/test_prelude.py asks it, in both of its versions. What it makes of a
stream that it would refuse is nobody's business: such events change nothing here.

An event costs about a microsecond. A text grows by its deltas and is joined now and
then, so that a long one costs no more than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import orjson

from rx_agui.agui.json_patch import Fails, Unsure, apply_patch
from rx_agui.agui.open_constructs import CHUNKS, OpenConstructs

__all__ = ["Call", "Message", "Reducer", "Text"]

Event = dict[str, Any]

#: Deltas of a text that are joined into one.
_JOINED = 1000

#: Application events that a prelude repeats: the last so many, of so many bytes.
_KEPT_EVENTS = 100
_KEPT_BYTES = 256 * 1024

#: Patches that are left to the client before they are applied for it, come what may.
_LATE = 1000

#: Where the client's own convention for snapshots of activities stands.
_HISTORY = "@ag-ui/client"


class Text:
    """A string that grows at its end."""

    __slots__ = ("_parts",)

    def __init__(self, text: str = "") -> None:
        self._parts = [text]

    def add(self, delta: str) -> None:
        self._parts.append(delta)
        if len(self._parts) > _JOINED:
            self._parts = ["".join(self._parts)]

    def __str__(self) -> str:
        return "".join(self._parts)


class Call:
    """A tool call: its arguments, and what else the client has of it.

    Attributes:
        body: As the client has it, without the arguments.
        arguments: What came of them.
        start: The event that began it, if the run did.
    """

    __slots__ = ("arguments", "body", "start")

    def __init__(self, body: Event, arguments: str, start: Event | None) -> None:
        self.body = body
        self.arguments = Text(arguments)
        self.start = start


class Message:
    """A message as the client has it.

    Attributes:
        body: All of it but what grows.
        text: Its content, if that is a text which the run added to.
        calls: Its tool calls, if it has such a list.
        origin: What made it: input, snapshot, text, call, result, reasoning, activity.
        start: The event that made it, or began a text in it.
        late: Patches of an activity that only the client can apply.
    """

    __slots__ = ("body", "calls", "late", "origin", "start", "text")

    def __init__(self, body: Event, origin: str, start: Event | None = None) -> None:
        self.body = body
        self.origin = origin
        self.start = start
        self.text: Text | None = None
        self.calls: list[Call] | None = None
        self.late: list[bytes] = []

    @classmethod
    def known(cls, body: Event, origin: str) -> Message:
        """One that came as a whole."""
        message = cls(body, origin)
        calls = body.get("toolCalls")
        if isinstance(calls, list):
            message.calls = []
            for call in calls:
                function = call["function"]
                arguments = function.pop("arguments")
                message.calls.append(Call(call, arguments, None))
            del body["toolCalls"]
        return message

    def merge(self, event: Event) -> None:
        _merge(self.body, event)

    def add_text(self, delta: str) -> None:
        if self.text is None:
            content = self.body.pop("content", "")
            self.text = Text(content if isinstance(content, str) else "")
        self.text.add(delta)


class Reducer:
    """Events in, one after the other; what they have come to is there to be read.

    >>> reducer = Reducer()
    >>> reducer.add(b'{"type":"RUN_STARTED","threadId":"t","runId":"r"}')
    >>> reducer.add(b'{"type":"TEXT_MESSAGE_START","messageId":"m","role":"assistant"}')
    >>> reducer.add(b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hello"}')
    >>> [(message.body["id"], str(message.text)) for message in reducer.messages]
    [('m', 'Hello')]

    Attributes:
        run: The RUN_STARTED of the current run.
        ends: Its terminal event, as it came.
        messages: As a client has them that knew none before.
        whole: Whether the run itself has told the whole list: by a MESSAGES_SNAPSHOT,
            or by the messages in RUN_STARTED.input.
        owns_reasoning, owns_activities: Whether the list that was told had such
            messages, which clients otherwise keep by themselves.
        state: The state; meaningless unless
        state_known: a STATE_SNAPSHOT came.
        state_late: Patches that only the client can apply, as they came.
        kept: Application events, as they came: the last of them.
        early: What is about something that only the reader may have.
        texts, calls, reasoning, spans: What is open, by id, and what opened it.
        thoughts: Every span of the run, open or not.
        steps: Open steps by owner and name, as they came.
        subagents: Beginnings and ends of subagents, as they came.
        lanes: What is assembled from chunks.
        answered: Tool calls of the run that have a result.
        line: The last event, as it came.
    """

    def __init__(self) -> None:
        self.run: Event | None = None
        self.ends: list[bytes] = []
        self.messages: list[Message] = []
        self.whole = False
        self.owns_reasoning = self.owns_activities = False
        self.state: Any = None
        self.state_known = False
        self.state_late: list[bytes] = []
        self.kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self.early: deque[bytes] = deque(maxlen=_KEPT_EVENTS)
        self.lanes = OpenConstructs()
        self._by_id: dict[str, Message] = {}
        self._owners: dict[str, tuple[Message, Call]] = {}
        self.line = b""
        self._begin_run()

    def _begin_run(self) -> None:
        self.texts: dict[str, Event] = {}
        self.calls: dict[str, Event] = {}
        self.reasoning: dict[str, Event] = {}
        self.spans: dict[str, Event] = {}
        self.thoughts: dict[str, Event] = {}
        self.steps: dict[tuple[str | None, str], bytes] = {}
        self.subagents: list[bytes] = []
        self.answered: set[str] = set()
        self.kept.clear()
        self._kept_bytes = 0
        self.ends = []

    def add(self, line: bytes) -> None:
        """One more event, as JSON."""
        self.line = line
        try:
            event = orjson.loads(line)
            kind = event["type"]
            if self.lanes and kind not in CHUNKS:
                self.lanes.end(kind, event)
            self._HANDLERS.get(kind, Reducer._keep)(self, event)
        except (KeyError, TypeError, AttributeError, ValueError):
            return  # nothing that a client would take

    def message(self, id: str) -> Message | None:
        """The message of that id, if there is one."""
        return self._by_id.get(id)

    def call(self, id: str) -> Call | None:
        """The tool call of that id, if a message has it."""
        found = self._owners.get(id)
        return None if found is None else found[1]

    # -- messages -------------------------------------------------------------------

    def _put(self, message: Message, at: int | None = None) -> Message:
        if at is None:
            self.messages.append(message)
        else:
            self.messages.insert(at, message)
        self._index(message)
        return message

    def _index(self, message: Message) -> None:
        # The client finds the first, in the order of its list; so does this, but for
        # ids that come twice, which it calls a producer's mistake.
        self._by_id.setdefault(message.body["id"], message)
        for call in message.calls or ():
            self._owners.setdefault(call.body["id"], (message, call))

    def _reindex(self) -> None:
        self._by_id, self._owners = {}, {}
        for message in self.messages:
            self._index(message)

    def _text_start(self, event: Event) -> None:
        id = event["messageId"]
        self.texts[id] = event
        self._begin_text(id, event, "text", event.get("role", "assistant"))

    def _reasoning_start(self, event: Event) -> None:
        id = event["messageId"]
        self.reasoning[id] = event
        self._begin_text(id, event, "reasoning", "reasoning")

    def _begin_text(self, id: str, event: Event, origin: str, role: str) -> None:
        message = self._by_id.get(id)
        if message is None:
            body = {"id": id, "role": role}
            if origin == "text" and "name" in event:
                body["name"] = event["name"]
            message = self._put(Message(_tagged(body, event), origin, event))
            message.text = Text()
        elif message.body["role"] == "activity":
            return
        elif message.start is None:
            message.start = event
        message.merge(event)

    def _content(self, event: Event) -> None:
        message = self._by_id.get(event["messageId"])
        if message is None or message.body["role"] == "activity":
            return
        message.add_text(event["delta"])
        if "metadata" in event:
            message.merge(event)

    def _text_end(self, event: Event) -> None:
        self.texts.pop(event["messageId"], None)
        self._end_text(event)

    def _reasoning_end(self, event: Event) -> None:
        self.reasoning.pop(event["messageId"], None)
        self._end_text(event)

    def _end_text(self, event: Event) -> None:
        message = self._by_id.get(event["messageId"])
        if message is not None and message.body["role"] != "activity":
            message.merge(event)

    def _chunk(self, event: Event) -> None:
        kind = event["type"]
        lane, opens = self.lanes.take(kind, event)
        if opens and kind == "TOOL_CALL_CHUNK":
            self._begin_call(lane.start)
        elif opens:
            is_text = kind == "TEXT_MESSAGE_CHUNK"
            origin = "text" if is_text else "reasoning"
            self._begin_text(
                lane.id, lane.start, origin, lane.start.get("role", origin)
            )
        said = "delta" in event or "rawEvent" in event
        if said or (not opens and "metadata" in event):
            more = {"delta": "", **event, CHUNKS[kind][1]: lane.id}
            if kind == "TOOL_CALL_CHUNK":
                self._call_args(more)
            else:
                self._content(more)

    def _span_start(self, event: Event) -> None:
        self.spans[event["messageId"]] = self.thoughts[event["messageId"]] = event

    def _span_end(self, event: Event) -> None:
        self.spans.pop(event["messageId"], None)

    # -- tool calls -----------------------------------------------------------------

    def _call_start(self, event: Event) -> None:
        parent = self._by_id.get(event.get("parentMessageId", ""))
        if parent is not None and "subagentRunId" not in event:
            event = _tagged(event, parent.body)  # it belongs to whom its message does
        self.calls[event["toolCallId"]] = event
        self._begin_call(event)

    def _begin_call(self, event: Event) -> None:
        id, name = event["toolCallId"], event["toolCallName"]
        found = self._owners.get(id)
        if found is not None:
            call = found[1]
            call.body["function"]["name"] = name
            call.start = call.start or event
            _merge(call.body, event)
            return
        message = self._carrier(event)
        if message.calls is None:
            message.calls = []
        call = Call(
            {"id": id, "type": "function", "function": {"name": name}}, "", event
        )
        _merge(call.body, event)
        message.calls.append(call)
        self._owners[id] = message, call

    def _carrier(self, event: Event) -> Message:
        """The assistant's message that a tool call belongs to."""
        parent = event.get("parentMessageId") or ""
        message = self._by_id.get(parent) if parent else None
        if message is not None and message.body["role"] == "assistant":
            return message
        id = parent if parent and message is None else event["toolCallId"]
        known = id in self._by_id
        body: Event = {"id": id, "role": "assistant"}
        made = Message(body if known else _tagged(body, event), "call")
        made.calls = []
        return self._put(made)

    def _call_args(self, event: Event) -> None:
        found = self._owners.get(event["toolCallId"])
        if found is not None:
            found[1].arguments.add(event["delta"])
            if "metadata" in event:
                _merge(found[1].body, event)

    def _call_end(self, event: Event) -> None:
        self.calls.pop(event["toolCallId"], None)
        found = self._owners.get(event["toolCallId"])
        if found is not None:
            _merge(found[1].body, event)

    def _call_result(self, event: Event) -> None:
        body = {
            "id": event["messageId"],
            "toolCallId": event["toolCallId"],
            "role": event.get("role") or "tool",
            "content": event["content"],
        }
        self.answered.add(event["toolCallId"])
        result = Message(_tagged(body, event), "result", event)
        result.merge(event)
        found = self._owners.get(event["toolCallId"])
        if found is None or found[0].body["role"] != "assistant":
            self._put(result)
            return
        at = self.messages.index(found[0]) + 1
        while at < len(self.messages) and self.messages[at].body["role"] == "tool":
            at += 1
        self._put(result, at)

    def _encrypted(self, event: Event) -> None:
        id, value = event["entityId"], event["encryptedValue"]
        if event["subtype"] == "tool-call":
            found = self._owners.get(id)
            body = None if found is None else found[1].body
        else:
            message = self._by_id.get(id)
            body = None if message is None else message.body
        if body is None:
            self.early.append(self.line)
        elif body.get("role") != "activity":
            body["encryptedValue"] = value

    # -- activities -----------------------------------------------------------------

    def _activity(self, event: Event) -> None:
        id = event["messageId"]
        replace = event.get("replace") is not False
        body = {
            "id": id,
            "role": "activity",
            "activityType": event["activityType"],
            "content": event["content"],
        }
        made = Message(_tagged(body, event), "activity", event)
        there = self._by_id.get(id)
        if there is None:
            there = self._put(made)
        elif there.body["role"] == "activity":
            if replace:
                if "metadata" in there.body:
                    made.body["metadata"] = there.body["metadata"]
                there.body, there.start, there.late = made.body, event, []
        elif replace:
            self.messages[self.messages.index(there)] = made
            self._reindex()
            there = made
        there.merge(event)

    def _activity_delta(self, event: Event) -> None:
        there = self._by_id.get(event["messageId"])
        if there is None:
            self.early.append(self.line)
            return
        if there.body["role"] != "activity":
            return
        there.merge(event)
        if not there.late:
            try:
                there.body["content"] = apply_patch(
                    there.body["content"], event.get("patch", [])
                )
                there.body["activityType"] = event["activityType"]
                return
            except Fails:
                return
            except Unsure:
                pass
        there.late.append(self.line)
        if len(there.late) > _LATE:
            for line in there.late:
                patch = orjson.loads(line).get("patch", [])
                there.body["content"] = _applied(there.body["content"], patch)
            there.late.clear()

    # -- state ----------------------------------------------------------------------

    def _state(self, event: Event) -> None:
        self.state = event["snapshot"]
        self.state_known = True
        self.state_late.clear()

    def _state_delta(self, event: Event) -> None:
        if self.state_known and not self.state_late:
            try:
                self.state = apply_patch(self.state, event["delta"])
                return
            except Fails:
                return
            except Unsure:
                pass
        self.state_late.append(self.line)
        if len(self.state_late) > _LATE:
            self._settle_state()

    def _settle_state(self) -> None:
        """Too many patches for a reader to apply by itself: apply what can be.

        What the run did not tell is then what its input says, or an empty state.
        """
        if not self.state_known:
            told = (self.run or {}).get("input")
            state = told.get("state", {}) if isinstance(told, dict) else {}
            self.state = deepcopy(state)
            self.state_known = True
        for line in self.state_late:
            self.state = _applied(self.state, orjson.loads(line)["delta"])
        self.state_late.clear()

    # -- the whole list of messages ---------------------------------------------------

    def _messages(self, event: Event) -> None:
        told = [Message.known(body, "snapshot") for body in event["messages"]]
        new = {message.body["id"]: message for message in told}
        roles = {message.body["role"] for message in told}
        types = _owned_types(event)
        self.whole = True
        self.owns_reasoning |= "reasoning" in roles
        self.owns_activities |= types is None or (types is ... and "activity" in roles)

        def is_the_clients_own(message: Message) -> bool:
            if message.body["role"] == "activity":
                if types is ...:
                    return "activity" not in roles
                return types is not None and message.body["activityType"] not in types
            return message.body["role"] == "reasoning" and "reasoning" not in roles

        self.messages = [
            new.get(message.body["id"], message)
            for message in self.messages
            if message.body["id"] in new or is_the_clients_own(message)
        ]
        there = {message.body["id"] for message in self.messages}
        self.messages += [one for one in told if one.body["id"] not in there]
        self._reindex()

    # -- the run and what frames it ---------------------------------------------------

    def _run_started(self, event: Event) -> None:
        self.run = event
        self._begin_run()
        told = event.get("input")
        messages = told.get("messages") if isinstance(told, dict) else None
        if not isinstance(messages, list):
            return
        self.whole = True
        event["input"][
            "messages"
        ] = []  # they are in `messages` now, and twice would be much
        self.owns_reasoning = True  # clients send back what reasoning they have
        for body in messages:
            if body["id"] not in self._by_id:
                self._put(Message.known(body, "input"))

    def _run_ended(self, event: Event) -> None:
        self.ends.append(self.line)

    def _step_started(self, event: Event) -> None:
        self.steps[event.get("subagentRunId"), event["stepName"]] = self.line

    def _step_finished(self, event: Event) -> None:
        self.steps.pop((event.get("subagentRunId"), event["stepName"]), None)

    def _subagent(self, event: Event) -> None:
        self.subagents.append(self.line)

    def _drop(self, event: Event) -> None:
        """RAW is for whoever watches, at that moment."""

    def _keep(self, event: Event) -> None:
        self.kept.append(self.line)
        self._kept_bytes += len(self.line)
        while len(self.kept) > _KEPT_EVENTS or self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= len(self.kept.popleft())

    _HANDLERS: ClassVar[dict[str, Callable[[Reducer, Event], None]]] = {
        "RUN_STARTED": _run_started,
        "RUN_FINISHED": _run_ended,
        "RUN_ERROR": _run_ended,
        "STEP_STARTED": _step_started,
        "STEP_FINISHED": _step_finished,
        "SUBAGENT_STARTED": _subagent,
        "SUBAGENT_FINISHED": _subagent,
        "SUBAGENT_ERROR": _subagent,
        "TEXT_MESSAGE_START": _text_start,
        "TEXT_MESSAGE_CONTENT": _content,
        "TEXT_MESSAGE_END": _text_end,
        "TOOL_CALL_START": _call_start,
        "TOOL_CALL_ARGS": _call_args,
        "TOOL_CALL_END": _call_end,
        "TOOL_CALL_RESULT": _call_result,
        "REASONING_START": _span_start,
        "REASONING_END": _span_end,
        "REASONING_MESSAGE_START": _reasoning_start,
        "REASONING_MESSAGE_CONTENT": _content,
        "REASONING_MESSAGE_END": _reasoning_end,
        "REASONING_ENCRYPTED_VALUE": _encrypted,
        "ACTIVITY_SNAPSHOT": _activity,
        "ACTIVITY_DELTA": _activity_delta,
        "STATE_SNAPSHOT": _state,
        "STATE_DELTA": _state_delta,
        "MESSAGES_SNAPSHOT": _messages,
        "TEXT_MESSAGE_CHUNK": _chunk,
        "TOOL_CALL_CHUNK": _chunk,
        "REASONING_MESSAGE_CHUNK": _chunk,
        "RAW": _drop,
    }


def _tagged(body: Event, event: Event) -> Event:
    """A message belongs to the subagent whose event made it."""
    if event.get("subagentRunId") is not None:
        body["subagentRunId"] = event["subagentRunId"]
    return body


def _merge(body: Event, event: Event) -> None:
    """Metadata of an event is of what it builds: key by key, the last writer wins."""
    if "metadata" in event:
        body["metadata"] = {**body.get("metadata", {}), **event["metadata"]}


def _applied(document: Any, patch: Any) -> Any:
    try:
        return apply_patch(document, patch)
    except (Fails, Unsure):
        return document


def _owned_types(event: Event) -> Any:
    """Which activity types a snapshot decides about: None all, `...` it does not say."""
    said = event.get("metadata", {})
    if _HISTORY not in said:
        return ...
    said = said[_HISTORY]
    if not isinstance(said, dict):
        return []
    if "authoritativeActivityTypes" not in said:
        return ...
    types = said["authoritativeActivityTypes"]
    if types is None:
        return None
    strings = isinstance(types, list) and all(isinstance(one, str) for one in types)
    return types if strings else []
