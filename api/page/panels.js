// The page's panels: data in, elements out. Whatever comes from the log is set as text, never as markup.

import { count, duration, money, rate, share } from "/figures.js";

export const $ = (id) => document.getElementById(id);

/** Sets text only where it differs: what doesn't change isn't touched, read out or painted again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function element(name, classes = "", text = "") {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  return made;
}

/** Makes the children of `parent` those of `items`, in order; a child stays with its key, and so does the focus. */
function keep(parent, items, key, make, fill) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    fill(child, item);
  }
  for (const child of known.values()) child.remove();
}

/** A row whose first cell is its heading; `columns` are the classes of all cells. */
function row(columns) {
  const made = element("tr");
  columns.forEach((classes, n) => {
    const cell = element(n === 0 ? "th" : "td", classes);
    if (n === 0) cell.scope = "row";
    made.append(cell);
  });
  return made;
}

function empty(body, columns, text) {
  const cell = element("td", "nothing", text);
  cell.colSpan = columns;
  const only = element("tr");
  only.append(cell);
  only.dataset.key = "";
  body.replaceChildren(only);
}

function bar(cell, part, kind) {
  const inner = cell.firstElementChild ?? cell.appendChild(element("span"));
  inner.className = `bar ${kind}`;
  inner.style.inlineSize = `${Math.max(0, Math.min(1, part)) * 100}%`;
}

/** What events are called here, in the order in which they are shown, and whether they are good. */
const OUTCOMES = [
  ["confirmed", "Confirmed", "good"],
  ["held", "Held", "calm"],
  ["in_review", "In review", "calm"],
  ["refused", "Refused", "bad"],
  ["expired", "Expired", "dull"],
  ["cancelled", "Cancelled", "dull"],
  ["refunded", "Refunded", "dull"],
  ["refund_due", "Refund due", "bad"],
  ["duplicate", "Said twice, done once", "dull"],
  ["idempotency_conflict", "Same id, other content", "bad"],
];

/** Outcomes of a while: counts by event. */
export function outcomes(counts, seconds) {
  const shown = OUTCOMES.filter(([event], n) => n < 4 || counts.get(event) > 0);
  const most = Math.max(1, ...shown.map(([event]) => counts.get(event) ?? 0));
  keep($("outcomes"), shown, ([event]) => event, () => row(["", "wide", "number", "number"]), (line, [event, name, kind]) => {
    const [title, chart, total, perSecond] = line.children;
    const n = counts.get(event) ?? 0;
    say(title, name);
    chart.ariaHidden = "true";
    bar(chart, n / most, kind);
    say(total, count(n));
    say(perSecond, seconds > 0 ? rate(n / seconds) : "–");
  });
}

/** Why orders were refused: the most frequent reasons. */
export function reasons(counts) {
  const top = [...counts].filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 5);
  say($("reasons"), top.map(([reason, n]) => `${reason.replaceAll("_", " ")} ${count(n)}`).join(" · ") || "nothing was refused");
}

/** A line through values, the newest at the right. */
export function trend(svg, values, label) {
  const top = Math.max(1, ...values);
  const point = (value, n) => `${(120 - (values.length - 1 - n) * (120 / 59)).toFixed(1)} ${(31 - (value / top) * 29).toFixed(1)}`;
  let path = svg.querySelector("path");
  if (!path) {
    path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(path);
  }
  path.setAttribute("d", values.length > 1 ? `M${values.map(point).join("L")}` : "");
  svg.setAttribute("aria-label", label);
}

const named = (item, tenant) => (tenant ? "" : item.tenant);

/** A name and, where several businesses are shown, whose it is. */
function title(cell, name, whose) {
  if (cell.childElementCount === 0) cell.append(element("span", "name"), element("small"));
  say(cell.children[0], name);
  say(cell.children[1], whose);
}

/** Offers `{tenant, offer_id, available, stock_total, perMinute, goneInS}`. */
export function stock(offers, tenant) {
  const body = $("stock");
  if (offers.length === 0) return empty(body, 5, "No offers yet.");
  keep(body, offers, (o) => `${o.tenant}/${o.offer_id}`, () => row(["", "wide", "number extra", "number extra", "number"]), (line, o) => {
    const [name, left, of, drains, gone] = line.children;
    title(name, o.offer_id, named(o, tenant));
    const part = o.stock_total > 0 ? o.available / o.stock_total : 0;
    if (left.childElementCount === 0) left.append(element("span", "amount"), element("span", "track"));
    say(left.children[0], count(o.available));
    left.children[1].ariaHidden = "true";
    bar(left.children[1], part, part > 0.25 ? "calm" : part > 0.05 ? "warm" : "bad");
    say(of, count(o.stock_total));
    say(drains, o.perMinute ? rate(o.perMinute) : "–");
    say(gone, o.available === 0 ? "sold out" : o.goneInS < 86_400 ? duration(o.goneInS) : "–");
  });
}

/** Partners `{tenant, partner_id, currency, base, commission}`, in minor units. */
export function partners(list, tenant) {
  const body = $("partners");
  if (list.length === 0) return empty(body, 3, "Nobody has earned a commission this month.");
  keep(body, list, (p) => `${p.tenant}/${p.partner_id}/${p.currency}`, () => row(["", "number extra", "number"]), (line, p) => {
    const [name, base, commission] = line.children;
    title(name, p.partner_id, named(p, tenant));
    say(base, money(p.base, p.currency));
    say(commission, money(p.commission, p.currency));
  });
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });

function moment(ms) {
  const near = Math.abs(Date.now() - ms) < 43_200_000;
  const made = element("time", "", (near ? CLOCK : DAY).format(new Date(ms)));
  made.dateTime = new Date(ms).toISOString();
  return made;
}

/** What rules count, in words. */
const METRICS = { count: "orders", amount: "minor units", distinct_cards: "cards", distinct_customers: "customers", declines: "declined payments" };

/** Velocity alerts, newest first. */
export function alerts(list, tenant) {
  const feed = $("alerts");
  if (list.length === 0) {
    feed.replaceChildren(element("li", "nothing", "No rule has fired."));
    return;
  }
  const make = (alert) => {
    const made = element("li");
    // Rows say the key as `customer:anna`, facts in two properties.
    const whom = alert.key_value === undefined ? alert.key.replace(":", " ") : `${alert.key} ${alert.key_value}`;
    const many = METRICS[alert.metric] ?? alert.metric.replaceAll("_", " ");
    const what = `${whom}: ${count(alert.value)} ${many} in ${duration(alert.window_ms / 1000)}, more than ${count(alert.threshold)}`;
    made.append(
      moment(alert.at_ms),
      element("span", `badge ${alert.action}`, alert.action),
      element("strong", "", alert.rule_id),
      element("span", "what", what),
      element("small", "", [named(alert, tenant), alert.order_id].filter(Boolean).join(" · ")),
    );
    return made;
  };
  keep(feed, list, (a) => `${a.tenant}/${a.rule_id}/${a.command_id}`, make, () => {});
}

/** Numbers of a row, `3,11,19`, or of a fact, a list. */
const numbers = (drawn) => (Array.isArray(drawn) ? drawn : String(drawn ?? "").split(",").filter(Boolean));

/** The last draw `{tenant, draw_id, game, numbers, bonus, revision, status, image}`. */
export function draw(last) {
  $("draw-section").hidden = !last;
  if (!last) return;
  const corrected = last.revision > 1 ? `, corrected (revision ${last.revision})` : "";
  say($("draw-name"), `${last.game} · ${last.draw_id} · ${last.status ?? ""}${corrected}`);
  const balls = [...numbers(last.numbers).map((n) => [n, ""]), ...numbers(last.bonus).map((n) => [n, "bonus"])];
  const same = $("draw-numbers").childElementCount === balls.length;
  if (!same || [...$("draw-numbers").children].some((ball, n) => ball.dataset.n !== String(balls[n][0]))) {
    $("draw-numbers").replaceChildren(...balls.map(([n, kind]) => {
      const ball = element("li", kind, String(n));
      ball.dataset.n = String(n);
      if (kind) ball.append(element("span", "unseen", " bonus"));
      return ball;
    }));
  }
  const image = $("draw-image");
  image.hidden = !last.image;
  if (!last.image) return;
  if (image.getAttribute("src") !== last.image) image.src = last.image;
  const bonus = numbers(last.bonus).length > 0 ? `; bonus ${numbers(last.bonus).join(", ")}` : "";
  image.alt = `Picture of the result of ${last.game}, ${last.draw_id}: ${numbers(last.numbers).join(", ")}${bonus}`;
}

const LETTERS_SHOWN = 6;

/** A reason says what is wrong and then, after a semicolon, what to do: that is there to be opened. */
function cause(reason) {
  const [, problem, remedy] = /^(.*?); (.*)$/s.exec(reason) ?? [];
  if (!problem) return element("span", "name", reason);
  const made = element("details");
  made.append(element("summary", "", problem), element("p", "", remedy));
  return made;
}

/** Dead letters; `retry(id)` is asked for by their buttons. */
export function letters(list, more, retry) {
  $("letters-section").hidden = false;
  say($("letters-count"), list.length === 0 ? "" : `${count(list.length)}${more ? "+" : ""} open`);
  const body = $("letters");
  if (list.length === 0) return empty(body, 3, "None: every record could be used.");
  const make = (letter) => {
    const made = row(["", "number", ""]);
    const button = element("button", "quiet", "Retry");
    button.type = "button";
    button.setAttribute("aria-label", `Retry ${letter.id}`);
    button.addEventListener("click", async () => {
      // Not `disabled`: the focus would be lost.
      if (button.ariaDisabled === "true") return;
      button.ariaDisabled = "true";
      try {
        await retry(letter.id);
      } finally {
        button.ariaDisabled = null;
      }
    });
    made.children[0].append(cause(letter.reason), element("small", "", letter.id));
    made.children[1].append(moment(letter.first_seen_ms));
    made.children[2].append(button);
    return made;
  };
  keep(body, list.slice(0, LETTERS_SHOWN), (l) => l.id, make, () => {});
}

/** The strip at the top. */
export function now({ perSecond, success, p50, p95, p99 }) {
  say($("rate"), perSecond === undefined ? "–" : rate(perSecond));
  say($("success"), success === undefined ? "–" : share(success));
  say($("p50"), p50 === undefined ? "–" : duration(p50));
  const rest = [["p95", p95], ["p99", p99]].map(([name, value]) => `${name} ${value === undefined ? "–" : duration(value)}`);
  say($("percentiles"), `median; ${rest.join(", ")}`);
}
