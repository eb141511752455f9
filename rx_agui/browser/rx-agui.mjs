// Reads a run of an agent to its end, however often the line breaks.
//
//     new HttpAgent({ url, fetch: resumable() })           under an AG-UI client
//     for await (const event of events(url, { input }))    without one
//
//     bytes ──▶ Blocks ──▶ Payloads ──▶ Run ──▶ whole frames, each once
//               id, data   chunks put   cursor
//                          together
//
// A connection may end anywhere: within a character, a frame, a compressed payload. What
// was handed on stays; the same request is sent again with the last id taken, and the
// server goes on behind it. A run that cannot be brought to its end is told as RUN_ERROR
// (under an AG-UI client) or thrown as StreamError, never taken for a success.
//
// Browsers and Node 20 or later, as it is: no build, no dependency, one file to copy.
// Milliseconds everywhere.

/**
 * What became of a run so far.
 *
 * @typedef {object} Status
 * @property {"connecting" | "open" | "waiting" | "done" | "failed"} state
 * @property {number} attempt Connections tried since something new came; 0 when all is well.
 * @property {number} retryIn Milliseconds until the next try, while `waiting`; else 0.
 * @property {number} connections How many were answered; one for a line that never broke.
 * @property {string} lastEventId The cursor: of the last frame taken. "" before the first.
 * @property {number} bytes Of all bodies, behind the decompression that HTTP does.
 * @property {number} events Handed on.
 * @property {number} duplicates Frames that had been handed on before, and were dropped.
 * @property {unknown} error Why it is `waiting` or has `failed`.
 */

/**
 * @typedef {object} Options
 * @property {typeof fetch} [fetch] What opens a connection. The global one.
 * @property {number} [attempts] Connections tried in a row that bring nothing new before a
 *     run is given up. 8, which is about 40 seconds with the other defaults.
 * @property {number} [retry] The first delay is up to this long, each next up to twice as
 *     long: drawn by lot, so that readers who were cut off together do not come back
 *     together. 1000; a `retry:` of the server replaces it.
 * @property {number} [maxRetry] No delay is longer, unless the server asks. 15000.
 * @property {number} [idle] Silence after which a resumable connection is taken for dead and
 *     opened anew. Servers of rx_agui say something every 15 seconds. 45000; 0 is never.
 * @property {number} [maxSize] Characters of a frame, and bytes of a payload, that may be
 *     held at most. 16 MiB.
 * @property {number} [resequence] How long frames wait for lower numbers, for servers that
 *     compress with `ordered=False`. 0: they come in order, as all others send them.
 * @property {boolean} [repeat] Whether a request that was never answered is sent again.
 *     True, since servers of rx_agui join a repeated request to its run. Say false to one
 *     that would run its agent twice.
 * @property {boolean} [prelude] Whether a reader in the middle of a run can bear to be given
 *     its beginning again, shortened, where the server has forgotten too much to go on.
 *     False: an AG-UI client would refuse a second RUN_STARTED.
 * @property {"auto" | "header" | "query"} [cursor] How the server is told the last id:
 *     `Last-Event-ID`, or `?last_event_id=`, which needs no permission from another origin.
 *     "auto" is the header, but the query for a page of another origin.
 * @property {boolean} [stop] Whether the server is told to stop the run when the signal given to
 *     `fetch` is aborted, as `HttpAgent.abortRun()` does; a page that goes does not abort it.
 *     The same POST with the header `Rx-Agui-Stop: 1`, which a server on another origin must
 *     allow. True; with false the run of a server with a log goes on for its grace period.
 * @property {string} [lastEventId] Where to go on, for a run that was begun before.
 * @property {(status: Status) => void} [onstate] Told of every change of state.
 * @property {(status: Status) => void} [onprogress] Told after every read of the network.
 */

/** @typedef {Required<Options>} Settings */

/** @type {Omit<Settings, "fetch">} */
const DEFAULTS = {
  attempts: 8,
  retry: 1000,
  maxRetry: 15_000,
  idle: 45_000,
  maxSize: 16 * 1024 * 1024,
  resequence: 0,
  repeat: true,
  prelude: false,
  cursor: "auto",
  stop: true,
  lastEventId: "",
  onstate: () => {},
  onprogress: () => {},
};

/** Says that we can resume; in `Accept`, which other origins allow without being asked. */
const RESUMES = "text/event-stream;resume=1";

/** An id with an epoch, which says which run of a name is to stop. */
const WITH_EPOCH = /@[0-9a-f]{32}\/\d+$/;

/** Bytes of a body at most that a browser still sends when the page goes; 64 KiB with headers. */
const MAX_KEEPALIVE = 60_000;

/** What a wait gives that took too long. */
const LATE = Symbol("late");

/** Milliseconds. A longer timer, and one that is to take for ever, would ring at once. */
const LONGEST = 2 ** 31 - 1;

/** Characters of an error's body to show. */
const REASON = 200;

/** Milliseconds that an error's body, an id to stop a run by, and the stop itself may take. */
const SOON = 5000;

/** Frames that wait for lower numbers, and payloads that wait for pieces. */
const MAX_EARLY = 1000;
const MAX_PARTIALS = 64;

/** Pieces of them at most, beyond one for each `OVERHEAD` bytes of `maxSize`. */
const MAX_PIECES = 4096;

/** Characters of an id at most: no request header could carry more back. */
const MAX_ID = 8192;

/** Values in a chunk's envelope, most of which are the numbers of its events. */
const MAX_VALUES = 256 * 1024;

/** Bytes in memory, about, for a frame or a piece that waits, beside its characters. */
const OVERHEAD = 256;

/** Frames, and characters, to hand on at a time. */
const MANY = 1000;
const MUCH = 256 * 1024;

/** Payloads of which a piece may still come twice after they were whole. */
const MAX_WHOLE = 1024;

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
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = "StreamError";
    this.code = code;
  }
}

/** A connection that is of no more use; the next one may be. */
class Cut extends Error {}

// -- for an AG-UI client, and for everybody ------------------------------------

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
export function resumable(options = {}) {
  const settings = settle(options);
  return async (input, init) => {
    const run = new Run(await repeatable(input, init), settings);
    const response = await run.open();
    return run.isOurs(response) ? answer(run, response) : response;
  };
}

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
export async function* events(url, { input, ...options } = {}) {
  /** @type {Record<string, unknown>} */
  const ours = {};
  /** @type {Record<string, unknown>} */
  const init = {};
  for (const [name, value] of Object.entries(options)) {
    (name === "fetch" || name in DEFAULTS ? ours : init)[name] = value;
  }
  if (input !== undefined) {
    const headers = new Headers(options.headers);
    headers.set("Content-Type", "application/json");
    Object.assign(init, { method: "POST", headers, body: JSON.stringify(input) });
  }
  const run = new Run(await repeatable(url, init), settle(ours));
  try {
    const response = await run.open();
    if (response.status === 204 && ours.lastEventId) return; // nothing is missing
    if (!run.isOurs(response)) throw await refused(response);
    for await (const frames of run.read(response)) {
      for (const frame of frames) yield parsed(frame.data, run.maxSize);
    }
  } finally {
    run.stop(new DOMException("no reader is left", "AbortError"));
  }
}

/**
 * What the agent is given for `response`, and for all that follow it.
 *
 * @param {Run} run
 * @param {Response} response
 */
function answer(run, response) {
  const batches = run.read(response);
  const encoder = new TextEncoder();
  const unfinished = new Unfinished();
  /** @type {ReadableStream<Uint8Array>} */
  const body = new ReadableStream(
    {
      start(controller) {
        run.onstop = (reason) => controller.error(reason);
      },
      async pull(controller) {
        try {
          const { done, value } = await batches.next();
          if (!done) for (const { data } of value) unfinished.note(data);
          if (!done) for (const text of texts(value)) controller.enqueue(encoder.encode(text));
          else if (!run.isStopped) controller.close();
        } catch (error) {
          if (run.isStopped) return controller.error(error); // if it has not been told
          // A body that breaks kills a Node process under `@ag-ui/client`, whose reader
          // rejects once more where no handler is attached. An event does not.
          controller.enqueue(encoder.encode(failure(error, unfinished)));
          controller.close();
        }
      },
      cancel(reason) {
        run.onstop = () => {};
        run.stop(reason);
      },
    },
    { highWaterMark: 0 }, // read when we are read: who is slow slows the server down
  );
  const headers = new Headers(response.headers);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name);
  const { status, statusText, url, redirected } = response;
  const ours = new Response(body, { status, statusText, headers });
  return Object.defineProperties(ours, {
    url: { value: url },
    redirected: { value: redirected },
  });
}

/**
 * Frames as text, of about `MUCH` characters at a time.
 *
 * @param {Frame[]} frames
 */
function* texts(frames) {
  let text = "";
  for (const frame of frames) {
    text += written(frame);
    if (text.length < MUCH) continue;
    yield text;
    text = "";
  }
  if (text !== "") yield text;
}

/**
 * @param {unknown} error
 * @param {Unfinished} unfinished
 */
function failure(error, unfinished) {
  const code = error instanceof StreamError ? error.code : "WIRE";
  const message = error instanceof Error ? error.message : String(error);
  const events = [...unfinished.closing(), { type: "RUN_ERROR", message, code }];
  return events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
}

/** Events that begin, end or answer something. The first chunk of a call has its name. */
const TELLING = /_(?:START|STARTED|END|FINISHED|RESULT)"|"toolCallName"|"MESSAGES_SNAPSHOT"/;

/** Constructs that are remembered as open, and characters of an event that begins one. */
const MOST_OPEN = 1000;
const LARGE = 65536;

/**
 * What a broken run leaves open, which is closed before the RUN_ERROR that ends it: the
 * rules of the server's `rx_agui/agui/unfinished.py`.
 */
class Unfinished {
  /** @type {Map<string, Record<string, string>>} The event that closes it. */
  #open = new Map();
  /** @type {Map<string, Record<string, string>>} Calls without a result. */
  #calls = new Map();

  /** @param {string} data An event, which was handed on. */
  note(data) {
    if (!TELLING.test(data)) return;
    if (data.includes('"MESSAGES_SNAPSHOT"')) {
      for (const [, id] of data.matchAll(/"toolCallId":\s*"([^"\\]*)"/g)) this.#calls.delete(id);
    } else if (data.length <= LARGE) {
      try {
        this.#take(JSON.parse(data));
      } catch {
        // the client will say what is wrong with it
      }
    } else if (data.includes('"TOOL_CALL_RESULT"')) {
      this.#calls.delete(/"toolCallId":\s*"([^"\\]*)"/.exec(data)?.[1] ?? "");
    }
  }

  /** @param {Record<string, any>} event */
  #take({ type, messageId, toolCallId, stepName, toolCallName, subagentRunId }) {
    if (typeof type !== "string") return;
    if (type === "RUN_STARTED") {
      this.#open.clear();
      this.#calls.clear();
    }
    if (type === "TOOL_CALL_RESULT") this.#calls.delete(toolCallId);
    /** @type {Record<string, string>} */
    const agent = typeof subagentRunId === "string" ? { subagentRunId } : {};
    if (typeof toolCallName === "string" && this.#calls.size < MOST_OPEN) {
      this.#calls.set(toolCallId, agent);
    }
    const [, construct, part] = /^(.+)_(START|END|STARTED|FINISHED)$/.exec(type) ?? [];
    if (construct === undefined || construct === "RUN" || construct === "SUBAGENT") return;
    const isStep = construct === "STEP";
    const key = JSON.stringify([construct, toolCallId ?? messageId ?? stepName, isStep && agent]);
    if (part === "END" || part === "FINISHED") this.#open.delete(key);
    else if (this.#open.size < MOST_OPEN) {
      const closes = `${construct}_${isStep ? "FINISHED" : "END"}`;
      this.#open.set(key, { type: closes, messageId, toolCallId, stepName, ...agent });
    }
  }

  /** The events that close what is open, in their order. */
  closing() {
    const ends = [...this.#open.values()].reverse();
    const results = [...this.#calls].map(([toolCallId, agent]) => ({
      type: "TOOL_CALL_RESULT",
      toolCallId,
      messageId: `${toolCallId}-failed`,
      content: "The run ended before this tool call had a result.",
      role: "tool",
      ...agent,
    }));
    const isStep = (/** @type {Record<string, any>} */ { type }) => type === "STEP_FINISHED";
    return [...ends.filter((end) => !isStep(end)), ...results, ...ends.filter(isStep)];
  }
}

// -- a run, over as many connections as it takes -------------------------------

/**
 * @typedef {object} Frame
 * @property {string} data One event's JSON. "" of a block that only has an id.
 * @property {string} event
 * @property {string} id As it is written; "" without one.
 * @property {string} stream Whose number it is; "" for a bare number, which is in no log.
 * @property {number} number The last it covers; 0 without one.
 * @property {number} first The first it covers.
 */

/** @typedef {ReadableStreamDefaultReader<Uint8Array>} Reader */

class Run {
  /** @type {(reason: unknown) => void} Told when the caller stops us. */
  onstop = () => {};
  isStopped = false;
  /** @type {unknown} */
  #reason;
  /** @type {(reason: unknown) => void} Ends the one wait we are in. */
  #interrupt = () => {};
  /** Stops listening to the caller's signal. */
  #forget = () => {};
  #connection = new AbortController();
  /** @type {Status} */
  #status;
  #settings;
  #request;
  #retry;
  #stream = "";
  #number = 0;
  /** Something was handed on, now or before. */
  #isBegun;
  /** The last that was heard of the run is its end. */
  #isOver = false;
  /** The server keeps a log of this run, or so it says. */
  #isLogged = false;
  /** @type {Frame[]} They wait for lower numbers. */
  #early = [];
  /** Bytes that they take. */
  #earlySize = 0;
  /** The number behind which the last connection lacked something. */
  #gap = -1;
  /** @type {Promise<Response> | undefined} Of the newest connection. */
  #answer;
  /** @type {{ reader: Reader, reading: ReturnType<Reader["read"]>, blocks: Blocks, decoder: TextDecoder } | undefined} */
  #open;
  /** The connection is kept until it has said which run is to be stopped. */
  #isKept = false;

  /**
   * @param {Repeatable} request
   * @param {Settings} settings
   */
  constructor(request, settings) {
    this.#request = request;
    this.#settings = settings;
    this.#retry = settings.retry;
    const lastEventId = request.headers.get("Last-Event-ID") ?? settings.lastEventId;
    const { stream, number } = numbered(lastEventId);
    if (lastEventId && !stream) {
      throw new TypeError(`lastEventId must be <stream>/<number>, got ${lastEventId}`);
    }
    this.#stream = stream;
    this.#number = number;
    this.#isBegun = lastEventId !== "";
    this.#status = {
      state: "connecting",
      attempt: 0,
      retryIn: 0,
      connections: 0,
      lastEventId,
      bytes: 0,
      events: 0,
      duplicates: 0,
      error: undefined,
    };
    const { signal } = request.init;
    if (signal) {
      const abort = () => {
        this.#isKept = this.#mayNameRun;
        this.stop(signal.reason);
        this.#halt();
      };
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort);
      this.#forget = () => signal.removeEventListener("abort", abort);
    }
  }

  get maxSize() {
    return this.#settings.maxSize;
  }

  /**
   * Everything ends here and now: reading, connecting, waiting.
   *
   * @param {unknown} reason
   */
  stop(reason) {
    if (this.isStopped) return;
    this.isStopped = true;
    this.#reason = reason;
    this.#forget();
    this.#close(reason);
    this.#interrupt(reason);
    this.onstop(reason);
    const { state } = this.#status;
    if (state === "done" || state === "failed") return;
    if (this.#isOver) this.#tell("done");
    else this.#tell("failed", { error: reason });
  }

  /** @param {unknown} reason */
  #close(reason) {
    if (!this.#isKept) this.#connection.abort(reason);
  }

  /** Whether a stop would be understood: a GET would be answered with the rest of the run. */
  get #mayStop() {
    const isPost = this.#request.init.method?.toUpperCase() === "POST";
    return isPost && this.#settings.stop && !this.#isOver;
  }

  /** Whether the run has no id yet that names it, and the open connection may bring one. */
  get #mayNameRun() {
    const mayBeLogged = this.#isLogged || this.#status.connections === 0;
    return this.#mayStop && !this.isStopped && this.#stream === "" && mayBeLogged;
  }

  /** Tells the server to stop the run, as far as it is known which; failures are its own. */
  #halt() {
    const { lastEventId } = this.#status;
    if (this.#isKept) this.#readOn().catch(() => {});
    else if (this.#mayStop && WITH_EPOCH.test(lastEventId)) this.#sendStop(lastEventId);
  }

  /** Reads to the first id with an epoch, and stops the run by it. */
  async #readOn() {
    const close = () => this.#connection.abort(this.#reason);
    const timer = setTimeout(close, SOON);
    try {
      let open = this.#open;
      if (open === undefined) {
        const response = await this.#answer;
        if (response === undefined || !this.isOurs(response)) return;
        if (response.headers.get("Rx-Agui-Replay") === null) return; // it ends with us
        open = this.#opens(response);
      }
      const { reader, blocks, decoder } = open;
      for (let { reading } = open; ; reading = reader.read()) {
        const { done, value } = await reading;
        if (done) return;
        for (const { id } of blocks.of(decoder.decode(value, { stream: true }))) {
          if (WITH_EPOCH.test(id)) return this.#sendStop(id);
        }
      }
    } finally {
      clearTimeout(timer);
      close();
    }
  }

  /**
   * The same request, with the header that stops a run. 202, 204, 404, 410: all is well.
   *
   * @param {string} id
   */
  #sendStop(id) {
    const { fetch } = this.#settings;
    const { url, headers } = this.#addressed(id);
    headers.set("Rx-Agui-Stop", "1");
    const { init } = this.#request;
    const keepalive = size(init.body) <= MAX_KEEPALIVE;
    const signal = AbortSignal.timeout(SOON);
    const stopping = new Promise((resolve) => {
      resolve(fetch(url, { ...init, headers, keepalive, signal }));
    });
    stopping.then((response) => response.body?.cancel()).catch(() => {});
  }

  /**
   * The first answer, whatever it is. Rejects as `fetch` does if there is none.
   *
   * @returns {Promise<Response>}
   */
  async open() {
    for (;;) {
      try {
        const response = await this.#connect();
        if (this.isOurs(response)) this.#opened(response);
        else this.#tell(response.ok ? "done" : "failed");
        return response;
      } catch (error) {
        if (this.isStopped) throw this.#reason;
        const { attempts, repeat } = this.#settings;
        const isLast = !repeat || this.#status.attempt + 1 >= attempts;
        if (isLast || error instanceof StreamError) {
          this.#connection.abort(error); // which may have been answered
          this.#tell("failed", { error });
          this.#forget();
          throw error;
        }
        await this.#wait(error);
      }
    }
  }

  /**
   * Whether it is for us to read.
   *
   * @param {Response} response
   */
  isOurs({ status, headers, body }) {
    const type = headers.get("Content-Type") ?? "";
    return status === 200 && body !== null && /^text\/event-stream\b/i.test(type);
  }

  /**
   * What came, as it comes, to the end of the run. Each frame of it is new.
   *
   * @param {Response} first
   * @returns {AsyncGenerator<Frame[], void, void>}
   */
  async *read(first) {
    try {
      if (this.isStopped) throw this.#reason; // before any handler was called
      for (let response = first; ; response = await this.#reopen()) {
        /** @type {unknown} */
        let why = new Cut("the connection ended before the run did");
        try {
          yield* this.#receive(response);
        } catch (error) {
          if (this.isStopped) throw this.#reason;
          if (error instanceof StreamError) throw error;
          why = error;
        }
        if (this.#isOver) break;
        this.#status.error = why;
      }
      this.#tell("done");
    } catch (error) {
      this.#close(error); // it may be open, and not ours to read
      if (!this.isStopped) this.#tell("failed", { error });
      throw error;
    } finally {
      this.#forget();
    }
  }

  /**
   * One connection, to its end.
   *
   * @param {Response} response
   * @returns {AsyncGenerator<Frame[], void, void>}
   */
  async *#receive(response) {
    const { maxSize, onprogress } = this.#settings;
    const payloads = new Payloads(maxSize);
    const replay = response.headers.get("Rx-Agui-Replay");
    /** @type {Frame[] | null} A prelude is handed on in one piece, or not at all. */
    let held = replay === "prelude" || replay === "trimmed" ? [] : null;
    let heldSize = 0;
    this.#early = [];
    this.#earlySize = 0;
    const open = this.#opens(response);
    const { reader, blocks, decoder } = open;
    try {
      for (;;) {
        /** @type {Frame[]} */
        let ready = [];
        let size = 0;
        /** @type {unknown} */
        let error;
        const read = await this.#inTime(open.reading, this.#patience());
        if (read === LATE && this.#early.length === 0) {
          throw new Cut(`nothing came for ${this.#settings.idle} ms`);
        } else if (read === LATE) {
          this.#giveUpGap(ready);
        } else if (read.done) {
          // What two connections lack, the next one lacks too.
          const isLost = !this.#isResumable || this.#gap === this.#number;
          while (isLost && this.#early.length > 0) this.#giveUpGap(ready);
          if (this.#early.length > 0) this.#gap = this.#number;
        } else {
          try {
            this.#status.bytes += read.value.length;
            for (const block of blocks.of(decoder.decode(read.value, { stream: true }))) {
              for (const frame of await payloads.of(block)) {
                if (held === null) {
                  this.#arrive(frame, ready);
                  size += frame.data.length;
                  if (ready.length === 0 || (ready.length < MANY && size < MUCH)) continue;
                  this.#status.events += ready.length;
                  yield ready; // a payload may be many frames: they are never all made
                  ready = [];
                  size = 0;
                  continue;
                }
                held.push(frame);
                heldSize += frame.data.length + OVERHEAD;
                if (heldSize > maxSize) throw tooLarge(maxSize, "a prelude");
                if (frame.number === 0) continue;
                this.#number = 0; // where the server is, not where we were
                for (const one of held) this.#take(one, ready);
                held = null;
              }
            }
          } catch (why) {
            error = why; // what came before it is taken, and must be handed on
          }
          if (blocks.retry >= 0) this.#retry = blocks.retry;
        }
        this.#status.events += ready.length;
        if (read !== LATE) tell(onprogress, { ...this.#status });
        if (ready.length > 0) yield ready;
        if (error !== undefined) throw error;
        if (read === LATE) continue;
        if (read.done) return;
        open.reading = reader.read();
      }
    } finally {
      if (!this.#isKept) reader.cancel().catch(() => {}); // it rejects with what we know: why it broke
    }
  }

  /** @param {Response} response */
  #opens({ body }) {
    const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader();
    const blocks = new Blocks(this.maxSize);
    const decoder = new TextDecoder(); // which keeps a character that was cut in two
    this.#open = { reader, reading: reader.read(), blocks, decoder };
    return this.#open;
  }

  /** Milliseconds to wait for a read; 0 for as long as it takes. */
  #patience() {
    if (this.#early.length > 0) return this.#settings.resequence;
    return this.#isResumable ? this.#settings.idle : 0;
  }

  /**
   * In order, whatever order they come in.
   *
   * @param {Frame} frame
   * @param {Frame[]} ready
   */
  #arrive(frame, ready) {
    const isEarly = frame.first > this.#number + 1 && this.#settings.resequence > 0;
    if (!isEarly) {
      this.#take(frame, ready);
    } else {
      this.#early.push(frame);
      this.#early.sort((a, b) => a.number - b.number);
      this.#earlySize += frame.data.length + OVERHEAD;
      const { maxSize } = this.#settings;
      while (this.#early.length > MAX_EARLY || this.#earlySize > maxSize) this.#giveUpGap(ready);
    }
    this.#takeNext(ready);
  }

  /** @param {Frame[]} ready */
  #giveUpGap(ready) {
    this.#take(this.#first(), ready);
    this.#takeNext(ready);
  }

  /** @param {Frame[]} ready */
  #takeNext(ready) {
    for (let next; (next = this.#early[0]) && next.first <= this.#number + 1; ) {
      this.#take(this.#first(), ready);
    }
  }

  /** The lowest of those that wait, which waits no longer. */
  #first() {
    const frame = /** @type {Frame} */ (this.#early.shift());
    this.#earlySize -= frame.data.length + OVERHEAD;
    return frame;
  }

  /**
   * Hand it on, if it is new; from here on the cursor stands behind it.
   *
   * @param {Frame} frame
   * @param {Frame[]} ready
   */
  #take(frame, ready) {
    const type = runEvent(frame.data, this.maxSize);
    if (frame.number > 0) {
      // Bare numbers of another server may begin again, or tell the time.
      const isOrder = frame.stream !== "" || this.#settings.resequence > 0;
      if (isOrder && frame.stream === this.#stream && frame.number <= this.#number) {
        this.#status.duplicates += 1;
        return;
      }
      this.#stream = frame.stream;
      this.#number = frame.number;
      this.#status.lastEventId = frame.id;
      this.#status.attempt = 0;
    } else if (type === "RUN_ERROR" && this.#stream) {
      // The end of a connection. The end of a run that is logged has a number; but one that
      // failed before it had begun is in no log, and asked again, its agent would run again.
      throw new Cut(parsed(frame.data, this.maxSize).message ?? "the server closed the connection");
    }
    if (frame.data === "") return; // an AG-UI client would try to parse it
    if (type !== "") this.#isOver = type !== "RUN_STARTED";
    this.#isBegun = true;
    ready.push(frame);
  }

  get #isResumable() {
    return this.#stream !== "" || (!this.#isBegun && this.#isLogged);
  }

  // -- connecting ---------------------------------------------------------------

  /**
   * The next connection, which goes on where the last one ended.
   *
   * @returns {Promise<Response>}
   */
  async #reopen() {
    const { attempts } = this.#settings;
    for (let atLeast = 0; ; ) {
      const { error, attempt } = this.#status;
      if (!this.#isResumable) {
        throw new StreamError("CUT", `${reason(error)}; it cannot be resumed`, error);
      }
      if (attempt >= attempts) {
        const why = `${reason(error)}; given up after ${attempts} attempts`;
        throw new StreamError("CONNECTION_LOST", why, error);
      }
      await this.#wait(error, atLeast);
      atLeast = 0;
      try {
        const response = await this.#connect();
        if (this.isOurs(response)) {
          this.#opened(response);
          return response;
        }
        if (!isTransient(response)) throw await refused(response);
        // Also a page that asks to log in to some hotel's network.
        this.#status.error = new Cut(`the server answered with ${response.status}`);
        atLeast = 1000 * (Number(response.headers.get("Retry-After")) || 0);
        this.#connection.abort();
      } catch (why) {
        if (this.isStopped) throw this.#reason;
        if (why instanceof StreamError) throw why;
        this.#status.error = why;
      }
    }
  }

  async #connect() {
    if (this.isStopped) throw this.#reason;
    this.#tell("connecting");
    this.#connection = new AbortController();
    const { url, headers } = this.#addressed(this.#stream && this.#status.lastEventId);
    const { signal } = this.#connection;
    const { fetch } = this.#settings; // a browser's own must not be called as our method
    const init = { ...this.#request.init, headers, signal };
    const { idle } = this.#settings;
    this.#open = undefined;
    this.#answer = fetch(url, init);
    const response = await this.#inTime(this.#answer, this.#isResumable ? idle : 0);
    if (response === LATE) {
      const late = new Cut(`no answer came for ${idle} ms`);
      this.#connection.abort(late);
      throw late;
    }
    this.#status.connections += 1;
    return response;
  }

  /** @param {string} id The cursor; "" without one. */
  #addressed(id) {
    let { url } = this.#request;
    const headers = new Headers(this.#request.headers);
    const accept = headers.get("Accept");
    headers.set("Accept", accept ? `${RESUMES}, ${accept}` : `${RESUMES}, text/event-stream`);
    headers.delete("Last-Event-ID");
    if (id === "") return { url, headers };
    if (this.#settings.cursor === "header" || !this.#asksInQuery(id)) {
      headers.set("Last-Event-ID", id);
      return { url, headers };
    }
    const asked = new URL(url, globalThis.location?.href);
    asked.searchParams.set("last_event_id", id);
    url = asked.href;
    return { url, headers };
  }

  /** @param {string} id */
  #asksInQuery(id) {
    const { location } = globalThis;
    const isForeign =
      location !== undefined &&
      new URL(this.#request.url, location.href).origin !== location.origin;
    // Browsers send what is not ASCII in a header as no server expects it.
    return this.#settings.cursor === "query" || isForeign || /[^\x20-\x7e]/.test(id);
  }

  /** @param {Response} response */
  #opened(response) {
    const replay = response.headers.get("Rx-Agui-Replay");
    if (this.#isBegun && replay === "live") {
      const why = "the server has begun the run anew, and what was read is of another";
      throw new StreamError("REPLAY_GONE", why);
    }
    const isPrelude = replay === "prelude" || replay === "trimmed";
    if (this.#isBegun && isPrelude && !this.#settings.prelude) {
      const why = `the server no longer has what follows ${this.#status.lastEventId}`;
      throw new StreamError("REPLAY_TRIMMED", why);
    }
    this.#isLogged ||= replay !== null;
    this.#tell("open");
  }

  /**
   * Until the next try: by lot, and longer each time.
   *
   * @param {unknown} error
   * @param {number} [atLeast]
   */
  async #wait(error, atLeast = 0) {
    this.#status.attempt += 1;
    const longest = Math.max(this.#settings.maxRetry, this.#retry);
    const most = Math.min(longest, this.#retry * 2 ** (this.#status.attempt - 1));
    const retryIn = Math.max(Math.random() * most, atLeast);
    this.#tell("waiting", { error, retryIn });
    let wake = () => {};
    const online = new Promise((resolve) => {
      wake = () => resolve(undefined);
      globalThis.addEventListener?.("online", wake); // browsers know when it is worth it
    });
    try {
      if (this.isStopped) throw this.#reason; // `onstate` may have
      await this.#inTime(online, Math.max(retryIn, 1));
    } finally {
      globalThis.removeEventListener?.("online", wake);
    }
  }

  /**
   * What a promise gives; LATE if it takes longer than `ms`. We are in one at a time.
   *
   * @template T
   * @param {Promise<T>} promise
   * @param {number} ms 0: as long as it takes.
   * @returns {Promise<T | typeof LATE>}
   */
  #inTime(promise, ms) {
    return new Promise((resolve, reject) => {
      const late = () => resolve(LATE);
      const timer = ms > 0 ? setTimeout(late, Math.min(ms, LONGEST)) : undefined;
      this.#interrupt = (why) => {
        clearTimeout(timer);
        reject(why);
      };
      promise.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  /**
   * @param {Status["state"]} state
   * @param {Partial<Status>} [more]
   */
  #tell(state, more) {
    Object.assign(this.#status, { retryIn: 0 }, more, { state });
    if (state === "open" || state === "done") this.#status.error = undefined;
    tell(this.#settings.onstate, { ...this.#status });
  }
}

/** Calls what the user gave us, whose mistakes are not those of the run.
 *
 * @param {(status: Status) => void} hook
 * @param {Status} status
 */
function tell(hook, status) {
  try {
    hook(status);
  } catch (error) {
    console.error(error);
  }
}

// -- what is asked --------------------------------------------------------------

/**
 * @param {Options} options
 * @returns {Settings}
 */
function settle(options) {
  /** @type {Settings} */
  const settings = { fetch: (input, init) => fetch(input, init), ...DEFAULTS };
  for (const [name, value] of Object.entries(options)) {
    if (!(name in settings)) throw new TypeError(`resumable has no setting ${name}`);
    if (value !== undefined) Object.assign(settings, { [name]: value });
  }
  for (const name of /** @type {const} */ (["attempts", "retry", "maxRetry", "maxSize"])) {
    if (!(settings[name] > 0)) {
      throw new RangeError(`${name} must be positive, got ${settings[name]}`);
    }
  }
  for (const name of /** @type {const} */ (["idle", "resequence"])) {
    if (!(settings[name] >= 0)) {
      throw new RangeError(`${name} must be 0 or more, got ${settings[name]}`);
    }
  }
  if (!["auto", "header", "query"].includes(settings.cursor)) {
    throw new RangeError(`cursor must be auto, header or query, got ${settings.cursor}`);
  }
  return settings;
}

/**
 * @typedef {object} Repeatable What can be sent more than once.
 * @property {string} url
 * @property {Headers} headers
 * @property {RequestInit} init
 */

/**
 * @param {string | URL | Request} input
 * @param {RequestInit} [init]
 * @returns {Promise<Repeatable>}
 */
async function repeatable(input, init = {}) {
  const { body } = init;
  const isStream =
    body instanceof ReadableStream ||
    (typeof body === "object" && body !== null && Symbol.asyncIterator in body);
  if (isStream) {
    throw new TypeError("a stream can be sent only once: give the body as text or bytes");
  }
  const fixed = { cache: /** @type {const} */ ("no-store") };
  if (!(input instanceof Request)) {
    return { url: String(input), headers: new Headers(init.headers), init: { ...init, ...fixed } };
  }
  const { url, method, mode, credentials, redirect, referrer, referrerPolicy, signal } = input;
  const asked = { method, mode, credentials, redirect, referrer, referrerPolicy, signal };
  const sent = await input.clone().arrayBuffer();
  return {
    url,
    headers: new Headers(init.headers ?? input.headers),
    init: { ...asked, ...(sent.byteLength > 0 && { body: sent }), ...init, ...fixed },
  };
}

/**
 * Bytes of a body; Infinity where only sending it would tell.
 *
 * @param {BodyInit | null | undefined} body
 */
function size(body) {
  if (body == null) return 0;
  const isPlain = typeof body === "string" || body instanceof ArrayBuffer || ArrayBuffer.isView(body);
  return isPlain ? new Blob([/** @type {BlobPart} */ (body)]).size : Infinity;
}

// -- what is answered -----------------------------------------------------------

/** Worth another try. @param {Response} response */
function isTransient({ status }) {
  return status >= 500 || [200, 408, 425, 429].includes(status);
}

/** @param {Response} response */
async function refused(response) {
  const { status } = response;
  if (status === 204) {
    const why = "the server says that the run is over, but its end never came";
    return new StreamError("HTTP_204", why);
  }
  const text = (await start(response)).trim().slice(0, REASON);
  const code = status === 410 ? "REPLAY_GONE" : `HTTP_${status}`;
  return new StreamError(code, `the server answered with ${status}: ${text}`);
}

/**
 * What the body says, as far as it does so soon; the status counts without it.
 *
 * @param {Response} response
 */
async function start({ body }) {
  if (body === null) return "";
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  const close = () => reader.cancel().catch(() => {}); // which ends a read that hangs
  const timer = setTimeout(close, SOON);
  try {
    for (let read; text.length < REASON && !(read = await reader.read()).done; ) {
      text += decoder.decode(read.value, { stream: true });
    }
  } catch {
    // what came of it must do
  } finally {
    clearTimeout(timer);
    close();
  }
  return text;
}

/** @param {unknown} error */
function reason(error) {
  return error instanceof Error ? error.message : String(error);
}

// -- from bytes to frames ---------------------------------------------------------

/**
 * @typedef {object} Block What stands between two empty lines.
 * @property {string} data
 * @property {boolean} hasData
 * @property {string} event
 * @property {string} id "" without one: an id of an earlier block is not this one's.
 */

/**
 * text/event-stream, as the WHATWG reads it: LF, CR and CRLF end a line, a field may stand
 * without a colon, an unfinished block at the end is dropped.
 *
 * Every character is looked at once, however small the pieces are that it comes in.
 */
class Blocks {
  #maxSize;
  /** @type {string[]} Of a line that has no end yet. */
  #rest = [];
  #restSize = 0;
  #isAfterCR = false;
  #size = 0;
  /** @type {string[]} */
  #data = [];
  #event = "";
  #id = "";
  /** Milliseconds of the last `retry:`; -1 before one. It counts from its line on. */
  retry = -1;

  /** @param {number} maxSize */
  constructor(maxSize) {
    this.#maxSize = maxSize;
  }

  /**
   * The blocks that `text` completes.
   *
   * @param {string} text
   * @returns {Generator<Block, void, void>}
   */
  *of(text) {
    if (this.#isAfterCR && text !== "") {
      if (text.startsWith("\n")) text = text.slice(1); // of a CRLF that was cut in two
      this.#isAfterCR = false;
    }
    if (text.includes("\r")) {
      this.#isAfterCR = text.endsWith("\r");
      text = text.replace(/\r\n?/g, "\n");
    }
    let start = 0;
    for (let end; (end = text.indexOf("\n", start)) >= 0; start = end + 1) {
      const line = this.#line(text.slice(start, end));
      if (line !== "") this.#field(line);
      else if (this.#size > 0) yield this.#block();
    }
    this.#keep(text.slice(start));
    this.#limit(this.#restSize);
  }

  /** @param {string} end */
  #line(end) {
    if (this.#rest.length === 0) return end;
    const line = this.#rest.join("") + end;
    this.#rest = [];
    this.#restSize = 0;
    return line;
  }

  /** @param {string} piece */
  #keep(piece) {
    if (piece === "") return;
    this.#rest.push(piece);
    this.#restSize += piece.length;
    // A string of two characters takes as much memory as one of twenty.
    if (this.#rest.length > MANY + this.#restSize / 64) this.#rest = [this.#rest.join("")];
  }

  /** @param {string} line */
  #field(line) {
    this.#limit(line.length);
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment, of which any number may stand before an event
    this.#size += line.length + 16; // as a string of its own
    const name = colon < 0 ? line : line.slice(0, colon);
    const from = line[colon + 1] === " " ? colon + 2 : colon + 1;
    const value = colon < 0 ? "" : line.slice(from);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && value.length > MAX_ID) throw tooLarge(MAX_ID, "an id");
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) this.retry = Number(value);
  }

  /** @returns {Block} */
  #block() {
    const block = {
      data: this.#data.join("\n"),
      hasData: this.#data.length > 0,
      event: this.#event,
      id: this.#id,
    };
    this.#data = [];
    this.#event = this.#id = "";
    this.#size = 0;
    return block;
  }

  /** @param {number} more */
  #limit(more) {
    if (this.#size + more > this.#maxSize) {
      throw tooLarge(this.#maxSize, "a frame", "characters");
    }
  }
}

/**
 * @typedef {object} Envelope A piece of a payload.
 * @property {number} sequenceNum
 * @property {number} events
 * @property {number} chunkIndex
 * @property {number} totalChunks
 * @property {string} encoding
 * @property {number | null} [crc32] null where it was not needed.
 * @property {number[]} [numbers]
 * @property {string} data
 */

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** @typedef {{ pieces: Map<number, Bytes>, size: number, id: string }} Incomplete */

/** Puts chunks together; frames that are none pass. Pieces may come in any order, and twice. */
class Payloads {
  #maxSize;
  #size = 0;
  #pieces = 0;
  /** @type {Map<string, Incomplete>} */
  #partials = new Map();
  /** @type {Set<string>} */
  #whole = new Set();

  /** @param {number} maxSize */
  constructor(maxSize) {
    this.#maxSize = maxSize;
  }

  /**
   * The frames that a block completes; those of a payload are made one by one.
   *
   * @param {Block} block
   * @returns {Promise<Iterable<Frame>>}
   */
  async of(block) {
    if (block.event === "chunk") return this.#piece(envelope(block.data, this.#maxSize), block.id);
    const { stream, number } = numbered(block.id);
    if (!block.hasData && number === 0) return [];
    const { data, event, id } = block;
    return [{ data, event, id: number > 0 ? id : "", stream, number, first: number }];
  }

  /**
   * @param {Envelope} chunk
   * @param {string} id Of the last piece alone.
   * @returns {Promise<Iterable<Frame>>}
   */
  async #piece(chunk, id) {
    const key = `${chunk.sequenceNum}/${chunk.totalChunks}/${chunk.crc32}`;
    if (this.#whole.has(key)) return [];
    let partial = this.#partials.get(key);
    if (partial === undefined) {
      if (this.#partials.size >= MAX_PARTIALS) {
        throw new Cut(`more than ${MAX_PARTIALS} payloads are incomplete`);
      }
      partial = { pieces: new Map(), size: 0, id: "" };
      this.#partials.set(key, partial);
    }
    const { pieces } = partial;
    if (pieces.has(chunk.chunkIndex)) return [];
    const piece = fromBase64(chunk.data);
    pieces.set(chunk.chunkIndex, piece);
    partial.id ||= id;
    partial.size += piece.length;
    this.#size += piece.length;
    this.#pieces += 1;
    const isTooMuch = this.#size > this.#maxSize;
    if (isTooMuch || this.#pieces > MAX_PIECES + this.#maxSize / OVERHEAD) {
      throw tooLarge(this.#maxSize);
    }
    if (pieces.size < chunk.totalChunks) return [];

    this.#partials.delete(key);
    this.#size -= partial.size;
    this.#pieces -= pieces.size;
    this.#whole.add(key);
    if (this.#whole.size > MAX_WHOLE) this.#whole.delete(first(this.#whole));
    const inOrder = [...pieces].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
    const data = await decompressed(joined(inOrder), chunk.encoding, this.#maxSize);
    if (chunk.crc32 != null && crc32(data) !== chunk.crc32) {
      throw new Cut(`payload ${chunk.sequenceNum} is not what was sent`);
    }
    return lines(data, chunk, partial.id);
  }
}

/**
 * A payload's events, each with the number it would have had by itself.
 *
 * @param {Bytes} payload
 * @param {Envelope} chunk
 * @param {string} lastId
 * @returns {Iterable<Frame>}
 */
function lines(payload, chunk, lastId) {
  let events = 1;
  for (let at = -1; (at = payload.indexOf(10, at + 1)) >= 0; ) events += 1;
  if (events !== chunk.events) {
    throw new StreamError("WIRE", `${events} events in a payload of ${chunk.events}`);
  }
  return framed(new TextDecoder().decode(payload), chunk, lastId);
}

/**
 * @param {string} text
 * @param {Envelope} chunk
 * @param {string} lastId
 * @returns {Generator<Frame, void, void>}
 */
function* framed(text, chunk, lastId) {
  const { stream, number: last } = numbered(lastId);
  const prefix = lastId.slice(0, lastId.lastIndexOf("/") + 1);
  let next = chunk.sequenceNum;
  for (let index = 0, start = 0; index < chunk.events; index += 1) {
    const end = index + 1 < chunk.events ? text.indexOf("\n", start) : text.length;
    const number = last === 0 ? 0 : (chunk.numbers?.[index] ?? chunk.sequenceNum + index);
    const id = number > 0 ? `${prefix}${number}` : "";
    const data = text.slice(start, end);
    yield { data, event: "", id, stream, number, first: number && next };
    next = number + 1;
    start = end + 1;
  }
}

/**
 * @param {string} data
 * @param {number} maxSize
 * @returns {Envelope}
 */
function envelope(data, maxSize) {
  let values = 0;
  for (let at = -1; (at = data.indexOf(",", at + 1)) >= 0; ) {
    if ((values += 1) > MAX_VALUES) throw tooLarge(MAX_VALUES, "a chunk's envelope", "values");
  }
  const chunk = parsed(data, maxSize);
  const { sequenceNum, events, chunkIndex, totalChunks, encoding, crc32, numbers } = chunk;
  const isOne =
    [sequenceNum, events, chunkIndex, totalChunks].every(Number.isSafeInteger) &&
    sequenceNum >= 0 &&
    events >= 1 &&
    chunkIndex >= 0 &&
    chunkIndex < totalChunks &&
    typeof encoding === "string" &&
    typeof chunk.data === "string" &&
    (crc32 == null || Number.isSafeInteger(crc32)) &&
    (numbers === undefined ||
      (Array.isArray(numbers) &&
        numbers.length === events &&
        numbers.every((number) => Number.isSafeInteger(number) && number >= 0)));
  if (!isOne) throw new StreamError("WIRE", `not a chunk: ${data.slice(0, 80)}`);
  return /** @type {Envelope} */ (chunk);
}

/**
 * Never more than `maxSize` bytes, whatever a few compressed ones claim.
 *
 * @param {Bytes} payload
 * @param {string} encoding
 * @param {number} maxSize
 * @returns {Promise<Bytes>}
 */
async function decompressed(payload, encoding, maxSize) {
  if (encoding === "identity") return payload;
  if (encoding !== "gzip" && encoding !== "deflate") {
    const why = `gzip and deflate are what a browser decompresses, and not ${encoding}`;
    throw new StreamError("WIRE", why);
  }
  const reader = slowly(payload).pipeThrough(new DecompressionStream(encoding)).getReader();
  const pieces = [];
  let size = 0;
  try {
    for (let read; !(read = await reader.read()).done; ) {
      size += read.value.length;
      if (size > maxSize) throw tooLarge(maxSize);
      pieces.push(read.value);
    }
  } catch (error) {
    reader.cancel().catch(() => {}); // it rejects with what we know: why it broke
    throw error instanceof StreamError ? error : new Cut(`a payload broke: ${reason(error)}`);
  }
  return joined(pieces);
}

/**
 * In pieces of which none can claim more than a few megabytes before it is found out.
 *
 * @param {Bytes} bytes
 * @returns {ReadableStream<Bytes>}
 */
function slowly(bytes) {
  let from = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (from < bytes.length) controller.enqueue(bytes.subarray(from, (from += 4096)));
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * @param {number} most
 * @param {string} [what]
 * @param {string} [unit]
 */
function tooLarge(most, what = "a payload", unit = "bytes") {
  return new StreamError("TOO_LARGE", `${what} has more than ${most} ${unit}`);
}

/**
 * @param {string} text
 * @returns {Bytes}
 */
function fromBase64(text) {
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new StreamError("WIRE", `not base64: ${text.slice(0, 80)}`);
  }
  const bytes = new Uint8Array(binary.length); // `from` would make a list of strings first
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/**
 * @param {Bytes[]} pieces
 * @returns {Bytes}
 */
function joined(pieces) {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let from = 0;
  for (const piece of pieces) {
    whole.set(piece, from);
    from += piece.length;
  }
  return whole;
}

const CRC = Int32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = (byte >>> 1) ^ (byte & 1 ? 0xedb88320 : 0);
  return byte;
});

/** @param {Bytes} bytes */
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC[(crc ^ byte) & 0xff];
  return ~crc >>> 0;
}

/**
 * `<stream>/<number>`, or a bare number; 0 if it is neither.
 *
 * @param {string} id
 */
function numbered(id) {
  const [, stream = "", digits = "0"] = /^(?:(.+)\/)?(\d{1,15})$/.exec(id) ?? [];
  return { stream, number: Number(digits) };
}

/**
 * Which event of the run itself it is: RUN_STARTED, RUN_FINISHED, RUN_ERROR, or "".
 *
 * The agent parses everything once; we only what looks like one of these.
 *
 * @param {string} data
 * @param {number} maxSize
 * @returns {string}
 */
function runEvent(data, maxSize) {
  if (!/RUN_(?:STARTED|FINISHED|ERROR)/.test(data)) return "";
  const { type } = parsed(data, maxSize);
  return ["RUN_STARTED", "RUN_FINISHED", "RUN_ERROR"].includes(type) ? type : "";
}

/**
 * @param {string} data
 * @param {number} maxSize
 * @returns {Record<string, any>}
 */
function parsed(data, maxSize) {
  if (data.length > 2 ** 20 && weight(data) > 3 * maxSize + 2 ** 24) {
    throw tooLarge(4 * maxSize, "an event, as objects in memory,");
  }
  try {
    const value = JSON.parse(data);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // it is told below, with the others
  }
  throw new StreamError("WIRE", `not a JSON object: ${data.slice(0, 80)}`);
}

/**
 * Bytes that JSON takes once it is parsed, at most: `[],` has 3 characters and takes 40.
 *
 * @param {string} text
 */
function weight(text) {
  let bytes = 2 * text.length;
  for (let at = 0, isInString = false; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 34) isInString = !isInString;
    else if (isInString) at += Number(code === 92); // a backslash: whatever follows it
    else bytes += WEIGHTS.get(code) ?? 0;
  }
  return bytes;
}

/** Of a comma, whose value may be a short string or a number; of `[` and `{`. */
const WEIGHTS = new Map([
  [44, 40],
  [91, 40],
  [123, 64],
]);

/**
 * As any client reads it.
 *
 * @param {Frame} frame
 */
function written({ id, event, data }) {
  const head = (id && `id: ${id}\n`) + (event && `event: ${event}\n`);
  return `${head}data: ${data.replaceAll("\n", "\ndata: ")}\n\n`;
}

/**
 * @template T
 * @param {Set<T>} set
 * @returns {T}
 */
function first(set) {
  return /** @type {T} */ (set.values().next().value);
}
