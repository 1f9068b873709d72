// The page of an archive: searches events, shows one, shows the life of an entity.
//
// What is shown is in the fragment of the address (#/events?type=…), which no server sees and which
// can be kept and sent on. The token is in a variable of this module and nowhere else. Whatever comes
// from the archive becomes text, never markup.

import { Problem, ask, description, exact } from "./asking.js";
import { control, element, lines, link, moment, readable } from "./showing.js";

const LIST = ["stored_at", "id", "type", "key"];
const FIRST = ["type", "key", "from", "to"];
const LAST = ["order", "limit"];
const OTHERS = ["fields", "after"];
const PAGE = 50;

const at = (id) => document.getElementById(id);
let token = null;
let questions = [];
let extracted = [];
let running = null;
let searched = "";

// ---- what is asked: the fragment of the address -------------------------------------------------

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { parts, query: new URLSearchParams(query ?? "") };
}

function address(parts, query = null) {
  const asked = query === null ? "" : `?${query}`;
  return `#/${parts.map(encodeURIComponent).join("/")}${asked === "?" ? "" : asked}`;
}

const ofEvent = (event) => address(["events", event.id]);
const ofEntity = (key) => address(["entities", key]);

// ---- the form -----------------------------------------------------------------------------------

function build(parameters) {
  const names = parameters.map((one) => one.name).filter((name) => !OTHERS.includes(name));
  const known = ["id", "class", "source", "subject", "q", ...FIRST, ...LAST];
  extracted = names.filter((name) => !known.includes(name));
  const main = [...(names.includes("q") ? ["q"] : []), ...FIRST, ...extracted.slice(0, 4), ...LAST];
  questions = parameters.filter((one) => names.includes(one.name));
  for (const one of questions) one.main = main.includes(one.name);
  const order = [...main, ...names.filter((name) => !main.includes(name))];
  for (const name of order) {
    const one = questions.find((question) => question.name === name);
    if (one === undefined) continue;
    at(one.main ? "filters" : "more-filters").append(control(one));
  }
  at("more").hidden = order.length === main.length;
}

function fill(query) {
  for (const { name, main } of questions) {
    const field = at(`ask-${name}`);
    const values = query.getAll(name);
    field.value = values.join(" ");
    field.removeAttribute("aria-invalid");
    if (!main && field.value) at("more").open = true;
  }
}

function asked() {
  const query = new URLSearchParams();
  for (const { name } of questions) {
    const field = at(`ask-${name}`);
    const text = field.value.trim();
    if (text === "") continue;
    if (name === "from" || name === "to") query.set(name, instant(text));
    else if (name === "type") for (const one of text.split(/[\s,]+/)) query.append(name, one);
    else query.set(name, text);
  }
  return query;
}

// A day, or a time without a zone, is of UTC here.
function instant(text) {
  const found = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?Z?)?$/.exec(text);
  return found === null ? text : `${found[1]}T${found[2] ?? "00:00"}${found[3] ?? ":00"}Z`;
}

// ---- what is shown ------------------------------------------------------------------------------

async function show({ focus = true } = {}) {
  running?.abort();
  running = new AbortController();
  const { parts, query } = place();
  at("view").replaceChildren();
  at("problem").replaceChildren();
  at("status").textContent = token === null ? "Give a token to see events." : "Asking…";
  const [kind, name] = parts;
  const view = kind === "entities" && name ? life : kind === "events" && name ? single : list;
  at("search").hidden = view !== list;
  if (view === list) {
    fill(query);
    searched = location.hash || address(["events"]);
  }
  at("back").hidden = view === list;
  at("back").firstElementChild.setAttribute("href", searched);
  title(view === list ? "Events" : view === single ? `Event ${name}` : `History of ${name}`);
  if (token === null) return;
  const { signal } = running;
  try {
    await view(name, query, signal);
    if (focus) at("heading").focus();
  } catch (error) {
    if (!signal.aborted) refused(error);
  }
}

function title(text) {
  at("heading").textContent = readable(text);
  document.title = text === "Events" ? "Archive" : `${readable(text)} – Archive`;
}

async function list(_, query, signal) {
  const question = new URLSearchParams(query);
  if (!question.has("limit")) question.set("limit", PAGE);
  question.set("fields", [...LIST, ...extracted.map(column), "note"].join(","));
  const found = await ask(token, "v1/events", question, signal);
  const columns = extracted.map(column);
  const head = element("tr", {}, ["Stored (UTC)", "Type", "Key", ...columns].map((text, number) =>
    element("th", { scope: "col", class: number === 0 ? "time" : "" }, text)));
  const rows = found.events.map((event) => element("tr", {}, [
    element("td", { class: "time", "data-name": "Stored" }, moment(event.stored_at)),
    element("td", { "data-name": "Type" }, [link(ofEvent(event), event.type), ...noted(event)]),
    element("td", { "data-name": "Key" }, event.key === null ? "" : keyed(event.key)),
    ...columns.map((name) => element("td", { "data-name": name }, text(event[name]))),
  ]));
  if (rows.length > 0) {
    at("view").append(element("div", { class: "wide" }, element("table", { class: "events" }, [
      element("caption", { class: "skip" }, "Events that were found"),
      element("thead", {}, head),
      element("tbody", {}, rows),
    ])));
  }
  paged(["events"], query, found);
  at("view").append(byHand("v1/events", question));
}

async function single(id, _, signal) {
  const event = await ask(token, `v1/events/${encodeURIComponent(id)}`, new URLSearchParams(), signal);
  const entries = [];
  for (const [name, value] of Object.entries(event)) {
    if (value === null) continue;
    const shown = name === "key" ? keyed(value)
      : exact.holds(value) ? element("pre", { tabindex: "0", "aria-label": name }, lines(exact.text(value, 2)))
        : name.endsWith("_at") ? `${moment(value)} UTC`
          : text(value);
    entries.push(element("dt", {}, name), element("dd", {}, shown));
  }
  at("view").append(element("dl", {}, entries));
  if (event.key) {
    at("view").append(element("nav", { "aria-label": "Of this event" },
      element("a", { href: ofEntity(event.key) }, "All events of its key")));
  }
  at("status").textContent = "payload" in event ? "One event." : "One event. Payloads need the scope payload:read.";
}

async function life(key, query, signal) {
  const question = new URLSearchParams(query);
  if (!question.has("limit")) question.set("limit", PAGE);
  let path = `v1/entities/${encodeURIComponent(key)}/history`;
  if (key === "." || key === "..") { // which a browser leaves out of an address
    path = "v1/events";
    question.set("key", key);
    question.set("order", "oldest");
  }
  const found = await ask(token, path, question, signal);
  const entries = found.events.map((event) => {
    const said = extracted.map(column).filter((name) => event[name] !== null)
      .map((name) => `${name} ${text(event[name])}`);
    const payload = event.payload ?? event.raw ?? null;
    return element("li", {}, [
      element("h3", {}, [link(ofEvent(event), event.type), ...noted(event)]),
      element("p", {}, [`${moment(event.stored_at)} UTC`, ...said].join(" · ")),
      ...(payload === null ? [] : [element("details", {}, [
        element("summary", {}, "Payload"),
        element("pre", { tabindex: "0", "aria-label": "Payload" }, lines(exact.text(payload, 2))),
      ])]),
    ]);
  });
  if (entries.length > 0) at("view").append(element("ol", { class: "life" }, entries));
  paged(["entities", key], query, found);
  at("view").append(byHand(path, question));
}

function paged(parts, query, found) {
  const first = new URLSearchParams(query);
  first.delete("after");
  const links = [];
  if (query.has("after")) links.push(element("a", { href: address(parts, first) }, "First page"));
  if (found.next !== null) {
    const next = new URLSearchParams(first);
    next.set("after", found.next);
    links.push(element("a", { href: address(parts, next), rel: "next" }, "Next page"));
  }
  if (links.length > 0) at("view").append(element("nav", { "aria-label": "Pages" }, links));
  const count = found.events.length;
  const where = query.has("after") ? " on this page" : "";
  at("status").textContent = count === 0 ? `No events${where}.`
    : `${count} ${count === 1 ? "event" : "events"}${where}${found.next === null ? "" : "; there are more"}.`;
}

function byHand(path, question) {
  const url = new URL(`${path}?${question}`, document.baseURI).href.replaceAll("'", "%27");
  return element("details", {}, [
    element("summary", {}, "The same with curl"),
    element("pre", { tabindex: "0", "aria-label": "curl" }, `curl -H "Authorization: Bearer $TOKEN" '${url}'`),
  ]);
}

// There are no addresses of an entity without a name.
const keyed = (key) => (key === "" ? "(empty)" : link(ofEntity(key), key));
const column = (name) => name.replace(/^column\./, "");
const noted = (event) => (event.note ? [element("span", {}, ` (${readable(event.note)})`)] : []);

function text(value) {
  if (value === null || value === undefined) return "";
  return readable(typeof value === "string" ? value : exact.text(value));
}

function refused(error) {
  const problem = error instanceof Problem ? error : new Problem({ title: "Not shown", detail: String(error) });
  at("status").textContent = "";
  at("problem").append(element("h3", {}, readable(problem.title)));
  if (problem.errors.length === 0) at("problem").append(element("p", {}, readable(problem.detail)));
  if (problem.wait) at("problem").append(element("p", {}, `Ask again in ${problem.wait} s.`));
  let first = null;
  if (problem.errors.length > 0) {
    at("problem").append(element("ul", {}, problem.errors.map((one) =>
      element("li", {}, readable(`${one.field}: wanted ${one.wanted}, found ${one.found}`)))));
    for (const one of problem.errors) {
      const field = at(`ask-${one.field}`);
      if (field === null || at("search").hidden) continue;
      field.setAttribute("aria-invalid", "true");
      if (!questions.find((question) => question.name === one.field).main) at("more").open = true;
      first ??= field;
    }
  }
  if (problem.status === 401) forget();
  (problem.status === 401 ? at("token") : first ?? at("problem")).focus();
}

// ---- the token ----------------------------------------------------------------------------------

function use(given) {
  token = given;
  at("token").value = "";
  at("holder").textContent = holder(given);
  at("login").hidden = true;
  at("who").hidden = false;
}

function forget() {
  token = null;
  running?.abort();
  at("view").replaceChildren();
  at("holder").textContent = "";
  at("login").hidden = false;
  at("who").hidden = true;
}

// What the token says of itself, for who pasted it; whether it is believed the archive decides.
function holder(given) {
  try {
    const middle = given.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(middle), (one) => one.charCodeAt(0));
    const { sub, tenant, exp } = JSON.parse(new TextDecoder().decode(bytes));
    const parts = [`Token of ${sub}`];
    if (typeof tenant === "string") parts.push(`tenant ${tenant}`);
    if (typeof exp === "number") parts.push(`until ${moment(new Date(exp * 1000).toISOString())} UTC`);
    return readable(parts.join(", "));
  } catch {
    return "A token is in use";
  }
}

// ---- what happens -------------------------------------------------------------------------------

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  use(at("token").value.trim());
  show();
});
at("forget").addEventListener("click", () => {
  forget();
  show({ focus: false });
  at("token").focus();
});
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = address(["events"], asked());
  if (location.hash === wanted) show();
  else location.hash = wanted;
});
at("clear").addEventListener("click", () => {
  fill(new URLSearchParams());
  at(`ask-${FIRST[0]}`).focus();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment says what is shown
  at("results").focus();
});
addEventListener("hashchange", () => show());
// A page that a browser kept for its "back" button is as new.
addEventListener("pageshow", (event) => event.persisted && forget());

try {
  build(await description());
  show({ focus: false });
} catch (error) {
  refused(error);
}
