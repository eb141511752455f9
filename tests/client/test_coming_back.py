"""How a reader comes back, on virtual time, against a server by script."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rx_agui.client import Lost, Opened, Reconnect, connect
from rx_agui.errors import (
    ConfigError,
    ConnectionLostError,
    DeadlineExceededError,
    GoneError,
    PayloadTooLargeError,
    RefusedError,
    StreamError,
    TransportError,
    TrimmedError,
    WireError,
)
from tests.support.scripted import Script, Server, answer, frame, on_virtual_time

URL = "http://server/run"
STARTED = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}
A, B, C = ({"type": "CUSTOM", "name": "n", "value": value} for value in "abc")

#: Waits as long as they may be: what is drawn is 1.
LONGEST = Reconnect(random=lambda: 1.0)

CUT = httpx.ReadError("reset by peer")


def run(*numbered: tuple[int, dict[str, Any]]) -> bytes:
    return b"".join(frame(event, f"run/{number}") for number, event in numbered)


BEGIN = run((1, STARTED), (2, A))
END = run((3, B), (4, FINISHED))
WHOLE = [STARTED, A, B, FINISHED]


def read_until_error(
    kind: type[StreamError] | None, server: Server, **settings: Any
) -> tuple[list[dict[str, Any]], Any]:
    """What was handed on before the stream failed, and how it failed."""
    events: list[dict[str, Any]] = []

    async def main() -> None:
        given: dict[str, Any] = {
            "json": {"runId": "r"},
            "reconnect": LONGEST,
        } | settings
        async with server.client() as client:
            async for event in connect(URL, client=client, **given):
                events.append(event)  # noqa: PERF401, what came before an error counts

    if kind is None:
        on_virtual_time(main())
        return events, None
    with pytest.raises(kind) as raised:
        on_virtual_time(main())
    return events, raised.value


def read(server: Server, **settings: Any) -> list[dict[str, Any]]:
    return read_until_error(None, server, **settings)[0]


def body(server: Server) -> Script:
    """The first that it sent."""
    script = server.bodies[0]
    assert isinstance(script, Script)
    return script


# -- the plain way -----------------------------------------------------------------


def test_a_run_is_read_to_its_end() -> None:
    server = Server(answer(BEGIN + END))

    assert read(server) == WHOLE


def test_it_asks_as_one_who_can_come_back() -> None:
    server = Server(answer(BEGIN + END))
    read(server, json={"runId": "é"}, headers={"X-Own": "1"}, params={"q": "1"})
    asked = server.asked[0]

    assert (asked.method, str(asked.url)) == ("POST", f"{URL}?q=1")
    assert asked.content == '{"runId":"é"}'.encode()
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept"] == "text/event-stream;resume=1, text/event-stream"
    assert {"gzip", "deflate"} <= {*asked.headers["accept-encoding"].split(", ")}
    assert asked.headers["x-own"] == "1"
    assert "last-event-id" not in asked.headers


@pytest.mark.parametrize("query", ["flag", "q=%ff", "sig=a/b%2Fc%20d;e"])
def test_what_a_url_asks_stays_as_it_is_written(query: str) -> None:
    server = Server(answer(BEGIN + END))

    async def main() -> None:
        async with server.client() as client:
            async for _ in connect(f"{URL}?{query}", client=client):
                pass

    on_virtual_time(main())
    assert server.asked[0].url.query == query.encode()


def test_who_will_not_come_back_says_so() -> None:
    server = Server(answer(BEGIN + END))
    read(server, reconnect=None)

    assert server.asked[0].headers["accept"] == "text/event-stream"


def test_without_something_to_send_it_gets() -> None:
    server = Server(answer(BEGIN + END))
    read(server, json=None)

    assert server.asked[0].method == "GET"
    assert "content-type" not in server.asked[0].headers


def test_nothing_is_read_behind_the_end_of_a_numbered_run() -> None:
    server = Server(answer(BEGIN + END, 1000.0, b": still here\n\n"))

    assert read(server) == WHOLE
    assert body(server).closed


def test_a_run_that_fails_ends_with_its_error() -> None:
    error = {"type": "RUN_ERROR", "message": "no"}

    assert read(Server(answer(BEGIN + run((3, error))))) == [STARTED, A, error]


# -- broken off --------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        [],
        [CUT],
        [httpx.RemoteProtocolError("incomplete chunked read")],
        [ssl.SSLError("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")],
    ],
)
def test_a_connection_that_breaks_is_made_again_behind_the_last_event(
    end: list[Exception],
) -> None:
    server = Server(
        answer(BEGIN, b"id: run/3\ndata: {", *end), answer(END, rx_agui_replay="tail")
    )

    assert read(server) == WHOLE
    assert server.cursors == [None, "run/2"]
    assert server.asked[1].content == server.asked[0].content
    assert server.asked[1].method == "POST"


def test_an_id_without_its_event_is_not_taken() -> None:
    server = Server(answer(BEGIN, b"id: run/3\n", CUT), answer(END))

    assert read(server) == WHOLE
    assert server.cursors == [None, "run/2"]


def test_what_comes_twice_is_handed_on_once() -> None:
    server = Server(answer(BEGIN, CUT), answer(BEGIN + run((2, A)) + END + END))

    assert read(server) == WHOLE


def test_an_event_that_covers_more_numbers_is_no_gap() -> None:
    server = Server(answer(BEGIN, CUT), answer(run((7, B), (9, FINISHED))))

    assert read(server) == WHOLE
    assert server.cursors == [None, "run/2"]


def test_another_stream_has_numbers_of_its_own() -> None:
    other = frame(B, "other/1")

    assert read(Server(answer(BEGIN + other + run((4, FINISHED))))) == WHOLE


def test_a_name_stays_as_it_was_escaped() -> None:
    server = Server(
        answer(frame(STARTED, "l%C3%A4uft%2F1/1"), CUT),
        answer(frame(FINISHED, "l%C3%A4uft%2F1/2")),
    )

    assert read(server) == [STARTED, FINISHED]
    assert server.cursors[1] == "l%C3%A4uft%2F1/1"


def test_a_name_that_is_not_ascii_is_sent_back_as_a_browser_does() -> None:
    server = Server(
        answer(frame(STARTED, "läuft/1"), CUT), answer(frame(FINISHED, "läuft/2"))
    )

    assert read(server) == [STARTED, FINISHED]
    assert (b"last-event-id", "läuft/1".encode()) in server.asked[1].headers.raw


def test_waits_double_are_bounded_and_begin_again_behind_an_event() -> None:
    down = httpx.ConnectError("refused")
    server = Server(
        *(down,) * 3,
        answer(BEGIN, CUT),
        *(down,) * 8,
        answer(run((3, B)), CUT),
        answer(END),
    )

    assert read(server) == WHOLE
    waits = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert waits == pytest.approx(
        [0.5, 1, 2, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 0.5], rel=1e-3
    )


def test_a_server_that_knows_better_sets_the_first_wait() -> None:
    server = Server(
        answer(b"retry: 3000\n\n" + BEGIN, CUT), CUT, answer(END), answer(END)
    )

    assert read(server) == WHOLE
    assert server.times == pytest.approx([0, 3, 9], rel=1e-3)


def test_a_server_may_ask_to_be_asked_at_once() -> None:
    server = Server(answer(b"retry: 0\n\n" + BEGIN, CUT), CUT, answer(END))

    assert read(server) == WHOLE
    assert server.times == [0, 0, 0]


def test_waits_are_drawn_up_to_their_bound() -> None:
    drawn = iter([0.0, 0.5, 0.25])
    server = Server(answer(BEGIN, CUT), CUT, CUT, answer(END))

    read(server, reconnect=Reconnect(random=lambda: next(drawn)))
    assert server.times == pytest.approx([0, 0, 0.5, 1.0], rel=1e-3)


def test_after_too_many_attempts_it_is_lost_and_says_behind_what() -> None:
    server = Server(answer(BEGIN, CUT), *(CUT,) * 3)
    events, error = read_until_error(
        ConnectionLostError, server, reconnect=Reconnect(attempts=3)
    )

    assert events == [STARTED, A]
    assert (error.after, error.attempts) == ("run/2", 3)
    assert (
        str(error) == "lost behind run/2 (reset by peer) after 3 attempts to come back"
    )
    assert error.__cause__ is CUT


def test_who_does_not_reconnect_is_told_of_the_cut() -> None:
    events, error = read_until_error(
        ConnectionLostError, Server(answer(BEGIN)), reconnect=None
    )

    assert events == [STARTED, A]
    assert "the body ended too soon): reconnect is off" in str(error)


def test_who_kept_an_id_goes_on_there() -> None:
    server = Server(answer(END, rx_agui_replay="tail"))

    assert read(server, last_event_id="run/2") == [B, FINISHED]
    assert server.cursors == ["run/2"]


def test_a_reading_knows_where_to_come_back() -> None:
    async def main() -> list[str]:
        async with (
            Server(answer(BEGIN + END)).client() as client,
            connect(URL, client=client).read() as events,
        ):
            return [events.last_event_id] + [events.last_event_id async for _ in events]

    assert on_virtual_time(main()) == ["", "run/1", "run/2", "run/3", "run/4"]


def test_a_wait_that_is_called_off_is_no_end_of_the_run() -> None:
    server = Server(answer(BEGIN, 1e6))

    async def main() -> None:
        async with (
            server.client() as client,
            connect(URL, client=client).read() as events,
        ):
            assert [await anext(events), await anext(events)] == [STARTED, A]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 5)
            with pytest.raises(ConnectionLostError) as raised:
                await anext(events)
            assert raised.value.after == "run/2"
            await events.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    on_virtual_time(main())


def test_who_leaves_the_loop_drops_the_connection() -> None:
    server = Server(answer(BEGIN, 1e6))

    async def main() -> bool:
        async with server.client() as client:
            async for _ in connect(URL, client=client):
                break
            await asyncio.sleep(1)
            return body(server).closed

    gc.collect()
    gc.disable()  # it may not run for hours
    try:
        assert on_virtual_time(main())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("answers", "got"),
    [
        ([1e6], []),
        ([answer(BEGIN, 1e6)], [STARTED, A]),
        ([answer(BEGIN, 5.0, b":\n\n", 1e6)], [STARTED, A]),
        ([answer(BEGIN, CUT), *(CUT,) * 4], [STARTED, A]),
    ],
    ids=["asking", "reading", "just then", "waiting"],
)
def test_a_reading_may_be_closed_while_another_waits_for_its_next_event(
    answers: list[Any], got: list[dict[str, Any]]
) -> None:
    server = Server(*answers)
    bodies = [body for body in server.bodies if isinstance(body, Script)]

    async def main() -> tuple[list[dict[str, Any]], float]:
        async with server.client() as client:
            reading = connect(URL, client=client, reconnect=LONGEST).read()

            async def consume() -> list[dict[str, Any]]:
                return [event async for event in reading]

            waiting = asyncio.create_task(consume())
            await asyncio.sleep(5)
            await reading.aclose()
            assert all(body.closed for body in bodies)
            return await waiting, asyncio.get_running_loop().time()

    assert on_virtual_time(main()) == (got, 5)


def test_who_watches_is_told_of_each_connection() -> None:
    told: list[Opened | Lost] = []
    server = Server(
        answer(BEGIN, CUT, rx_agui_replay="live"), answer(END, rx_agui_replay="tail")
    )

    read(server, watch=told.append)

    assert told == [
        Opened(URL, 0, "", "live", ""),
        Lost("reset by peer", "run/2", 1, 0.5),
        Opened(URL, 1, "run/2", "tail", ""),
    ]


# -- silence, and time ---------------------------------------------------------------


def test_a_silent_connection_is_made_again() -> None:
    server = Server(answer(BEGIN, 1e6), answer(END))

    assert read(server, read_timeout=20) == WHOLE
    assert server.times == pytest.approx([0, 20.5], rel=1e-3)
    assert body(server).closed


def test_a_comment_is_no_silence() -> None:
    alive = [step for _ in range(100) for step in (15.0, b":\n\n")]
    server = Server(answer(BEGIN, *alive, END))

    assert read(server, read_timeout=20) == WHOLE


def test_a_server_that_does_not_answer_is_asked_again() -> None:
    server = Server(1e6, answer(BEGIN + END))

    assert read(server, read_timeout=20) == WHOLE
    assert server.times == pytest.approx([0, 20.5], rel=1e-3)


def test_who_has_all_the_time_waits_for_it() -> None:
    server = Server(answer(BEGIN, 1e6, END))

    assert read(server, read_timeout=None) == WHOLE


@pytest.mark.parametrize(("end", "then"), [(1e6, []), (CUT, [1e6])])
def test_the_whole_may_have_a_deadline(end: Any, then: list[float]) -> None:
    server = Server(answer(BEGIN, end), *then)
    events, error = read_until_error(DeadlineExceededError, server, deadline=30)

    assert events == [STARTED, A]
    assert str(error) == "not done within deadline=30 s behind run/2"


def test_the_deadline_holds_between_attempts() -> None:
    server = Server(*(CUT,) * 10)
    _, error = read_until_error(DeadlineExceededError, server, deadline=5)

    assert len(server.asked) == 4  # at 0, 0.5, 1.5 and 3.5
    assert error.after == ""


# -- what servers answer ---------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_a_server_that_cannot_just_now_is_asked_again(status: int) -> None:
    server = Server(
        answer(BEGIN, CUT),
        answer(b"later", status=status, retry_after="7"),
        answer(END),
    )

    assert read(server) == WHOLE
    assert server.times == pytest.approx([0, 0.5, 8.5], rel=1e-3)


def test_no_server_makes_us_wait_longer_than_we_want() -> None:
    server = Server(answer(status=503, retry_after="999999999"), answer(BEGIN + END))

    assert read(server) == WHOLE
    assert server.times[1] == 30


def test_neither_does_one_that_cannot_for_long() -> None:
    busy = [answer(status=503, retry_after="25") for _ in range(9)]
    server = Server(*busy, answer(BEGIN + END))

    assert read(server) == WHOLE
    waits = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert max(waits) == 30


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422, 500, 501])
def test_an_error_of_the_server_is_told_and_not_asked_for_again(status: int) -> None:
    server = Server(answer(b"  no\n such agent", status=status))
    events, error = read_until_error(RefusedError, server)

    assert events == []
    assert (error.status, error.reason) == (status, "no such agent")
    assert str(error) == f"{URL} answered {status}: no such agent"


def test_an_endless_error_page_is_not_read_to_its_end() -> None:
    server = Server(answer(*(b"x" * 1000,) * 1000, status=500))
    _, error = read_until_error(RefusedError, server)

    assert error.reason == "x" * 500
    assert body(server).taken < 3


@pytest.mark.parametrize("read_timeout", [2, 60])
def test_an_error_page_that_never_ends_does_not_hide_the_error(
    read_timeout: float,
) -> None:
    server = Server(answer(b"no such agent", 1e6, status=404))
    _, error = read_until_error(RefusedError, server, read_timeout=read_timeout)

    assert (error.status, error.reason) == (404, "no such agent")
    assert body(server).closed


def test_a_stream_that_nobody_knows_any_more_is_gone() -> None:
    server = Server(answer(BEGIN, CUT), answer(b"restarted", status=410))
    events, error = read_until_error(GoneError, server)

    assert events == [STARTED, A]
    assert error.reason == "restarted"


def test_a_run_that_was_begun_anew_is_no_tail_of_the_one_before() -> None:
    again = run((1, STARTED), (2, C), (3, C), (4, FINISHED))
    server = Server(answer(BEGIN, CUT), answer(again, rx_agui_replay="live"))
    events, error = read_until_error(GoneError, server)

    assert events == [STARTED, A]
    assert error.reason == "it has begun the run anew"


def test_the_end_of_a_finished_run_is_no_more_events() -> None:
    server = Server(answer(status=204))

    assert read(server, last_event_id="run/4") == []


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_is_not_over_because_a_server_says_so(begun: bool) -> None:
    first = [answer(BEGIN, CUT)] if begun else []
    _, error = read_until_error(RefusedError, Server(*first, answer(status=204)))

    assert "answered 204: it says the run is over" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_with_the_method_and_the_body(status: int) -> None:
    moved = answer(status=status, location="/moved?x=1")
    back = (
        [] if status in (301, 308) else [answer(status=status, location="/moved?x=1")]
    )
    server = Server(moved, answer(BEGIN, CUT), *back, answer(END))

    assert read(server) == WHOLE
    assert {request.method for request in server.asked} == {"POST"}
    assert {request.content for request in server.asked} == {b'{"runId":"r"}'}
    paths = [request.url.path for request in server.asked]
    assert paths == ["/run", "/moved", *(["/run"] if back else []), "/moved"]
    assert server.cursors[-1] == "run/2"


def test_see_other_is_a_get() -> None:
    server = Server(answer(status=303, location="/events"), answer(BEGIN + END))

    assert read(server) == WHOLE
    assert (server.asked[1].method, server.asked[1].content) == ("GET", b"")
    assert "content-type" not in server.asked[1].headers


@pytest.mark.parametrize(
    ("location", "is_told"),
    [
        ("/moved", True),
        ("https://server/moved", True),
        ("http://elsewhere/moved", False),
        ("http://server:81/moved", False),
    ],
)
def test_no_header_of_the_callers_follows_to_another_origin(
    location: str, is_told: bool
) -> None:
    async def main() -> httpx.Headers:
        server = Server(answer(status=307, location=location), answer(BEGIN + END))
        async with server.client() as client:
            client.headers["authorization"] = client.headers["api-key"] = "client's"
            settings: dict[str, Any] = {
                "auth": ("user", "password"),
                "headers": {
                    "Cookie": "secret",
                    "X-API-Key": "1",
                    "Accept-Language": "de",
                },
            }
            async for _ in connect(URL, client=client, **settings):
                pass
        return server.asked[1].headers

    headers = on_virtual_time(main())

    assert ("authorization" in headers) == is_told
    assert ("cookie" in headers) == is_told
    assert ("x-api-key" in headers) == is_told
    assert ("api-key" in headers) == is_told
    assert headers["accept-language"] == "de"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_the_body_does_not_follow_to_another_origin(status: int) -> None:
    moved = answer(status=status, location="http://elsewhere/moved")
    server = Server(moved, answer(BEGIN + END))

    assert read(server) == WHOLE
    assert (server.asked[1].method, server.asked[1].content) == ("GET", b"")
    assert "content-type" not in server.asked[1].headers


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_wants_the_body_at_another_origin_is_refused(
    status: int,
) -> None:
    server = Server(answer(status=status, location="http://elsewhere/moved"))
    _, error = read_until_error(RefusedError, server)

    assert "redirects to http://elsewhere/moved, and the body" in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("location", "sent"),
    [("/moved", "of=client"), ("http://elsewhere.test/moved", "of=elsewhere")],
)
def test_a_cookie_of_the_client_does_not_follow_to_another_host(
    location: str, sent: str
) -> None:
    async def main() -> httpx.Headers:
        server = Server(answer(status=307, location=location), answer(BEGIN + END))
        async with server.client() as client:
            client.cookies.set("of", "client")
            client.cookies.set("of", "elsewhere", domain="elsewhere.test")
            async for _ in connect(URL, client=client):
                pass
        return server.asked[1].headers

    assert on_virtual_time(main())["cookie"] == sent


def test_a_circle_of_redirects_ends() -> None:
    server = Server(*(answer(status=307, location="/run") for _ in range(30)))
    _, error = read_until_error(TransportError, server)

    assert "more than 20 redirects" in str(error)


def test_a_redirect_to_something_else_than_http_is_refused() -> None:
    server = Server(answer(status=307, location="file:///etc/passwd"))
    _, error = read_until_error(RefusedError, server)

    assert "redirects to file:/etc/passwd" in str(error)


def test_a_page_to_log_in_is_no_stream() -> None:
    server = Server(answer(b"<html>", content_type="text/html; charset=utf-8"))
    _, error = read_until_error(WireError, server)

    assert str(error) == f"{URL} sends text/html, not text/event-stream"


def test_a_certificate_that_is_wrong_stays_so() -> None:
    wrong = httpx.ConnectError("certificate verify failed")
    wrong.__cause__ = ssl.SSLCertVerificationError("self-signed")
    server = Server(wrong)
    _, error = read_until_error(TransportError, server)

    assert "certificate verify failed" in str(error)
    assert len(server.asked) == 1


# -- before the first id -----------------------------------------------------------------


def test_a_request_that_was_not_answered_is_repeated() -> None:
    server = Server(CUT, answer(BEGIN + END))

    assert read(server) == WHOLE
    assert server.cursors == [None, None]


def test_a_request_that_would_do_harm_twice_is_not_repeated() -> None:
    _, error = read_until_error(ConnectionLostError, Server(CUT), repeatable=False)

    assert "the request is not repeatable, and may have been heard" in str(error)


@pytest.mark.parametrize(
    ("why", "settings"),
    [
        (httpx.ConnectError("refused"), {}),
        (httpx.ConnectTimeout("no route"), {}),
        (CUT, {"json": None}),
    ],
)
def test_what_did_no_harm_is_repeated_anyway(
    why: Exception, settings: dict[str, Any]
) -> None:
    server = Server(why, answer(BEGIN + END))

    assert read(server, repeatable=False, **settings) == WHOLE


def test_a_server_that_keeps_a_log_may_be_asked_twice() -> None:
    server = Server(
        answer(b": hello\n\n", CUT, rx_agui_replay="live"),
        answer(BEGIN + END, rx_agui_replay="tail"),
    )

    assert read(server, repeatable=False) == WHOLE


# -- preludes ---------------------------------------------------------------------------


def test_a_prelude_is_handed_on_when_all_of_it_has_come() -> None:
    async def main() -> list[float]:
        server = Server(
            answer(
                frame(STARTED), 5.0, frame(A), 5.0, run((3, B)), 5.0, run((4, FINISHED)),
                rx_agui_replay="prelude",
            )
        )  # fmt: skip
        now = asyncio.get_running_loop().time
        async with server.client() as client:
            return [now() async for _ in connect(URL, client=client)]

    assert on_virtual_time(main()) == pytest.approx([10, 10, 10, 15], rel=1e-3)


def test_a_prelude_that_is_cut_is_asked_for_again() -> None:
    server = Server(
        answer(frame(STARTED), frame(C), CUT, rx_agui_replay="prelude"),
        answer(frame(STARTED), frame(A), run((3, B)), CUT, rx_agui_replay="prelude"),
        answer(run((4, FINISHED)), rx_agui_replay="tail"),
    )

    assert read(server) == WHOLE
    assert server.cursors == [None, None, "run/3"]


@pytest.mark.parametrize("replay", ["trimmed", "prelude"])
def test_a_log_that_does_not_reach_back_ends_a_run_that_has_begun(replay: str) -> None:
    server = Server(
        answer(BEGIN, CUT), answer(frame(STARTED), run((9, C)), rx_agui_replay=replay)
    )
    events, error = read_until_error(TrimmedError, server)

    assert events == [STARTED, A]
    assert (error.stream, error.after, error.first) == ("run", 2, 0)
    assert str(error) == "stream 'run': the log has only later numbers, not 3"


def test_who_can_begin_anew_is_given_the_prelude() -> None:
    prelude = frame(STARTED), frame(C), run((1, B))
    server = Server(
        answer(BEGIN, CUT),
        answer(*prelude[:2], CUT, rx_agui_replay="trimmed"),
        answer(*prelude, CUT, rx_agui_replay="trimmed"),
        answer(run((1, B), (2, FINISHED)), rx_agui_replay="tail"),
    )

    got = read(server, on_trimmed="prelude")

    assert got == [STARTED, A, STARTED, C, B, FINISHED]
    assert server.cursors == [None, "run/2", "run/2", "run/1"]


# -- servers that are not ours --------------------------------------------------------


@pytest.mark.parametrize("ids", [("", ""), ("1", "2"), ("a", "b"), ("/1", "/2")])
def test_a_stream_without_ids_of_ours_is_read_and_not_resumed(
    ids: tuple[str, str],
) -> None:
    body = frame(STARTED, ids[0]) + frame(A, ids[1])
    server = Server(answer(body, CUT))
    events, error = read_until_error(ConnectionLostError, server)

    assert events == [STARTED, A]
    assert str(error) == (
        "lost (reset by peer): its events have no ids of the form <stream>/<number>"
    )
    assert read(Server(answer(body + frame(FINISHED)))) == [STARTED, A, FINISHED]


def test_a_stream_that_just_stops_is_no_success() -> None:
    events, error = read_until_error(
        ConnectionLostError, Server(answer(frame(STARTED) + frame(A)))
    )

    assert events == [STARTED, A]
    assert "the body ended too soon" in str(error)


def test_what_happens_behind_the_end_of_a_run_does_not_matter() -> None:
    assert read(Server(answer(frame(STARTED), frame(FINISHED), CUT))) == [
        STARTED,
        FINISHED,
    ]


def test_two_runs_in_one_answer_are_both_read() -> None:
    body = (frame(STARTED) + frame(FINISHED)) * 2

    assert read(Server(answer(body))) == [STARTED, FINISHED] * 2


def test_the_second_of_two_runs_must_end_too() -> None:
    body = frame(STARTED) + frame(FINISHED) + frame(STARTED)

    events, _ = read_until_error(ConnectionLostError, Server(answer(body)))
    assert events == [STARTED, FINISHED, STARTED]


def test_numbers_that_begin_again_are_not_duplicates() -> None:
    body = frame(STARTED, "1") + frame(FINISHED, "2")

    assert read(Server(answer(body + body))) == [STARTED, FINISHED] * 2


def test_a_connection_closed_by_policy_is_no_end_for_who_comes_back() -> None:
    closed = frame({"type": "RUN_ERROR", "message": "too slow"})
    told: list[Any] = []
    server = Server(answer(BEGIN, closed), answer(END))

    assert read(server, watch=told.append) == WHOLE
    assert told[1].why == "too slow"


def test_a_connection_closed_by_policy_is_an_end_for_who_does_not() -> None:
    closed = {"type": "RUN_ERROR", "message": "too slow"}
    server = Server(answer(BEGIN, frame(closed)))

    assert read(server, reconnect=None) == [STARTED, A, closed]


@pytest.mark.parametrize(
    "noise",
    [
        b"event: ping\ndata: {}\n\n",
        b"event: ping\ndata: {\"t\": 1}\n\n",
        b"data:\n\n",
        b": comment\n\n",
        b"id: 7\n\n",
        b"retry: 10\n\n",
    ],
)  # fmt: skip
def test_what_carries_no_event_is_passed_over(noise: bytes) -> None:
    assert read(Server(answer(noise + BEGIN + noise + END))) == WHOLE


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"data: [DONE]\n\n", "not JSON"),
        (b"data: [{}]\n\n", "not a JSON object"),
        (b"data: {}\n\n", "it has no type"),
        (b'data: {"compressed":true,"data":"eJw="}\n\n', "it has no type"),
        (b"event: chunk\ndata: {}\n\n", "not a chunk"),
    ],
)
def test_what_is_no_event_ends_it_behind_what_came_before(bad: bytes, why: str) -> None:
    events, error = read_until_error(WireError, Server(answer(BEGIN + bad + END)))

    assert events == [STARTED, A]
    assert why in str(error)


def test_an_event_without_an_end_meets_a_limit() -> None:
    endless = (b"x" * 1000,) * 100
    server = Server(answer(BEGIN, b"data: ", *endless))
    events, error = read_until_error(PayloadTooLargeError, server, max_size=10_000)

    assert events == [STARTED, A]
    assert error.limit == 10_000


# -- settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: connect("run"), "url must be an http or https URL, got 'run'"),
        (lambda: connect("http://"), "url must be an http or https URL"),
        (lambda: connect("ftp://x/"), "url must be an http or https URL"),
        (lambda: connect("http://\0"), "url must be an http or https URL"),
        (lambda: connect(URL, json={}, content=b""), "content must be left out"),
        (lambda: connect(URL, read_timeout=0), "read_timeout must be positive, got 0"),
        (lambda: connect(URL, connect_timeout=-1), "connect_timeout must be positive"),
        (lambda: connect(URL, deadline=0), "deadline must be positive"),
        (lambda: connect(URL, max_size=0), "max_size must be positive"),
        (
            lambda: connect(URL, on_trimmed="x"),  # type: ignore[arg-type]
            "on_trimmed must be",
        ),
        (lambda: Reconnect(attempts=0), "attempts must be at least 1"),
        (lambda: Reconnect(base=0), "base must be positive"),
        (lambda: Reconnect(longest=0), "longest must be positive"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    make: Callable[[], object], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        make()
