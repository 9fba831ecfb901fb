// Elements of the page. Nothing of an activity is ever markup: what it says becomes text nodes, and
// an address becomes a link only where it leads to a page or a mailbox.

import { exactTime, toMoment } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const LINKED = new Set(["http:", "https:", "mailto:"]);

/** An element with attributes; children that are text become text nodes. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** The symbol of a type, which its row names in words beside it. */
export function icon(name) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", document.getElementById(`icon-${name}`) ? `#icon-${name}` : "#icon-other");
  picture.append(use);
  return picture;
}

/** Whatever a field holds, as text. */
export function toText(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
}

/** A value isolated from the writing direction around it; a time as people write it, a link where it is an
 * address. */
export function valueOf(value) {
  const moment = DATE_TIME.test(value) && toMoment(value);
  if (moment) return element("time", { datetime: value, title: value }, exactTime(moment));
  const text = toText(value);
  const shown = element("bdi", {}, text);
  if (!isAddress(text)) return shown;
  return element("a", { href: text, target: "_blank", rel: "noopener noreferrer" }, shown);
}

function isAddress(text) {
  if (!/^(https?:\/\/|mailto:)\S+$/i.test(text)) return false;
  return URL.canParse(text) && LINKED.has(new URL(text).protocol);
}
