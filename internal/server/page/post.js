// The form. A message to the topic "messages" has a name and a text. To any other
// topic, the form publishes the text as it is.

import { offered, refresh } from "./session.js";

export const chatTopic = "messages";

const answerTimeout = 10_000; // milliseconds

const byId = (id) => document.getElementById(id);
const [form, topic, user, text, error] = ["post", "topic", "user", "text", "error"].map(byId);

// aim sets the topic to post to.
export function aim(to) {
  topic.value = to;
  fit();
}

function fit() {
  const named = topic.value.trim() === chatTopic;
  user.closest(".field").hidden = !named;
  user.required = named;
  form.classList.toggle("bare", !named);
}

topic.addEventListener("input", fit);

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
    // storage is switched off or full: the user types the name again
  }
}

// A message that is sent again, after no answer, keeps its key: it is stored once.
let unanswered = { message: "", key: "" };

function keyOf(message) {
  if (unanswered.message !== message) {
    // crypto.randomUUID exists on HTTPS and loopback only.
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    unanswered = { message, key: Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("") };
  }
  return unanswered.key;
}

function request(to, name, content) {
  const headers = { "Idempotency-Key": keyOf(JSON.stringify([to, name, content])) };
  const signal = AbortSignal.timeout(answerTimeout);
  if (to === chatTopic) {
    headers["Content-Type"] = "application/json";
    const body = JSON.stringify({ user: name, text: content });
    return fetch(new URL("messages", document.baseURI), { method: "POST", headers, body, signal });
  }
  return fetch(new URL(`topics/${encodeURIComponent(to)}`, document.baseURI), { method: "POST", headers, body: content, signal });
}

// post sends a message. It returns what to tell the user if that failed, or "".
async function post(to, name, content) {
  let response;
  try {
    response = await request(to, name, content);
  } catch (e) {
    if (e?.name === "TimeoutError") {
      return "No answer within 10 seconds. Send it again: it is stored once. If this page is open in many tabs, close some.";
    }
    return "Not sent: the server cannot be reached. The message is still here; try again in a moment.";
  }
  unanswered = { message: "", key: "" };
  if (response.ok) return "";
  let problem;
  try {
    problem = await response.json();
  } catch {
    // the answer is not from this server
  }
  if (response.status === 401 && offered()) {
    refresh(); // the session may have ended
    return "Not sent. Sign in with a token that allows to publish there.";
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
  if (user.required) remember(user.value);
  const failure = await post(topic.value.trim(), user.value, content);
  form.removeAttribute("aria-busy");
  error.textContent = failure;
  if (failure === "" && text.value === content) text.value = "";
  text.focus();
});

user.value = remembered();
