// The page: a filter says what is read, the feed shows what arrives, the form
// posts. The filter stands in the page's address, so that it can be kept.

import * as feed from "./feed.js";
import * as post from "./post.js";
import * as stream from "./stream.js";
import * as topics from "./topics.js";

const byId = (id) => document.getElementById(id);
const [form, filter, error] = ["subscribe", "filter", "filter-error"].map(byId);

let reading = false;

// read shows what a filter matches.
function read(wanted) {
  reading = true;
  filter.value = wanted;
  error.textContent = "";
  feed.clear();
  topics.select(wanted);
  if (!wanted.includes("*")) post.aim(wanted);
  hint(wanted);
  const here = new URL(location.href);
  here.search = wanted === post.feedTopic ? "" : new URLSearchParams({ topic: wanted });
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

// choose reads what the user wants, unless the server finds something wrong with
// it: an EventSource would not learn what.
let chosen = 0; // how many times
async function choose(wanted) {
  const mine = ++chosen;
  form.setAttribute("aria-busy", "true");
  const problem = await topics.look(wanted);
  if (mine !== chosen) return;
  form.removeAttribute("aria-busy");
  if (problem === "") read(wanted);
  else if (!reading) read(post.feedTopic);
  filter.value = wanted;
  filter.setAttribute("aria-invalid", problem !== "");
  error.textContent = problem;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  choose(filter.value.trim());
});

// hint says how to do the same with curl.
function hint(wanted) {
  const events = new URL("events", document.baseURI).href;
  const isFeed = wanted === post.feedTopic;
  byId("curl-read").textContent = isFeed ? `curl -N ${events}` : `curl -N '${events}?topic=${wanted}'`;
  const topic = wanted === "**" ? "orders.42" : wanted.replace("**", "1").replaceAll("*", "1");
  byId("curl-post").textContent = isFeed
    ? `curl ${new URL("messages", document.baseURI).href} -H 'content-type: application/json' -d '{"user":"ada","text":"hello"}'`
    : `curl ${new URL("topics", document.baseURI).href}/${topic} -d hello`;
}

byId("hint").open = matchMedia("(min-width: 60rem) and (min-height: 48rem)").matches;

topics.start((topic) => choose(topic), stream.live);
const asked = new URLSearchParams(location.search).get("topic");
if (asked && asked !== post.feedTopic) choose(asked);
else read(post.feedTopic);
