/**
 * A `fetch` that resumes, to hand to an unmodified AG-UI client.
 *
 *     const agent = new HttpAgent({ url, fetch: resumable() });
 *
 * It gives plain frames, whole and each once, with LF ends, whatever profile the server
 * speaks. Answers that are not an event stream pass as they are. The body must be one that
 * can be sent again: text, bytes, a form, but not a stream.
 *
 * @param {Options} [options]
 * @returns {typeof fetch}
 */
export function resumable(options?: Options): typeof fetch;
/**
 * The events of a run, one after the other, as objects.
 *
 *     for await (const event of events("/run", { input: { threadId, runId, ... } }))
 *
 * Leaving the loop closes the connection. A run that cannot be brought to its end throws a
 * StreamError; a RUN_ERROR of the agent is an event like any other.
 *
 * @param {string | URL | Request} url
 * @param {Options & Omit<RequestInit, "cache"> & { input?: unknown }} [options] Of `resumable`
 *     and of `fetch`; `input` is POSTed as JSON.
 * @returns {AsyncGenerator<Record<string, any>, void, void>}
 */
export function events(url: string | URL | Request, { input, ...options }?: Options & Omit<RequestInit, "cache"> & {
    input?: unknown;
}): AsyncGenerator<Record<string, any>, void, void>;
/**
 * A run that could not be brought to its end.
 *
 *     CUT               the connection ended early, and the stream cannot be resumed
 *     CONNECTION_LOST   it could not be opened again, however often it was tried
 *     REPLAY_TRIMMED    the server no longer remembers enough to go on
 *     REPLAY_GONE       the server does not know the stream (any more)
 *     HTTP_401, ...     the server answered with this status
 *     TOO_LARGE         a frame or payload exceeds `maxSize`
 *     WIRE              what came is not what rx_agui writes
 */
export class StreamError extends Error {
    /**
     * @param {string} code
     * @param {string} message
     * @param {unknown} [cause]
     */
    constructor(code: string, message: string, cause?: unknown);
    code: string;
}
/**
 * What can be sent more than once.
 */
export type Repeatable = {
    url: string;
    headers: Headers;
    init: RequestInit;
};
/**
 * What became of a run so far.
 */
export type Status = {
    state: "connecting" | "open" | "waiting" | "done" | "failed";
    /**
     * Connections tried since something new came; 0 when all is well.
     */
    attempt: number;
    /**
     * Milliseconds until the next try, while `waiting`; else 0.
     */
    retryIn: number;
    /**
     * How many were answered; one for a line that never broke.
     */
    connections: number;
    /**
     * The cursor: of the last frame taken. "" before the first.
     */
    lastEventId: string;
    /**
     * Of all bodies, behind the decompression that HTTP does.
     */
    bytes: number;
    /**
     * Handed on.
     */
    events: number;
    /**
     * Frames that had been handed on before, and were dropped.
     */
    duplicates: number;
    /**
     * Why it is `waiting` or has `failed`.
     */
    error: unknown;
};
export type Options = {
    /**
     * What opens a connection. The global one.
     */
    fetch?: typeof fetch | undefined;
    /**
     * Connections tried in a row that bring nothing new before a
     * run is given up. 8, which is about 40 seconds with the other defaults.
     */
    attempts?: number | undefined;
    /**
     * The first delay is up to this long, each next up to twice as
     * long: drawn by lot, so that readers who were cut off together do not come back
     * together. 1000; a `retry:` of the server replaces it.
     */
    retry?: number | undefined;
    /**
     * No delay is longer, unless the server asks. 15000.
     */
    maxRetry?: number | undefined;
    /**
     * Silence after which a resumable connection is taken for dead and
     * opened anew. Servers of rx_agui say something every 15 seconds. 45000; 0 is never.
     */
    idle?: number | undefined;
    /**
     * Characters of a frame, and bytes of a payload, that may be
     * held at most. 16 MiB.
     */
    maxSize?: number | undefined;
    /**
     * How long frames wait for lower numbers, for servers that
     * compress with `ordered=False`. 0: they come in order, as all others send them.
     */
    resequence?: number | undefined;
    /**
     * Whether a request that was never answered is sent again.
     * True, since servers of rx_agui join a repeated request to its run. Say false to one
     * that would run its agent twice.
     */
    repeat?: boolean | undefined;
    /**
     * Whether a reader in the middle of a run can bear to be given
     * its beginning again, shortened, where the server has forgotten too much to go on.
     * False: an AG-UI client would refuse a second RUN_STARTED.
     */
    prelude?: boolean | undefined;
    /**
     * How the server is told the last id:
     * `Last-Event-ID`, or `?last_event_id=`, which needs no permission from another origin.
     * "auto" is the header, but the query for a page of another origin.
     */
    cursor?: "auto" | "header" | "query" | undefined;
    /**
     * Whether the server is told to stop the run when the signal given to
     * `fetch` is aborted, as `HttpAgent.abortRun()` does; a page that goes does not abort it.
     * The same POST with the header `Rx-Agui-Stop: 1`, which a server on another origin must
     * allow. True; with false the run of a server with a log goes on for its grace period.
     */
    stop?: boolean | undefined;
    /**
     * Where to go on, for a run that was begun before.
     */
    lastEventId?: string | undefined;
    /**
     * Told of every change of state.
     */
    onstate?: ((status: Status) => void) | undefined;
    /**
     * Told after every read of the network.
     */
    onprogress?: ((status: Status) => void) | undefined;
};
export type Settings = Required<Options>;
export type Frame = {
    /**
     * One event's JSON. "" of a block that only has an id.
     */
    data: string;
    event: string;
    /**
     * As it is written; "" without one.
     */
    id: string;
    /**
     * Whose number it is; "" for a bare number, which is in no log.
     */
    stream: string;
    /**
     * The last it covers; 0 without one.
     */
    number: number;
    /**
     * The first it covers.
     */
    first: number;
};
export type Reader = ReadableStreamDefaultReader<Uint8Array>;
/**
 * What stands between two empty lines.
 */
export type Block = {
    data: string;
    hasData: boolean;
    event: string;
    /**
     * "" without one: an id of an earlier block is not this one's.
     */
    id: string;
};
/**
 * A piece of a payload.
 */
export type Envelope = {
    sequenceNum: number;
    events: number;
    chunkIndex: number;
    totalChunks: number;
    encoding: string;
    /**
     * null where it was not needed.
     */
    crc32?: number | null | undefined;
    numbers?: number[] | undefined;
    data: string;
};
export type Bytes = Uint8Array<ArrayBuffer>;
export type Incomplete = {
    pieces: Map<number, Bytes>;
    size: number;
    id: string;
};
