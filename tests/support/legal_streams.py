"""Random streams that a strict client takes: everything AG-UI has, interleaved."""

from __future__ import annotations

from random import Random
from typing import Any

Event = dict[str, Any]

#: How a run begins: what of the list of messages, and of the state, it tells itself.
KINDS = ("nothing told", "input told", "snapshot told")


class Stream:
    """One random stream, and the client that reads it.

    Attributes:
        events: The stream.
        client: What a reader knew before: messages and state, as `reduce.mjs` takes it.
    """

    def __init__(self, seed: int) -> None:
        self.chance = chance = Random(seed)
        self.events: list[Event] = []
        self.client: Event = {"messages": [], "state": {}}
        self.made = 0
        self.history: list[Event] = []
        if chance.random() < 0.5:
            self.history = self.some_history()
        self.kind = chance.choice(KINDS)
        if chance.random() < 0.5:
            self.client["messages"] = self.history
        if chance.random() < 0.3:
            self.client["state"] = self.document()
        for _ in range(chance.choice([1, 1, 1, 2])):
            self.run()

    # -- a run ----------------------------------------------------------------------

    def run(self) -> None:
        chance = self.chance
        self.texts: dict[str, str | None] = {}
        self.calls: dict[str, str | None] = {}
        self.thoughts: dict[str, str | None] = {}
        self.spans: dict[str, str | None] = {}
        self.steps: set[tuple[str | None, str]] = set()
        self.subagents: list[str] = []
        self.known_messages: list[str] = [m["id"] for m in self.client["messages"]]
        self.assistants: dict[str, str | None] = {}
        self.known_calls: list[tuple[str, str | None]] = [
            (call["id"], None) for m in self.history for call in m.get("toolCalls", ())
        ]
        self.activities: dict[str, str] = {}
        self.lanes: dict[str | None, tuple[str, str]] = {}
        start = self.say("RUN_STARTED", threadId="thread-1", runId=self.name("r"))
        if self.kind == "input told":
            start["input"] = {
                "threadId": "thread-1",
                "runId": start["runId"],
                "state": {},
                "messages": self.history,
                "tools": [],
                "context": [],
                "forwardedProps": {},
            }
        acts = [
            (self.text_start, 4),
            (self.text_content, 10),
            (self.text_end, 3),
            (self.call_start, 4),
            (self.call_args, 8),
            (self.call_end, 3),
            (self.call_result, 3),
            (self.thought_start, 2),
            (self.thought_content, 5),
            (self.thought_end, 2),
            (self.span, 2),
            (self.encrypted, 2),
            (self.state_snapshot, 1),
            (self.state_delta, 6),
            (self.activity, 3),
            (self.activity_delta, 4),
            (self.chunk, 6),
            (self.chunk_more, 12),
            (self.step, 2),
            (self.subagent, 2),
            (self.messages, 3 if self.kind == "snapshot told" else 0),
            (self.custom, 2),
            (self.raw, 1),
        ]
        for _ in range(chance.randint(0, 45)):
            names, weights = zip(*acts, strict=True)
            chance.choices(names, weights)[0]()
        if chance.random() < 0.25:
            self.say("RUN_ERROR", message="broken")
            return
        self.close_all()
        if chance.random() < 0.8:
            self.say("RUN_FINISHED", threadId="thread-1", runId=start["runId"])
        else:
            self.say("RUN_ERROR", message="broken")

    def close_all(self) -> None:
        while self.texts:
            self.text_end()
        while self.calls:
            self.call_end()
        while self.thoughts:
            self.thought_end()
        for id, owner in self.spans.items():
            self.say("REASONING_END", owner, messageId=id)
        for owner, name in self.steps:
            self.say("STEP_FINISHED", owner, stepName=name)
        for id in self.subagents:
            self.say("SUBAGENT_FINISHED", id)

    # -- what it says ---------------------------------------------------------------

    def say(self, kind: str, owner: str | None = None, **fields: Any) -> Event:
        event: Event = {"type": kind, **fields}
        if owner is not None:
            event["subagentRunId"] = owner
        chance = self.chance
        if chance.random() < 0.1:
            event["metadata"] = {chance.choice("abc"): chance.randint(0, 9)}
        if chance.random() < 0.1:
            event["rawEvent"] = {"provider": chance.randint(0, 9)}
        if chance.random() < 0.1:
            event["timestamp"] = 1767225600000 + chance.randint(0, 999)
        self.events.append(event)
        self.end_lanes(kind, owner)
        return event

    def end_lanes(self, kind: str, owner: str | None) -> None:
        if kind.endswith("CHUNK") or kind in ("RAW", "REASONING_ENCRYPTED_VALUE"):
            return
        if kind.startswith("ACTIVITY") or kind == "SUBAGENT_STARTED":
            return
        if kind in ("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "MESSAGES_SNAPSHOT"):
            self.lanes.clear()
        else:
            self.lanes.pop(owner, None)

    def name(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}{self.made}"

    def owner(self) -> str | None:
        return self.chance.choice([None, None, None, *self.subagents])

    def tag(self, owner: str | None) -> str | None:
        """A continuation may leave out whose it is."""
        return owner if self.chance.random() < 0.6 else None

    def word(self) -> str:
        return self.chance.choice(
            ["", "a ", "Hello ", "流水", "🌊", "é\u2028", '"', "\\n"]
        )

    def one_of(self, things: Any) -> Any:
        things = list(things)
        return self.chance.choice(things) if things else None

    def text_start(self) -> None:
        again = [id for id in self.known_messages if id not in self.texts]
        if again and self.chance.random() < 0.1:
            id = self.one_of(again)
            owner = self.assistants.get(id)
            owner = None if owner is None else self.tag(owner)
        else:
            id, owner = self.name("m"), self.owner()
            self.assistants[id] = owner
        extra = {"name": "guide"} if self.chance.random() < 0.2 else {}
        self.texts[id] = owner
        self.known_messages.append(id)
        self.say("TEXT_MESSAGE_START", owner, messageId=id, role="assistant", **extra)

    def text_content(self) -> None:
        if id := self.one_of(self.texts):
            owner = self.tag(self.texts[id])
            self.say("TEXT_MESSAGE_CONTENT", owner, messageId=id, delta=self.word())

    def text_end(self) -> None:
        if id := self.one_of(self.texts):
            self.say("TEXT_MESSAGE_END", self.tag(self.texts.pop(id)), messageId=id)

    def call_start(self) -> None:
        id, owner, extra = self.name("c"), self.owner(), {}
        if self.assistants and self.chance.random() < 0.5:
            parent = self.one_of(self.assistants)
            owner, extra = self.assistants[parent], {"parentMessageId": parent}
        elif self.chance.random() < 0.3:
            parent = self.name("p")  # nobody has said anything of it yet
            extra = {"parentMessageId": parent}
            self.assistants[parent] = owner
        self.calls[id] = owner
        self.known_calls.append((id, owner))
        self.say("TOOL_CALL_START", owner, toolCallId=id, toolCallName="look", **extra)

    def call_args(self) -> None:
        if id := self.one_of(self.calls):
            owner = self.tag(self.calls[id])
            self.say("TOOL_CALL_ARGS", owner, toolCallId=id, delta=self.word())

    def call_end(self) -> None:
        if id := self.one_of(self.calls):
            self.say("TOOL_CALL_END", self.tag(self.calls.pop(id)), toolCallId=id)

    def call_result(self) -> None:
        if found := self.one_of(self.known_calls):
            id, owner = found
            message = self.name("t")
            self.say(
                "TOOL_CALL_RESULT",
                owner,
                messageId=message,
                toolCallId=id,
                content=self.word(),
            )

    def thought_start(self) -> None:
        id, owner = self.name("g"), self.owner()
        if self.spans and self.chance.random() < 0.7:
            id = self.one_of(self.spans)
            owner = self.spans[id]
            if id in self.thoughts:
                return
        self.thoughts[id] = owner
        self.say("REASONING_MESSAGE_START", owner, messageId=id, role="reasoning")
        self.known_messages.append(id)

    def thought_content(self) -> None:
        if id := self.one_of(self.thoughts):
            owner = self.tag(self.thoughts[id])
            self.say(
                "REASONING_MESSAGE_CONTENT", owner, messageId=id, delta=self.word()
            )

    def thought_end(self) -> None:
        if id := self.one_of(self.thoughts):
            self.say(
                "REASONING_MESSAGE_END", self.tag(self.thoughts.pop(id)), messageId=id
            )

    def span(self) -> None:
        if self.spans and self.chance.random() < 0.5:
            id = self.one_of(self.spans)
            self.say("REASONING_END", self.tag(self.spans.pop(id)), messageId=id)
        else:
            id = self.name("g")
            self.spans[id] = self.owner()
            self.say("REASONING_START", self.spans[id], messageId=id)

    def encrypted(self) -> None:
        value = {"encryptedValue": self.chance.choice(["xyz", "abc"])}
        if self.chance.random() < 0.5 and self.known_messages:
            id = self.one_of(self.known_messages)
            self.say(
                "REASONING_ENCRYPTED_VALUE", subtype="message", entityId=id, **value
            )
        elif self.known_calls:
            id = self.one_of(self.known_calls)[0]
            self.say(
                "REASONING_ENCRYPTED_VALUE", subtype="tool-call", entityId=id, **value
            )

    # -- documents ------------------------------------------------------------------

    def document(self) -> Any:
        chance = self.chance
        return {
            "n": chance.randint(0, 3),
            "list": [chance.randint(0, 3) for _ in range(chance.randint(0, 3))],
            "deep": {"x": {"y": None, "a/b": 1}, "": "empty"},
        }

    def patch(self) -> list[Event]:
        chance = self.chance
        paths = ["/n", "/list", "/list/0", "/list/2", "/list/-", "/deep/x", "/deep/x/y"]
        paths += ["/deep/x/a~1b", "/deep/", "/new", "/no/where", "/list/01", "", "/n/x"]
        paths += ["/toString", "/list/x", "/deep/x/new", "/list/1"]
        ops = []
        for _ in range(chance.randint(1, 3)):
            op = chance.choice(
                ["add"] * 5 + ["replace"] * 5 + ["remove", "test", "move", "copy"]
            )
            weights = [6] * 9 + [3] * 3 + [1] * (len(paths) - 12)
            one: Event = {"op": op, "path": chance.choices(paths, weights)[0]}
            if op in ("move", "copy"):
                # From "" the client would put its state into itself, and hang.
                one["from"] = chance.choices(paths, weights)[0] or "/n"
            elif op != "remove":
                one["value"] = chance.choice(
                    [0, 1, "s", None, [1], {"x": {"y": 2}}, True]
                )
            ops.append(one)
        return ops

    def state_snapshot(self) -> None:
        self.say("STATE_SNAPSHOT", self.owner(), snapshot=self.document())

    def state_delta(self) -> None:
        self.say("STATE_DELTA", self.owner(), delta=self.patch())

    def activity(self) -> None:
        if self.activities and self.chance.random() < 0.5:
            id = self.one_of(self.activities)
        else:
            id = self.name("a")
        self.activities[id] = "plan"
        extra: Event = (
            {"replace": self.chance.random() < 0.5}
            if self.chance.random() < 0.5
            else {}
        )
        self.say(
            "ACTIVITY_SNAPSHOT",
            messageId=id,
            activityType="plan",
            content=self.document(),
            **extra,
        )

    def activity_delta(self) -> None:
        ids = [*self.activities, *(["elsewhere"] if self.chance.random() < 0.2 else [])]
        if id := self.one_of(ids):
            patch = [op for op in self.patch() if op["path"] != ""]
            self.say("ACTIVITY_DELTA", messageId=id, activityType="plan", patch=patch)

    # -- chunks ---------------------------------------------------------------------

    def chunk(self) -> None:
        owner = self.owner()
        kind = self.chance.choice(["text", "tool", "thought"])
        id = self.name("k")
        extra: Event = {"delta": self.word()} if self.chance.random() < 0.8 else {}
        if kind == "text":
            if self.chance.random() < 0.5:
                extra["role"] = "assistant"
            if self.chance.random() < 0.2:
                extra["name"] = "guide"
            self.assistants[id] = owner
            self.known_messages.append(id)
            self.say("TEXT_MESSAGE_CHUNK", owner, messageId=id, **extra)
        elif kind == "tool":
            if self.assistants and self.chance.random() < 0.5:
                parent = self.one_of(self.assistants)
                owner, extra["parentMessageId"] = self.assistants[parent], parent
            self.known_calls.append((id, owner))
            self.say(
                "TOOL_CALL_CHUNK", owner, toolCallId=id, toolCallName="look", **extra
            )
        else:
            self.known_messages.append(id)
            self.say("REASONING_MESSAGE_CHUNK", owner, messageId=id, **extra)
        self.lanes[owner] = kind, id

    def chunk_more(self) -> None:
        if not self.lanes:
            return
        owner = self.one_of(self.lanes)
        kind, id = self.lanes[owner]
        extra: Event = {"delta": self.word()} if self.chance.random() < 0.9 else {}
        if self.chance.random() < 0.5:
            extra["toolCallId" if kind == "tool" else "messageId"] = id
        names = {
            "text": "TEXT_MESSAGE",
            "tool": "TOOL_CALL",
            "thought": "REASONING_MESSAGE",
        }
        self.say(f"{names[kind]}_CHUNK", owner, **extra)

    # -- around it ------------------------------------------------------------------

    def step(self) -> None:
        if self.steps and self.chance.random() < 0.5:
            owner, name = self.one_of(sorted(self.steps, key=str))
            self.steps.remove((owner, name))
            self.say("STEP_FINISHED", owner, stepName=name)
        else:
            owner, name = self.owner(), self.chance.choice(["plan", "search"])
            if (owner, name) not in self.steps:
                self.steps.add((owner, name))
                self.say("STEP_STARTED", owner, stepName=name)

    def subagent(self) -> None:
        if self.subagents and self.chance.random() < 0.3:
            id = self.one_of(self.subagents)
            if any(id in open.values() for open in self.open_things()):
                return
            if any(owner == id for owner, _ in self.steps):
                return
            self.subagents.remove(id)
            self.say("SUBAGENT_FINISHED", id)
        elif len(self.subagents) < 2:
            id = self.name("s")
            self.subagents.append(id)
            self.say("SUBAGENT_STARTED", id, name="helper")

    def open_things(self) -> list[dict[str, str | None]]:
        return [self.texts, self.calls, self.thoughts, self.spans]

    def custom(self) -> None:
        self.say("CUSTOM", name="note", value=self.chance.randint(0, 9))

    def raw(self) -> None:
        self.say("RAW", event={"provider": 1})

    # -- lists of messages ------------------------------------------------------------

    def some_history(self) -> list[Event]:
        call = self.name("hc")
        history: list[Event] = [
            {"id": self.name("h"), "role": "user", "content": "hi"},
            {
                "id": self.name("h"),
                "role": "assistant",
                "content": "wait",
                "toolCalls": [
                    {
                        "id": call,
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    }
                ],
            },
        ]
        if self.chance.random() < 0.5:
            history.append(
                {
                    "id": self.name("h"),
                    "role": "tool",
                    "toolCallId": call,
                    "content": "x",
                }
            )
        if self.chance.random() < 0.5:
            history.append({"id": self.name("h"), "role": "user", "content": "and?"})
        if self.chance.random() < 0.2:
            history.append({"id": self.name("h"), "role": "reasoning", "content": "hm"})
        return history

    def messages(self) -> None:
        """The list as an agent would tell it: history, and of its own what it likes."""
        told = [dict(message) for message in self.history]
        for id, owner in self.assistants.items():
            if self.chance.random() < 0.7:
                body: Event = {"id": id, "role": "assistant", "content": self.word()}
                if owner is not None:
                    body["subagentRunId"] = owner
                told.append(body)
        if self.chance.random() < 0.2:
            told.append({"id": self.name("g"), "role": "reasoning", "content": "so"})
        if self.chance.random() < 0.2:
            id = self.one_of(self.activities) or self.name("a")
            told.append(
                {
                    "id": id,
                    "role": "activity",
                    "activityType": "plan",
                    "content": self.document(),
                }
            )
        self.known_messages += [m["id"] for m in told]
        self.say("MESSAGES_SNAPSHOT", messages=told)
