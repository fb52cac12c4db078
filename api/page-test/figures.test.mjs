// What the page works out, without a browser: figures between two readings, events out of a stream's pieces.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// The page's files are modules by the way they are served; here by the way they are read.
const load = async (name) => import(`data:text/javascript,${encodeURIComponent(await readFile(new URL(`../page/${name}`, import.meta.url), "utf8"))}`);
const { added, count, Drain, duration, money, parse, quantile, rate, reading, sum, ticketNumbers, Window } = await load("figures.js");
const { Parser } = await load("live.js");

test("Prometheus' text is read, labels with whatever they hold", () => {
  const series = parse('# HELP a b\n# TYPE a counter\na_total{x="1",y="q\\"}{,"} 3\na_total 4.5e1 1700000000\nb +Inf\n# EOF\n');
  assert.deepEqual(series.get("a_total"), [{ labels: { x: "1", y: 'q"}{,' }, value: 3 }, { labels: {}, value: 45 }]);
  assert.deepEqual(series.get("b"), [{ labels: {}, value: Infinity }]);
});

test("a count that began anew counts whole", () => {
  const [before, after] = [new Map([["a", 5], ["b", 2]]), new Map([["a", 7], ["b", 2], ["c", 1]])];
  assert.deepEqual([...added(before, after)], [["a", 2], ["b", 0], ["c", 1]]);
  assert.deepEqual([...added(after, before)], [["a", 5], ["b", 2]]);
});

test("a quantile lies within its bucket by proportion", () => {
  const buckets = new Map([["0.01", 50], ["0.02", 90], ["0.1", 100], ["+Inf", 100]]);
  assert.equal(quantile(0.5, buckets), 0.01);
  assert.ok(Math.abs(quantile(0.7, buckets) - 0.015) < 1e-12);
  assert.ok(Math.abs(quantile(0.95, buckets) - 0.06) < 1e-12);
  assert.equal(quantile(0.5, new Map([["0.01", 0], ["+Inf", 4]])), 0.01); // beyond the last end: at least that
  assert.equal(quantile(0.5, new Map()), undefined);
});

test("a window goes by the clock of what it reads", () => {
  const window = new Window(60);
  const at = (atS, held) => ({ atS, orders: new Map([["held", held]]) });
  assert.ok(window.add(at(100, 10)));
  assert.ok(!window.add(at(100, 10)), "the same twice is no news");
  window.add(at(101, 15));
  window.add(at(103, 35));
  assert.deepEqual(window.over(1, "orders"), { added: new Map([["held", 20]]), seconds: 2 });
  assert.deepEqual(window.over(60, "orders"), { added: new Map([["held", 25]]), seconds: 3 });
  window.add(at(162, 95));
  assert.deepEqual(window.over(60, "orders"), { added: new Map([["held", 80]]), seconds: 61 });
  window.add(at(50, 3)); // a clock that was set back
  assert.deepEqual(window.over(60, "orders"), { added: new Map([["held", 0]]), seconds: 0 });
});

test("a reading has what the page shows, of all pipelines together", () => {
  const { atS, orders, reasons, delays } = reading(
    'tombola_orders_total{job="a",event="held"} 2\ntombola_orders_total{job="b",event="held"} 3\n' +
      'tombola_refusals_total{job="a",reason="sold_out"} 1\ntombola_decision_delay_seconds_bucket{le="+Inf"} 9\ntombola_reported_at_seconds 7.5\n',
  );
  assert.deepEqual([atS, sum(orders, ["held", "confirmed"]), reasons.get("sold_out"), delays.get("+Inf")], [7.5, 5, 1, 9]);
});

test("how fast stock drains is known after some seconds, and forgets what is long ago", () => {
  const drain = new Drain();
  drain.add(100, 0);
  assert.equal(drain.perMinute(), undefined);
  drain.add(90, 30_000);
  assert.equal(drain.perMinute(), 20);
  drain.add(90, 61_000);
  drain.add(90, 95_000);
  assert.equal(drain.perMinute(), 0);
});

test("figures are written as long as they matter", () => {
  assert.deepEqual([0, 0.04, 8.25, 12.4, 1234.5].map(rate), ["0", "0.0", "8.3", "12", "1,235"]);
  assert.deepEqual([0, 0.0124, 1.44, 61, 150, 7200, 259_200].map(duration), ["0 ms", "12 ms", "1.4 s", "61 s", "3 min", "2 h", "3 d"]);
  assert.equal(count(1_234_567), "1,234,567");
  const plain = (text) => text.replaceAll("\u00a0", " ");
  assert.equal(plain(money(5, "EUR")), "EUR 0.05");
  assert.equal(plain(money(-123_456, "EUR")), "-EUR 1,234.56");
  assert.equal(plain(money(9_007_199_254_740_991, "EUR")), "EUR 90,071,992,547,409.91");
  assert.equal(plain(money(1_500, "VND")), "VND 1,500");
  assert.equal(plain(money(1_500, "KWD")), "KWD 1.500");
  assert.equal(money(7, "not one"), "7 not one");
});

test("events come out of a stream however it is cut", () => {
  const stream = ": hello\nretry: 700\nid: p1\nevent: order\ndata: {\"a\":\ndata: 1}\n\ndata: x\r\n\r\nid: p2\n\nevent: lost\n\n";
  const expected = [
    { type: "order", data: '{"a":\n1}', id: "p1" },
    { type: "message", data: "x", id: undefined },
    { type: "message", data: "", id: "p2" },
  ];
  for (let size = 1; size <= stream.length; size += 1) {
    const [parser, events] = [new Parser(), []];
    let retry;
    for (let n = 0; n < stream.length; n += size) retry = parser.feed(stream.slice(n, n + size), (event) => events.push(event)) ?? retry;
    assert.deepEqual([retry, ...events], [700, ...expected], `in pieces of ${size}`);
  }
});

test("a ticket's numbers are read from it", () => {
  const ticket = (content) => `TB1.${Buffer.from(JSON.stringify(content)).toString("base64url")}.signature`;
  assert.deepEqual(ticketNumbers(ticket({ t: "läden??>", n: [3, 11, 49] })), [3, 11, 49]);
  assert.deepEqual(ticketNumbers(ticket({ t: "rail", s: "12A" })), []);
  assert.deepEqual(ticketNumbers("no ticket"), []);
});
