// The topics seen lately: topics that the server lists, and topics of messages that
// arrive here. Each has the number of messages that arrived in the last minute.

const minute = 60; // seconds; rates count the messages of this time
const maxKnown = 500; // topics; beyond that, the longest silent one is dropped
const maxShown = 50; // topics in the list
const listed = 100; // topics to ask the server for
const pollEvery = 15_000; // milliseconds
const answerTimeout = 10_000; // milliseconds

const list = document.getElementById("topics");
const known = document.getElementById("known");

const topics = new Map(); // by name
let ahead = 0; // milliseconds that the server's clock is ahead of ours
let current = ""; // the filter of the feed
let offered = ["**"]; // filters that may be read
let choose = () => {}; // called with the topic that the user chooses

// A Topic counts its messages of the last minute, second by second.
class Topic {
  last = 0; // milliseconds, when its newest message was stored
  counts = new Uint32Array(minute);
  newest = 0; // the second of the newest count

  seen(time) {
    this.last = Math.max(this.last, time);
  }

  count(time) {
    this.seen(time);
    const second = Math.floor(time / 1000);
    if (second <= this.newest - minute) return;
    if (second - this.newest >= minute) this.counts.fill(0);
    else for (let s = this.newest + 1; s <= second; s++) this.counts[s % minute] = 0;
    this.newest = Math.max(this.newest, second);
    this.counts[second % minute]++;
  }

  // rate returns the number of messages in the last minute. If there are many, it
  // returns messages per second; if there are none, how long ago the last one was.
  rate(now) {
    const until = Math.floor(now / 1000);
    let n = 0;
    let seconds = 1;
    for (let s = Math.max(this.newest - minute, until - minute) + 1; s <= this.newest; s++) {
      if (this.counts[s % minute] > 0 && n === 0) seconds = Math.max(1, until - s + 1);
      n += this.counts[s % minute];
    }
    if (n === 0) return ago(now - this.last);
    if (n < 2 * minute) return `${n}/min`;
    const perSecond = n / seconds;
    return `${perSecond < 100 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString()}/s`;
  }
}

function ago(milliseconds) {
  const minutes = Math.floor(milliseconds / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor(minutes / 60 / 24)} d ago`;
}

function topic(name) {
  let t = topics.get(name);
  if (!t) {
    t = new Topic();
    topics.set(name, t);
    if (topics.size > maxKnown) {
      let oldest = name;
      for (const [other, { last }] of topics) {
        if (other !== name && (oldest === name || last < topics.get(oldest).last)) oldest = other;
      }
      topics.delete(oldest);
    }
  }
  return t;
}

// count counts a message for its topic.
export function count(m) {
  const time = Date.parse(m.time);
  if (!Number.isNaN(time)) topic(m.topic).count(time);
}

// look asks the server for the topics that a filter matches. It returns {status, problem}:
// what to tell the user if the server refuses or does not answer, or "".
export async function look(filter) {
  const url = new URL("topics", document.baseURI);
  url.searchParams.set("match", filter);
  url.searchParams.set("limit", listed);
  let response;
  let body;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(answerTimeout) });
    body = await response.json();
  } catch {
    return { status: 0, problem: "The server cannot be reached. Try again in a moment." };
  }
  const { status } = response;
  if (!response.ok) {
    return { status, problem: typeof body?.detail === "string" ? body.detail : `The answer was ${status}. Try again in a moment.` };
  }
  const theirs = Date.parse(response.headers.get("Date")) + 500; // Date is truncated to a second
  if (Math.abs(theirs - Date.now()) > 2_000) ahead = theirs - Date.now();
  for (const t of body?.topics ?? []) topic(t.topic).seen(Date.parse(t.time) || 0);
  show();
  return { status, problem: "" };
}

// offer sets the filters that may be read: the list shows those with a wildcard above the
// topics, and has the topics that they match.
export function offer(filters) {
  offered = filters;
  show();
}

// forget empties the list for another user.
export function forget() {
  topics.clear();
}

// refresh asks the server for the topics of each filter that may be read, or of that of the feed
// if others are not known.
let refreshes = 0; // calls of refresh
export async function refresh() {
  const mine = ++refreshes;
  for (const filter of offered.length > 0 ? offered : [current]) {
    if (mine === refreshes) await look(filter);
  }
}

// start begins to list the topics. It calls chosen with the topic that the user
// chooses. It asks the server only while live returns true.
export function start(chosen, live) {
  choose = chosen;
  const poll = () => {
    if (live() && document.visibilityState === "visible") refresh();
  };
  setInterval(poll, pollEvery);
  setInterval(show, 1_000);
}

// select marks the filter of the feed.
export function select(filter) {
  current = filter;
  show();
}

// The rows by topic. A row that stays in the list keeps its element and the focus.
const rows = new Map();

function row(name, words) {
  const button = document.createElement("button");
  button.type = "button";
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = words;
  const rate = document.createElement("span");
  rate.className = "rate";
  button.append(label, " ", rate);
  button.addEventListener("click", () => choose(name));
  const li = document.createElement("li");
  li.append(button);
  return { li, button, rate };
}

function show() {
  const now = Date.now() + ahead;
  const names = [...topics.keys()]
    .sort((a, b) => topics.get(b).last - topics.get(a).last)
    .slice(0, maxShown)
    .sort();
  const filters = offered.filter((f) => f.includes("*"));
  const wanted = new Set([...filters, ...names]);
  for (const [name, { li }] of rows) {
    if (wanted.has(name)) continue;
    li.remove();
    rows.delete(name);
  }
  let place = list.firstElementChild;
  for (const name of wanted) {
    let r = rows.get(name);
    if (!r) {
      r = row(name, name === "**" ? "All topics" : name);
      rows.set(name, r);
    }
    if (r.li === place) place = place.nextElementSibling;
    else list.insertBefore(r.li, place);
    const rate = topics.get(name)?.rate(now) ?? "";
    if (r.rate.textContent !== rate) r.rate.textContent = rate;
    if (name === current) r.button.setAttribute("aria-current", "true");
    else r.button.removeAttribute("aria-current");
  }
  suggest(names);
}

// suggest offers names in the text fields for a topic.
function suggest(names) {
  const offered = [...known.children].map((option) => option.value);
  if (offered.length === names.length && names.every((name, i) => name === offered[i])) return;
  known.replaceChildren(...names.map((name) => {
    const option = document.createElement("option");
    option.value = name;
    return option;
  }));
}
