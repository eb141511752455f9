"""The messages and the state that a run has come to, as the stock client has them.

    RUN_STARTED  START m1  CONTENT "Hel"  CONTENT "lo"  STATE_SNAPSHOT  STATE_DELTA ...
        └──────────┴───────────┴──────────────┴──────────────┴──────────────┴──▶ Reducer
    run       RUN_STARTED
    messages  m1 "Hello", still open
    state     {"n": 2}

The rules are those of `@ag-ui/client` (apply/default.ts for messages and state,
verify/verify.ts for what is open, chunks/transform.ts for chunks, in
open_constructs.py), and tests/replay/test_catch_up.py asks it, in both of its versions.
Events that it would refuse change nothing here.

THINKING_* of AG-UI 0.1 have no ids: a client takes them for reasoning with an id that
it makes up, and so does the reducer.

An event costs about a microsecond. A text grows by its deltas and is joined now and
then, so that a long one costs no more than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import orjson

from rx_agui.agui.encoding import loads
from rx_agui.agui.events import EVENTS
from rx_agui.agui.json_patch import Fails, Unsure, apply_patch
from rx_agui.agui.message import Call, Event, Message, Text, merge_metadata, tagged
from rx_agui.agui.open_constructs import OpenConstructs
from rx_agui.agui.reduced_state import MAX_LATE, ReducedState, apply_if_possible
from rx_agui.agui.weight import OBJECTS, weight_of

__all__ = ["Reducer"]

#: The number and the bytes of the last application events that a prelude repeats.
_KEPT_EVENTS = 100
_KEPT_BYTES = 256 * 1024

#: The metadata key of the client's own convention for snapshots of activities.
_HISTORY = "@ag-ui/client"


class Reducer:
    """Reduce a run's events, one by one, to the messages and the state they build.

    >>> reducer = Reducer()
    >>> reducer.add(b'{"type":"RUN_STARTED","threadId":"t","runId":"r"}')
    >>> reducer.add(b'{"type":"TEXT_MESSAGE_START","messageId":"m","role":"assistant"}')
    >>> reducer.add(b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hello"}')
    >>> [(message.body["id"], str(message.text)) for message in reducer.messages]
    [('m', 'Hello')]

    Attributes:
        run: The RUN_STARTED of the current run.
        ends: Its terminal event, as it came.
        messages: The messages of a client that had none before.
        whole: Whether the run itself sent the whole list: in a MESSAGES_SNAPSHOT, or as
            the messages in RUN_STARTED.input.
        owns_reasoning, owns_activities: Whether that list had such messages, which
            clients otherwise keep by themselves.
        state: The state.
        kept: The last application events, as they came.
        early: Events about something that only the reader may have.
        texts, calls, reasoning, spans: The START of each open construct, by id.
        thinking: The open message of THINKING_TEXT_MESSAGE_*, which has no id.
        thoughts: Every span of the run, open or not.
        steps: Open steps by owner and name, as they came.
        subagents: Beginnings and ends of subagents, as they came.
        chunks: The constructs that are being assembled from chunks.
        answered: Tool calls of the run that have a result.
        line: The last event, as it came.
        size: Bytes that the events so far may hold at most; see `weigh`.
    """

    def __init__(self) -> None:
        self.run: Event | None = None
        self.ends: list[bytes] = []
        self.messages: list[Message] = []
        self.whole = False
        self.owns_reasoning = self.owns_activities = False
        self.state = ReducedState()
        self.size = 0
        self.kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self.early: deque[bytes] = deque(maxlen=_KEPT_EVENTS)
        self.chunks = OpenConstructs()
        self._thinking_messages = 0
        self._by_id: dict[str, Message] = {}
        self._owners: dict[str, tuple[Message, Call]] = {}
        self.line = b""
        self._begin_run()

    def _begin_run(self) -> None:
        self.texts: dict[str, Event] = {}
        self.calls: dict[str, Event] = {}
        self.reasoning: dict[str, Event] = {}
        self.spans: dict[str | None, Event] = {}
        self.thinking: Message | None = None
        self.thoughts: dict[str, Event] = {}
        self.steps: dict[tuple[str | None, str], bytes] = {}
        self.subagents: list[bytes] = []
        self.answered: set[str] = set()
        self.kept.clear()
        self._kept_bytes = 0
        self.ends = []

    def add(self, line: bytes) -> None:
        """Take in one event, as JSON; what a client would refuse changes nothing."""
        self.line = line
        try:
            event = loads(line)
            name = event["type"]
            kind = EVENTS.get(name)
            if kind is None:
                self._keep(event)
                return
            if self.chunks and kind.part != "chunk":
                self.chunks.end(kind, event)
            self._HANDLERS[name](self, event)
            if kind.is_delta and len(line) < OBJECTS:
                self.size += len(event.get("delta", ""))
            elif kind.part != "end":
                self.size += len(line) + OBJECTS
        except (KeyError, TypeError, AttributeError, ValueError):
            return

    def weigh(self) -> int:
        """Measure the memory held, which is `size` from then on, and return it."""
        self.size = weight_of(self)
        return self.size

    def message(self, id: str) -> Message | None:
        """Return the message of an id; None if there is none."""
        return self._by_id.get(id)

    def call(self, id: str) -> Call | None:
        """Return the tool call of an id; None if no message has it."""
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
            message = self._put(Message(tagged(body, event), origin, event))
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
            if message.text is not None:
                message.text.join()

    def _chunk(self, event: Event) -> None:
        name = event["type"]
        kind = EVENTS[name]
        is_call = kind.construct == "tool call"
        chunked, opens = self.chunks.take(name, event)
        if opens and is_call:
            self._begin_call(chunked.start)
        elif opens:
            origin = "text" if kind.construct == "message" else "reasoning"
            role = chunked.start.get("role", origin)
            self._begin_text(chunked.id, chunked.start, origin, role)
        said = "delta" in event or "rawEvent" in event
        if said or (not opens and "metadata" in event):
            more = {"delta": "", **event, kind.key: chunked.id}
            if is_call:
                self._call_args(more)
            else:
                self._content(more)

    def _span_start(self, event: Event) -> None:
        self.spans[event["messageId"]] = self.thoughts[event["messageId"]] = event

    def _span_end(self, event: Event) -> None:
        id = event["messageId"]
        self.spans.pop(id, None)
        if id not in self._by_id:
            self.thoughts.pop(id, None)  # there is no message to stand around

    def _thinking_span_start(self, event: Event) -> None:
        self.spans[None] = event

    def _thinking_span_end(self, event: Event) -> None:
        self.spans.pop(None, None)

    def _thinking_start(self, event: Event) -> None:
        self._thinking_messages += 1
        id = f"thinking-{self._thinking_messages}"
        self._begin_text(id, {**event, "messageId": id}, "reasoning", "reasoning")
        self.thinking = self._by_id[id]

    def _thinking_content(self, event: Event) -> None:
        if self.thinking is not None:
            self.thinking.add_text(event["delta"])

    def _thinking_end(self, event: Event) -> None:
        self.thinking = None

    # -- tool calls -----------------------------------------------------------------

    def _call_start(self, event: Event) -> None:
        parent = self._by_id.get(event.get("parentMessageId", ""))
        if parent is not None and "subagentRunId" not in event:
            event = tagged(event, parent.body)  # the subagent of its message
        self.calls[event["toolCallId"]] = event
        self._begin_call(event)

    def _begin_call(self, event: Event) -> None:
        id, name = event["toolCallId"], event["toolCallName"]
        found = self._owners.get(id)
        if found is not None:
            call = found[1]
            call.body["function"]["name"] = name
            call.start = call.start or event
            merge_metadata(call.body, event)
            return
        message = self._carrier(event)
        if message.calls is None:
            message.calls = []
        body = {"id": id, "type": "function", "function": {"name": name}}
        call = Call(body, "", event)
        merge_metadata(call.body, event)
        message.calls.append(call)
        self._owners[id] = message, call

    def _carrier(self, event: Event) -> Message:
        """Return the assistant's message that a tool call belongs to."""
        parent = event.get("parentMessageId") or ""
        message = self._by_id.get(parent) if parent else None
        if message is not None and message.body["role"] == "assistant":
            return message
        id = parent if parent and message is None else event["toolCallId"]
        known = id in self._by_id
        body: Event = {"id": id, "role": "assistant"}
        made = Message(body if known else tagged(body, event), "call")
        made.calls = []
        return self._put(made)

    def _call_args(self, event: Event) -> None:
        found = self._owners.get(event["toolCallId"])
        if found is not None:
            found[1].arguments.add(event["delta"])
            if "metadata" in event:
                merge_metadata(found[1].body, event)

    def _call_end(self, event: Event) -> None:
        self.calls.pop(event["toolCallId"], None)
        found = self._owners.get(event["toolCallId"])
        if found is not None:
            merge_metadata(found[1].body, event)
            found[1].arguments.join()

    def _call_result(self, event: Event) -> None:
        body = {
            "id": event["messageId"],
            "toolCallId": event["toolCallId"],
            "role": event.get("role") or "tool",
            "content": event["content"],
        }
        self.answered.add(event["toolCallId"])
        result = Message(tagged(body, event), "result", event)
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
        made = Message(tagged(body, event), "activity", event)
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
        if len(there.late) > MAX_LATE:
            for line in there.late:
                patch = orjson.loads(line).get("patch", [])
                there.body["content"] = apply_if_possible(there.body["content"], patch)
            there.late.clear()

    # -- state ----------------------------------------------------------------------

    def _state(self, event: Event) -> None:
        self.state.set(event["snapshot"])

    def _state_delta(self, event: Event) -> None:
        self.state.patch(event, self.line, self.run)

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
        asked = event.get("input")
        messages = asked.get("messages") if isinstance(asked, dict) else None
        if not isinstance(messages, list):
            return
        self.whole = True
        event["input"]["messages"] = []  # they are in `messages` now
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

    def _keep(self, event: Event) -> None:
        self.kept.append(self.line)
        self._kept_bytes += len(self.line)
        while len(self.kept) > _KEPT_EVENTS or self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= len(self.kept.popleft())

    _BY_PART: ClassVar[dict[tuple[str, str], _Handler]] = {
        ("run", "start"): _run_started,
        ("run", "end"): _run_ended,
        ("run", "error"): _run_ended,
        ("step", "start"): _step_started,
        ("step", "end"): _step_finished,
        ("subagent", "start"): _subagent,
        ("subagent", "end"): _subagent,
        ("subagent", "error"): _subagent,
        ("message", "start"): _text_start,
        ("message", "content"): _content,
        ("message", "end"): _text_end,
        ("message", "chunk"): _chunk,
        ("tool call", "start"): _call_start,
        ("tool call", "content"): _call_args,
        ("tool call", "end"): _call_end,
        ("tool call", "chunk"): _chunk,
        ("tool call", "result"): _call_result,
        ("reasoning span", "start"): _span_start,
        ("reasoning span", "end"): _span_end,
        ("reasoning message", "start"): _reasoning_start,
        ("reasoning message", "content"): _content,
        ("reasoning message", "end"): _reasoning_end,
        ("reasoning message", "chunk"): _chunk,
        ("thinking", "start"): _thinking_span_start,
        ("thinking", "end"): _thinking_span_end,
        ("thinking message", "start"): _thinking_start,
        ("thinking message", "content"): _thinking_content,
        ("thinking message", "end"): _thinking_end,
        ("encrypted value", "other"): _encrypted,
        ("activity", "snapshot"): _activity,
        ("activity", "patch"): _activity_delta,
        ("state", "snapshot"): _state,
        ("state", "patch"): _state_delta,
        ("messages", "snapshot"): _messages,
        # RAW is for observers of the moment.
        ("raw", "other"): lambda reducer, event: None,
        ("custom", "other"): _keep,
    }
    _HANDLERS: ClassVar[dict[str, _Handler]] = {}


_Handler = Callable[[Reducer, Event], None]
Reducer._HANDLERS.update(
    (name, Reducer._BY_PART[kind.construct, kind.part]) for name, kind in EVENTS.items()
)


def _owned_types(event: Event) -> Any:
    """Return the activity types a snapshot decides: None for all, `...` if it is silent."""
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
