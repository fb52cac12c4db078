// A demo, a browser that looks at it, and a line between the two that can be cut.

import { chromium } from "playwright-core";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Nothing that is waited for takes longer on a busy machine; what does is stuck. */
export const STUCK_MS = 240_000;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `look` returns something that is true, and returns it. */
export async function until(what, look) {
  const end = Date.now() + STUCK_MS;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`${what}: not within ${STUCK_MS / 1000} s`);
    await sleep(100);
  }
}

async function listening(server) {
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server.address().port;
}

async function freePort() {
  const server = net.createServer();
  const port = await listening(server);
  await new Promise((done) => server.close(done));
  return port;
}

/** Passes bytes to `port` and back, until it is cut. */
class Line {
  #pairs = new Set();
  #server;

  static async to(port) {
    const line = new Line();
    line.#server = net.createServer((near) => {
      const far = net.connect(port, "127.0.0.1");
      const pair = [near, far];
      line.#pairs.add(pair);
      for (const [from, to] of [[near, far], [far, near]]) {
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => {
          to.destroy();
          line.#pairs.delete(pair);
        });
      }
    });
    line.port = await listening(line.#server);
    return line;
  }

  /** Breaks every connection; new ones are possible at once. */
  cut() {
    for (const pair of this.#pairs) pair.forEach((socket) => socket.destroy());
  }

  close() {
    this.#server.close();
    this.cut();
  }
}

/** Starts `program` and waits until it answers at `port`. */
async function serve(program, options, port) {
  const child = spawn(program, options, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (bytes) => (said = (said + bytes).slice(-4_000)));
  await until(`${options[0]} answers`, () => {
    if (child.exitCode !== null) throw new Error(`${options[0]} has ended: ${said}`);
    return fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.ok, () => false);
  });
  return child;
}

async function end(child) {
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGCONT");
  child.kill("SIGKILL");
  await ended;
}

/** `tombola demo`, in a folder that goes with it. */
export class Demo {
  // What a debug build keeps up with on a busy machine. The first dead letter is the 20,000th order's: after 100 s.
  static async start(program, ordersPerSecond = 200) {
    const demo = new Demo();
    demo.program = program;
    demo.folder = await mkdtemp(join(tmpdir(), "tombola-page-"));
    demo.data = join(demo.folder, "data");
    const port = await freePort();
    const options = ["demo", "--rate", String(ordersPerSecond), "--data-dir", demo.data, "--api", `127.0.0.1:${port}`];
    demo.process = await serve(program, options, port);
    demo.line = await Line.to(port);
    demo.url = `http://127.0.0.1:${demo.line.port}/`;
    return demo;
  }

  /** The same data behind an API that asks who one is: keys, and what they may. */
  async guarded(keys) {
    const sha256 = (key) => createHash("sha256").update(key).digest("hex");
    const entries = Object.entries(keys).map(([key, rights]) => `[[key]]\nname = "${key}"\nsha256 = "${sha256(key)}"\n${rights}\n`);
    const [file, settings] = [join(this.folder, "keys.toml"), join(this.folder, "guarded.toml")];
    await writeFile(file, entries.join("\n"));
    const demos = await readFile(join(this.data, "tombola.toml"), "utf8");
    await writeFile(settings, demos.replace(/^open = true$/m, `open = false\nkeys_file = "${file}"`));
    const port = await freePort();
    const options = ["api", "--config", settings, "--data-dir", this.data, "--listen", `127.0.0.1:${port}`];
    const child = await serve(this.program, options, port);
    return { url: `http://127.0.0.1:${port}/`, stop: () => end(child) };
  }

  /** An API with a folder of its own before the demo's stores, as if on another machine: the pipeline's figures aren't there. */
  async elsewhere() {
    const folder = await mkdtemp(join(this.folder, "elsewhere-"));
    await mkdir(join(this.data, "images"), { recursive: true });
    for (const name of ["log.db", "tombola.db", "images"]) await symlink(join(this.data, name), join(folder, name));
    const port = await freePort();
    const options = ["api", "--config", join(this.data, "tombola.toml"), "--data-dir", folder, "--listen", `127.0.0.1:${port}`];
    const child = await serve(this.program, options, port);
    return { url: `http://127.0.0.1:${port}/`, stop: () => end(child) };
  }

  async stop() {
    this.line.close();
    await end(this.process);
    await rm(this.folder, { recursive: true, force: true });
  }
}

export function launch() {
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: process.env.CHROMIUM, args, timeout: 180_000 });
}

/** An answer that says to come again is none: it is asked again. Any other failure is one. */
const isBusy = (message) => message.text().includes("status of 503");

/** A page, with everything in it that should not be: errors, refusals, requests to other hosts. */
export async function open(browser, demo, options = {}) {
  const { before = () => {}, ...context } = options;
  const inside = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...context });
  const page = await inside.newPage();
  page.setDefaultTimeout(STUCK_MS);
  const wrong = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && !isBusy(message) && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => !request.url().startsWith(demo.url) && !request.url().startsWith("data:") && wrong.push(`asks ${request.url()}`));
  await before(page);
  await page.goto(demo.url);
  return { page, wrong, close: () => inside.close() };
}
