// Who the user is, on a server that has credentials. The server keeps the token in a
// cookie that no script can read. This page forgets the token as soon as it is sent.

const answerTimeout = 10_000; // milliseconds

const byId = (id) => document.getElementById(id);
const [section, form, token, error] = ["session", "sign-in", "token", "sign-in-error"].map(byId);
const [signedIn, who, signOut] = ["signed-in", "who", "sign-out"].map(byId);

// What the server said last: undefined if it has no credentials, null if nobody is
// signed in, and otherwise {subject, expiresIn, publish, subscribe, administer}.
let info;
let changed = () => {}; // called when another user is signed in, or none

// Other pages of this origin share the cookie, and learn here that it has changed.
let others;

// offered reports whether the server has credentials.
export function offered() {
  return info !== undefined;
}

// canSignIn reports whether the server takes tokens. Otherwise only services have credentials.
export function canSignIn() {
  return offered() && document.documentElement.dataset.session !== "none";
}

// subject returns who is signed in, or "".
export function subject() {
  return info?.subject ?? "";
}

// readable returns the filters that the user may read, or undefined if that is unknown:
// the server does not say what one may do without a credential.
export function readable() {
  return info === undefined ? ["**"] : info?.subscribe;
}

// ask sends a request about the session. It returns {status, body}, with the status 0
// if no answer came.
async function ask(method, headers = {}) {
  try {
    const url = new URL("session", document.baseURI);
    const response = await fetch(url, { method, headers, cache: "no-store", signal: AbortSignal.timeout(answerTimeout) });
    const body = await response.json().catch(() => undefined);
    return { status: response.status, body };
  } catch {
    return { status: 0 };
  }
}

// refresh asks the server who is signed in. If that is unknown, the last answer counts. It returns
// why the user is no longer signed in, if so and if that is known, or "".
export async function refresh() {
  if (offered() && !canSignIn()) return "";
  const expired = info?.until !== undefined && Date.now() >= info.until;
  const { status, body } = await ask("GET");
  if (status === 200) take(body);
  else if (status === 404) info = undefined;
  else if (status >= 400 && status < 500) info = null;
  // A cookie that the server refuses would have every request refused, even for what
  // anyone may read.
  if (body?.type === "urn:tidings:problem:invalid-credential") await ask("DELETE");
  show();
  if (info !== null) return "";
  // Without a cookie there is nothing to say, unless the browser has dropped it at its end.
  if (body?.type !== "urn:tidings:problem:unauthenticated") error.textContent = body?.detail ?? "";
  return error.textContent || (expired ? "Your session has expired." : "");
}

// take notes what the server says of the session. It counts time from now, because clocks differ.
function take(body) {
  info = body;
  if (info.expiresIn !== undefined) info.until = Date.now() + info.expiresIn * 1000;
}

function show() {
  if (offered() && !others) {
    others = new BroadcastChannel("tidings.session");
    others.addEventListener("message", async () => {
      await refresh();
      changed();
    });
  }
  section.hidden = !canSignIn();
  form.hidden = subject() !== "";
  signedIn.hidden = subject() === "";
  if (subject()) error.textContent = "";
  const words = subject() ? `Signed in as ${subject()}${until()}. You may ${allowed()}.` : "";
  if (who.textContent !== words) who.textContent = words;
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function until() {
  return info.until === undefined ? "" : `, until ${clock.format(info.until)}`;
}

function allowed() {
  const parts = [];
  if (info.subscribe.length > 0) parts.push(`read ${info.subscribe.join(", ")}`);
  if (info.publish.length > 0) parts.push(`publish to ${info.publish.join(", ")}`);
  if (info.administer) parts.push("administer");
  return parts.join(" and ") || "do nothing";
}

// signIn has the server put a token into the cookie. It returns what to tell the user if
// that failed, or "".
async function signIn(value) {
  // A header cannot have other characters, and no token has them.
  if (!/^[!-~]+$/.test(value)) return "This is not a token: it has other characters than a token has.";
  const { status, body } = await ask("POST", { Authorization: `Bearer ${value}` });
  if (status === 200) {
    take(body);
    return "";
  }
  if (status === 0) return "The server cannot be reached. Try again in a moment.";
  return typeof body?.detail === "string" ? body.detail : `The answer was ${status}. Try again in a moment.`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (form.getAttribute("aria-busy") === "true") return;
  const value = token.value.trim();
  token.value = "";
  form.setAttribute("aria-busy", "true");
  error.textContent = "";
  const failure = await signIn(value);
  form.removeAttribute("aria-busy");
  show();
  error.textContent = failure;
  if (failure !== "") {
    token.focus();
    return;
  }
  signOut.focus();
  others.postMessage("");
  changed();
});

signOut.addEventListener("click", async () => {
  const { status } = await ask("DELETE");
  if (status !== 204) {
    who.textContent = "Not signed out: the server cannot be reached. Try again in a moment.";
    return;
  }
  info = null;
  show();
  token.focus();
  others.postMessage("");
  changed();
});

// start asks who is signed in, if the page says that the server has credentials. It calls
// onChange each time another user is, or none.
export async function start(onChange) {
  changed = onChange;
  const { session } = document.documentElement.dataset;
  if (session === "none") info = null;
  else if (session !== undefined) await refresh();
}
