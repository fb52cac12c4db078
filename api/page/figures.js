// Figures out of counts: Prometheus' text is read, and what happened between two readings worked out.
//
// Rates go by the clock of the pipeline that wrote the text, so that neither network nor a sleeping tab bends them.

/** Series of Prometheus' text: name -> [{labels, value}]. */
export function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)/.exec(line);
    if (!found) continue;
    const [, name, inside, value] = found;
    const labels = {};
    for (const [, key, quoted] of (inside ?? "").matchAll(/([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = quoted.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    if (!series.has(name)) series.set(name, []);
    series.get(name).push({ labels, value: Number(value.replace("Inf", "Infinity")) });
  }
  return series;
}

/** One reading: what the page needs of the text. */
export function reading(text) {
  const series = parse(text);
  const by = (name, label) => {
    const sums = new Map();
    for (const { labels, value } of series.get(name) ?? []) {
      sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
    }
    return sums;
  };
  return {
    atS: series.get("tombola_reported_at_seconds")?.[0]?.value,
    orders: by("tombola_orders_total", "event"),
    reasons: by("tombola_refusals_total", "reason"),
    delays: by("tombola_decision_delay_seconds_bucket", "le"),
  };
}

/** What was added to each count between two readings; all of it where the counts began anew in between. */
export function added(before, after) {
  const began = [...before].some(([key, count]) => (after.get(key) ?? 0) < count);
  return new Map([...after].map(([key, count]) => [key, began ? count : count - (before.get(key) ?? 0)]));
}

/** The q-quantile of counts by upper end (`le`), within a bucket by proportion; undefined where nothing was counted. */
export function quantile(q, buckets) {
  const ends = [...buckets].map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count]).sort((a, b) => a[0] - b[0]);
  const total = ends.at(-1)?.[1] ?? 0;
  if (total === 0) return undefined;
  const rank = q * total;
  let [lower, below] = [0, 0];
  for (const [end, count] of ends) {
    if (count >= rank) {
      if (end === Infinity) return lower;
      return lower + (end - lower) * ((rank - below) / (count - below || 1));
    }
    [lower, below] = [end, count];
  }
  return lower;
}

/** Readings of the last while, oldest first. */
export class Window {
  #readings = [];
  #lengthS;

  constructor(lengthS) {
    this.#lengthS = lengthS;
  }

  /** Takes one in; says nothing twice. */
  add(reading) {
    const newest = this.#readings.at(-1);
    if (reading.atS === undefined || (newest && reading.atS === newest.atS)) return false;
    // A clock that was set back: what came before can't be compared.
    if (newest && reading.atS < newest.atS) this.#readings = [];
    this.#readings.push(reading);
    // The one before the window's beginning stays: it is what the rest is compared with.
    while (this.#readings.length > 2 && this.#readings[1].atS <= reading.atS - this.#lengthS) this.#readings.shift();
    return true;
  }

  /** Of a family of counts: how many were added over `seconds`, and how long that really was. */
  over(seconds, family) {
    const newest = this.#readings.at(-1);
    if (!newest) return { added: new Map(), seconds: 0 };
    const from = newest.atS - seconds;
    const oldest = this.#readings.findLast((reading) => reading.atS <= from) ?? this.#readings[0];
    return { added: added(oldest[family], newest[family]), seconds: newest.atS - oldest.atS };
  }
}

/** A sum over some keys of a map. */
export function sum(counts, keys) {
  return keys.reduce((total, key) => total + (counts.get(key) ?? 0), 0);
}

/** How fast something drains, from observations of what is left, over the last minute. */
export class Drain {
  #seen = [];

  add(left, atMs) {
    this.#seen.push({ left, atMs });
    while (this.#seen.length > 2 && this.#seen[1].atMs <= atMs - 60_000) this.#seen.shift();
  }

  /** Units a minute; undefined until it was watched for some seconds. */
  perMinute() {
    const [oldest, newest] = [this.#seen[0], this.#seen.at(-1)];
    const minutes = (newest.atMs - oldest.atMs) / 60_000;
    return minutes < 0.08 ? undefined : (oldest.left - newest.left) / minutes;
  }
}

const COUNT = new Intl.NumberFormat("en");
const SHARE = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** 12,345 */
export const count = (n) => COUNT.format(n);

/** 87.5% */
export const share = (part) => SHARE.format(part);

/** 0.4, 8.2, 1,024: as exact as it matters. */
export const rate = (n) => (n >= 100 ? COUNT.format(Math.round(n)) : (Math.round(n * 10) / 10).toFixed(n > 0 && n < 10 ? 1 : 0));

/** 12 ms, 1.4 s, 3 min, 2 h, 5 d */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** An amount in minor units as its currency is written; exact, as the digits never become a fraction. */
export function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
    const places = format.resolvedOptions().maximumFractionDigits;
    const digits = String(Math.abs(minor)).padStart(places + 1, "0");
    const whole = digits.slice(0, digits.length - places);
    return format.format(`${minor < 0 ? "-" : ""}${whole}${places ? `.${digits.slice(-places)}` : ""}`);
  } catch {
    return `${minor} ${currency}`; // not a currency that is known here: minor units
  }
}

/** The numbers on a ticket, `TB1.content.signature`: whoever holds it may read it, only its issuer can have made it. */
export function ticketNumbers(payload) {
  try {
    const content = atob(payload.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(content, (c) => c.charCodeAt(0)))).n ?? [];
  } catch {
    return [];
  }
}
