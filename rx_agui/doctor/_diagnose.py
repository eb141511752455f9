"""What each symptom means, and what to type.

Causes are the likeliest, of those that were met; nginx's are tested with nginx itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rx_agui.doctor._measure import Measured

__all__ = [
    "Diagnosis",
    "pace",
    "pace_in_words",
    "request_headers",
    "response_headers",
    "silence_of",
]

#: Seconds of lag that a reader of typed text does not see.
_UNSEEN = 0.1


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that is in the way.

    Attributes:
        name: Of the symptom.
        is_harm: Whether streams suffer; else it is good to know.
        seen: What was measured.
        cause: The likeliest.
        remedy: What to type, where.
    """

    name: str
    is_harm: bool
    seen: str
    cause: str
    remedy: str


def pace(
    first: Measured, bare: Measured, packed: Measured, plain: Measured
) -> Iterator[Diagnosis]:
    """Yield what holds events back.

    Args:
        first: Sent with the headers that protect a stream.
        bare: Sent without them.
        packed: Compressed by the server.
        plain: As the first, asked for without Accept-Encoding.
    """
    by_nginx = "nginx" in first.headers.get("server", "")
    if first.is_held:
        yield Diagnosis(
            "held-back",
            True,
            pace_in_words(first),
            "a proxy buffers the response, and takes no notice of X-Accel-Buffering: no "
            "and Cache-Control: no-transform",
            "nginx: proxy_buffering off; (and no proxy_ignore_headers X-Accel-Buffering). "
            "Elsewhere: switch response buffering and compression off for this route",
        )
    elif first.lateness > _UNSEEN:
        yield Diagnosis(
            "late",
            True,
            pace_in_words(first),
            "the way is slow, or a proxy gathers events for a while: HAProxy does, for "
            "200 ms",
            "HAProxy: option http-no-delay. Elsewhere measure again from a machine "
            "nearer to the server to see where it is",
        )
    if plain.is_held and not first.is_held:
        yield Diagnosis(
            "held-back-without-gzip",
            True,
            f"for a client that takes no gzip: {pace_in_words(plain)}",
            "a proxy asks the server for gzip whatever the client takes, and unpacks it "
            "at the end: Varnish does",
            "Varnish: unset bereq.http.Accept-Encoding; in vcl_backend_fetch, or "
            "return (pipe); for this route",
        )
    if bare.is_held and not first.is_held:
        cause = "a proxy buffers streams that do not forbid it"
        if by_nginx and _is_recompressed(bare):
            cause = (
                "nginx: gzip on with text/event-stream in gzip_types, and buffering on"
            )
        elif by_nginx:
            cause = (
                "nginx: buffering is on, and keeps what is less than 1460 bytes "
                "(postpone_output)"
            )
        yield Diagnosis(
            "held-back-unprotected",
            False,
            pace_in_words(bare),
            cause,
            "nothing for streams of rx_agui, which send X-Accel-Buffering: no. For "
            "others nginx: proxy_buffering off; and no text/event-stream in gzip_types",
        )
    if _is_recompressed(first):
        yield Diagnosis(
            "recompressed",
            first.is_held,
            f"sent as it is, it came as {first.headers.get('content-encoding')!r}",
            "a proxy compresses text/event-stream, in spite of no-transform",
            "nginx: take text/event-stream out of gzip_types, or compress at the "
            "server, which proxies leave alone",
        )
    if packed.is_held and not first.is_held:
        yield Diagnosis(
            "held-back-compressed",
            True,
            pace_in_words(packed),
            "a proxy unpacks the response, or waits for whole blocks of it",
            "switch decompression (nginx: gunzip) off for this route",
        )


def silence_of(
    silent: Measured, kept: Measured, keep_alive: float
) -> Iterator[Diagnosis]:
    if not silent.is_whole:
        after = silent.longest_silence or silent.ended or 0.0
        if silent.ended is not None and silent.pieces:
            after = silent.ended - (silent.first_byte or 0.0)
        helps = kept.is_whole
        yield Diagnosis(
            "idle-timeout",
            True,
            f"a silent connection is cut after {after:.1f} s"
            + (
                f"; with a keep-alive every {keep_alive:g} s it lives"
                if helps
                else f", and keep-alives every {keep_alive:g} s do not help"
            ),
            "nginx: proxy_read_timeout; elsewhere: the idle time-out of a load balancer",
            f"a keep-alive more often than every {after:.0f} s"
            if helps and after >= 2
            else "a longer time-out: nginx proxy_read_timeout 1h; and keep-alives well "
            "within it",
        )
    elif not kept.is_whole:
        yield Diagnosis(
            "cut",
            True,
            f"cut after {kept.ended or 0.0:.1f} s ({kept.error or 'a clean end'})",
            "something limits how long a response may take",
            "resume is what helps: a log behind the response, and ids",
        )


def request_headers(first: Measured, asked: Mapping[str, str]) -> Iterator[Diagnosis]:
    heard = first.said.get("heard", {})
    if heard.get("last-event-id", "") != asked["last-event-id"]:
        yield Diagnosis(
            "cursor-lost",
            True,
            "Last-Event-ID did not reach the server",
            "a proxy passes on only headers that it knows (nginx: proxy_set_header "
            'Last-Event-ID "")',
            "let the header through; or resume by ?last_event_id=, which passes",
        )
    if "resume=1" not in heard.get("accept", ""):
        yield Diagnosis(
            "accept-lost",
            False,
            f"Accept came as {heard.get('accept', '')!r}",
            "a proxy writes its own",
            "let Accept through: by it a server knows who can come back",
        )
    if not heard.get("accept-encoding"):
        yield Diagnosis(
            "accept-encoding-lost",
            False,
            "Accept-Encoding did not reach the server, which cannot compress",
            'a proxy takes it out (nginx: proxy_set_header Accept-Encoding "")',
            "let it through, unless the proxy shall compress; then it must flush",
        )
    if first.said.get("http") == "1.0":
        yield Diagnosis(
            "http-1.0",
            False,
            "the server is asked in HTTP/1.0, whose bodies end with the connection: "
            "one that broke looks like one that is done",
            "nginx: proxy_http_version is 1.0 by default",
            'nginx: proxy_http_version 1.1; proxy_set_header Connection "";',
        )


def response_headers(first: Measured) -> Iterator[Diagnosis]:
    answered = first.said.get("answered", {})
    for name, value in answered.items():
        got = first.headers.get(name, "")
        if name in ("x-accel-buffering", "content-encoding"):
            continue  # nginx keeps the one to itself; the other is told elsewhere
        if value.lower() not in got.lower():
            yield Diagnosis(
                "header-lost",
                name in ("content-type", "cache-control"),
                f"{name}: {value} came as {got!r}" if got else f"{name} did not come",
                "a proxy takes it out (nginx: proxy_hide_header) or writes its own",
                "let it through: caches and proxies further on go by it",
            )


def _is_recompressed(measured: Measured) -> bool:
    sent = measured.said.get("answered", {}).get("content-encoding", "")
    return bool(measured.headers.get("content-encoding", "") != sent)


def pace_in_words(measured: Measured) -> str:
    if measured.status != 200:
        return f"status {measured.status}"
    if not measured.came:
        return f"no events came ({measured.error or 'a clean end'})"
    took = measured.sent[-1] - measured.sent[0]
    events = len(measured.sent)
    if measured.is_held:
        how = "together" if measured.arrivals == 1 else f"in {measured.arrivals} lumps"
        return f"HELD BACK: {events} events, sent over {took:.1f} s, came {how}"
    lags = sorted(measured.lags)
    late = lags[int(0.95 * (len(lags) - 1))]
    return f"{len(lags)} events, 95 % within {late * 1000:.0f} ms, all within {lags[-1] * 1000:.0f} ms"
