// The page of the feed. Whatever arrives is put into the document with
// textContent only.

const maxEntries = 500; // of the feed, the oldest go first
const maxText = 10_000; // characters of one message that are shown
const maxName = 200; // characters of its sender's name
const nearEnd = 48; // pixels from the end of the feed within which it follows
const answerTimeout = 10_000; // milliseconds
const slowConnect = 5_000; // milliseconds after which waiting is explained

const byId = (id) => document.getElementById(id);
const [status, feed, list, empty, latest, form, user, text, error] =
  ["status", "feed", "messages", "empty", "latest", "post", "user", "text", "error"].map(byId);

const eventsURL = new URL("events", document.baseURI).href;
const messagesURL = new URL("messages", document.baseURI).href;

// The feed.

let waiting = []; // entries that are not in the document yet
let flushTimer = 0;
let unseen = 0; // entries below the part of the feed that is shown
let following = true; // the feed was at its end, and stays there when its size changes
let height = 0; // of the feed, when that was last found out

// show adds an entry, at most 60 times a second however fast they come.
function show(entry) {
  waiting.push(entry);
  if (waiting.length > maxEntries) waiting.shift();
  flushTimer ||= setTimeout(flush, 16);
}

function flush() {
  flushTimer = 0;
  look(); // a scroll event may still be on its way
  if (!following) unseen += waiting.length;
  list.append(...waiting.splice(0));
  while (list.childElementCount > maxEntries) list.firstElementChild.remove();
  empty.hidden = true;
  if (following) toEnd();
  showLatest();
}

// look notes whether the feed is at its end. That its size has changed is no
// one's scrolling, and a scroll event may come before the observer is told.
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
  latest.textContent = unseen === 1 ? "1 new message ↓" : `${unseen} new messages ↓`;
  if (had && latest.hidden) feed.focus();
}

feed.addEventListener("scroll", () => {
  look();
  showLatest();
}, { passive: true });
new ResizeObserver(fit).observe(feed);
latest.addEventListener("click", toEnd);

function element(name, className, content) {
  const e = document.createElement(name);
  e.className = className;
  e.textContent = content;
  return e;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function message(name, content, raw) {
  const now = new Date();
  const time = element("time", "", clock.format(now));
  time.dateTime = now.toISOString();
  const head = document.createElement("header");
  const shortened = name.length > maxName ? name.slice(0, maxName) + "…" : name;
  head.append(element("bdi", "user", shortened || "(no name)"), time);
  const body = element("p", "text", content.slice(0, maxText));
  body.dir = "auto";
  const entry = element("li", raw ? "message raw" : "message", "");
  entry.append(head, body);
  if (content.length > maxText) {
    entry.append(element("p", "cut", `and ${(content.length - maxText).toLocaleString()} more characters`));
  }
  return entry;
}

// parse returns what JSON text holds, or undefined when it is not JSON.
function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

function onMessage(event) {
  resumable ||= event.lastEventId !== "";
  const m = parse(event.data);
  if (typeof m?.user === "string" && typeof m?.text === "string") {
    show(message(m.user, m.text, false));
  } else {
    show(message("Not a message", event.data, true));
  }
}

function onGap(event) {
  const missed = parse(event.data)?.missed;
  let what = "Some messages missed";
  if (missed === 1) what = "1 message missed";
  else if (missed > 1) what = `${missed.toLocaleString()} messages missed`;
  show(element("li", "mark gap", what));
}

// The connection. EventSource reconnects by itself, except where the server
// has answered with an error; then it is closed, and connect is called again.

let source;
let failures = 0; // in a row
let retryTimer = 0;
let slowTimer = 0;
let lost = false; // there was a connection, and it has ended
let resumable = false; // this source has seen ids: when it reconnects by itself it resumes

function setState(state, words) {
  clearTimeout(slowTimer);
  if (status.dataset.state !== state || status.textContent !== words) {
    status.dataset.state = state;
    status.textContent = words;
  }
}

function connect() {
  clearTimeout(retryTimer);
  retryTimer = 0;
  source?.close();
  if (lost) setState("reconnecting", "Reconnecting…");
  else setState("connecting", "Connecting…");
  slowTimer = setTimeout(() => {
    setState(status.dataset.state, "Still connecting. Browsers hold six connections to one site: is it open in other tabs?");
  }, slowConnect);
  source = new EventSource(eventsURL);
  resumable = false;
  source.onopen = onOpen;
  source.onerror = onError;
  source.onmessage = onMessage;
  source.addEventListener("tidings.gap", onGap);
}

function onOpen() {
  failures = 0;
  setState("open", "Live");
  if (lost && !resumable) {
    show(element("li", "mark", "Reconnected. What was posted meanwhile is not shown."));
  }
  lost = false;
}

function onError() {
  if (status.dataset.state === "open") lost = true;
  if (source.readyState !== EventSource.CLOSED) {
    setState("reconnecting", lost ? "Connection lost. Reconnecting…" : "The server cannot be reached. Trying again…");
    return;
  }
  const seconds = Math.ceil(Math.min(30, 2 ** failures) * (0.5 + Math.random() / 2));
  failures++;
  setState("closed", `Disconnected. Trying again in ${seconds} s.`);
  retryTimer = setTimeout(connect, seconds * 1000);
}

function retryNow() {
  if (retryTimer !== 0 && document.visibilityState === "visible") connect();
}

addEventListener("online", retryNow);
document.addEventListener("visibilitychange", retryNow);
// In the back/forward cache a page would keep its stream, and with it one of the
// six connections, for up to a minute in Chromium.
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => {
  if (!event.persisted) return; // else it comes out of the back/forward cache
  lost ||= status.dataset.state === "open";
  connect();
});

// The form.

function remembered() {
  try {
    return localStorage.getItem("tidings.user") ?? "";
  } catch {
    return ""; // storage is switched off
  }
}

function remember(name) {
  try {
    localStorage.setItem("tidings.user", name);
  } catch {
    // storage is switched off or full: the name is asked for again
  }
}

// post sends a message and returns what to tell the user if that failed.
async function post(name, content) {
  let response;
  try {
    response = await fetch(messagesURL, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: name, text: content }),
      signal: AbortSignal.timeout(answerTimeout),
    });
  } catch (e) {
    if (e?.name === "TimeoutError") {
      return "No answer within 10 seconds, so the message may not have been sent. If this page is open in many tabs, close some.";
    }
    return "Not sent: the server cannot be reached. The message is still here; try again in a moment.";
  }
  if (response.ok) return "";
  let problem;
  try {
    problem = await response.json();
  } catch {
    // not from this server
  }
  if (typeof problem?.detail === "string") return `Not sent. ${problem.detail}`;
  return `Not sent: the answer was ${response.status}. Try again in a moment.`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (form.getAttribute("aria-busy") === "true") return;
  form.setAttribute("aria-busy", "true");
  error.textContent = "";
  const content = text.value;
  remember(user.value);
  const failure = await post(user.value, content);
  form.removeAttribute("aria-busy");
  error.textContent = failure;
  if (failure === "" && text.value === content) text.value = "";
  text.focus();
});

// The hint.

byId("curl-read").textContent = `curl -N ${eventsURL}`;
byId("curl-post").textContent =
  `curl ${messagesURL} -H 'content-type: application/json' -d '{"user":"ada","text":"hello"}'`;
byId("hint").open = matchMedia("(min-width: 40rem) and (min-height: 44rem)").matches;

user.value = remembered();
connect();
