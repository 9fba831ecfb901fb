// One activity as one row: a line with its icon, and its details once somebody opens it.

import { ask, BASE } from "./api.js";
import { element, icon, toText, valueOf } from "./elements.js";
import { ago, clockTime, exactTime, toMoment } from "./format.js";
import { typeOf } from "./types.js";

// What a line holds of a text; the rest of it is among the details.
const MAX_LINE = 280;
// Said by the line already, or of no use to people.
const UNSAID = new Set(["_type", "id", "organization_id", "users", "emails", "latest_emails", "participants", "body_html"]);
// The words of an activity come before its facts.
const WORDS = ["body_text", "note", "text", "message_markdown", "summary"];

/** The row of an activity. `field` is the time it stands at. */
export function makeRow(row, field, onLead) {
  const details = element("details", {}, makeLine(row, field));
  details.addEventListener("toggle", () => details.open && fill(details, row, onLead));
  return element("li", { class: "row", "data-type": row._type, "data-id": row.id }, details);
}

/** Show another state of the same activity in its place. One that is open stays open. */
export function renewRow(item, row, field, onLead) {
  const isOpen = item.firstElementChild.open;
  const renewed = makeRow(row, field, onLead);
  renewed.firstElementChild.open = isOpen;
  item.replaceWith(renewed);
  return renewed;
}

/** Let relative times stay true. */
export function renewTimes(root, now = new Date()) {
  for (const shown of root.querySelectorAll(".ago")) {
    shown.textContent = ago(new Date(shown.dataset.moment), now);
  }
}

function makeLine(row, field) {
  const type = typeOf(row);
  const title = element("bdi", { class: "title" }, cut(toText(type.title(row))));
  const text = element("bdi", { class: "text" }, cut(toText(type.text(row))));
  const who = element("bdi", { class: "who" }, toText(row.user_name));
  const name = element("span", { class: "unseen" }, `${type.name}: `);
  return element("summary", {}, icon(row._type), makeTime(row[field]), name, title, text, who);
}

function makeTime(text) {
  const moment = toMoment(text);
  if (!moment) return element("span", { class: "time" }, "no time");
  const since = element("span", { class: "ago", "data-moment": moment.toISOString() }, ago(moment));
  const attributes = { class: "time", datetime: text, title: exactTime(moment) };
  return element("time", attributes, clockTime(moment), " ", since);
}

async function fill(details, row, onLead) {
  if (details.children.length > 1) return;
  const body = element("div", { class: "details" }, element("p", { class: "hint" }, "Loading …"));
  details.append(body);
  try {
    const { body: whole } = await ask(pathOf(row));
    body.replaceChildren(...describe(whole, onLead));
  } catch (refusal) {
    body.replaceChildren(element("p", { class: "fault" }, refusal.message));
    details.addEventListener("toggle", () => body.remove(), { once: true });
  }
}

function describe(row, onLead) {
  const parts = [];
  if (row.lead_id && onLead) {
    const choose = element("button", { type: "button", class: "lead" }, "Only this lead: ", element("bdi", {}, toText(row.lead_id)));
    choose.addEventListener("click", () => onLead(row.lead_id));
    parts.push(choose);
  }
  for (const name of WORDS) {
    const text = toText(row[name]?.text ?? row[name]?.summary_text ?? row[name]);
    if (text) parts.push(element("p", { class: "words", dir: "auto" }, text));
  }
  if (Array.isArray(row.emails)) parts.push(element("ol", { class: "emails" }, ...row.emails.map(makeEmail)));
  parts.push(describeFacts(row));
  return parts;
}

function describeFacts(row) {
  const facts = element("dl");
  for (const [name, value] of Object.entries(row)) {
    const isEmpty = value === null || value === "" || (Array.isArray(value) && !value.length);
    if (isEmpty || UNSAID.has(name) || WORDS.includes(name)) continue;
    facts.append(element("dt", {}, element("bdi", {}, name)), element("dd", {}, valueOf(value)));
  }
  return facts;
}

/** An email of a conversation; its words are asked for when it is opened. */
function makeEmail(email) {
  const moment = toMoment(email.activity_at);
  const when = moment ? element("time", { datetime: email.activity_at }, exactTime(moment)) : "";
  const sender = element("bdi", { class: "title" }, toText(email.sender) || "unknown sender");
  const preview = element("bdi", { class: "text" }, cut(toText(email.body_preview)));
  const details = element("details", {}, element("summary", {}, sender, " ", when, preview));
  details.addEventListener("toggle", () => details.open && fill(details, { ...email, _type: "Email" }));
  return element("li", {}, details);
}

const pathOf = (row) => {
  const own = typeOf(row).path;
  return `${BASE}/activity/${own ? `${own}/` : ""}${encodeURIComponent(row.id)}/`;
};

const cut = (text) => (text.length > MAX_LINE ? `${text.slice(0, MAX_LINE)} …` : text);
