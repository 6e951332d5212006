// The page's one stream. An EventSource reconnects and resumes by itself, except
// after an error status, which closes it. Then another EventSource continues after
// the last id, so that no message is missed or comes twice.

import { parse } from "./feed.js";

const history = 50; // earlier messages to read when there is no last id
const slowConnect = 5_000; // milliseconds after which the page explains the delay

const status = document.getElementById("status");

let filter = ""; // selects the messages
let lastId = ""; // of the last event; a new stream continues after it
let handlers; // for messages, gaps and the opening of a stream
let source;
let failures = 0; // in a row
let retryTimer = 0;
let slowTimer = 0;
let lost = false; // a stream was open and has ended
let reason = ""; // why the server has ended the stream, or takes none, in words

function setState(state, words) {
  clearTimeout(slowTimer);
  if (status.dataset.state !== state || status.textContent !== words) {
    status.dataset.state = state;
    status.textContent = words;
  }
}

// live reports whether the stream is open.
export function live() {
  return status.dataset.state === "open";
}

// follow replaces the stream with one of the messages that a filter matches, some
// earlier ones first. It calls message with each message, gap with each gap, and
// open each time the stream begins. It calls ended with a sentence if the server ends the
// stream because it may no longer be read, and closed after an error status.
export function follow(what, { message, gap, open, ended, closed }) {
  filter = what;
  handlers = { message, gap, open, ended, closed };
  lastId = "";
  failures = 0;
  lost = false;
  status.dataset.filter = what;
  connect();
}

// stop ends the stream and says why. resume continues it after its last event.
export function stop(words) {
  clearTimeout(retryTimer);
  retryTimer = 0;
  source?.close();
  source = undefined;
  setState("closed", words);
}

export function resume() {
  failures = 0;
  connect();
}

function url() {
  const u = new URL("events", document.baseURI);
  u.searchParams.set("topic", filter);
  u.searchParams.set("format", "envelope");
  if (lastId) u.searchParams.set("lastEventId", lastId);
  else u.searchParams.set("from", history);
  return u.href;
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
  source = new EventSource(url());
  source.onerror = onError;
  source.onmessage = onMessage;
  source.addEventListener("tidings.open", onOpen);
  source.addEventListener("tidings.position", (event) => { lastId = event.lastEventId; });
  source.addEventListener("tidings.gap", onGap);
  source.addEventListener("tidings.end", onEnd);
  source.addEventListener("tidings.unavailable", () => { reason = "The server takes no more streams now."; });
}

// A stream begins with tidings.open. A server that cannot take the stream now sends
// tidings.unavailable instead. After both that and tidings.end, the response breaks off.
function onOpen(event) {
  failures = 0;
  reason = "";
  // If a gap comes next, the id is not a position to continue from yet.
  if (event.lastEventId === parse(event.data)?.position) lastId = event.lastEventId;
  lost = false;
  setState("open", "Live");
  handlers.open();
}

function onMessage(event) {
  lastId = event.lastEventId;
  handlers.message(parse(event.data));
}

function onGap(event) {
  lastId = event.lastEventId;
  handlers.gap(parse(event.data));
}

// Why the server ends a stream, by the reason of tidings.end.
const ends = {
  stopping: "The server is stopping.",
  expired: "Your permission to read this has expired.",
  revoked: "Your permission to read this was taken away.",
};

function onEnd(event) {
  lastId = event.lastEventId;
  const why = parse(event.data)?.reason ?? "";
  reason = Object.hasOwn(ends, why) ? ends[why] : "The server has ended the stream.";
  if (why === "expired" || why === "revoked") handlers.ended(reason);
}

function onError() {
  if (live()) lost = true;
  if (source.readyState !== EventSource.CLOSED) {
    const why = reason || (lost ? "Connection lost." : "The server cannot be reached.");
    setState("reconnecting", `${why} ${lost ? "Reconnecting…" : "Trying again…"}`);
    reason = "";
    return;
  }
  const seconds = Math.ceil(Math.min(30, 2 ** failures) * (0.5 + Math.random() / 2));
  failures++;
  setState("closed", `Disconnected. Trying again in ${seconds} s.`);
  retryTimer = setTimeout(connect, seconds * 1000);
  handlers.closed();
}

function retryNow() {
  if (retryTimer !== 0 && document.visibilityState === "visible") connect();
}

addEventListener("online", retryNow);
document.addEventListener("visibilitychange", retryNow);
// In the back/forward cache of Chromium, a page would keep its stream for up to a
// minute, and with it one of the six connections.
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => {
  if (!event.persisted || !source) return; // persisted means from the back/forward cache
  lost ||= live();
  connect();
});
