// How people write times, durations, money and phone numbers. Nothing here touches the page.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The moment that an API date-time names, or null where it names none. */
export function toMoment(text) {
  const moment = new Date(text ?? NaN);
  return Number.isNaN(moment.getTime()) ? null : moment;
}

/** The reader's day of a moment, as `2026-01-31`, or `""`. */
export function dayOf(text) {
  const moment = toMoment(text);
  if (!moment) return "";
  const pad = (number, width) => String(number).padStart(width, "0");
  return `${pad(moment.getFullYear(), 4)}-${pad(moment.getMonth() + 1, 2)}-${pad(moment.getDate(), 2)}`;
}

/** A heading for a day of `dayOf`. */
export function dayHeading(text, now = new Date()) {
  if (!text) return "Without a date";
  const heading = day.format(new Date(`${text}T12:00:00`));
  const distance = (name, shift) => text === dayOf(new Date(now.getTime() + shift)) && `${name}, ${heading}`;
  return distance("Today", 0) || distance("Yesterday", -DAY) || distance("Tomorrow", DAY) || heading;
}

export const clockTime = (moment) => clock.format(moment);
export const exactTime = (moment) => exact.format(moment);

/** `5 minutes ago`, where that says more than the clock does; else `""`. */
export function ago(moment, now = new Date()) {
  const distance = moment - now;
  if (Math.abs(distance) < MINUTE) return distance > 0 ? "in a moment" : "just now";
  if (Math.abs(distance) < HOUR) return relative.format(Math.trunc(distance / MINUTE), "minute");
  if (Math.abs(distance) < DAY) return relative.format(Math.trunc(distance / HOUR), "hour");
  return "";
}

/** Seconds as `1 h 5 min`, `3 min 20 s`, `45 s`. */
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const parts = h ? [[h, "h"], [m, "min"]] : [[m, "min"], [s, "s"]];
  return parts.filter(([n]) => n).map(([n, unit]) => `${n} ${unit}`).join(" ") || "0 s";
}

/** An amount in the smallest unit of its currency. */
export function money(amount, currency) {
  if (!Number.isFinite(amount)) return "";
  try {
    const form = new Intl.NumberFormat(undefined, { style: "currency", currency });
    return form.format(amount / 10 ** form.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${amount} ${currency ?? ""}`.trim(); // no such currency
  }
}

/** A phone number in groups, where nobody has written it as people do. */
export function phone(formatted, plain) {
  if (formatted || typeof plain !== "string") return formatted || "";
  return /^\+\d{7,15}$/.test(plain) ? plain.replace(/(\d{2,3})(?=(\d{3})+$)/g, "$1 ") : plain;
}
