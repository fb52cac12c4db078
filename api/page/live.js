// Server-Sent Events, read with fetch: unlike EventSource it can say who asks.
//
// After a break it connects again, sooner at first, and asks for what came after the last event it has seen.

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 10_000;

/** Cuts a stream's text into events; feed it with whatever has come. */
export class Parser {
  #rest = "";
  #event = { type: "", data: [], id: undefined };

  /** Calls `each` with every event that is complete, `{type, data, id}`; returns a new retry time, if one was told. */
  feed(text, each) {
    let retry;
    this.#rest += text;
    // A lone CR at the end may be half of a CRLF.
    const held = this.#rest.endsWith("\r") ? 1 : 0;
    const lines = this.#rest.slice(0, this.#rest.length - held).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + (held ? "\r" : "");
    for (const line of lines) {
      if (line === "") {
        this.#dispatch(each);
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.#event.type = value;
      else if (field === "data") this.#event.data.push(value);
      else if (field === "id" && !value.includes("\0")) this.#event.id = value;
      else if (field === "retry" && /^\d+$/.test(value)) retry = Number(value);
    }
    return retry;
  }

  #dispatch(each) {
    const { type, data, id } = this.#event;
    this.#event = { type: "", data: [], id: undefined };
    if (data.length > 0 || id !== undefined) each({ type: type || "message", data: data.join("\n"), id });
  }
}

/**
 * Follows a stream until `stop` is called on what is returned.
 *
 * `on(type, body)` gets every event, `heard()` is called for whatever comes, `broken(problem)` at each break;
 * a break with status 401 or 403 is final.
 */
export function follow(url, { headers, on, heard, broken }) {
  const ended = new AbortController();
  let last;
  let pause = RETRY_MS_MIN;
  let told = RETRY_MS_MIN;

  async function once() {
    const asked = { Accept: "text/event-stream", ...headers() };
    if (last !== undefined) asked["Last-Event-ID"] = last;
    const response = await fetch(url, { headers: asked, signal: ended.signal, cache: "no-store" });
    if (!response.ok) throw Object.assign(new Error(`the stream answers ${response.status}`), { status: response.status });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      pause = told;
      heard();
      const retry = parser.feed(value, (event) => {
        // Only with its event is a position taken.
        if (event.id !== undefined) last = event.id || undefined;
        if (event.data !== "") on(event.type, JSON.parse(event.data));
      });
      if (retry !== undefined) told = pause = Math.min(Math.max(retry, RETRY_MS_MIN), RETRY_MS_MAX);
    }
  }

  async function forever() {
    while (!ended.signal.aborted) {
      let problem = new Error("the stream has ended");
      try {
        await once();
      } catch (thrown) {
        problem = thrown;
      }
      if (ended.signal.aborted) return;
      broken(problem);
      if (problem.status === 401 || problem.status === 403) return;
      // A position that the log doesn't hold any more, or that is none: begin anew.
      if (problem.status === 410 || problem.status === 422) last = undefined;
      await new Promise((go) => setTimeout(go, pause * (0.75 + Math.random() / 2)));
      pause = Math.min(pause * 2, RETRY_MS_MAX);
    }
  }

  forever();
  return { stop: () => ended.abort() };
}
