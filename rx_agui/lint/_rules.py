"""The rules of lint: what can be wrong, what a client does then, and what is right.

Measured with the unmodified `@ag-ui/client` in the two versions that are in use; the
tests run every claim against both.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLIENTS", "RULES", "Finding", "Rule", "found"]

#: The versions of `@ag-ui/client` that verdicts are about. CopilotKit pins the older.
CLIENTS = ("0.0.59", "1.0.0")

_NEW = ("1.0.0",)
_OLD = ("0.0.59",)


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        effect: What an AG-UI client does.
        instead: What would be right.
        fails: The versions of the stock client that end the run with an error.
        is_loss: True if the client takes what is not whole for a success.
    """

    effect: str
    instead: str
    fails: tuple[str, ...] = ()
    is_loss: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong here.

    Attributes:
        rule: Its name.
        severity: "fatal": the stock client ends the run with an error, in one of its
            versions at least. "error": it takes a run that is not whole, or no run at
            all, for a success. "warning": something is lost, late or luck.
        offset: Bytes from the beginning; -1 for what is in a header.
        line: From 1; 0 for what is in a header or about the whole.
        seen: What stands there.
        effect: What an AG-UI client does with it.
        instead: What would be right.
        fails: The versions of `@ag-ui/client` that fail.
    """

    rule: str
    severity: str
    offset: int
    line: int
    seen: str
    effect: str
    instead: str
    fails: tuple[str, ...]

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "header"
        return f"{where}: {self.rule}: {self.seen}"


def found(
    rule: str,
    seen: str,
    *,
    offset: int = -1,
    line: int = 0,
    fails: tuple[str, ...] | None = None,
) -> Finding:
    """Make a finding; `fails` is for rules whose effect depends on more."""
    wrong = RULES[rule]
    fails = wrong.fails if fails is None else fails
    severity = "fatal" if fails else "error" if wrong.is_loss else "warning"
    shown = seen if len(seen) <= 100 else f"{seen[:99]}…"
    return Finding(
        rule, severity, offset, line, shown, wrong.effect, wrong.instead, fails
    )


RULES = {
    # -- lines ------------------------------------------------------------------
    "crlf": Rule(
        "splits events at LF LF alone: with CRLF they fuse, and do not parse",
        "end every line with LF (sse-starlette: sep='\\n')",
        CLIENTS,
    ),
    "cr": Rule(
        "splits events at LF LF alone: with CR they fuse, and do not parse",
        "end every line with LF",
        CLIENTS,
    ),
    "bom": Rule(
        "skips it; some other parsers lose the first event (httpx-sse)",
        "write no byte order mark",
    ),
    "bom-inside": Rule(
        "does not know the line: the event behind the mark is lost without a word",
        "write no byte order mark, also where streams are joined",
    ),
    "invalid-utf8": Rule(
        "reads U+FFFD in its place: the text is wrong",
        "cut text at characters, and encode it as UTF-8",
    ),
    "nul": Rule(
        "refuses it in JSON; Firefox removes it from data",
        "escape it in JSON as \\u0000",
    ),
    "line-separator": Rule(
        "reads on; readers that split by str.splitlines (httpx and requests by lines) "
        "end the line there and lose the event",
        "escape it in JSON as \\u2028, \\u2029 or \\u0085",
    ),
    "unknown-line": Rule(
        "ignores the line",
        "fields are data, event, id and retry; a comment begins with a colon",
    ),
    "event-name": Rule(
        "ignores it; EventSource.onmessage does not see the event at all",
        "send no event: line; the type is in the JSON",
    ),
    "bad-retry": Rule("ignores it", "milliseconds, in digits: retry: 3000"),
    # -- ids --------------------------------------------------------------------
    "id-nul": Rule(
        "ignores ids; EventSource ignores this one, and Firefox loses the event",
        "no NUL in an id",
    ),
    "id-not-ascii": Rule(
        "ignores ids; browsers send it back as bytes that most servers misread",
        "percent-encode it",
    ),
    "id-empty": Rule(
        "ignores ids; EventSource forgets where it was, and would come back at the start",
        "leave the line out where there is no id",
    ),
    "id-only": Rule(
        "ignores ids; Firefox does not keep an id whose block has no data",
        "send the id with an event",
    ),
    "id-twice": Rule(
        "applies both: text stands there twice. Clients that resume drop the second",
        "give every event an id of its own, and send each once",
    ),
    "id-backwards": Rule(
        "applies it; clients that resume take it for a duplicate and drop it",
        "let numbers only go up within a stream",
    ),
    # -- what an event is made of --------------------------------------------------
    "empty-data": Rule(
        "parses it as JSON: unexpected end of JSON input",
        "for keep-alive a comment: ': keep-alive'",
        CLIENTS,
    ),
    "named-ping": Rule(
        "ignores the name and takes it for an event that has no type",
        "for keep-alive a comment: ': ping'",
        CLIENTS,
    ),
    "done": Rule(
        "parses it as JSON: unexpected token",
        "the run ends with RUN_FINISHED; send nothing behind it",
        CLIENTS,
    ),
    "array": Rule(
        "the frame is not a JSON object",
        "one event object for each data: line and blank line; several in one write",
        CLIENTS,
    ),
    "several-objects": Rule(
        "joins the data: lines of a block and parses them as one JSON text",
        "a blank line behind each event",
        CLIENTS,
    ),
    "cut-in-string": Rule(
        "joins data: lines with LF, which JSON does not allow inside a string",
        "one data: line for each event; JSON may be cut between tokens alone",
        CLIENTS,
    ),
    "double-prefix": Rule(
        "reads 'data: ' as JSON",
        "frame it once: EventEncoder does, and sse-starlette does it again",
        CLIENTS,
    ),
    "cut-off": Rule(
        "parses what is left at the end: the run fails where it broke off",
        "end a body behind a whole event",
        CLIENTS,
    ),
    "not-json": Rule(
        "cannot parse it", "one JSON object, as JSON.parse takes it", CLIENTS
    ),
    "not-an-object": Rule(
        "the frame is not a JSON object", "one event object", CLIENTS
    ),
    "no-type": Rule(
        "the frame carries no event type",
        "a type, which is text and not empty",
        CLIENTS,
    ),
    "chunk-profile": Rule(
        "the frame carries no event type: it is for clients of rx_agui",
        "profile agui, and Content-Encoding for compression",
        CLIENTS,
    ),
    "too-large": Rule(
        "gives up at 10 MiB without a blank line; reads it again for every piece before",
        "split large events (rx_agui: split())",
        _NEW,
    ),
    "no-blank-line": Rule(
        "takes the last event anyway; EventSource and others drop it",
        "a blank line behind every event, also the last",
    ),
    # -- fields -------------------------------------------------------------------
    "unknown-type": Rule(
        "the older ends the run; the newer drops the event with a warning",
        "a type of the protocol, or CUSTOM",
        _OLD,
    ),
    "retired-type": Rule(
        "translates it for now, with a warning", "REASONING_* instead of THINKING_*"
    ),
    "unknown-field": Rule(
        "removes it, with a warning in the console for every event",
        "numbers belong into id:, your own data into metadata or CUSTOM",
    ),
    "null": Rule(
        "refuses null where a field may be left out",
        "leave out what has no value (EventEncoder of ag-ui-protocol 1.0 does)",
        CLIENTS,
    ),
    "missing-field": Rule(
        "refuses the event", "send the field, by its camelCase name", CLIENTS
    ),
    "bad-field": Rule("refuses the event", "what the protocol describes", CLIENTS),
    # -- order --------------------------------------------------------------------
    "no-start": Rule(
        "First event must be RUN_STARTED", "RUN_STARTED before anything else", CLIENTS
    ),
    "start-again": Rule(
        "refuses a second RUN_STARTED inside a run",
        "end the run first; a reader who comes back needs the bare tail",
        CLIENTS,
    ),
    "after-end": Rule(
        "refuses everything behind the end of a run but a new RUN_STARTED",
        "send nothing behind RUN_FINISHED or RUN_ERROR",
        CLIENTS,
    ),
    "no-end": Rule(
        "takes a run that was cut off for one that is whole",
        "end every run with RUN_FINISHED or RUN_ERROR, whatever happens",
        is_loss=True,
    ),
    "not-a-stream": Rule(
        "finds no event in it, and takes the run for one that said nothing",
        "Server-Sent Events: each event as `data: {...}` with a blank line behind it",
        is_loss=True,
    ),
    "not-open": Rule(
        "refuses what continues or ends something that has not begun",
        "the START first, once, and nothing behind the END",
        CLIENTS,
    ),
    "open-twice": Rule(
        "refuses a START of what is open already",
        "its END before it begins again",
        CLIENTS,
    ),
    "open-at-end": Rule(
        "refuses RUN_FINISHED while anything is open", "every END before it", CLIENTS
    ),
    "first-chunk": Rule(
        "cannot tell what the chunk belongs to",
        "the first chunk names its id, and of a tool call its name",
        CLIENTS,
    ),
    "other-subagent": Rule(
        "refuses what continues another agent's message, call or step",
        "the subagentRunId with which it was begun, or none",
        CLIENTS,
    ),
    # -- headers ------------------------------------------------------------------
    "content-type": Rule(
        "reads it as events whatever it is called; EventSource refuses the response",
        "Content-Type: text/event-stream",
    ),
    "protobuf-type": Rule(
        "takes text for protobuf, and sees no events at all",
        "Content-Type: text/event-stream",
        CLIENTS,
    ),
    "cacheable": Rule(
        "a cache between may keep the response, or wait for its end",
        "Cache-Control: no-cache, no-transform",
    ),
    "transformable": Rule(
        "a proxy between may compress it anew, and hold events back",
        "Cache-Control: no-cache, no-transform",
    ),
    "buffered": Rule("an nginx between may hold events back", "X-Accel-Buffering: no"),
    "vary": Rule(
        "a cache may give compressed bytes to one who cannot read them",
        "Vary: Accept-Encoding",
    ),
    "content-length": Rule(
        "a stream whose length is known was not streamed", "no Content-Length"
    ),
    "connection-close": Rule(
        "takes a connection that breaks for the end of the run",
        "no Connection: close (nginx: proxy_http_version 1.1)",
    ),
    "unreadable-encoding": Rule(
        "reads nothing, and says nothing",
        "Content-Encoding gzip, deflate or br",
    ),
    "not-flushed": Rule(
        "sees all events at the end",
        "flush the compressor with every batch (Z_SYNC_FLUSH)",
    ),
    "several-members": Rule(
        "browsers read the first gzip member and lose the rest without a word",
        "one gzip stream for the whole response, flushed with every batch",
    ),
}
