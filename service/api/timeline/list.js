// The rows on the page, in the listing's order, newest first, under a heading for each day.

import { element } from "./elements.js";
import { dayHeading, dayOf } from "./format.js";
import { makeRow, renewRow } from "./rows.js";

/** What tells rows apart: a conversation may share its id with an activity. */
const keyOf = ({ id, _type }) => (_type === "EmailThread" ? `${id}!thread` : id);

export class Rows {
  /** `field` is the time that the listing is sorted by. */
  constructor(container, field, onLead) {
    this.container = container;
    this.field = field;
    this.onLead = onLead;
    this.entries = []; // {key, time, item, row}, in the order shown
    this.byKey = new Map();
    this.days = new Map(); // the reader's day -> its section
    this.isWhole = false; // whether nothing older is left to be asked for
    this.end = null; // the place of the last row that a page brought
    this.touched = null; // what has changed while a page is on its way
    container.replaceChildren();
  }

  get size() {
    return this.entries.length;
  }

  /** Ask for a page by `load`, and append it. What changes meanwhile is newer than the page. */
  async append(load) {
    this.touched = new Set();
    try {
      const { body, next } = await load();
      const untold = body.data.filter((row) => !this.touched.has(keyOf(row)));
      const last = body.data.at(-1);
      if (last) this.end = this.#placeOf(last);
      this.isWhole = !next;
      for (const row of untold) this.#put(row);
      return next;
    } finally {
      this.touched = null;
    }
  }

  /** A row is new or has changed. Says whether it is new on the page. */
  set(row) {
    const key = keyOf(row);
    this.touched?.add(key);
    const isKnown = this.byKey.has(key);
    const isBeyond = !this.isWhole && this.end && compare(this.#placeOf(row), this.end) > 0;
    if (isBeyond) this.remove(row); // it comes with its own page
    else this.#put(row);
    return !isKnown && !isBeyond;
  }

  /** A row is gone from what is asked for. */
  remove(row) {
    const key = keyOf(row);
    this.touched?.add(key);
    const entry = this.byKey.get(key);
    if (!entry) return;
    this.byKey.delete(key);
    this.entries.splice(this.#find(entry), 1);
    this.#unhang(entry);
  }

  /** Let the page's first rows be just these: what polling does where nothing tells of changes. */
  replaceFirst(rows, hasMore) {
    const keys = new Set(rows.map(keyOf));
    const end = hasMore && rows.length ? this.#placeOf(rows.at(-1)) : null;
    const isInside = (entry) => !end || compare(entry, end) <= 0;
    for (const entry of this.entries.filter(isInside)) if (!keys.has(entry.key)) this.remove(entry.row);
    return rows.map((row) => this.set(row)).filter(Boolean).length;
  }

  /** Headings say Today and Yesterday, which pass. */
  renewHeadings(now = new Date()) {
    for (const [day, section] of this.days) section.firstElementChild.textContent = dayHeading(day, now);
  }

  #placeOf(row) {
    return { key: keyOf(row), time: String(row[this.field] ?? "") };
  }

  #put(row) {
    const place = this.#placeOf(row);
    const known = this.byKey.get(place.key);
    if (known && known.time === place.time) {
      known.item = renewRow(known.item, row, this.field, this.onLead);
      known.row = row;
      return;
    }
    if (known) this.remove(row);
    const entry = { ...place, row, item: makeRow(row, this.field, this.onLead) };
    const index = this.#find(entry);
    const after = this.entries[index];
    this.entries.splice(index, 0, entry);
    this.byKey.set(entry.key, entry);
    this.#hang(entry, after);
  }

  /** Where an entry is, or belongs. */
  #find(entry) {
    let [low, high] = [0, this.entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(this.entries[middle], entry) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #hang(entry, after) {
    const day = dayOf(entry.time);
    const dayAfter = after && dayOf(after.time);
    const section = this.days.get(day) ?? this.#addDay(day, this.days.get(dayAfter));
    section.lastElementChild.insertBefore(entry.item, dayAfter === day ? after.item : null);
  }

  #addDay(day, before) {
    const id = `day-${day || "none"}`;
    const heading = element("h2", { id }, dayHeading(day));
    const section = element("section", { "aria-labelledby": id }, heading, element("ol"));
    this.days.set(day, section);
    this.container.insertBefore(section, before ?? null);
    return section;
  }

  #unhang(entry) {
    const day = dayOf(entry.time);
    const section = this.days.get(day);
    entry.item.remove();
    if (section.lastElementChild.childElementCount) return;
    section.remove();
    this.days.delete(day);
  }
}

/** The listing's order (contract 3.2): newest first, ties by id, downwards too. The API prints times so
 * that they compare as text. */
function compare(a, b) {
  if (a.time !== b.time) return a.time > b.time ? -1 : 1;
  if (a.key === b.key) return 0;
  return a.key > b.key ? -1 : 1;
}
