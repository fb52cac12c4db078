// The live page: asks, listens, and hands over to the panels.
//
//   /metrics    once a second ─> orders a second, outcomes, percentiles    (where it tells nothing of a pipeline, or one
//                                                                           business is chosen, live orders are counted)
//   /v1/live    events        ─> frontier, alerts, draws, whether we are heard at all and whether anything is decided
//   /v1/...     now and then  ─> stock, statements, dead letters

import { Drain, Window, duration, money, quantile, reading, sum, ticketNumbers } from "/figures.js";
import { follow } from "/live.js";
import { $, alerts, draw, letters, now, outcomes, partners, reasons, say, stock, trend } from "/panels.js";

/** The stream says something every second: silence beyond this means that figures may be old. */
const STALE_MS = 4_000;
/** A pipeline decides something every fraction of a second, if only that nothing came: beyond this it stands. */
const STANDS_MS = 5_000;
/** A pipeline writes its figures every second: such as stay the same for so long are of none that runs. */
const UNTOLD_MS = 10_000;
/** How long after a failed beginning it is tried again. */
const AGAIN_MS_MIN = 500;
const AGAIN_MS_MAX = 10_000;
const WINDOW_S = 60;
const ALERTS_MAX = 8;
const OFFERS_SHOWN = 12;
const PARTNERS_SHOWN = 10;
/** Pages of a list that are read at most, and rows of each. */
const PAGES_MAX = 4;
const PAGE_ROWS = 500;
/** How long after a result its picture is asked for again, and how often. */
const PICTURE_MS = 2_000;
const PICTURES_ASKED_MAX = 10;

const page = {
  tenant: "",
  /** Whose figures may be read: refused once, not asked for again. */
  refused: new Set(),
  /** Where the figures of the first panel come from: "pipeline" or "stream". */
  source: undefined,
  /** The pipeline's figures: the moment that they name, and when it was another one last. */
  told: { atS: undefined, changedAt: performance.now() },
  heardAt: performance.now(),
  heard: false,
  /** The decided frontier, since when it is there by our clock, and since when by the day's. */
  epoch: undefined,
  movedAt: undefined,
  since: undefined,
  state: "waiting",
  /** What is asked for the business that is chosen: given up when another one is. */
  choice: new AbortController(),
  /** The dialog was closed without a word: it comes up again when asked for. */
  dismissed: false,
  alerts: [],
  /** The last draw's: `{url, data}`, and how often one was asked for that wasn't there yet. */
  picture: undefined,
  picturesAsked: 0,
  /** Dead letters that were sent in again from here: their rows stay as they were. */
  retried: new Set(),
  stockAll: false,
  live: undefined,
  /** What may be followed live. */
  topics: [],
};

// ---- asking

const token = () => sessionStorage.getItem("tombola-token") ?? "";
const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

async function ask(path, options = {}) {
  const signal = options.method ? undefined : page.choice.signal;
  const response = await fetch(path, { signal, ...options, headers: { ...headers(), ...options.headers } });
  if (response.ok) return response;
  if (response.status === 401 && !page.dismissed) signIn(token() ? "That was not accepted." : "");
  const problem = await response.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail ?? problem.title ?? `${response.status}`), { status: response.status });
}

/** Every row of a list, a few pages at most; `more` says whether there are others. */
async function rows(path, query = {}) {
  const asked = new URLSearchParams({ limit: String(PAGE_ROWS), ...(page.tenant && { tenant: page.tenant }), ...query });
  const items = [];
  for (let n = 0; n < PAGES_MAX; n += 1) {
    const body = await (await ask(`${path}?${asked}`)).json();
    items.push(...body.items);
    if (!body.next_cursor) return { items, more: false };
    asked.set("cursor", body.next_cursor);
  }
  return { items, more: true };
}

/** What is the newest, or the most, is so among the rows that were read. */
const among = (more) => (more ? ` of the first ${(PAGES_MAX * PAGE_ROWS).toLocaleString("en")}` : "");

/** Does `work` every so often while the page is looked at, never twice at once. What is refused isn't asked for again. */
function every(ms, name, work) {
  const turn = async () => {
    if (!document.hidden && !page.refused.has(name)) {
      try {
        await work();
      } catch (problem) {
        if (problem.status === 403 || problem.status === 404) page.refused.add(name);
      }
    }
    setTimeout(turn, ms);
  };
  turn();
}

// ---- figures

/** Of the whole pipeline, and of what the live stream has brought. */
const pipeline = new Window(WINDOW_S);
let streamed = { window: new Window(WINDOW_S), orders: new Map(), reasons: new Map() };
let perSecond = [];

/** Whether /metrics tells of a pipeline that runs: another machine's may not be known to this instance. */
const pipelineTells = () => page.told.atS !== undefined && performance.now() - page.told.changedAt < UNTOLD_MS;

const countsStream = () => page.source === "stream";

/** Goes over to the source that there is now: what one counted says nothing of the other. Whether it is another. */
function chooseSource() {
  const source = page.tenant !== "" || !pipelineTells() ? "stream" : "pipeline";
  if (source === page.source) return false;
  page.source = source;
  perSecond = [];
  streamed = { window: new Window(WINDOW_S), orders: new Map(), reasons: new Map() };
  const why = page.tenant !== "" ? "they are one business's" : "this instance is not told the pipeline's own figures, nor how long decisions take";
  $("source").hidden = source === "pipeline";
  say($("source"), source === "pipeline" ? "" : `Orders and outcomes are counted here, from the live stream, since this page follows it: ${why}.`);
  return true;
}

function count(order) {
  const add = (counts, key) => counts.set(key, (counts.get(key) ?? 0) + 1);
  add(streamed.orders, order.event);
  if (order.event === "refused") order.reasons.forEach((reason) => add(streamed.reasons, reason));
}

/** An order is decided when it is held or refused; what becomes of it later is counted apart. */
const decided = (counts) => sum(counts, ["held", "refused"]);

function showFigures() {
  const window = countsStream() ? streamed.window : pipeline;
  const minute = window.over(WINDOW_S, "orders");
  const moment = window.over(1, "orders");
  const rate = moment.seconds > 0 ? decided(moment.added) / moment.seconds : undefined;
  const ended = sum(minute.added, ["confirmed", "refused", "expired", "cancelled"]);
  // Delays are the pipeline's to tell; what it told once is no figure of now.
  const delays = pipelineTells() ? pipeline.over(WINDOW_S, "delays").added : new Map();
  now({
    perSecond: rate,
    success: ended > 0 ? (minute.added.get("confirmed") ?? 0) / ended : undefined,
    p50: quantile(0.5, delays),
    p95: quantile(0.95, delays),
    p99: quantile(0.99, delays),
  });
  if (rate !== undefined) perSecond = [...perSecond, rate].slice(-WINDOW_S);
  const [least, most] = [Math.min(...perSecond), Math.max(...perSecond)].map(Math.round);
  trend($("rate-trend"), perSecond, perSecond.length > 1 ? `Between ${least} and ${most} orders a second over the last minute` : "Orders a second");
  outcomes(minute.added, minute.seconds);
  reasons(window.over(WINDOW_S, "reasons").added);
}

async function readMetrics() {
  const text = await ask("/metrics").then((answer) => answer.text(), (problem) => {
    if (problem.status !== 403 && problem.status !== 404) throw problem;
    page.refused.add("metrics");
    return "";
  });
  const told = reading(text);
  if (told.atS !== page.told.atS) page.told = { atS: told.atS, changedAt: performance.now() };
  const before = page.source;
  // Only who counts needs to be told of orders.
  if (chooseSource() && [before, page.source].includes("stream")) listen();
  if (pipeline.add(told) && !countsStream()) showFigures();
}

function takeStock() {
  if (!countsStream() || page.state !== "live") return;
  const { window, orders, reasons: told } = streamed;
  window.add({ atS: performance.now() / 1000, orders: new Map(orders), reasons: new Map(told), delays: new Map() });
  showFigures();
}

// ---- panels

const drains = new Map();

async function readStock() {
  const { items, more: others } = await rows("/v1/stock");
  say($("stock-of"), `soonest gone first${others ? `,${among(others)}` : ""}`);
  const atMs = performance.now();
  const offers = items.map((offer) => {
    const key = JSON.stringify([offer.tenant, offer.offer_id]);
    if (!drains.has(key)) drains.set(key, new Drain());
    const drain = drains.get(key);
    drain.add(offer.available, atMs);
    const perMinute = drain.perMinute();
    const goneInS = perMinute > 0 ? (offer.available / perMinute) * 60 : Infinity;
    return { ...offer, perMinute, goneInS };
  });
  // Soonest gone first; what is sold out already needs nobody's eye; then by the share that is left.
  const left = (o) => (o.stock_total > 0 ? o.available / o.stock_total : 0);
  const rank = (o) => (o.available === 0 ? 2 : o.goneInS === Infinity ? 1 : 0);
  const name = (o) => `${o.tenant}/${o.offer_id}`;
  offers.sort((a, b) => rank(a) - rank(b) || (rank(a) === 0 && a.goneInS - b.goneInS) || left(a) - left(b) || (name(a) < name(b) ? -1 : 1));
  stock(page.stockAll ? offers : offers.slice(0, OFFERS_SHOWN), page.tenant);
  const more = $("stock-more");
  more.hidden = offers.length <= OFFERS_SHOWN;
  more.ariaExpanded = String(page.stockAll);
  say(more, page.stockAll ? "Show fewer" : `Show all ${offers.length}`);
  nameTenants(items);
}

/** Businesses to choose from: those that sell something. */
function nameTenants(offers) {
  if (page.tenant) return;
  const select = $("tenant");
  const known = new Set([...select.options].map((option) => option.value));
  for (const tenant of [...new Set(offers.map((offer) => offer.tenant))].sort()) {
    if (!known.has(tenant)) select.append(new Option(tenant, tenant));
  }
}

async function readPartners() {
  const month = new Date().toISOString().slice(0, 7);
  const { items, more } = await rows("/v1/statements", { month });
  say($("partners-month"), `${month}${more ? `, the most${among(more)} lines` : ""}`);
  const totals = new Map();
  for (const line of items) {
    const key = JSON.stringify([line.tenant, line.partner_id, line.currency]);
    const total = totals.get(key) ?? { tenant: line.tenant, partner_id: line.partner_id, currency: line.currency, base: 0, commission: 0 };
    total.base += line.base_minor;
    total.commission += line.commission_minor + line.adjustment_minor;
    totals.set(key, total);
  }
  // Amounts of two currencies can't be compared: the first of each.
  const top = [...totals.values()].sort((a, b) => b.commission - a.commission || (a.partner_id < b.partner_id ? -1 : 1));
  const currencies = [...new Set(top.map((total) => total.currency))].sort();
  const each = Math.max(3, Math.floor(PARTNERS_SHOWN / currencies.length));
  partners(currencies.flatMap((currency) => top.filter((total) => total.currency === currency).slice(0, each)), page.tenant);
}

/** Alerts are shown at once, but told to who listens only now and then. */
let untold = 0;

function showAlerts(fresh) {
  const key = (alert) => JSON.stringify([alert.tenant, alert.rule_id, alert.command_id]);
  const all = new Map([...page.alerts, ...fresh].map((alert) => [key(alert), alert]));
  page.alerts = [...all.values()].sort((a, b) => b.at_ms - a.at_ms).slice(0, ALERTS_MAX);
  alerts(page.alerts, page.tenant);
}

async function readAlerts() {
  const { items, more } = await rows("/v1/alerts");
  say($("alerts-of"), `newest${more ? among(more) : " first"}`);
  showAlerts(items);
}

async function readDraws() {
  const { signal } = page.choice;
  const { items, more } = await rows("/v1/draws", { images: "no" });
  const told = items.filter((item) => ["published", "settled"].includes(item.status));
  const last = told.sort((a, b) => b.drawn_at_ms - a.drawn_at_ms)[0];
  const image = last && (await pictureOf(last).catch(() => undefined));
  if (signal.aborted) return;
  say($("draw-of"), among(more));
  draw(last && { ...last, image });
}

/** The newest result's picture. It is asked for with our token, which an `img` can't send. */
async function pictureOf({ tenant, draw_id, revision }) {
  const id = encodeURIComponent(draw_id);
  const { images } = await (await ask(`/v1/draws/${id}?${new URLSearchParams({ tenant })}`)).json();
  const image = images?.find((image) => image.revision === revision);
  if (!image) {
    // It is drawn a moment after the result is told.
    page.picturesAsked += 1;
    if (page.picturesAsked < PICTURES_ASKED_MAX) setTimeout(() => readDraws().catch(() => {}), PICTURE_MS);
    return undefined;
  }
  page.picturesAsked = 0;
  if (page.picture?.url === image.url) return page.picture.data;
  const bytes = await (await ask(image.url)).blob();
  const data = await new Promise((done, failed) => {
    const reader = Object.assign(new FileReader(), { onload: () => done(reader.result), onerror: () => failed(reader.error) });
    reader.readAsDataURL(bytes);
  });
  page.picture = { url: image.url, data };
  return data;
}

async function readLetters() {
  const answer = await (await ask("/v1/dead-letters?limit=500&status=open")).json();
  const open = answer.items.filter((letter) => !page.retried.has(letter.id));
  open.sort((a, b) => b.first_seen_ms - a.first_seen_ms);
  letters(open, answer.next_cursor !== null, retry);
}

async function retry(id) {
  try {
    await ask("/v1/dead-letters/retry", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
      body: JSON.stringify({ ids: [id] }),
    });
    page.retried.add(id);
    say($("letters-said"), `${id} was sent in again.`);
    await readLetters();
  } catch (problem) {
    say($("letters-said"), `${id} was not sent in: ${problem.message}`);
  }
}

async function buy() {
  const button = $("buy");
  const receipt = $("receipt");
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" };
    const sold = await (await ask("/api/ticket/buy", options)).json();
    const message = sold.message.charAt(0).toUpperCase() + sold.message.slice(1);
    say(receipt, `${message}. Ticket ${ticketNumbers(sold.ticket).join(" ")} for ${money(sold.amount_minor, sold.currency)}, decided in ${duration(sold.waited_ms / 1000)}.`);
    receipt.dataset.done = "";
  } catch (problem) {
    say(receipt, `No ticket: ${problem.message}`);
    delete receipt.dataset.done;
  } finally {
    button.ariaDisabled = null;
  }
}

// ---- listening

const HEARERS = {
  order: (fact) => countsStream() && count(fact),
  alert: (fact) => {
    if (fact.event !== undefined && fact.event !== "rule_fired") return;
    untold += 1;
    showAlerts([fact]);
  },
  draw: () => {
    page.picturesAsked = 0;
    readDraws().catch(() => {});
  },
  frontier: ({ epoch, age_ms }) => {
    if (epoch !== page.epoch) {
      // It may have stood before we came.
      Object.assign(page, { epoch, movedAt: performance.now(), since: Date.now() - Math.max(0, age_ms) });
    }
    say($("age"), duration(Math.max(0, age_ms) / 1000));
    say($("epoch"), `frontier at ${epoch}`);
  },
};

function listen() {
  page.live?.stop();
  const wanted = countsStream() ? ["orders", "alerts", "draws"] : ["alerts", "draws"];
  const topics = wanted.filter((topic) => page.topics.includes(topic)).join(",");
  const query = new URLSearchParams(page.tenant ? { topics, tenant: page.tenant } : { topics });
  page.live = follow(`/v1/live?${query}`, {
    headers,
    on: (type, body) => HEARERS[type]?.(body),
    heard: () => {
      // What we didn't hear of may have moved.
      if (performance.now() - page.heardAt > STALE_MS) page.movedAt = performance.now();
      page.heardAt = performance.now();
      page.heard = true;
      watch();
    },
    broken: (problem) => {
      if (problem.status === 401 && !page.dismissed) signIn("That was not accepted.");
    },
  });
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

function show(state, words, announced) {
  say($("state-text"), words);
  if (page.state === state) return;
  if (state === "stale") say($("announce"), announced);
  else if (page.state === "stale") say($("announce"), "The figures are live again.");
  page.state = state;
  $("state").dataset.state = state;
  document.body.dataset.state = state;
}

/** Whether what is seen is so now: are we heard, and is anything decided? */
function watch() {
  if (page.blind) return show("waiting", "this key only sends");
  const silentMs = performance.now() - page.heardAt;
  const standsMs = page.movedAt === undefined ? 0 : performance.now() - page.movedAt;
  if (silentMs > STALE_MS) show("stale", `no word for ${Math.round(silentMs / 1000)} s`, "The figures are no longer live.");
  else if (!page.heard) show("waiting", "connecting");
  else if (standsMs > STANDS_MS) show("stale", `the pipeline stands since ${CLOCK.format(page.since)}`, "The pipeline stands. The figures are no longer live.");
  else show("live", "live");
}

function tellAlerts() {
  if (untold > 0) say($("announce"), untold === 1 ? "A fraud rule has fired." : `${untold} fraud rules have fired.`);
  untold = 0;
}

// ---- who asks

function signIn(problem) {
  const dialog = $("sign-in");
  $("sign-in-again").hidden = false;
  if (dialog.open) return;
  say($("sign-in-problem"), problem);
  dialog.returnValue = "";
  dialog.showModal();
}

/** Escape is no answer: the button stays. */
function answered() {
  if ($("sign-in").returnValue === "sign-in" && $("token").value) signed($("token").value);
  else page.dismissed = true;
}

function signed(value) {
  if (value) sessionStorage.setItem("tombola-token", value);
  else sessionStorage.removeItem("tombola-token");
  location.reload();
}

function choose(tenant) {
  // What was asked for the business before must not come in between.
  page.choice.abort();
  page.choice = new AbortController();
  page.tenant = tenant;
  page.alerts = [];
  drains.clear();
  page.source = undefined;
  chooseSource();
  listen();
  const reads = [readStock, readPartners, readAlerts, ...(page.topics.includes("draws") ? [readDraws] : [])];
  for (const read of reads) read().catch(() => {});
}

function wire() {
  $("buy").addEventListener("click", buy);
  $("tenant").addEventListener("change", (event) => choose(event.target.value));
  $("stock-more").addEventListener("click", () => {
    page.stockAll = !page.stockAll;
    readStock().catch(() => {});
  });
  $("sign-in").addEventListener("close", answered);
  $("sign-in-again").addEventListener("click", () => signIn(""));
  $("sign-out").addEventListener("click", () => signed(""));
  $("sign-out").hidden = token() === "";
  setInterval(watch, 1_000);
  setInterval(takeStock, 1_000);
  setInterval(tellAlerts, 15_000);
}

/** Asks who we are and what may be seen, and shows that. */
async function begin() {
  const status = await (await ask("/v1/status")).json();
  say($("version"), `version ${status.version}`);
  $("shop").hidden = !status.demo;
  page.topics = status.topics;
  page.blind = page.topics.length === 0;
  if (page.blind) return signIn("This key may send orders and see nothing. Sign in with one that may look.");
  page.tenant = status.tenant ?? "";
  $("tenant").closest(".controls").hidden = page.tenant !== "" && token() === "";
  $("tenant").disabled = page.tenant !== "";
  if (page.tenant !== "") chooseSource();
  listen();
  every(1_000, "metrics", readMetrics);
  every(5_000, "partners", readPartners);
  // Whoever may see one partner's alone has orders and statements.
  if (!page.topics.includes("stock")) {
    $("stock-section").hidden = $("alerts-section").hidden = true;
    return;
  }
  every(2_000, "stock", readStock);
  readAlerts().catch(() => showAlerts([]));
  if (page.topics.includes("draws")) every(30_000, "draws", readDraws);
  if (status.roles.includes("operator") && page.tenant === "") every(3_000, "letters", readLetters);
}

/** Begins, however often it takes; who must say who they are, or may not, is asked and comes back. */
async function beginUntilDone() {
  for (let pause = AGAIN_MS_MIN; ; pause = Math.min(pause * 2, AGAIN_MS_MAX)) {
    try {
      return await begin();
    } catch (problem) {
      if (problem.status === 401) return;
      if (problem.status === 403) return signIn(problem.message);
    }
    await new Promise((go) => setTimeout(go, pause));
  }
}

wire();
beginUntilDone();
