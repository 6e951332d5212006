// Opens a stream with one of the clients that others wrote. It prints a line of JSON for each
// message, and one if the client gives up for good.
//
//	node clients.mjs CLIENT URL
const [client, url] = process.argv.slice(2);
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const message = (event) => print({ data: event.data });
const final = (what) => print({ final: String(what) });

function eventSource(EventSource) {
  const source = new EventSource(url);
  source.onmessage = message;
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) final("closed");
  };
}

const clients = {
  async undici() {
    eventSource((await import("undici")).EventSource);
  },
  async eventsource() {
    eventSource((await import("eventsource")).EventSource);
  },
  async "event-source-polyfill"() {
    eventSource((await import("event-source-polyfill")).default.EventSourcePolyfill);
  },
  async "launchdarkly-eventsource"() {
    eventSource((await import("launchdarkly-eventsource")).EventSource);
  },
  async "eventsource-client"() {
    const { createEventSource } = await import("eventsource-client");
    createEventSource({ url, onMessage: (event) => event.event ? undefined : message(event) });
  },
  async "fetch-event-source"() {
    globalThis.window = globalThis; // it is made for pages
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    await fetchEventSource(url, { onmessage: (event) => event.event ? undefined : message(event) });
    final("resolved");
  },
};

setInterval(() => {}, 1000); // a client that has given up must not end the process unseen
clients[client]().catch(final);
