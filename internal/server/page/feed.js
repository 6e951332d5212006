// The feed shows the messages that have arrived, the newest at its end. Their text
// gets into the document through textContent only.

const maxEntries = 500; // the feed drops older ones
const maxText = 10_000; // characters of one message that are shown
const maxName = 200; // characters of its sender's name
const nearEnd = 48; // pixels; closer to its end, the feed follows new messages

const byId = (id) => document.getElementById(id);
const [feed, list, empty, latest] = ["feed", "messages", "empty", "latest"].map(byId);

let waiting = []; // functions that make the entries for the next flush
let skipped = 0; // entries dropped before the next flush
let flushTimer = 0;
let unseen = 0; // new entries below the visible part of the feed
let following = true; // the feed is at its end, and stays there when its size changes
let height = 0; // of the feed, when fit last read it

// add adds the entry that make returns. The document changes at most 60 times a
// second. add does not call make for an entry that nobody can see.
function add(make) {
  waiting.push(make);
  if (waiting.length >= 2 * maxEntries) skipped += waiting.splice(0, maxEntries).length;
  flushTimer ||= setTimeout(flush, 16);
}

function flush() {
  flushTimer = 0;
  look(); // a scroll event may still be on its way
  if (!following) unseen += waiting.length + skipped;
  skipped = 0;
  list.append(...waiting.splice(0).slice(-maxEntries).map((make) => make()));
  while (list.childElementCount > maxEntries) list.firstElementChild.remove();
  empty.hidden = true;
  if (following) toEnd();
  showLatest();
}

// clear empties the feed for another filter.
export function clear() {
  clearTimeout(flushTimer);
  flushTimer = 0;
  waiting = [];
  skipped = 0;
  unseen = 0;
  list.replaceChildren();
  empty.hidden = false;
  following = true;
  showLatest();
}

// look notes whether the feed is at its end. A new size is not a user's scrolling,
// but its scroll event may come before the ResizeObserver calls fit.
function look() {
  if (feed.clientHeight !== height) fit();
  following = feed.scrollHeight - feed.scrollTop - feed.clientHeight <= nearEnd;
}

function fit() {
  height = feed.clientHeight;
  if (following) toEnd();
}

function toEnd() {
  feed.scrollTop = feed.scrollHeight;
}

function showLatest() {
  if (following) unseen = 0;
  const had = document.activeElement === latest;
  latest.hidden = unseen === 0;
  latest.textContent = unseen === 1 ? "1 new message ↓" : `${unseen.toLocaleString()} new messages ↓`;
  if (had && latest.hidden) feed.focus();
}

feed.addEventListener("scroll", () => {
  look();
  showLatest();
}, { passive: true });
new ResizeObserver(fit).observe(feed);
latest.addEventListener("click", toEnd);

// Entries.

function element(name, className, content) {
  const e = document.createElement(name);
  e.className = className;
  e.textContent = content;
  return e;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// parse returns what JSON text holds, or undefined when it is not JSON.
export function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

// message adds a message: {id, topic, type, data, time}. If the data is JSON with
// a user and a text, it shows these. Otherwise it shows the data as it is.
export function message(m) {
  add(() => {
    const said = parse(m.data);
    const chat = m.type === "message" && typeof said?.user === "string" && typeof said?.text === "string";
    const head = document.createElement("header");
    if (chat) {
      const name = said.user.length > maxName ? said.user.slice(0, maxName) + "…" : said.user;
      head.append(element("bdi", "user", name || "(no name)"));
    }
    const at = new Date(m.time);
    const known = !Number.isNaN(at.getTime());
    const time = element("time", "", known ? clock.format(at) : "");
    if (known) time.dateTime = at.toISOString();
    head.append(time);
    if (m.type !== "message") head.append(element("bdi", "type", m.type));
    head.append(element("span", "topic", m.topic), element("span", "id", m.id));
    const content = chat ? said.text : m.data;
    const body = element("p", "text", content.slice(0, maxText));
    body.dir = "auto";
    const entry = element("li", chat ? "message" : "message raw", "");
    entry.append(head, body);
    if (content.length > maxText) {
      entry.append(element("p", "cut", `and ${(content.length - maxText).toLocaleString()} more characters`));
    }
    return entry;
  });
}

// Why messages are missing, by the reason of a gap.
const reasons = {
  lag: "this page was too slow",
  expired: "they are older than what the server keeps",
  lost: "the server has lost some messages, and does not know their topics",
  removed: "they were removed on purpose",
  unknown: "the server does not know the last message shown here",
  future: "the server has lost the last message shown here",
  malformed: "the server does not know the last message shown here",
  invalid: "a message cannot be sent as an event",
};

// gap adds the mark of a gap: {reason, missed}. Both members are optional.
export function gap(g) {
  let what = ["lag", "expired", "removed", "invalid"].includes(g?.reason) ? "Messages are missing here" : "Messages may be missing here";
  if (g?.missed === 1) what = "1 message is missing here";
  else if (g?.missed > 1) what = `${g.missed.toLocaleString()} messages are missing here`;
  const why = Object.hasOwn(reasons, g?.reason ?? "") ? reasons[g.reason] : "";
  add(() => element("li", "mark gap", why ? `${what}: ${why}.` : `${what}.`));
}
