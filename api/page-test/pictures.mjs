// The README's pictures, of a real demo: scripts/page-test --readme makes them anew.

import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Demo, launch, open, sleep, until } from "./browser.mjs";

const [, , images] = process.argv;
const browser = await launch();

/** A terminal in which these commands ran. */
async function terminal() {
  const folder = await mkdtemp(join(tmpdir(), "tombola-picture-"));
  const run = (...options) => execFileSync(process.env.TOMBOLA, [...options, "--data-dir", join(folder, "demo")], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const demo = run("demo", "--orders", "100000").split("\nEverything is kept")[0].trim();
  const verified = run("verify", "--workers", "4").trim();
  await rm(folder, { recursive: true });
  const page = await (await browser.newContext({ viewport: { width: 1000, height: 400 } })).newPage();
  await page.setContent(`<style>
    pre { display: inline-block; margin: 0; padding: 1.2rem 1.6rem; border-radius: 8px; background: #1b1a18; color: #e8e4dc; font: 13px/1.45 "DejaVu Sans Mono", monospace }
    b { color: #8fc7a4; font-weight: 400 }
  </style><pre></pre>`);
  const lines = ["$ tombola demo --orders 100000", ...demo.split("\n"), "", "$ tombola verify --workers 4", ...verified.split("\n")];
  await page.evaluate((lines) => {
    for (const line of lines) {
      const made = document.createElement(line.startsWith("$ ") ? "b" : "span");
      made.textContent = `${line}\n`;
      document.querySelector("pre").append(made);
    }
  }, lines);
  await page.locator("pre").screenshot({ path: join(images, "terminal.png"), omitBackground: true });
}

/** The page after a minute of selling, a ticket bought. */
async function live(rate) {
  const demo = await Demo.start(process.env.TOMBOLA, rate);
  try {
    await sleep(40_000);
    const { page } = await open(browser, demo, { viewport: { width: 1180, height: 900 }, colorScheme: "light" });
    await sleep(62_000);
    await page.click("#buy");
    await until("the receipt", async () => (await page.locator("#receipt").textContent()).startsWith("Payment confirmed"));
    await page.mouse.move(1, 1);
    await sleep(1_000);
    await page.screenshot({ path: join(images, "page.png"), fullPage: true });
  } finally {
    await demo.stop();
  }
}

await terminal();
await live(Number(process.env.TOMBOLA_PICTURE_RATE ?? 1_000));
await browser.close();
