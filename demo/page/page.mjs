// The live page: an example of a web client of the projections. Convex's own client subscribes to two queries as the
// signed-in user, and receives each change of a run's or a worker's document. The page also shows the sidecar's status.
//
// An update is only stored; the page is redrawn ten times a second, however many updates arrive.
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";

const $ = (id) => document.getElementById(id);
const FIRST = 20; // documents that a list requests
const SHOWN = 15, PAINT_MS = 100, FLASH_MS = 700, WATCH_MS = 150;
const BINS = 40, BIN_MS = 500; // a run's activity
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = tag === "svg" || tag === "rect" || tag === "path" ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const show = (element, text) => { text = String(text); if (element.textContent !== text) element.textContent = text; };
const state = (element, name, text = name) => { element.dataset.state = name; show(element, text); };
const number = (n) => Math.round(n).toLocaleString("en");
const ms = (n) => (n === undefined ? "–" : n < 10 ? `${n.toFixed(1)} ms` : `${number(n)} ms`);
const ago = (t) => { const s = (Date.now() - t) / 1000; return s < 1 ? "now" : s < 90 ? `${Math.floor(s)} s` : `${Math.floor(s / 60)} min`; };

/** A line over the last values, 0 at the bottom. */
function chart(svg, values) {
  const top = Math.max(1, ...values), step = 300 / (CHART - 1), x0 = 300 - (values.length - 1) * step;
  const points = values.map((v, i) => `${(x0 + i * step).toFixed(1)},${(46 - (v / top) * 42).toFixed(1)}`);
  svg.replaceChildren(...(points.length > 1 ? [make("path", { class: "area", d: `M${x0.toFixed(1)},48 L${points.join(" L")} L300,48` })] : []));
}
const CHART = 120;
const keep = (list, value, n) => { list.push(value); if (list.length > n) list.shift(); };

// ---- latency: the age of a document's latest event when the document arrives
const latencies = [];
function arrived(document) {
  const age = Date.now() - Date.parse(document.latest_event_at);
  if (age >= 0 && age < 60000) keep(latencies, age, 400);
}
function paintLatency() {
  if (latencies.length === 0) return;
  const sorted = [...latencies].sort((a, b) => a - b), at = (p) => sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];
  show($("p50"), ms(at(0.5)));
  show($("p99"), ms(at(0.99)));
  const last = latencies.slice(-CHART);
  chart($("latency_chart"), last);
  show($("latency_max"), `up to ${ms(Math.max(...last))}`);
}

// ---- runs
class Row {
  constructor(d) {
    const cell = (name) => make("td", { class: name });
    Object.assign(this, { seen: d, painted: null, flashed: 0, counts: [], status: make("span", { class: "state" }), name: cell("name"), events: cell("n"), event: cell("event"), ago: cell("n ago"), bars: make("svg", { viewBox: `0 0 ${BINS * 3} 22` }) });
    this.element = make("tr", {}, this.name, make("td", {}, this.status), this.events, make("td", {}, this.bars), this.event, this.ago);
  }
  update(d) {
    if (d.latest_seq > this.seen.latest_seq) { this.counts.push([Date.now(), d.event_count - this.seen.event_count]); arrived(d); }
    this.seen = d;
  }
  paint(now) {
    const d = this.seen;
    show(this.ago, ago(Date.parse(d.latest_event_at ?? d.updated_at)));
    if (d === this.painted) return;
    show(this.name, d.thread_id ?? d.run_id);
    this.name.title = d.document_id;
    state(this.status, d.status);
    show(this.events, number(d.event_count));
    show(this.event, d.terminal_reason ?? d.latest_event_type ?? "");
    if (this.painted !== null && d.latest_seq !== this.painted.latest_seq && now - this.flashed > FLASH_MS) {
      this.flashed = now;
      this.element.animate([{ background: "rgb(108 178 255 / 20%)" }, { background: "transparent" }], { duration: FLASH_MS, easing: "ease-out" });
    }
    this.painted = d;
  }
  paintBars(now) {
    const bins = new Array(BINS).fill(0);
    this.counts = this.counts.filter(([t]) => now - t < BINS * BIN_MS);
    for (const [t, n] of this.counts) bins[BINS - 1 - Math.floor((now - t) / BIN_MS)] += n;
    const top = Math.max(8, ...bins);
    this.bars.replaceChildren(...bins.flatMap((n, i) => (n === 0 ? [] : [make("rect", { x: i * 3, width: 2, y: 20 - (n / top) * 19, height: 2 + (n / top) * 19, rx: 1 })])));
  }
}
const rows = new Map();
let ofUser = null, workersOfUser = []; // as last received; null = nothing received yet
function runsCame(page) {
  for (const d of page) if (rows.has(d.document_id)) rows.get(d.document_id).update(d); else rows.set(d.document_id, new Row(d));
  ofUser = page;
}
/** Running ones first, the latest started on top; then the ended ones, the latest ended on top. */
function order(a, b) {
  const ended = (d) => (d.terminal_at ? Date.parse(d.terminal_at) : Infinity);
  return (ended(a) === ended(b) ? 0 : ended(b) - ended(a)) || b.run_id.localeCompare(a.run_id, "en", { numeric: true });
}
function paintRuns(now) {
  const documents = [...(ofUser ?? [])].sort(order), wanted = documents.slice(0, SHOWN).map((d) => rows.get(d.document_id));
  for (const row of wanted) row.paint(now);
  // Move only the elements whose position changed.
  let at = $("runs").firstChild;
  for (const { element } of wanted) if (element === at) at = at.nextSibling; else $("runs").insertBefore(element, at);
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
  $("none").hidden = ofUser === null || documents.length > 0;
  // Counts runs that have left the list too, so the number only grows.
  show($("events"), number([...rows.values()].reduce((n, row) => n + row.seen.event_count, 0)));
}

// ---- workers
const workersSeen = new Map();
function workersCame(page) {
  for (const d of page) {
    if (workersSeen.has(d.document_id) && workersSeen.get(d.document_id) < d.latest_seq) arrived(d);
    workersSeen.set(d.document_id, d.latest_seq);
  }
  workersOfUser = page;
}
function paintWorkers() {
  $("workers").replaceChildren(...workersOfUser.slice(0, 4).map((d) => {
    const status = make("span", { class: "state" });
    state(status, d.status);
    return make("div", { class: "worker" }, make("span", {}, d.worker_id), status, make("small", {}, d.latest_event_type ?? ""), make("small", {}, `${number(d.event_count)} events`));
  }));
}

// ---- Convex: sign in, subscribe
const call = async (path, body) => (await fetch(path, { method: "POST", headers: { "x-demo": "1" }, body: JSON.stringify(body ?? {}) })).json();
async function live() {
  const { convex } = await call("where");
  const client = new ConvexClient(convex, { unsavedChangesWarning: false });
  client.subscribeToConnectionState((c) => state($("link"), c.isWebSocketConnected ? "live" : "away", c.isWebSocketConnected ? "live" : "connecting"));
  let stop = [];
  const signIn = () => {
    for (const f of stop) f();
    rows.clear(); workersSeen.clear();
    [ofUser, workersOfUser] = [null, []];
    const sub = $("who").value;
    client.setAuth(async () => (await call("token", { sub })).token);
    const own = { paginationOpts: { numItems: FIRST, cursor: null } };
    stop = [client.onUpdate(api.summaries.listRuns, own, (p) => runsCame(p.page)), client.onUpdate(api.summaries.listCodexWorkers, own, (p) => workersCame(p.page))];
  };
  $("who").addEventListener("change", signIn);
  signIn();
}

// ---- the sidecar's /status
const total = { kept: 0, delivered: 0, coalesced: 0 }, base = { ...total };
const pending = [];
let known = null, awaySince = null;
function note(text) {
  $("log").prepend(make("li", {}, `${new Date().toLocaleTimeString("en-GB")} ${text}`));
  while ($("log").children.length > 2) $("log").lastChild.remove();
}
function sidecar(s) {
  if (s === null) {
    if (awaySince === null && known !== null) { awaySince = Date.now(); note(`process ${known} is gone`); }
    return state($("sidecar"), "away");
  }
  const now = { kept: s.metrics.kept_total, delivered: s.metrics.delivered_total, coalesced: s.metrics.coalesced_total };
  if (known !== null && s.pid !== known) {
    Object.assign(base, total); // counters restart with each process
    note(`process ${s.pid} took over${awaySince === null ? "" : ` in ${((Date.now() - awaySince) / 1000).toFixed(1)} s`}`);
  }
  [known, awaySince] = [s.pid, null];
  for (const k of Object.keys(total)) total[k] = base[k] + now[k];
  state($("sidecar"), s.state === "stopped" ? "stopped!" : s.state, s.state);
  show($("process"), `process ${s.pid}, version ${s.version}`);
  for (const [id, n] of Object.entries({ kept: total.kept, delivered: total.delivered, pending: s.metrics.pending, dead: s.metrics.dead_letters, writes: total.delivered })) show($(id), number(n));
  show($("saved"), number(total.coalesced));
  keep(pending, s.metrics.pending, CHART);
}
async function watch() {
  for (;;) {
    sidecar(await call("sidecar").then((r) => r.status, () => null));
    await new Promise((r) => setTimeout(r, WATCH_MS));
  }
}
$("kill").addEventListener("click", async () => { $("kill").disabled = true; await call("kill").catch(() => {}); $("kill").disabled = false; });
setInterval(() => paintRuns(Date.now()), PAINT_MS);
setInterval(() => {
  const now = Date.now();
  for (const row of rows.values()) if (row.element.isConnected) row.paintBars(now);
  paintWorkers();
  paintLatency();
  chart($("pending_chart"), pending);
  show($("pending_max"), pending.length > 0 ? `up to ${number(Math.max(...pending))}` : "");
}, BIN_MS / 2);
void watch();
void live();
