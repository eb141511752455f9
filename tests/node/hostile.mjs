// What reading a hostile body takes: for each, one process, since memory only grows.
//
//     node hostile.mjs NAME MAX_SIZE       {"grew": bytes, "ended": "TOO_LARGE"}
//     node hostile.mjs                     the names
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { createGzip } from "node:zlib";

import { resumable } from "../../rx_agui/browser/rx-agui.mjs";

const bytes = new TextEncoder();

/** `start`, then about `size` bytes of `filling`, then `end`. */
function* pieces(start, filling, size, end = "") {
  const block = bytes.encode(filling.repeat(Math.max(1, Math.floor(65536 / filling.length))));
  if (start) yield bytes.encode(start);
  for (let at = 0; at < size; at += block.length) yield block;
  if (end) yield bytes.encode(end);
}

/** A payload of many equal lines, compressed without ever being whole. */
async function zipped(filling, size, end) {
  const packed = [];
  for await (const piece of Readable.from(pieces("", filling, size, end)).pipe(createGzip())) {
    packed.push(piece);
  }
  return Buffer.concat(packed);
}

function envelope(data, changed = {}) {
  const facts = {
    sequenceNum: 1, events: 1, chunkIndex: 0, totalChunks: 1, encoding: "identity", crc32: null,
    data: Buffer.from(data).toString("base64"), ...changed,
  };
  return bytes.encode(`event: chunk\ndata: ${JSON.stringify(facts)}\n\n`);
}

function* numbers(size) {
  for (let number = 1; number < 40; number += 1) {
    const head = `event: chunk\ndata: {"sequenceNum":${number},"numbers":[`;
    yield* pieces(head, "1,", size - 70_000, "1]}\n\n");
  }
}

function* someNumbers() {
  const listed = Array.from({ length: 200_000 }, (_, index) => 1e9 + index);
  for (let number = 1; number < 60; number += 1) {
    yield envelope("x", { sequenceNum: number, totalChunks: 2, events: 200_000, numbers: listed });
  }
}

function* tinyPieces() {
  for (let at = 0; at < 150_000; at += 1) {
    yield envelope("x", { chunkIndex: at, totalChunks: 1e9 });
  }
}

const started = '{"type":"RUN_STARTED","threadId":"t","runId":"r","x":[';

const BODIES = {
  numbers,
  "some numbers": someNumbers,
  "a prelude of tiny events": (size) => pieces("", 'data: {"type":"A"}\n\n', 20 * size),
  "early frames": function* (size) {
    for (let number = 300; number > 2; number -= 1) {
      yield* pieces(`id: s/${number}\ndata: {"x":"`, "x", size / 8, '"}\n\n');
    }
  },
  "empty lists": (size) => pieces(`data: ${started}`, "[],", size - 140_000, "0]}\n\n"),
  "objects": (size) => pieces(`data: ${started}`, '{"a":0},', size - 140_000, "0]}\n\n"),
  "short lines": (size) => pieces("", "data:ab\n", 20 * size),
  "a long line": (size) => pieces("data: ", "x", 20 * size),
  "two characters at a time": function* (size) {
    const two = bytes.encode("xx");
    for (let at = 0; at < size / 4; at += 2) yield two;
  },
  "pieces of a byte": tinyPieces,
  "a payload of nothing but lines": async (size) => [
    envelope(await zipped("\n", 20 * size, "\n"), { encoding: "gzip" }),
  ],
  "a payload of tiny events": async (size) => {
    const perBlock = Math.floor(65536 / 13);
    const blocks = Math.ceil((size - 200_000) / (perBlock * 13));
    const data = await zipped('{"type":"A"}\n', size - 200_000, "{}");
    return [envelope(data, { encoding: "gzip", events: blocks * perBlock + 1 })];
  },
};

const [name, size] = process.argv.slice(2);
if (name === undefined) {
  console.log(JSON.stringify(Object.keys(BODIES)));
} else {
  const maxSize = Number(size);
  const made = (await BODIES[name](maxSize))[Symbol.iterator]();
  let sinceCollection = 0;  // bytes: what is held counts, and not what V8 has yet to collect
  const fetch = async () =>
    new Response(
      new ReadableStream(
        {
          pull(controller) {
            const { done, value } = made.next();
            if (done) controller.close();
            else controller.enqueue(value);
            sinceCollection += value?.length ?? 0;
            if (sinceCollection < 4 * 1024 * 1024) return;
            sinceCollection = 0;
            globalThis.gc?.();
          },
        },
        { highWaterMark: 0 },
      ),
      {
        headers: {
          "content-type": "text/event-stream",
          ...(name.includes("prelude") && { "rx-agui-replay": "prelude" }),
        },
      },
    );
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let most = before;
  const watch = () => (most = Math.max(most, process.memoryUsage().rss));
  const read = resumable({ fetch, maxSize, attempts: 1, resequence: name.includes("early") ? 1000 : 0 });
  const response = await read("http://127.0.0.1/");
  let ended = "";
  let count = 0;
  for await (const piece of response.body) {
    watch();
    count += piece.length;
    if (piece.length < 400) {
      const told = /"code":"(\w+)"/.exec(new TextDecoder().decode(piece));
      if (told) ended = told[1];
    }
  }
  watch();
  // Not resourceUsage().maxRSS: on Linux that begins with what the parent held at the fork.
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const peak = /^VmHWM:\s*(\d+) kB$/m.exec(status);
  if (peak) most = Math.max(most, Number(peak[1]) * 1024);
  console.log(JSON.stringify({ grew: most - before, ended, bytes: count }));
}
