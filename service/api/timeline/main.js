// The page at work: what is asked for, the rows that answer it, and what happens to them.

import { ask, BASE, Refusal, timeField, toPath } from "./api.js";
import { element, icon } from "./elements.js";
import { Rows } from "./list.js";
import { follow, sleep } from "./live.js";
import { renewTimes } from "./rows.js";
import { forgetKey, getKey, readAsked, setKey, writeAsked } from "./session.js";
import { TYPES } from "./types.js";

const SIGNS = { off: "", live: "live", "catching up": "catching up", away: "away" };
const RENEW_SECONDS = 20;
const PAGE_ROWS = 100;
const AHEAD_PIXELS = 600;

const $ = (id) => document.getElementById(id);

let asked = readAsked();
let rows = null;
let next = null; // the address of the next older page
let news = 0; // rows that came above what is in sight
let current = new AbortController(); // ends what is under way for an earlier question

/** Begin anew with what is asked for. */
async function show() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  writeAsked(asked);
  rows = new Rows($("days"), timeField(asked), asked.lead ? null : chooseLead);
  next = null;
  setNews(0);
  state("Loading …", "loading");
  $("older").hidden = true;
  let hasBegun = false;
  const told = {
    onBegin: () => { if (!hasBegun) { hasBegun = true; firstPage(signal); } },
    onSet: (row) => setNews(news + (rows.set(row) && !isAtTop() ? 1 : 0)) || stateOfRows(),
    onRemoved: (row) => { rows.remove(row); stateOfRows(); },
    onFirst: (page) => {
      if ($("state").dataset.state === "loading") return;
      const added = rows.replaceFirst(page.data, page.has_more);
      setNews(isAtTop() ? 0 : news + added);
      stateOfRows();
    },
    onAnew: show,
    onSign: (sign) => { $("sign").textContent = SIGNS[sign]; $("sign").dataset.sign = sign; },
  };
  try {
    const paths = { first: toPath(asked), changes: toPath(asked, { _limit: 0 }) };
    await follow(paths, told, signal);
  } catch (refusal) {
    if (!signal.aborted) refused(refusal);
  }
}

/** Changes are told from now on, so a page read from now on misses none. */
const firstPage = (signal) => append(toPath(asked, { _limit: PAGE_ROWS }), signal);

async function append(path, signal) {
  $("older").hidden = true;
  state("Loading …", "loading");
  for (;;) {
    try {
      next = await rows.append(() => ask(path, { signal }));
      $("older").hidden = !next;
      noteLeads();
      stateOfRows();
      return fillDown();
    } catch (refusal) {
      if (signal.aborted) return undefined;
      if (!(refusal instanceof Refusal) || [400, 401, 404].includes(refusal.status)) return refused(refusal);
      await countDown(refusal, signal);
    }
  }
}

async function countDown(refusal, signal) {
  for (let left = refusal.seconds ?? 3; left > 0 && !signal.aborted; left -= 1) {
    state(`${refusal.message} Asking again in ${left} s.`, "waiting");
    await sleep(1, signal);
  }
}

function refused(refusal) {
  if (!(refusal instanceof Refusal)) throw refusal;
  current.abort();
  $("sign").dataset.sign = "off";
  $("sign").textContent = "";
  if (refusal.status !== 401) return state(refusal.message, "refused");
  forgetKey();
  return askForKey("This key is not known, or no longer in force.");
}

function state(text, name) {
  $("state").textContent = text;
  $("state").dataset.state = name;
}

function stateOfRows() {
  if ($("state").dataset.state === "waiting" || (rows.touched && $("state").dataset.state === "loading")) return;
  if (!rows.size) state("Nothing here yet. What happens will appear by itself.", "empty");
  else if (rows.isWhole) state("This is where it begins.", "whole");
  else state("", "shown");
}

function setNews(number) {
  news = number;
  $("news").hidden = !number;
  $("news").textContent = number === 1 ? "1 new activity above" : `${number} new activities above`;
}

/** Older rows come by themselves before the reader gets to the end of those that are there. */
function fillDown() {
  const isNear = $("older").getBoundingClientRect().top < window.innerHeight + AHEAD_PIXELS;
  if (!$("older").hidden && isNear) append(next, current.signal);
}

const isAtTop = () => window.scrollY < $("rows").offsetTop;

function chooseLead(lead) {
  asked.lead = lead;
  fillFilters();
  show();
  $("lead").focus();
}

/** Leads that were seen are offered: an activity knows no lead by name. */
function noteLeads() {
  const seen = new Set([...$("leads").options].map((option) => option.value));
  for (const { row } of rows.entries) {
    if (!row.lead_id || seen.has(row.lead_id) || seen.size > 200) continue;
    seen.add(row.lead_id);
    $("leads").append(element("option", { value: row.lead_id }));
  }
}

function makeChips() {
  for (const [name, type] of Object.entries(TYPES)) {
    const chip = element("button", { type: "button", class: "chip", "aria-pressed": "false", "data-type": name }, icon(name), type.name);
    chip.addEventListener("click", () => toggleType(name));
    $("types").append(chip);
  }
}

/** Several types need one lead (contract 3.2); without one, a type has a list of its own. */
function toggleType(name) {
  const others = asked.lead ? asked.types.filter((one) => one !== name) : [];
  asked.types = asked.types.includes(name) ? others : [...others, name];
  fillFilters();
  show();
}

function fillFilters() {
  if (!asked.lead) asked.types = asked.types.slice(0, 1);
  $("lead").value = asked.lead;
  $("from").value = asked.from;
  $("to").value = asked.to;
  for (const choice of document.getElementsByName("mode")) choice.checked = choice.value === asked.mode;
  for (const chip of $("types").children) chip.setAttribute("aria-pressed", String(asked.types.includes(chip.dataset.type)));
  $("types-hint").textContent = asked.lead ? "" : "One type at a time; several once a lead is chosen.";
}

function readFilters() {
  const mode = new FormData($("filters")).get("mode");
  asked = { ...asked, lead: $("lead").value.trim(), from: $("from").value, to: $("to").value, mode };
  fillFilters();
  show();
}

function askForKey(fault = "") {
  $("timeline").hidden = true;
  $("leave").hidden = true;
  $("whose").textContent = "";
  $("key-fault").textContent = fault;
  $("key-form").hidden = false;
  $("key").value = "";
  $("key").focus();
}

async function begin() {
  if (!getKey()) return askForKey();
  $("key-form").hidden = true;
  $("timeline").hidden = false;
  $("leave").hidden = false;
  fillFilters();
  ask(`${BASE}/me/`).then(({ body }) => { $("whose").textContent = body.organizations[0].name; }, () => {});
  return show();
}

$("key-form").addEventListener("submit", (event) => { event.preventDefault(); setKey($("key").value.trim()); begin(); });
$("leave").addEventListener("click", () => { current.abort(); forgetKey(); askForKey(); });
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", readFilters);
$("older").addEventListener("click", () => append(next, current.signal));
$("news").addEventListener("click", () => { window.scrollTo({ top: 0 }); setNews(0); $("rows").focus(); });
window.addEventListener("scroll", () => { if (news && isAtTop()) setNews(0); fillDown(); }, { passive: true });
window.addEventListener("hashchange", () => { asked = readAsked(); begin(); });
setInterval(() => { renewTimes($("days")); rows?.renewHeadings(); }, RENEW_SECONDS * 1000);

makeChips();
begin();
