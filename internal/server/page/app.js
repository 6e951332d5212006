// The page: a filter selects messages, the feed shows them, a form posts others.
// The filter is part of the page's address, so that a bookmark keeps it.

import * as feed from "./feed.js";
import * as post from "./post.js";
import * as session from "./session.js";
import * as stream from "./stream.js";
import * as topics from "./topics.js";

const byId = (id) => document.getElementById(id);
const [form, filter, error] = ["subscribe", "filter", "filter-error"].map(byId);

let reading = ""; // the filter of the feed, "" for none
let reader = ""; // who reads it
let ended = ""; // why the server has ended the stream, if it has said so

// read shows the messages that a filter matches.
function read(wanted) {
  reading = wanted;
  filter.value = wanted;
  say("");
  feed.clear();
  topics.select(wanted);
  if (!wanted.includes("*")) post.aim(wanted);
  hint(wanted);
  const here = new URL(location.href);
  here.search = wanted === post.chatTopic ? "" : new URLSearchParams({ topic: wanted });
  if (here.href !== location.href) history.replaceState(null, "", here);
  stream.follow(wanted, {
    message: (m) => {
      topics.count(m);
      feed.message(m);
    },
    gap: feed.gap,
    open: () => {
      ended = "";
      topics.refresh();
    },
    ended: (why) => {
      ended = why;
      checkRefusal();
    },
    closed: checkRefusal,
  });
}

function say(problem) {
  filter.setAttribute("aria-invalid", problem !== "");
  error.textContent = problem;
}

// choose reads the filter that the user wants, if the server accepts it. It asks
// first, because an EventSource cannot learn what is wrong.
let chosen = 0; // changes of what is read, also those under way
async function choose(wanted) {
  const mine = ++chosen;
  form.setAttribute("aria-busy", "true");
  const { status, problem } = await topics.look(wanted);
  if (mine !== chosen) return;
  form.removeAttribute("aria-busy");
  if (problem === "") read(wanted);
  else if (!reading) readOther(wanted, status);
  filter.value = wanted;
  say(status === 401 ? unauthenticated(wanted) : problem);
  if (status === 401 && session.subject() !== "") session.refresh(); // it has ended
}

function unauthenticated(wanted) {
  return session.canSignIn() ? `Sign in to read ${wanted}.` : `This page may not read ${wanted}: the server has no sign-in for users.`;
}

// notSignedIn says why there is no stream.
function notSignedIn() {
  return session.canSignIn() ? "Not signed in." : "Nothing to read.";
}

// readOther reads the default filter of a page that cannot read the one of its address.
function readOther(wanted, status) {
  const usual = defaultFilter();
  if (!session.offered()) read(usual);
  else if (status !== 401 && status !== 403) read(wanted); // the server may come back
  else if (session.subject() !== "" && usual !== undefined && usual !== wanted) read(usual);
  else stop(session.subject() === "" ? notSignedIn() : "The server refuses the stream.");
}

// defaultFilter returns the filter of a page without one in its address, or undefined if the
// user may read nothing.
function defaultFilter() {
  const filters = session.readable();
  if (!filters || filters.some((f) => [post.chatTopic, "*", "**"].includes(f))) return post.chatTopic;
  return filters[0];
}

// begin reads what the page's address says, as the user who is now signed in.
function begin() {
  topics.forget();
  topics.offer(session.readable() ?? []);
  reader = session.subject();
  reading = "";
  const asked = new URLSearchParams(location.search).get("topic");
  const wanted = asked || defaultFilter();
  if (!session.offered() && wanted === post.chatTopic) read(wanted);
  else if (wanted !== undefined) choose(wanted);
  else stop("You may read nothing here.");
}

// stop ends what is read, so that the page does not try it again and again.
function stop(words) {
  chosen++;
  ended = "";
  form.removeAttribute("aria-busy");
  stream.stop(words);
}

// checkRefusal finds out whether the server refuses the stream because of who the user is. The
// browser does not tell, and an EventSource never comes back after a refusal.
async function checkRefusal() {
  const mine = chosen;
  const gone = await session.refresh();
  if (!session.offered()) return;
  const { status, problem } = await topics.look(reading);
  if (mine !== chosen || status !== 401 && status !== 403) return;
  // The browser may lose the last event of a stream that breaks off.
  stop(`${ended || gone || "The server refuses the stream."} ${status === 401 && session.canSignIn() ? "Sign in to go on." : problem}`);
}

// signedInOrOut follows a change of the user. The same one continues where the feed is.
function signedInOrOut() {
  if (session.subject() !== "" && session.subject() === reader && reading !== "") {
    chosen++;
    topics.offer(session.readable());
    stream.resume();
    return;
  }
  stop(session.subject() === "" ? "Not signed in." : "Connecting…");
  feed.clear();
  say("");
  begin();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  choose(filter.value.trim());
});

// hint shows the curl commands that do the same.
function hint(wanted) {
  const events = new URL("events", document.baseURI).href;
  const isChat = wanted === post.chatTopic;
  const curl = session.offered() ? 'curl -H "Authorization: Bearer $TOKEN"' : "curl";
  byId("curl-read").textContent = isChat ? `${curl} -N ${events}` : `${curl} -N '${events}?topic=${wanted}'`;
  const topic = wanted === "**" ? "orders.42" : wanted.replace("**", "1").replaceAll("*", "1");
  byId("curl-post").textContent = isChat
    ? `${curl} ${new URL("messages", document.baseURI).href} -H 'content-type: application/json' -d '{"user":"ada","text":"hello"}'`
    : `${curl} ${new URL("topics", document.baseURI).href}/${topic} -d hello`;
}

byId("hint").open = matchMedia("(min-width: 60rem) and (min-height: 48rem)").matches;

topics.start((topic) => choose(topic), stream.live);
await session.start(signedInOrOut);
begin();
