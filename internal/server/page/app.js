// The page: a filter selects messages, the feed shows them, a form posts others.
// The filter is part of the page's address, so that a bookmark keeps it.

import * as feed from "./feed.js";
import * as post from "./post.js";
import * as stream from "./stream.js";
import * as topics from "./topics.js";

const byId = (id) => document.getElementById(id);
const [form, filter, error] = ["subscribe", "filter", "filter-error"].map(byId);

let reading = false;

// read shows the messages that a filter matches.
function read(wanted) {
  reading = true;
  filter.value = wanted;
  error.textContent = "";
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
    open: () => topics.look("**"),
  });
}

// choose reads the filter that the user wants, if the server accepts it. It asks
// first, because an EventSource cannot learn what is wrong.
let chosen = 0; // calls of choose
async function choose(wanted) {
  const mine = ++chosen;
  form.setAttribute("aria-busy", "true");
  const problem = await topics.look(wanted);
  if (mine !== chosen) return;
  form.removeAttribute("aria-busy");
  if (problem === "") read(wanted);
  else if (!reading) read(post.chatTopic);
  filter.value = wanted;
  filter.setAttribute("aria-invalid", problem !== "");
  error.textContent = problem;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  choose(filter.value.trim());
});

// hint shows the curl commands that do the same.
function hint(wanted) {
  const events = new URL("events", document.baseURI).href;
  const isChat = wanted === post.chatTopic;
  byId("curl-read").textContent = isChat ? `curl -N ${events}` : `curl -N '${events}?topic=${wanted}'`;
  const topic = wanted === "**" ? "orders.42" : wanted.replace("**", "1").replaceAll("*", "1");
  byId("curl-post").textContent = isChat
    ? `curl ${new URL("messages", document.baseURI).href} -H 'content-type: application/json' -d '{"user":"ada","text":"hello"}'`
    : `curl ${new URL("topics", document.baseURI).href}/${topic} -d hello`;
}

byId("hint").open = matchMedia("(min-width: 60rem) and (min-height: 48rem)").matches;

topics.start((topic) => choose(topic), stream.live);
const asked = new URLSearchParams(location.search).get("topic");
if (asked && asked !== post.chatTopic) choose(asked);
else read(post.chatTopic);
