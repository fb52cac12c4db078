// The live page in a real browser, over a real demo: scripts/page-test runs it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Demo, launch, open, sleep, until } from "./browser.mjs";

let demo;
let browser;

before(async () => {
  demo = await Demo.start(process.env.TOMBOLA);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

const text = (page, id) => page.locator(`#${id}`).textContent();
const number = async (page, id) => Number((await text(page, id)).replaceAll(/[^\d.]/g, ""));
const live = (page) => until("it is live", async () => (await text(page, "state-text")) === "live" && (await number(page, "rate")) > 0);

/** The most that a figure is within five seconds: in a moment nothing may have been decided. */
async function most(page, id) {
  let seen = 0;
  for (const end = Date.now() + 5_000; Date.now() < end; await sleep(100)) seen = Math.max(seen, await number(page, id));
  return seen;
}

/** Keeps all that is announced from now on: fraud rules that fire are announced over it at any time. */
const listen = (page) =>
  page.evaluate(() => {
    const place = document.getElementById("announce");
    globalThis.announced = [];
    new MutationObserver(() => globalThis.announced.push(place.textContent)).observe(place, { childList: true, characterData: true, subtree: true });
  });

/** Waits until something like that has been announced, after what was waited for before. */
const announced = (page, wanted) =>
  until(`${wanted} is announced`, () =>
    page.evaluate((source) => {
      const at = globalThis.announced.findIndex((said) => new RegExp(source).test(said));
      globalThis.announced.splice(0, at + 1);
      return at >= 0;
    }, wanted.source));

/** Presses until there is a receipt that is right; a ticket that a busy pipeline doesn't decide in time is asked for again. */
async function buy(page, press, right) {
  await press();
  return until("the receipt", async () => {
    const [receipt, busy] = await page.evaluate(() => [document.getElementById("receipt").textContent, document.getElementById("buy").ariaDisabled === "true"]);
    if (!busy && receipt.startsWith("No ticket")) await press();
    return right(receipt) && receipt;
  });
}

async function picture(page, name) {
  if (process.env.TOMBOLA_PAGE_PICTURES) await page.screenshot({ path: join(process.env.TOMBOLA_PAGE_PICTURES, `${name}.png`), fullPage: true });
}

test("it loads without a complaint, from nowhere else, and its figures move", async () => {
  const { page, wrong, close } = await open(browser, demo);
  await live(page);
  const epoch = await number(page, "epoch");
  await until("the frontier moves", async () => (await number(page, "epoch")) > epoch);
  await until("orders are confirmed", async () => (await number(page, "success")) > 0);
  await until("delays have percentiles", async () => /^median; p95 \S+ \w+, p99 \S+ \w+$/.test(await text(page, "percentiles")));
  await until("refusals have reasons", async () => /sold out|price mismatch|unknown/.test(await text(page, "reasons")));
  await until("stock is shown", async () => (await page.locator("#stock tr").count()) === 12);
  await until("partners are shown", async () => /[A-Z]{3}\s[\d,.]+/.test(await page.locator("#partners tr").first().textContent()));
  const left = await text(page, "stock");
  await until("stock drains", async () => (await text(page, "stock")) !== left);
  assert.deepEqual(wrong, []);
  await close();
});

test("one business is chosen, and its own figures are counted", async () => {
  const { page, wrong, close } = await open(browser, demo);
  await live(page);
  await until("businesses are known", async () => (await page.locator("#tenant option").count()) > 2);
  const all = await most(page, "rate");
  const tenant = await page.locator("#tenant option").nth(1).getAttribute("value");
  await page.selectOption("#tenant", tenant);
  await until("its orders are counted", async () => {
    const rate = await number(page, "rate");
    // It is one of eight; what was shown before is not taken for its own.
    return rate > 0 && rate < all / 2;
  });
  assert.ok(!(await text(page, "stock")).includes(tenant === "all" ? "?" : ` ${tenant} `), "whose offers these are needs no saying");
  assert.deepEqual(wrong, []);
  await close();
});

test("a ticket is bought, by mouse and by keyboard", async () => {
  const { page, wrong, close } = await open(browser, demo);
  await live(page);
  const confirmed = /^Payment confirmed\. Ticket (\d+ ){6}for EUR.2\.50, decided in/;
  const first = await buy(page, () => page.click("#buy"), (receipt) => confirmed.test(receipt));
  // The focus has stayed on the button.
  await buy(page, () => page.keyboard.press("Enter"), (receipt) => receipt !== first && confirmed.test(receipt));
  assert.deepEqual(wrong, []);
  await close();
});

test("a dead letter is sent in again", async () => {
  const { page, close } = await open(browser, demo);
  const button = page.locator("#letters button").first();
  await button.waitFor();
  const id = await page.locator("#letters tr").first().getAttribute("data-key");
  await page.locator(`#letters tr[data-key="${id}"] button`).click();
  await until("an answer", async () => (await text(page, "letters-said")) === `${id} was sent in again.`);
  await close();
});

test("the newest draw that is decided is shown, with its balls and its picture", async () => {
  const row = (draw_id, status, drawn_at_ms, numbers) => ({ tenant: "corner-shop", draw_id, revision: 2, game: "6 of 49", numbers, bonus: "7", status, drawn_at_ms });
  const items = [
    row("friday", "settled", 1_000, "1,2,3,4,5,6"),
    row("saturday 1/2", "published", 2_000, "3,11,19,27,40,44"),
    row("sunday", "waiting", 3_000, ""),
  ];
  const images = [2, 1].map((revision) => ({ template: "card", locale: "en", revision, url: revision === 2 ? "/icon.svg" : "/old.png" }));
  const { page, wrong, close } = await open(browser, demo, {
    before: async (page) => {
      await page.route("**/v1/draws?*", (route) => route.fulfill({ json: { items, next_cursor: null } }));
      await page.route("**/v1/draws/saturday%201%2F2?tenant=corner-shop", (route) => route.fulfill({ json: { ...items[1], images } }));
    },
  });
  await until("its balls", async () => (await page.locator("#draw-numbers li").allTextContents()).join() === "3,11,19,27,40,44,7 bonus");
  assert.equal(await text(page, "draw-name"), "6 of 49 · saturday 1/2 · published, corrected (revision 2)");
  assert.equal(await page.locator("#draw-image").getAttribute("alt"), "Picture of the result of 6 of 49, saturday 1/2: 3, 11, 19, 27, 40, 44; bonus 7");
  assert.match(await page.locator("#draw-image").getAttribute("src"), /^data:image\/svg/);
  assert.deepEqual(wrong, []);
  await close();
});

test("the demo's last draw shows the picture that was drawn of its result", async () => {
  const { page, wrong, close } = await open(browser, demo);
  const image = page.locator("#draw-image");
  // Until the first lottery of the demo closes.
  await image.waitFor({ state: "visible", timeout: 300_000 });
  await until("its pixels", () => image.evaluate((shown) => shown.complete && shown.naturalWidth > 300));
  const right = await image.evaluate((shown) => shown.getBoundingClientRect().right);
  assert.ok(right <= 1280, `it ends at ${right}`);
  await picture(page, "draw");
  // At once, as another draw may come; its balls are there before its picture.
  const shown = () => page.evaluate(() => [[...document.querySelectorAll("#draw-numbers li")].map((ball) => ball.dataset.n), document.getElementById("draw-image").alt]);
  await until("balls and a text that names them", async () => {
    const [balls, alt] = await shown();
    return balls.length >= 6 && alt.includes(balls.slice(0, 6).join(", "));
  });
  assert.match(await image.getAttribute("src"), /^data:image\/png/);
  const { items } = await (await fetch(new URL("/v1/draws?limit=500", demo.url))).json();
  const { url } = items.find((item) => item.images.length > 0).images[0];
  const first = await fetch(new URL(url, demo.url));
  assert.deepEqual([first.status, first.headers.get("content-type")], [200, "image/png"]);
  assert.match(first.headers.get("cache-control"), /immutable/);
  const again = await fetch(new URL(url, demo.url), { headers: { "If-None-Match": first.headers.get("etag") } });
  assert.equal(again.status, 304);
  assert.deepEqual(wrong, []);
  await close();
});

test("it says that its figures are old, and when they are live again", async () => {
  const { page, close } = await open(browser, demo);
  await live(page);
  await listen(page);
  demo.process.kill("SIGSTOP");
  try {
    await until("it says so", async () => /^no word for \d+ s$/.test(await text(page, "state-text")));
    await announced(page, /The figures are no longer live\.$/);
    await picture(page, "stale");
  } finally {
    demo.process.kill("SIGCONT");
  }
  await until("it is live again", async () => (await text(page, "state-text")) === "live");
  await announced(page, /^The figures are live again\.$/);
  await close();
});

test("away from the pipeline it counts the live stream and says so, and says when the pipeline stands", async (t) => {
  const elsewhere = await demo.elsewhere();
  t.after(() => elsewhere.stop());
  const { page, wrong, close } = await open(browser, elsewhere);
  await live(page);
  assert.match(await text(page, "source"), /counted here, from the live stream.*not told the pipeline's own figures/);
  assert.ok(await page.locator("#source").isVisible());
  await until("orders are confirmed", async () => (await number(page, "success")) > 0);
  await until("refusals have reasons", async () => /sold out|price mismatch|unknown/.test(await text(page, "reasons")));
  assert.equal(await text(page, "percentiles"), "median; p95 –, p99 –");
  await listen(page);
  demo.process.kill("SIGSTOP");
  try {
    await until("it says so", async () => /^the pipeline stands since \d\d:\d\d:\d\d$/.test(await text(page, "state-text")));
    await announced(page, /The figures are no longer live\.$/);
    await sleep(2_000);
    assert.notEqual(await text(page, "state-text"), "live", "whatever else is heard meanwhile");
  } finally {
    demo.process.kill("SIGCONT");
  }
  await until("it is live again", async () => (await text(page, "state-text")) === "live");
  assert.deepEqual(wrong, []);
  await close();
});

test("beside the pipeline it shows the pipeline's own figures", async () => {
  const { page, close } = await open(browser, demo);
  await live(page);
  assert.ok(!(await page.locator("#source").isVisible()));
  await close();
});

test("a beginning that fails is tried again", async () => {
  let failures = 3;
  const { page, close } = await open(browser, demo, {
    before: (page) => page.route("**/v1/status", (route) => (failures-- > 1 ? route.abort() : failures === 0 ? route.fulfill({ status: 503, json: {} }) : route.continue())),
  });
  await live(page);
  assert.ok(failures < 0);
  await close();
});

test("what was asked for another business is not shown, and lists that are cut say so", async () => {
  const alert = (tenant, n) => ({ tenant, rule_id: `rule of ${tenant}`, command_id: String(n), key: "customer:anna", order_id: "o", metric: "count", value: 9, threshold: 3, window_ms: 60_000, action: "flag", placed_at_ms: n, at_ms: n });
  let answered = 0;
  const { page, close } = await open(browser, demo, {
    before: (page) => page.route("**/v1/alerts?*", async (route) => {
      const tenant = new URL(route.request().url()).searchParams.get("tenant");
      if (!tenant) await sleep(4_000);
      // One that was given up can't be answered.
      await route.fulfill({ json: { items: [alert(tenant ?? "all", 1)], next_cursor: tenant ? "more" : null } }).catch(() => {});
      answered += 1;
    }),
  });
  await until("businesses are known", async () => (await page.locator("#tenant option").count()) > 2);
  const tenant = await page.locator("#tenant option").nth(1).getAttribute("value");
  await page.selectOption("#tenant", tenant);
  await until("its alerts", async () => (await text(page, "alerts")).includes(`rule of ${tenant}`));
  assert.equal(await text(page, "alerts-of"), "newest of the first 2,000");
  await until("the other answer", () => answered > 4);
  await sleep(500);
  assert.ok(!(await text(page, "alerts")).includes("rule of all"));
  await close();
});

test("after a break it goes on from the last event it has seen", async () => {
  const asked = [];
  const { page, close } = await open(browser, demo, {
    before: (page) => page.on("request", (request) => request.url().includes("/v1/live") && asked.push(request)),
  });
  await live(page);
  assert.equal(asked.length, 1);
  assert.equal((await asked[0].allHeaders())["last-event-id"], undefined);
  demo.line.cut();
  await until("it asks again", () => asked.length > 1);
  assert.ok((await asked[1].allHeaders())["last-event-id"], "with the position it has got to");
  await live(page);
  await close();
});

test("what comes from the log is text, whatever it says", async () => {
  const nasty = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  const rows = (items) => ({ json: { items, next_cursor: null } });
  const offer = { tenant: nasty, offer_id: nasty, stock_total: 5, available: 3, held: 0, sold: 2, shrink_due: 0, epoch: 1 };
  const letter = { id: nasty, topic: nasty, partition: 0, offset: 0, reason: nasty, first_seen_ms: 1, attempts: 1, status: "open" };
  const partner = { tenant: nasty, partner_id: nasty, month: nasty, currency: nasty, offer_kind: nasty, base_minor: 1, commission_minor: 1, adjustment_minor: 0 };
  const { page, close } = await open(browser, demo, {
    before: async (page) => {
      await page.route("**/v1/stock?*", (route) => route.fulfill(rows([offer])));
      await page.route("**/v1/dead-letters?*", (route) => route.fulfill(rows([letter])));
      await page.route("**/v1/statements?*", (route) => route.fulfill(rows([partner])));
    },
  });
  for (const id of ["stock", "letters", "partners"]) {
    await until(`${id} shows it`, async () => (await text(page, id)).includes(nasty));
    assert.equal(await page.locator(`#${id} img, #${id} script`).count(), 0);
  }
  assert.equal(await page.title(), "Tombola");
  await close();
});

test("who must say who they are is asked, and sees what is theirs", async (t) => {
  const guarded = await demo.guarded({
    "an operator's key": 'roles = ["operator"]',
    "a partner's key": 'roles = ["partner"]\ntenant = "box-club"\npartner = "partner-00"',
    "a shop's key": 'roles = ["producer"]\ntenant = "box-club"',
  });
  t.after(() => guarded.stop());
  const { page, wrong, close } = await open(browser, guarded);
  const enter = async (key) => {
    await page.locator("#sign-in[open]").waitFor();
    await page.fill("#token", key);
    await page.locator("#sign-in button").click();
  };
  await enter("nobody's key");
  await until("it is refused", async () => (await text(page, "sign-in-problem")) === "That was not accepted.");
  await enter("a shop's key");
  await until("it is told", async () => (await text(page, "sign-in-problem")).includes("see nothing"));
  await sleep(5_000);
  assert.equal(await text(page, "state-text"), "this key only sends");
  await enter("an operator's key");
  await live(page);
  await page.locator("#letters button").first().waitFor();
  assert.ok(!(await page.locator("#shop").isVisible()), "tickets are sold by the demo alone");
  assert.ok(wrong.every((complaint) => complaint.includes("401")), wrong.join("\n"));

  await page.click("#sign-out");
  wrong.length = 0;
  await enter("a partner's key");
  await live(page);
  await until("the own commission", async () => (await text(page, "partners")).includes("partner-00"));
  assert.equal(await page.locator("#partners tr").count(), 1, "and nobody else's");
  for (const panel of ["stock-section", "alerts-section", "letters-section"]) assert.ok(!(await page.locator(`#${panel}`).isVisible()), panel);
  assert.ok(wrong.every((complaint) => complaint.includes("401")), wrong.join("\n"));
  await close();
});

test("who closes the question who they are can still answer it", async (t) => {
  const guarded = await demo.guarded({ "a key": 'roles = ["operator"]' });
  t.after(() => guarded.stop());
  const { page, close } = await open(browser, guarded);
  await page.locator("#sign-in[open]").waitFor();
  await page.fill("#token", "half a ke");
  await page.keyboard.press("Escape");
  await page.locator("#sign-in").waitFor({ state: "hidden" });
  await sleep(2_000);
  assert.ok(!(await page.locator("#sign-in").isVisible()), "it doesn't come up again by itself");
  await page.click("#sign-in-again");
  await page.locator("#sign-in[open]").waitFor();
  await page.fill("#token", "a key");
  await page.locator("#sign-in button").click();
  await live(page);
  await close();
});

for (const [name, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
  ["phone-dark", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
]) {
  test(`it can be read and used by everybody: ${name}`, async () => {
    // Its own script is let past the policy; the other tests are held to it.
    const { page, close } = await open(browser, demo, { ...options, bypassCSP: true });
    await live(page);
    await page.locator("#letters button").first().waitFor();
    await page.locator("#partners small").first().waitFor({ state: "attached" });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.equal(wider, 0, "nothing stands out at the side");
    await page.addScriptTag({ content: await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8") });
    const { violations } = await page.evaluate(() => globalThis.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    const found = violations.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html}`));
    assert.deepEqual(found, []);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip", "the keyboard can skip to the figures");
    const outline = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    await page.keyboard.press("Tab");
    assert.notEqual(await outline(), "none", "one sees where one is");
    await page.evaluate(() => document.activeElement.blur());
    await picture(page, name);
    await close();
  });
}

test("its two schemes are two", async () => {
  const paper = async (colorScheme) => {
    const { page, close } = await open(browser, demo, { colorScheme });
    const color = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await close();
    return color;
  };
  assert.notEqual(await paper("light"), await paper("dark"));
});
