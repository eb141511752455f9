// rx-agui.mjs by itself: no network, no server, no client.
//
//     node --test resumable.test.mjs
import assert from "node:assert/strict";
import { test } from "node:test";

import { events, resumable, StreamError } from "../../rx_agui/browser/rx-agui.mjs";
import { answer, bytesOf, chunked, framed, scripted, tail } from "./scripted.mjs";

const RUN = [
  { type: "RUN_STARTED", threadId: "t", runId: "r" },
  { type: "TEXT_MESSAGE_START", messageId: "m", role: "assistant" },
  { type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta: "Grüße, 世界 👩‍🚀" },
  { type: "CUSTOM", name: "RUN_FINISHED", value: { type: "RUN_FINISHED" } },
  { type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta: "line\u2028 ends\r\n" },
  { type: "TEXT_MESSAGE_END", messageId: "m" },
  { type: "RUN_FINISHED", threadId: "t", runId: "r" },
];
const FRAMES = framed(RUN);
const WHOLE = FRAMES.join("");
const QUICK = { retry: 1, maxRetry: 1 };

/** What an AG-UI client would be given: the text, and the pieces it came in. */
async function read(server, options = {}, init = {}) {
  const response = await resumable({ fetch: server.fetch, ...QUICK, ...options })("http://x/run", init);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const pieces = [];
  for await (const piece of response.body) pieces.push(decoder.decode(piece));
  return { response, pieces, text: pieces.join("") };
}

const parse = (text) =>
  text
    .split("\n\n")
    .slice(0, -1)
    .map((frame) => JSON.parse(frame.replace(/^id: .*\n/, "").replace(/^data: /gm, "")));

async function all(iterable) {
  const got = [];
  for await (const one of iterable) got.push(one);
  return got;
}

const runError = (text) => {
  const last = parse(text).at(-1);
  assert.equal(last.type, "RUN_ERROR");
  return last;
};

// -- whole ----------------------------------------------------------------------

for (const size of [Infinity, 1, 2, 7]) {
  for (const ends of ["\n", "\r\n", "\r"]) {
    test(`frames that end in ${JSON.stringify(ends)} come whole, read by ${size}`, async () => {
      const server = scripted(answer(`\ufeff: hello\n\n${WHOLE}`.replaceAll("\n", ends), { size }));

      const { text, pieces } = await read(server);

      assert.equal(text, WHOLE);
      assert.ok(pieces.every((piece) => piece.endsWith("\n\n")));
    });
  }
}

test("an event of several lines stays one, and what has no data is not handed on", async () => {
  const odd = 'retry: 5\n\n:\n\ndata: {"type":\ndata: "A"}\nother: x\n\ndata\n\ndata:\n\n';
  const server = scripted(answer(odd + WHOLE));

  const { text } = await read(server);

  assert.equal(text, 'data: {"type":\ndata: "A"}\n\n' + WHOLE);
});

test("the answer is the server's, but for what no longer holds", async () => {
  const headers = { "X-Trace": "7", "Content-Length": "9999" };
  const server = scripted(answer(WHOLE, { headers }));

  const { response } = await read(server);

  assert.equal(response.headers.get("X-Trace"), "7");
  assert.equal(response.headers.get("Content-Length"), null);
  assert.equal(response.headers.get("Content-Type"), "text/event-stream");
});

for (const [status, type] of [[404, "text/plain"], [500, "application/json"], [200, "application/vnd.ag-ui.event+proto"]]) {
  test(`a first answer of ${status} in ${type} passes as it is`, async () => {
    const server = scripted(answer("as it is", { status, type }));

    const response = await resumable({ fetch: server.fetch })("http://x/run");

    assert.equal(response.status, status);
    assert.equal(await response.text(), "as it is");
    assert.equal(server.asked.length, 1);
  });
}

// -- cut ------------------------------------------------------------------------

// Short, since every cut of it is read byte by byte; and nothing in it is plain ASCII.
const SHORT = framed([RUN[0], { type: "CUSTOM", name: "世é👩‍🚀", value: 1 }, RUN[6]], "ü");

for (const size of [Infinity, 1, 2, 7]) {
  for (const end of ["close", "reset"]) {
    test(`cut after every byte (${end}, read by ${size}) nothing is lost or repeated`, async () => {
      const bytes = bytesOf(SHORT.join(""));
      await everyCut(bytes.length, async (cut) => {
        const begun = answer(bytes.slice(0, cut), { size, end, replay: "live" });
        const server = scripted(begun, (request) => answer("", { size, ...bytesIn(tail(SHORT, request)) }));

        const { text } = await read(server);

        assert.equal(text, SHORT.join(""), `cut after ${cut} bytes`);
      });
    });
  }
}

/** All at a time, since most of it is waiting. */
const everyCut = (length, test) => Promise.all(Array.from({ length }, (_, cut) => test(cut)));

const bytesIn = ({ bytes, ...more }) => ({ bytes: bytesOf(bytes), ...more });

test("a line that is cut in every frame comes to the end of the run", async () => {
  const half = (request) => {
    const { bytes, replay } = tail(FRAMES, request);
    return answer(bytes.slice(0, bytes.indexOf("\n\n") + 30), { end: "reset", replay });
  };
  const server = scripted(...RUN.map(() => half));

  const { text } = await read(server, { attempts: 2 });

  assert.equal(text, WHOLE);
  assert.equal(server.asked.length, RUN.length);
});

test("the same request is sent again, with the last id that was taken", async () => {
  const begun = answer(FRAMES[0] + FRAMES[1] + FRAMES[2].slice(0, 20), { end: "reset" });
  const server = scripted(begun, (request) => answer(tail(FRAMES, request).bytes));
  const headers = { Authorization: "Bearer x", Accept: "text/event-stream" };

  await read(server, {}, { method: "POST", headers, body: '{"runId":"r"}' });

  const [first, second] = server.asked;
  assert.equal(first.headers["last-event-id"], undefined);
  assert.equal(second.headers["last-event-id"], "run-1/2"); // not of the frame that was cut
  for (const { method, body, headers } of server.asked) {
    assert.equal(method, "POST");
    assert.equal(body, '{"runId":"r"}');
    assert.equal(headers.authorization, "Bearer x");
    assert.equal(headers.accept, "text/event-stream;resume=1, text/event-stream");
  }
});

test("a Request is sent again too, with its body", async () => {
  const server = scripted(answer(FRAMES[0]), (request) => answer(tail(FRAMES, request).bytes));
  const request = new Request("http://x/run", { method: "POST", body: "asked", headers: { A: "b" } });

  const response = await resumable({ fetch: server.fetch, ...QUICK })(request);

  assert.equal(await response.text(), WHOLE);
  for (const { body, method, headers } of server.asked) {
    assert.deepEqual([new TextDecoder().decode(body), method, headers.a], ["asked", "POST", "b"]);
  }
});

test("another origin is asked by query, where it is wished for", async () => {
  const server = scripted(answer(FRAMES[0]), (request) => answer(tail(FRAMES, request).bytes));

  const { text } = await read(server, { cursor: "query" });

  assert.equal(text, WHOLE);
  assert.equal(server.asked[1].url, "http://x/run?last_event_id=run-1%2F1");
  assert.equal(server.asked[1].headers["last-event-id"], undefined);
});

for (const body of [new ReadableStream(), (async function* () {})()]) {
  test(`a body that can be sent only once is refused: ${body[Symbol.toStringTag]}`, async () => {
    const server = scripted();

    await assert.rejects(resumable({ fetch: server.fetch })("http://x", { method: "POST", body }), /only once/);
    assert.equal(server.asked.length, 0);
  });
}

test("frames that come twice are dropped, and a RUN_ERROR without a number is the end of a connection", async () => {
  const closing = 'data: {"type":"RUN_ERROR","message":"restarts"}\n\n';
  const server = scripted(
    answer(FRAMES[0] + FRAMES[1] + closing, { replay: "live" }),
    answer(WHOLE, { replay: "tail" }),
  );
  const said = [];

  const { text } = await read(server, { onstate: (status) => said.push(status) });

  assert.equal(text, WHOLE);
  assert.deepEqual(said.map(({ state }) => state), ["connecting", "open", "waiting", "connecting", "open", "done"]);
  assert.equal(said[2].error.message, "restarts");
  assert.equal(said.at(-1).duplicates, 2);
  assert.equal(said.at(-1).events, RUN.length);
  assert.equal(said.at(-1).lastEventId, "run-1/7");
});

test("bare numbers that begin again are no duplicates", async () => {
  const bare = framed([RUN[0], RUN[6]]).join("").replaceAll("run-1/", "");

  assert.equal((await read(scripted(answer(bare + bare)))).text, bare + bare);
});

test("a logged run that is sent away before its first id is asked for once more", async () => {
  const server = scripted(answer("retry: 5\n\n", { replay: "live" }), answer(WHOLE, { replay: "prelude" }));

  assert.equal((await read(server)).text, WHOLE);
});

test("a run that failed before it had begun is not begun again", async () => {
  const failed = 'data: {"type":"RUN_ERROR","message":"The agent failed."}\n\n';
  const server = scripted(answer(failed, { replay: "live" }), answer(WHOLE, { replay: "live" }));

  assert.equal((await read(server)).text, failed);
  assert.equal(server.asked.length, 1);
});

test("a cursor that the caller sends is where the run goes on", async () => {
  for (const cursor of ["header", "query"]) {
    const server = scripted((request) => answer(tail(FRAMES, request).bytes));
    const headers = { "Last-Event-ID": "run-1/2" };

    assert.equal((await read(server, { cursor }, { headers })).text, FRAMES.slice(2).join(""));
    assert.equal(server.asked[0].headers["last-event-id"], cursor === "header" ? "run-1/2" : undefined);
  }
  await assert.rejects(read(scripted(), { lastEventId: "7" }), /must be <stream>\/<number>, got 7/);
});

test("a run that failed is over, and is not asked for again", async () => {
  const failed = framed([RUN[0], { type: "RUN_ERROR", message: "no" }]).join("");
  const server = scripted(answer(failed, { end: "reset", replay: "live" }));

  assert.equal((await read(server)).text, failed);
  assert.equal(server.asked.length, 1);
});

test("two runs in one response are read, and the second is resumed too", async () => {
  const frames = framed([RUN[0], RUN[6], RUN[0], RUN[6]]);
  const server = scripted(answer(frames.slice(0, 3).join("")), (request) => answer(tail(frames, request).bytes));

  assert.equal((await read(server)).text, frames.join(""));
});

// -- preludes ---------------------------------------------------------------------

const PRELUDE = [RUN[0], RUN[1], RUN[2]].map((event) => `data: ${JSON.stringify(event)}\n\n`);
PRELUDE[2] = `id: run-1/3\n${PRELUDE[2]}`;

test("of a prelude that is cut nothing is handed on; the next is, in one piece", async () => {
  const bytes = bytesOf(PRELUDE.join(""));
  await everyCut(bytes.length, async (cut) => {
    const server = scripted(
      answer(bytes.slice(0, cut), { replay: "prelude", end: "reset" }),
      answer(PRELUDE.join("") + FRAMES.slice(3).join(""), { replay: "prelude", size: 5 }),
    );

    const { text, pieces } = await read(server);

    assert.deepEqual(parse(text), RUN);
    assert.equal(pieces[0], PRELUDE.join(""));
  });
});

test("a prelude in the middle of a run ends it; who can bear one is given it", async () => {
  const script = () =>
    scripted(
      answer(FRAMES[0] + FRAMES[1], { replay: "live" }),
      answer(PRELUDE.join("") + FRAMES.slice(3).join(""), { replay: "trimmed" }),
    );

  assert.equal(runError((await read(script())).text).code, "REPLAY_TRIMMED");
  assert.deepEqual(parse((await read(script(), { prelude: true })).text), [...RUN.slice(0, 2), ...RUN]);
});

// -- given up ----------------------------------------------------------------------

for (const [name, code, ...answers] of [
  ["that nobody answers any more", "CONNECTION_LOST"],
  ["whose server fails", "CONNECTION_LOST", ...Array.from({ length: 8 }, () => answer("", { status: 503 }))],
  ["behind a page to log in to", "CONNECTION_LOST", ...Array.from({ length: 8 }, () => answer("<p>", { type: "text/html" }))],
  ["that never goes on", "CONNECTION_LOST", ...Array.from({ length: 8 }, () => answer(""))],
  ["that nobody knows", "REPLAY_GONE", answer("what run?", { status: 410 })],
  ["that begins anew", "REPLAY_GONE", answer(WHOLE, { replay: "live" })],
  ["that it may not see any more", "HTTP_401", answer("who?", { status: 401 })],
  ["that is over, but has no end", "HTTP_204", answer("", { status: 204 })],
  ["of which one frame is too large", "TOO_LARGE", answer(`id: run-1/3\ndata: ${"x".repeat(2000)}`)],
  ["of chunks that are none", "WIRE", answer('event: chunk\ndata: {"sequenceNum":1}\n\n')],
  ["in an encoding that browsers lack", "WIRE", answer(chunked(RUN, { encoding: "gzip" })[0].replace('"gzip"', '"lz4"'))],
]) {
  test(`a run ${name} fails with ${code}, behind all that came of it and is closed`, async () => {
    const server = scripted(answer(FRAMES[0] + FRAMES[1], { end: "reset" }), ...answers);
    const said = [];

    const { text } = await read(server, { maxSize: 1500, onstate: (status) => said.push(status) });

    assert.ok(text.startsWith(FRAMES[0] + FRAMES[1]));
    assert.equal(runError(text).code, code);
    const types = parse(text).map(({ type }) => type);
    assert.deepEqual(types.slice(2), ["TEXT_MESSAGE_END", "RUN_ERROR"]);
    assert.equal(said.at(-1).state, "failed");
    assert.equal(said.at(-1).error.code, code);
    assert.ok(server.asked.length <= 9);
  });
}

for (const frames of [PRELUDE.slice(0, 2), framed(RUN, "x").map((frame) => frame.replace("x/", ""))]) {
  test(`a stream without a log that is cut is no success: ${frames[0].split("\n")[0]}`, async () => {
    const server = scripted(answer(frames[0] + frames[1]));

    const { text } = await read(server);

    assert.equal(runError(text).code, "CUT");
    assert.equal(server.asked.length, 1); // a repeated POST would run the agent twice
  });
}

for (const end of ["hang", "reset"]) {
  test(`an error whose body does not end well is that error: ${end}`, async (t) => {
    t.mock.method(globalThis, "setTimeout", (ring) => void setImmediate(ring));
    const error = answer("who?", { status: 401, end });
    const server = scripted(answer(FRAMES[0]), error, error);

    const { code, message } = runError((await read(server)).text);
    const reading = all(events("http://x", { fetch: server.fetch }));

    assert.deepEqual([code, message], ["HTTP_401", "the server answered with 401: who?"]);
    await assert.rejects(reading, { code: "HTTP_401" });
    assert.equal(server.asked.length, 3);
  });
}

for (const replay of ["live", "trimmed"]) {
  test(`a run that is given up takes the connection along: ${replay}`, async () => {
    const useless = answer(WHOLE, { replay, end: "hang" });
    const server = scripted(answer(FRAMES[0]), useless, useless);

    runError((await read(server)).text);
    await assert.rejects(read(server, { lastEventId: "run-1/1" }), StreamError);

    assert.ok(server.asked[1].signal.aborted);
    assert.ok(server.asked[2].signal.aborted);
  });
}

test("a request that was never answered is repeated, if that is wished for", async () => {
  const down = new TypeError("fetch failed");
  const server = scripted(down, down, answer(WHOLE));

  assert.equal((await read(server)).text, WHOLE);
  await assert.rejects(read(scripted(down, answer(WHOLE)), { repeat: false }), down);
  await assert.rejects(read(scripted(), { attempts: 3 }), down);
});

test("a server that asks for patience gets it", async (t) => {
  t.mock.method(Math, "random", () => 0.5);
  const server = scripted(
    answer(`retry: 40\n\n${FRAMES[0]}`),
    answer("", { status: 503, headers: { "Retry-After": "0.04" } }),
    (request) => answer(tail(FRAMES, request).bytes),
  );
  const waits = [];

  await read(server, { onstate: ({ state, retryIn }) => state === "waiting" && waits.push(retryIn) });

  assert.deepEqual(waits, [20, 40]);
});

test("delays grow, are drawn by lot, and are bounded", async (t) => {
  t.mock.method(Math, "random", () => 0.5);
  const waits = [];
  const onstate = ({ state, retryIn }) => state === "waiting" && waits.push(retryIn);

  await read(scripted(answer(FRAMES[0])), { retry: 2, maxRetry: 12, attempts: 5, onstate });

  assert.deepEqual(waits, [1, 2, 4, 6, 6]);
});

test("a connection that has fallen silent is opened anew", async () => {
  const server = scripted(answer(FRAMES[0], { end: "hang" }), (request) => answer(tail(FRAMES, request).bytes));

  assert.equal((await read(server, { idle: 5 })).text, WHOLE);
});

test("a server that does not answer who comes back is asked again", async () => {
  for (const [options, ...answers] of [[{}, answer(FRAMES[0]), "silence"], [{ lastEventId: "run-1/1" }, "silence"]]) {
    const server = scripted(...answers, (request) => answer(tail(FRAMES, request).bytes));

    const { text } = await read(server, { idle: 5, ...options });

    assert.ok(text.endsWith(FRAMES.slice(1).join("")));
    assert.ok(server.asked.at(-2).signal.aborted);
  }
});

test("who waits for ever, or as long as no timer can, does not go on at once", async (t) => {
  const set = [];
  t.mock.method(globalThis, "setTimeout", (ring, ms) => {
    set.push(ms);
    setImmediate(ring); // when nothing else happens
  });
  const busy = answer("", { status: 503, headers: { "Retry-After": "99999999" } });
  const server = scripted(answer(FRAMES[0]), busy, (request) => answer(tail(FRAMES, request).bytes));

  assert.equal((await read(server, { idle: Infinity, attempts: 9 })).text, WHOLE);

  assert.ok(set.length > 0);
  assert.ok(set.every((ms) => ms < 2 ** 31), set.join());
});

// -- stopped ------------------------------------------------------------------------

const stuck = {
  connecting: ["silence"],
  reading: [answer(FRAMES[0], { end: "hang" })],
  waiting: [answer(FRAMES[0])],
  reconnecting: [answer(FRAMES[0]), "silence"],
};
for (const [where, answers] of Object.entries(stuck)) {
  test(`whoever aborts while ${where} is not kept waiting`, async () => {
    const stopping = new AbortController();
    const server = scripted(...answers);
    const retry = where === "waiting" ? 1e6 : 1;
    const said = [];
    const onstate = (status) => said.push(status);
    const reading = read(server, { retry, maxRetry: retry, onstate }, { signal: stopping.signal });
    const until = where === "reading" ? () => server.read[0] > 1 : () => said.at(-1)?.state === (where === "waiting" ? "waiting" : "connecting");
    while (!until() || (where === "reconnecting" && server.asked.length < 2)) await new Promise(setImmediate);

    stopping.abort();

    await assert.rejects(reading, { name: "AbortError" });
    assert.equal(said.at(-1).state, "failed");
    const { length } = server.asked;
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(server.asked.length, length);
  });
}

test("whoever aborts between the answer and its body is not kept waiting", async () => {
  for (const ask of [read, (server, options, init) => all(events("http://x", { fetch: server.fetch, ...options, ...init }))]) {
    const stopping = new AbortController();
    const onstate = ({ state }) => state === "open" && stopping.abort();

    await assert.rejects(ask(scripted(answer(WHOLE)), { onstate }, { signal: stopping.signal }), { name: "AbortError" });
  }
});

test("what is aborted before it begins asks nobody", async () => {
  const server = scripted(answer(WHOLE));

  await assert.rejects(read(server, {}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(server.asked.length, 0);
});

// -- stopped ----------------------------------------------------------------------

const NAMED = framed(RUN, `run-1@${"0123456789abcdef".repeat(2)}`);
const POST = { method: "POST", headers: { Authorization: "Bearer x" }, body: '{"runId":"r"}' };
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));
const stops = ({ asked }) => asked.filter(({ headers }) => headers["rx-agui-stop"] !== undefined);

/** Aborts a run that hangs behind `bytes` once `isTime`; gives its server. */
async function abortedAt(bytes, { isTime = (server) => server.read[0] > 1, more = [], init = POST, replay = "live", ...options } = {}) {
  const aborting = new AbortController();
  const server = scripted(answer(bytes, { end: "hang", replay }), ...more);
  const reading = read(server, options, { ...init, signal: aborting.signal });
  while (!isTime(server)) await new Promise(setImmediate);
  aborting.abort();
  await assert.rejects(reading, { name: "AbortError" });
  await settled();
  return server;
}

for (const [named, answered] of [["202", answer("", { status: 202 })], ["410", answer("", { status: 410 })], ["nothing", new TypeError("fetch failed")]]) {
  test(`an application that aborts stops the run by the last id, and ${named} is all the same`, async () => {
    const server = await abortedAt(NAMED[0] + NAMED[1] + NAMED[2].slice(0, 60), { more: [answered] });

    assert.equal(server.asked.length, 2);
    const [begun, stop] = server.asked;
    assert.ok(begun.signal.aborted);
    assert.deepEqual([stop.url, stop.method, stop.body, stop.keepalive], [begun.url, "POST", POST.body, true]);
    assert.equal(stop.headers["rx-agui-stop"], "1");
    assert.equal(stop.headers["last-event-id"], `run-1@${"0123456789abcdef".repeat(2)}/2`);
    assert.equal(stop.headers.authorization, "Bearer x");
  });
}

test("a body too large to outlive the page is sent without that", async () => {
  const init = { ...POST, body: "é".repeat(40_000) };

  const server = await abortedAt(NAMED[0], { init, more: [answer("", { status: 202 })] });

  assert.equal(server.asked[1].keepalive, false);
});

for (const [why, bytes, options] of [
  ["it is told not to", NAMED[0], { stop: false }],
  ["the server is of a version whose ids have no epoch", FRAMES[0], {}],
  ["it is not POSTed", NAMED[0], { init: {} }],
  ["the server has no log", `data: ${JSON.stringify(RUN[0])}\n\n`, { replay: null }],
  ["the run is over", NAMED.join(""), {}],
]) {
  test(`aborting asks for no stop if ${why}`, async () => {
    const server = await abortedAt(bytes, options);

    assert.equal(server.asked.length, 1);
    assert.ok(server.asked[0].signal.aborted);
  });
}

for (const where of ["connecting", "reading"]) {
  test(`aborted while ${where}, before any id, it reads on to one and stops the run by it`, async () => {
    const aborting = new AbortController();
    let enqueue;
    const body = new ReadableStream({ start: (controller) => (enqueue = (text) => controller.enqueue(bytesOf(text))) });
    const headers = { "Content-Type": "text/event-stream", "Rx-Agui-Replay": "live" };
    const asked = [];
    let open;
    const opened = new Promise((resolve) => (open = resolve));
    const fetch = async (url, init) => {
      asked.push({ url, ...init, headers: Object.fromEntries(init.headers) });
      if (asked.length > 1) return new Response(null, { status: 202 });
      await opened;
      return new Response(body, { headers });
    };
    if (where === "reading") open();
    const reading = read({ fetch }, {}, { ...POST, signal: aborting.signal });
    await settled();

    aborting.abort();
    await assert.rejects(reading, { name: "AbortError" });
    await settled();
    assert.equal(stops({ asked }).length, 0);
    assert.equal(asked[0].signal.aborted, false);
    open();
    enqueue(": hello\n\n" + NAMED[0].slice(0, 20));
    await settled();
    enqueue(NAMED[0].slice(20));
    await settled();

    assert.equal(stops({ asked })[0].headers["last-event-id"].at(-1), "1");
    assert.equal(asked.length, 2);
    assert.equal(asked[0].signal.aborted, true);
  });
}

test("aborted before any id, it reads on for five seconds at most", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const aborting = new AbortController();
  const server = scripted(answer(": hello\n\n", { end: "hang", replay: "live" }));
  const reading = read(server, { idle: 0 }, { ...POST, signal: aborting.signal });
  while (!(server.read[0] > 1)) await new Promise(setImmediate);
  aborting.abort();
  await assert.rejects(reading, { name: "AbortError" });

  t.mock.timers.tick(4999);
  assert.equal(server.asked[0].signal.aborted, false);
  t.mock.timers.tick(1);
  assert.equal(server.asked[0].signal.aborted, true);
});

test("leaving the loop over events closes the connection and stops nothing", async () => {
  const server = scripted(answer(NAMED[0], { end: "hang", replay: "live" }));

  for await (const event of events("http://x", { fetch: server.fetch, input: {} })) {
    assert.equal(event.type, "RUN_STARTED");
    break;
  }
  await settled();

  assert.equal(server.asked.length, 1);
});

test("a reader who leaves takes the connection along", async () => {
  const server = scripted(answer(FRAMES[0], { end: "hang" }));
  const { body } = await resumable({ fetch: server.fetch })("http://x");
  const reader = body.getReader();
  await reader.read();

  await reader.cancel();

  assert.ok(server.asked[0].signal.aborted);
});

test("the network is read only as far as the reader reads", async () => {
  const server = scripted(answer(WHOLE, { size: FRAMES[0].length }));
  const response = await resumable({ fetch: server.fetch })("http://x");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(server.read[0] <= 1);

  await response.body.getReader().read();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(server.read[0] <= 2);
});

test("a frame of megabytes in small pieces takes no longer than in one", async () => {
  const large = framed([...RUN.slice(0, 6), { type: "CUSTOM", name: "x", value: "y".repeat(4 << 20) }, RUN[6]]).join("");
  const times = [];
  for (const size of [1 << 16, 1360]) {
    const from = performance.now();
    assert.equal((await read(scripted(answer(large, { size })))).text.length, large.length);
    times.push(performance.now() - from);
  }
  // Looking at everything again with every piece, it would be 1,500 times as much.
  assert.ok(times[1] < 30 * times[0] + 500, times.join());
});

// -- chunks --------------------------------------------------------------------------

const plain = (text) => text.replace(/^id: .*\n/gm, "");

for (const encoding of ["gzip", "deflate", "identity"]) {
  for (const pieces of [1, 3]) {
    test(`a payload in ${encoding}, cut in ${pieces}, becomes frames with ids of their own`, async () => {
      const server = scripted(answer(chunked(RUN, { encoding, pieces }).join(""), { size: 11 }));

      assert.equal((await read(server)).text, WHOLE);
    });
  }
}

test("pieces come in any order, and twice", async () => {
  const pieces = chunked(RUN, { pieces: 4 });
  const server = scripted(answer([3, 1, 1, 0, 3, 2, 2, 0].map((index) => pieces[index]).join("")));

  assert.equal((await read(server)).text, WHOLE);
});

test("a piece that comes a hundred times takes the room of one", async () => {
  const [first, second] = chunked(RUN, { pieces: 2 });
  const server = scripted(answer(first.repeat(100) + second));

  assert.equal((await read(server, { maxSize: 2000 })).text, WHOLE);
});

test("numbers that are not consecutive are kept", async () => {
  const numbers = [1, 2, 9, 12, 13, 14, 20];
  const server = scripted(answer(chunked(RUN, { numbers }).join("")));

  const { text } = await read(server);

  assert.deepEqual([...text.matchAll(/id: run-1\/(\d+)/g)].map(([, number]) => Number(number)), numbers);
  assert.deepEqual(parse(text), RUN);
});

test("a payload whose checksum nobody needed is read without one", async () => {
  const chunks = chunked(RUN, { pieces: 2 }).map((chunk) => chunk.replace(/"crc32":\d+/, '"crc32":null'));

  assert.equal((await read(scripted(answer(chunks.join(""))))).text, WHOLE);
});

test("chunks without numbers are read, each once", async () => {
  const chunks = chunked(RUN, { stream: null, pieces: 2 });
  const server = scripted(answer([...chunks, ...chunks].join("")));

  assert.equal((await read(server)).text, plain(WHOLE));
});

test("cut at every byte of a stream of chunks, nothing is lost or repeated", async () => {
  const wire = [chunked(RUN.slice(0, 4), { pieces: 2 }), chunked(RUN.slice(4), { first: 5, pieces: 2 })].flat().join("");
  await everyCut(wire.length, async (cut) => {
    const server = scripted(answer(wire.slice(0, cut), { replay: "live" }), (request) => answer(tail(FRAMES, request).bytes));

    assert.equal((await read(server)).text, WHOLE, `cut after ${cut} bytes`);
  });
});

test("a payload that is not what was sent is asked for again", async () => {
  const [chunk] = chunked(RUN);
  const broken = [chunk.replace(/"crc32":\d+/, '"crc32":1'), chunk.replace(/"data":"H4sI.{20}/, '"data":"H4sIAAAAAAAAAAAAAAAAAAAA')];
  for (const one of broken) {
    const server = scripted(answer(FRAMES[0] + one), (request) => answer(tail(FRAMES, request).bytes));

    assert.equal((await read(server)).text, WHOLE);
    assert.equal(server.asked.length, 2);
  }
});

test("a few bytes that claim to be many are found out", async () => {
  const bomb = [{ type: "CUSTOM", name: "b", value: "0".repeat(50 << 20) }];
  const server = scripted(answer(chunked(bomb)[0]));

  assert.equal(runError((await read(server)).text).code, "TOO_LARGE");
});

test("payloads that overtook others wait for them, where it is wished for", async () => {
  const [a, b, c] = [chunked(RUN.slice(0, 2)), chunked(RUN.slice(2, 5), { first: 3 }), framed(RUN).slice(5)];
  const server = scripted(answer([c, b, a].flat().join("")));

  assert.equal((await read(server, { resequence: 1000 })).text, WHOLE);
});

test("a gap is given up when its time is over, or the next connection has it too", async () => {
  const frames = FRAMES.filter((_, index) => index !== 3);
  const script = (end) => scripted(...[1, 2].map(() => (request) => answer(tail([...frames.slice(0, 3), "", ...frames.slice(3)], request).bytes, { end, size: 30 })));

  assert.equal((await read(script("close"), { resequence: 1000 })).text, frames.join(""));
  const response = await resumable({ fetch: script("hang").fetch, resequence: 5 })("http://x/run");
  const reader = response.body.getReader();
  let text = "";
  while (text !== frames.join("")) text += new TextDecoder().decode((await reader.read()).value);
  await reader.cancel();
});

// -- as events ------------------------------------------------------------------------

test("events are read one by one, over every cut", async () => {
  const server = scripted(answer(WHOLE.slice(0, 300)), (request) => answer(tail(FRAMES, request).bytes));
  const input = { runId: "r" };

  const got = await all(events("http://x/run", { input, fetch: server.fetch, ...QUICK }));

  assert.deepEqual(got, RUN);
  for (const { method, body, headers } of server.asked) {
    assert.deepEqual([method, body, headers["content-type"]], ["POST", '{"runId":"r"}', "application/json"]);
  }
});

test("leaving the loop closes the connection", async () => {
  const server = scripted(answer(FRAMES[0], { end: "hang" }));

  for await (const event of events("http://x/run", { fetch: server.fetch })) {
    assert.equal(event.type, "RUN_STARTED");
    break;
  }

  assert.ok(server.asked[0].signal.aborted);
});

test("a reader of yesterday goes on where it was, and one who has all gets no more", async () => {
  const server = scripted((request) => answer(tail(FRAMES, request).bytes), answer("", { status: 204 }));
  const options = { fetch: server.fetch, ...QUICK };

  assert.deepEqual(await all(events("http://x", { ...options, lastEventId: "run-1/5" })), RUN.slice(5));
  assert.deepEqual(await all(events("http://x", { ...options, lastEventId: "run-1/7" })), []);
});

for (const [code, ...answers] of [
  ["CUT", answer(plain(FRAMES[0]))],
  ["HTTP_404", answer("no", { status: 404, type: "text/plain" })],
  ["WIRE", answer("data: [DONE]\n\n")],
]) {
  test(`a run that has no end throws ${code}`, async () => {
    const reading = all(events("http://x", { fetch: scripted(...answers).fetch, ...QUICK }));

    await assert.rejects(reading, (error) => error instanceof StreamError && error.code === code);
  });
}

// -- settings ---------------------------------------------------------------------------

for (const [settings, why] of [
  [{ attempts: 0 }, /attempts must be positive, got 0/],
  [{ retry: -1 }, /retry must be positive, got -1/],
  [{ maxSize: NaN }, /maxSize must be positive, got NaN/],
  [{ idle: -1 }, /idle must be 0 or more, got -1/],
  [{ cursor: "cookie" }, /cursor must be auto, header or query, got cookie/],
  [{ atempts: 1 }, /no setting atempts/],
]) {
  test(`a setting that makes no sense is refused where it is written: ${why.source}`, () => {
    assert.throws(() => resumable(settings), why);
  });
}

test("a hook that fails does not fail the run", async (t) => {
  const told = t.mock.method(console, "error", () => {});
  const onstate = () => {
    throw new Error("of the user");
  };

  assert.equal((await read(scripted(answer(WHOLE)), { onstate })).text, WHOLE);
  assert.ok(told.mock.callCount() > 0);
});
