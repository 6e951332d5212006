// The page's one stream. An EventSource reconnects and resumes by itself, except
// where the server has answered with an error: then it is closed, and another one
// goes on after the last id. So nothing is missed, and nothing comes twice.

import { parse } from "./feed.js";

const history = 50; // messages from before, where there is no id to go on after
const slowConnect = 5_000; // milliseconds after which waiting is explained

const status = document.getElementById("status");

let filter = ""; // what is read
let lastId = ""; // after which to go on
let handlers; // what is done with what arrives
let source;
let failures = 0; // in a row
let retryTimer = 0;
let slowTimer = 0;
let lost = false; // there was a connection, and it has ended

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

// follow reads what a filter matches, from now on and a little from before, and
// no longer what was read until now. message is called with each message, gap
// with each gap, and open each time the stream has begun.
export function follow(what, { message, gap, open }) {
  filter = what;
  handlers = { message, gap, open };
  lastId = "";
  failures = 0;
  lost = false;
  status.dataset.filter = what;
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
}

// A stream has begun when it says so: a server that takes none just now opens one
// and ends it.
function onOpen(event) {
  failures = 0;
  // Where a gap comes next the id is not a place yet.
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

function onError() {
  if (live()) lost = true;
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
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => {
  if (!event.persisted || !source) return; // else it comes out of the back/forward cache
  lost ||= live();
  connect();
});
