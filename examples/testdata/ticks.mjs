// Three ticks with nothing but Node's http: what examples/ticks is measured by.
// Everything that a handler of Tidings leaves to the library is here by hand:
// the headers, the framing, the timer, and its end when the client leaves.
import { createServer } from "node:http";

const server = createServer((request, response) => {
  if (request.url !== "/events") {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
  });
  let seq = 0;
  const timer = setInterval(() => {
    const data = JSON.stringify({ seq, message: `tick ${seq}` });
    response.write(`event: tick\ndata: ${data}\n\n`);
    if (++seq === 3) {
      clearInterval(timer);
      response.end();
    }
  }, 150);
  response.on("close", () => clearInterval(timer));
});

server.listen(Number(process.env.PORT ?? 3011), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
