// A server without a network: what each connection answers is written down.
import * as zlib from "node:zlib";

const encoder = new TextEncoder();

/** One connection's answer: `bytes`, in pieces of `size`, and then how it ends. */
export function answer(bytes, { size = Infinity, end = "close", status = 200, ...more } = {}) {
  return { bytes: bytesOf(bytes), size, end, status, ...more };
}

export const bytesOf = (text) => (typeof text === "string" ? encoder.encode(text) : text);

/**
 * A `fetch` that answers the first request with the first answer, and so on. An answer may
 * be a function of the request; an Error is thrown. After the last nobody answers.
 */
export function scripted(...answers) {
  const asked = [];
  const read = []; // pieces each connection was asked for
  async function fetch(url, init) {
    init.signal.throwIfAborted();
    const request = { url, ...init, headers: Object.fromEntries(init.headers) };
    asked.push(request);
    let next = answers[asked.length - 1] ?? new TypeError("fetch failed");
    if (typeof next === "function") next = next(request);
    if (next instanceof Error) throw next;
    if (next === "silence") {
      await new Promise((_, reject) => {
        init.signal.addEventListener("abort", () => reject(init.signal.reason));
      });
    }
    const { bytes, size, end, status, replay, type = "text/event-stream", headers } = next;
    const connection = read.push(0) - 1;
    let from = 0;
    const body = new ReadableStream(
      {
        start(controller) {
          init.signal.addEventListener("abort", () => controller.error(init.signal.reason));
        },
        pull(controller) {
          read[connection] += 1;
          if (from < bytes.length) controller.enqueue(bytes.slice(from, (from += size)));
          else if (end === "close") controller.close();
          else if (end === "reset") controller.error(new TypeError("terminated"));
          else return new Promise(() => {}); // "hang"
        },
      },
      { highWaterMark: 0 },
    );
    return new Response([204, 304].includes(status) ? null : body, {
      status,
      headers: { "Content-Type": type, ...(replay && { "Rx-Agui-Replay": replay }), ...headers },
    });
  }
  return { fetch, asked, read };
}

/** Events as a log keeps them: their frames, with ids. */
export const framed = (events, stream = "run-1") =>
  events.map((event, index) => `id: ${stream}/${index + 1}\ndata: ${JSON.stringify(event)}\n\n`);

/** The tail behind a request's cursor, as WIRE has it. */
export function tail(frames, { headers, url }) {
  const asked = headers["last-event-id"] ?? new URL(url).searchParams.get("last_event_id");
  if (asked === null) return { replay: "live", bytes: frames.join("") };
  return { replay: "tail", bytes: frames.slice(Number(asked.split("/").at(-1))).join("") };
}

/** Events in profile chunk: each payload compressed by itself, cut into `pieces`. */
export function chunked(events, { encoding = "gzip", pieces = 1, first = 1, stream = "run-1", numbers } = {}) {
  const payload = bytesOf(events.map((event) => JSON.stringify(event)).join("\n"));
  const pack = { gzip: zlib.gzipSync, deflate: zlib.deflateSync, identity: (data) => Buffer.from(data) };
  const packed = pack[encoding](payload);
  const size = Math.ceil(packed.length / pieces);
  const last = numbers?.at(-1) ?? first + events.length - 1;
  return Array.from({ length: pieces }, (_, index) => {
    const envelope = {
      sequenceNum: first,
      events: events.length,
      chunkIndex: index,
      totalChunks: pieces,
      encoding,
      crc32: checksum(payload),
      ...(numbers && { numbers }),
      data: packed.subarray(index * size, (index + 1) * size).toString("base64"),
    };
    const id = index === pieces - 1 && stream !== null ? `id: ${stream}/${last}\n` : "";
    return `event: chunk\n${id}data: ${JSON.stringify(envelope)}\n\n`;
  });
}

/** Written out once more: what is tested must not be what tests it. */
export function checksum(bytes) {
  if (zlib.crc32) return zlib.crc32(bytes); // Node 22
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return ~value >>> 0;
}
