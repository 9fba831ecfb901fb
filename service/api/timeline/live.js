// What happens to a listing while somebody looks: server-sent events over `fetch`, since
// `EventSource` sends no key. Where a server lets nobody follow, the first page is asked for again.

import { ask, Refusal, request } from "./api.js";

const FIRST_PAUSE_SECONDS = 1;
const MAX_PAUSE_SECONDS = 30;
const POLL_SECONDS = 10;
// A comment comes every 15 seconds: three that do not are a connection that is gone.
const SILENCE_SECONDS = 45;

/** Events `{id, event, data}` of a body, until it ends. */
export async function* readEvents(body, onBytes = () => {}) {
  let [rest, event] = ["", {}];
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line) addField(event, line);
        else {
          if (event.data !== undefined) yield event;
          event = {};
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function addField(event, line) {
  const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
  if (name === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
  else if (name) event[name] = value;
}

/**
 * Follow a listing until `signal`. `told` hears of it: `onBegin()` once changes from now on will be told,
 * `onSet(row)`, `onRemoved(row)`, `onFirst(page)` of a poll, `onAnew()` when too much was missed, and
 * `onSign(sign)` with "live", "catching up" or "away". Raises `Refusal` where asking again is of no use.
 */
export async function follow(paths, told, signal) {
  const state = { id: null, pause: FIRST_PAUSE_SECONDS, isPolling: false, etag: null };
  while (!signal.aborted) {
    try {
      if (state.isPolling) await poll(paths, state, told, signal);
      else await stream(paths, state, told, signal);
      state.pause = FIRST_PAUSE_SECONDS;
    } catch (error) {
      if (signal.aborted) return;
      await recover(error, state, told, signal);
    }
  }
}

async function stream(paths, state, told, signal) {
  told.onSign("catching up");
  const given = new AbortController();
  const both = AbortSignal.any([signal, given.signal]);
  const headers = { Accept: "text/event-stream", ...(state.id && { "Last-Event-ID": state.id }) };
  const response = await request(paths.changes, { headers, signal: both });
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    state.isPolling = true;
    told.onBegin();
    return;
  }
  let timer;
  const watch = () => {
    clearTimeout(timer);
    timer = setTimeout(() => given.abort(), SILENCE_SECONDS * 1000);
  };
  watch();
  try {
    for await (const event of readEvents(response.body, watch)) {
      state.id = event.id ?? state.id;
      state.pause = FIRST_PAUSE_SECONDS;
      tell(event, told);
    }
  } finally {
    clearTimeout(timer);
  }
  if (!signal.aborted) await sleep(jitter(FIRST_PAUSE_SECONDS), signal); // it ended: come again soon
}

function tell({ event, data }, told) {
  if (event === "page") told.onBegin();
  else if (event === "set") told.onSet(JSON.parse(data));
  else if (event === "removed") told.onRemoved(JSON.parse(data));
  else if (event === "live") told.onSign("live");
}

async function poll(paths, state, told, signal) {
  const { body, etag } = await ask(paths.first, { headers: state.etag ? { "If-None-Match": state.etag } : {}, signal });
  state.etag = etag;
  if (body) told.onFirst(body);
  told.onSign("live");
  await sleep(POLL_SECONDS, signal);
}

async function recover(error, state, told, signal) {
  const isRefusal = error instanceof Refusal;
  if (isRefusal && (error.status === 410 || (error.status === 400 && state.id))) {
    state.id = null; // too old, or of another query: begin anew
    return told.onAnew();
  }
  if (isRefusal && [400, 401, 404].includes(error.status)) throw error;
  if (isRefusal && [406, 503].includes(error.status) && !state.isPolling) {
    // Following is switched off, or there is no place among the followers, or no service: a page now
    // and then asks for less.
    state.isPolling = true;
    told.onBegin();
    return undefined;
  }
  told.onSign("away");
  await sleep(isRefusal && error.seconds ? error.seconds : jitter(state.pause), signal);
  state.pause = Math.min(state.pause * 2, MAX_PAUSE_SECONDS);
  return undefined;
}

const jitter = (seconds) => seconds * (0.5 + Math.random());

export function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
