// The API as this page asks it: one path, one key, and refusals that say what to do about them.

import { getKey } from "./session.js";
import { TYPES } from "./types.js";

export const BASE = "/api/v1";

/** An answer other than 200. `status` 0: nobody answered. `seconds`: when to ask again, if ever. */
export class Refusal extends Error {
  constructor(status, message, seconds = null) {
    super(message);
    this.status = status;
    this.seconds = seconds;
  }
}

/** Fetch with the key. Raises `Refusal` for all but 200 and 304. */
export async function request(path, { headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(path, {
      headers: { Authorization: `Bearer ${getKey()}`, ...headers },
      cache: "no-store",
      credentials: "omit", // with its own, a browser asks for a password itself where a key is refused
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(0, "Nobody answers. Is there a connection?");
  }
  if (response.ok || response.status === 304) return response;
  throw await toRefusal(response);
}

/** The JSON of one answer, with the address of the next page and what names this one. */
export async function ask(path, options) {
  const response = await request(path, options);
  const [, next = null] = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get("Link") ?? "") ?? [];
  const etag = response.headers.get("ETag");
  return { body: response.status === 304 ? null : await response.json(), next, etag };
}

/** The listing's path for what is asked for (contract 3.2): types need one lead, or a list of their own. */
export function toPath({ lead, types, from, to, mode }, parameters = {}) {
  const own = !lead && types.length === 1 ? TYPES[types[0]]?.path : "";
  const field = timeField({ lead });
  const all = {
    lead_id: lead,
    _type__in: own ? "" : types.join(","),
    _order_by: lead ? "-activity_at" : "",
    [`${field}__gte`]: from && startOf(from, 0),
    [`${field}__lt`]: to && startOf(to, 1),
    thread_emails: mode,
    ...parameters,
  };
  const query = new URLSearchParams(Object.entries(all).filter(([, text]) => text !== ""));
  return `${BASE}/activity/${own ? `${own}/` : ""}?${query}`;
}

/** A lead's timeline goes by when things happened, everybody's by when they were recorded. */
export const timeField = ({ lead }) => (lead ? "activity_at" : "date_created");

function startOf(date, days) {
  const moment = new Date(`${date}T00:00:00`);
  moment.setDate(moment.getDate() + days);
  return moment.toISOString();
}

async function toRefusal(response) {
  const body = await response.json().catch(() => ({}));
  const message = body.error?.message ?? body.error ?? `The answer was ${response.status}.`;
  const seconds = Number(response.headers.get("Retry-After")) || null;
  return new Refusal(response.status, String(message), seconds);
}
