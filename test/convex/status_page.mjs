// The status page of a real sidecar in a real Chromium, in each state: fresh, running, waiting, a kind stopped, stopped by
// the key, dead letters, mending after a new destination, paused, draining, a disk that is full, gone. With PICTURES=folder it saves a screenshot of each there.
//
// Runs only with BROWSER=1 or CI=true, and then installs Debian's chromium. Prints "N passed, N failed".
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { counter, standin, until } from "./checks.mjs";
import { program } from "./debian.mjs";

const test = "status_page.mjs, the status page in Chromium", asked = process.env.CI === "true" || process.env.BROWSER === "1";
if (!asked) { console.log(`skipped: ${test}: BROWSER=1 or CI=true runs it`); process.exit(0); }
program("chromium", "chromium", { install: true, test });

const { eq, finish } = counter();
const { info, control } = standin();
const sidecarProgram = fileURLToPath(new URL("../../priv/convex_sidecar", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "status-page-")), store = join(dir, "store");
const free = await new Promise((resolve) => { const s = createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => resolve(port)); }); });
const environment = { ...process.env, ERL_EPMD_PORT: String(free) };
const started = [];
const start = (command, args, env = environment) => { const p = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] }); p.over = new Promise((r) => p.on("close", r)); started.push(p); return p; };
const key = join(dir, "key");
const setKey = (text) => writeFileSync(key, text, { mode: 0o600 });
const words = (...args) => spawnSync(sidecarProgram, [...args, "--store", store], { env: environment, encoding: "utf8" });
let runs = 0;
/** Send the documents of `count` runs through the command line. */
function feed(count, id = (n) => `run_${n}`) {
  const file = join(dir, "history.jsonl"), now = new Date().toISOString();
  writeFileSync(file, Array.from({ length: count }, () => JSON.stringify({ kind: "run_summary", id: id(++runs), row: { status: "running" }, events: [{ seq: 1, event_type: "run.started", inserted_at: now }] })).join("\n"));
  return words("rebuild", "--from", file);
}

/** The same for workers. */
function feedWorkers(count) {
  const file = join(dir, "workers.jsonl"), now = new Date().toISOString();
  writeFileSync(file, Array.from({ length: count }, (_, i) => JSON.stringify({ kind: "codex_worker_summary", id: `w${i}`, row: { status: "running" }, events: [{ seq: 1, event_type: "worker.started", inserted_at: now }] })).join("\n"));
  return words("rebuild", "--from", file);
}

let sidecar = null;
async function run(more = {}) {
  let said = "";
  sidecar = start(sidecarProgram, ["run"], { ...environment, CONVEX_SIDECAR_NODE_NAME: `page_${process.pid}@127.0.0.1`, CONVEX_SIDECAR_NODE_COOKIE: "page", CONVEX_SIDECAR_STORE_DIR: store, CONVEX_SIDECAR_SINK_TYPE: "http", CONVEX_SIDECAR_SINK_BASE_URL: info.url, CONVEX_SIDECAR_SINK_ADMIN_KEY_FILE: key, CONVEX_SIDECAR_OBSERVE_PORT: "-1", CONVEX_SIDECAR_OBSERVE_DETAILS: "on", ...more });
  for (const out of [sidecar.stdout, sidecar.stderr]) out.on("data", (chunk) => { said += chunk; });
  if (!(await until(() => /^ready .*observe_port=/m.test(said)))) throw new Error(`the sidecar does not start: ${said}`);
  return `http://127.0.0.1:${/observe_port=(\d+)/.exec(said)[1]}`;
}
const end = async (signal = "SIGTERM") => { sidecar.kill(signal); await sidecar.over; };

let browser = null;
async function clean() {
  await browser?.close().catch(() => {});
  for (const p of started) { p.kill("SIGKILL"); await p.over; }
  rmSync(dir, { recursive: true, force: true });
}

/** A made-up hour that ends at `metrics`: for the screenshots, since a test does not run that long. */
function hour(step, metrics) {
  const now = Math.floor(Date.now() / 1000), columns = ["t", "kept", "delivered", "calls", "refused", "pending", "oldest", "dead", "call_p50", "call_p99", "confirmed_p50", "confirmed_p99", "stopped"];
  const samples = Array.from({ length: 360 }, (_, i) => {
    const wave = 30 + 14 * Math.sin(i / 23) + 6 * Math.sin(i / 5.3) + 3 * Math.sin(i * 12.9898), out = i > 180 && i < 205;
    const after = i >= 205 && i < 222;
    return [now - (359 - i) * step, wave, out ? 0 : after ? wave * 2.4 : wave, wave / 9, 0, out ? (i - 180) * wave * 8 : after ? (222 - i) * 290 : 3 + Math.abs(Math.sin(i)) * 6, 0, 0, 0.012, 0.04, out ? 0 : 0.021 + 0.004 * Math.sin(i / 9), out ? 0 : after ? 0.1 + (9 * (222 - i)) / 17 : 0.07 + 0.02 * Math.sin(i / 7), out ? 1 : 0];
  });
  samples.at(-1)[columns.indexOf("pending")] = metrics.pending;
  samples.at(-1)[columns.indexOf("dead")] = metrics.dead_letters;
  return { step_s: step, columns, samples };
}

try {
  const epmd = start("epmd", ["-address", "127.0.0.1", "-port", String(free)]);
  await until(() => spawnSync("epmd", ["-port", String(free), "-names"]).status === 0);
  await control("POST", "reset");
  setKey(info.admin_key);
  let url = await run();
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
  const problems = [], went = new Set();
  async function open(options = {}) {
    const context = await browser.newContext({ viewport: { width: process.env.PICTURES ? 900 : 1160, height: 900 }, ...options });
    const page = await context.newPage();
    page.on("console", (m) => { if (m.type() === "error") problems.push(m.text()); });
    page.on("pageerror", (e) => problems.push(e.message));
    page.on("request", (r) => went.add(r.url().replace(/^(http:\/\/127\.0\.0\.1):\d+/, "$1")));
    if (process.env.PICTURES) await page.route("**/history", async (route) => {
      try {
        const [real, { metrics }] = await Promise.all([route.fetch().then((r) => r.json()), route.fetch({ url: `${url}/status` }).then((r) => r.json())]);
        await route.fulfill({ json: metrics.kept_total || !metrics.store_ok ? { ...hour(10, metrics), log: real.log } : real });
      } catch { await route.abort().catch(() => {}); }
    });
    await page.goto(url);
    return page;
  }
  const page = await open();
  const text = (selector) => page.locator(selector).textContent();
  const value = (name) => page.locator("#tiles li", { has: page.locator(".name", { hasText: new RegExp(`^${name}$`) }) }).locator(".value").textContent();
  const fact = (name) => page.$$eval("#list dt", (all, wanted) => all.find((e) => e.textContent === wanted)?.nextElementSibling.textContent, name);
  const shows = async (name, f, ms = 20000) => { const ok = await until(f, ms); eq(`${name}${ok ? "" : `; the page says ${(await page.innerText("body")).replace(/\s+/g, " ")}`}`, ok, true); };
  // Down to the kinds, or the whole page; the rest is the same in each state.
  const picture = async (name, of = page, last = "#kinds") => {
    if (!process.env.PICTURES) return;
    await of.evaluate(() => document.activeElement?.blur());
    const { bottom, width } = await of.evaluate((last) => ({ bottom: Math.max(...["#charts", last].map((id) => document.querySelector(id).getBoundingClientRect().bottom)) + window.scrollY, width: document.documentElement.clientWidth }), last);
    await of.screenshot({ path: join(process.env.PICTURES, `${name}.png`), fullPage: true, clip: { x: 0, y: 0, width, height: Math.ceil(bottom) + 12 } });
  };
  const mood = (name) => page.$eval("html", (e, n) => e.classList.contains(n), name);

  await shows("fresh: it runs, and says that nothing came", async () => /^Running since .*: no document has come yet\.$/.test(await text("#what")) && (await mood("good")));
  eq("the node is named", await text("#node"), `page_${process.pid}@127.0.0.1`);
  eq("the destination", (await fact("Destination")).split(",")[0], info.url);
  await picture("fresh");

  eq("documents come", feed(40).status, 0);
  await shows("running: all is delivered", async () => /: all that was kept is delivered\.$/.test(await text("#what")) && (await value("pending")) === "0");
  await shows("the times are there", async () => / (ms|s)$/.test(await value("call to Convex")) && / (ms|s)$/.test(await value("append to confirmed")));
  await shows("the log's last lines", async () => (await page.$$("#log li")).length > 0 && /sidecar\.ready/.test(await text("#log")));
  await shows("the hour begins", async () => (await page.$$("#rates svg .one, #rates svg .two")).length === 2, 40000);
  await page.locator("#rates").focus();
  await page.keyboard.press("ArrowLeft");
  await shows("by keyboard through the hour", async () => (await page.$$("#rates svg .cursor")).length === 1);
  await page.keyboard.press("Escape");
  await shows("and out of it", async () => (await page.$$("#rates svg .cursor")).length === 0);
  await shows("its kind, with how many came", async () => (await page.$$eval("#kinds tbody tr", (rows) => rows.map((r) => [...r.cells].map((c) => c.textContent).join(" ")))).some((row) => /^run_summary running [\d.]+ 40 0$/.test(row)));
  if (process.env.PICTURES) for (let i = 0; i < 40; i++) { feed(3); if (i % 4 === 0) feedWorkers(2); await new Promise((r) => setTimeout(r, 150)); } // for realistic numbers
  await picture("running", page, "footer");
  const dark = await open({ colorScheme: "dark" }), phone = await open({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  for (const [name, other] of [["dark", dark], ["phone", phone]]) {
    await other.waitForFunction(() => document.querySelectorAll("#tiles li").length === 8 && document.querySelector("#charts figcaption"));
    eq(`${name}: nothing is wider than the window`, await other.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true);
    await picture(name, other);
    await other.context().close();
  }

  await control("POST", "faults", { kind: "html502", times: 0 });
  feed(3);
  await shows("waiting: why, and that it tries again", async () => (await mood("wait")) && /^Waiting since .* documents wait/.test(await text("#what")) && (await page.$$("#kinds td.wait")).length >= 1 && /502/.test(await text("#why")) && /tried again/.test(await text("#next")));
  await picture("waiting");
  await control("DELETE", "faults");
  words("resume");
  await shows("and over", async () => (await mood("good")) && (await value("pending")) === "0");

  await control("POST", "faults", { kind: "not_deployed", match: { kind: "codex_worker_summary" }, times: 0 });
  feedWorkers(3);
  await shows("a kind is stopped: which, why, next, and the others go on", async () => (await mood("bad")) && (await text("#badge")).includes("kind stopped") && (await text("#kinds td.bad")) === "stopped" && /^Running since .*codex_worker_summary is stopped/.test(await text("#what")) && /^codex_worker_summary: .*not find/i.test(await text("#why")) && (await text("#next")).length > 10, 60000);
  feed(2);
  await shows("another kind's documents are delivered beside it", async () => (await value("pending")) === "3");
  await picture("kind");
  await control("DELETE", "faults");
  words("resume");
  await shows("served again", async () => (await mood("good")) && (await value("pending")) === "0", 60000);

  // The status while a new destination is being mended.
  let left = 5200;
  const doubt = () => ({ since: new Date(Date.now() - 90000).toISOString(), why: "another deployment answers than the one that had confirmed", counted: true, swept: false, documents: left, documents_without_log: 12, first_without_log: ["runtime/run_summary:by_hand"] });
  await page.route("**/status", async (route) => { try { const s = await (await route.fetch()).json(); await route.fulfill({ json: { ...s, destination: { ...s.destination, swept_by: "app@127.0.0.1", eta_s: 170, doubt: doubt() } } }); } catch { await route.abort().catch(() => {}); } });
  await shows("mending: since when, how much, why", async () => (await mood("wait")) && (await text("#badge")).includes("mending") && /^Mending since .*: 5,212 documents may be gone there, 12 of them without an event log, about 3 min left; app@127.0.0.1 sends them again\.$/.test(await text("#what")) && /another deployment/.test(await text("#why")) && /by itself/.test(await text("#next")));
  left = 3400;
  await shows("and how far it is", async () => Math.abs((await page.$eval("#mended", (e) => e.value)) - 1800 / 5200) < 0.001);
  await picture("mending");
  await page.unroute("**/status");
  await shows("mended", async () => (await mood("good")) && (await page.$eval("#mended", (e) => e.hidden)));

  await control("POST", "faults", { kind: "refuse_item", match: { document_id: "*bad*" }, times: 0, message: "this document is refused" });
  feed(2, (n) => `bad_${n}`); feed(2);
  await shows("dead letters: how many, and what to do", async () => (await value("dead letters")) === "2" && /refused/.test(await text("#what")) && /dead list/.test(await text("#next")), 60000);
  await shows("each by its id, with its reason", async () => (await page.$$("#letters li")).length === 2 && (await page.$$eval("#letters li", (all) => all.every((e, i) => /run_summary:bad_\d/.test(e.textContent) && (i ? /the same/ : /this document is refused/).test(e.textContent)))));
  await picture("dead");
  await control("DELETE", "faults");
  words("dead", "retry", "--all");
  await shows("retried", async () => (await page.$eval("#letters", (e) => e.hidden)) && (await value("dead letters")) === "0" && (await mood("good")));

  words("pause");
  feed(2);
  await shows("paused", async () => (await text("#badge")).includes("paused") && (await text("#next code")) === "convex_sidecar resume");
  await picture("paused");
  words("resume");
  spawn(sidecarProgram, ["drain", "2000", "--store", store], { env: environment, stdio: "ignore" });
  await shows("draining", async () => (await text("#badge")).includes("draining"));
  words("resume");

  setKey("convex-self-hosted|0000");
  words("reload");
  feed(1);
  await shows("stopped by the key: red, why, next", async () => (await mood("bad")) && /^Stopped since .*: 1 document waits/.test(await text("#what")) && (await text("#why")).length > 10 && /reload/.test(await text("#next")), 40000);
  await picture("stopped");
  setKey(info.admin_key);
  words("reload");
  await shows("mended", async () => (await mood("good")) && (await value("pending")) === "0");

  await end("SIGKILL");
  await shows("gone: it says so, since when, and where to look", async () => /^no answer since .*; asking again$/.test(await text("#link")) && /^No answer since .*: below is what it said last\.$/.test(await text("#what")) && /systemctl status/.test(await text("#next")));
  await picture("gone");
  const gone = problems.splice(0).filter((p) => !/ERR_CONNECTION_REFUSED|Failed to load resource/.test(p));
  eq("no script failed, no policy was broken", gone, []);
  eq("it asked for nothing else", [...went].sort(), ["data:,", "http://127.0.0.1/", "http://127.0.0.1/dead", "http://127.0.0.1/history", "http://127.0.0.1/status"].filter((u) => went.has(u)));

  // ---- without details no line of the log is shown
  url = await run({ CONVEX_SIDECAR_OBSERVE_DETAILS: "off" });
  const plain = await open();
  await plain.waitForFunction(() => document.querySelectorAll("#tiles li").length === 8 && document.querySelector("#charts figcaption"));
  eq("without details no log lines", await plain.$eval("#lines", (e) => e.hidden), true);
  await plain.context().close();
  await end();

  // ---- a full disk: no file may grow beyond its present size
  const grown = spawnSync("stat", ["-c", "%s", join(store, "data.mdb")], { encoding: "utf8" }).stdout.trim();
  const full = join(dir, "full");
  writeFileSync(full, `#!/bin/sh\nulimit -f ${Math.ceil(Number(grown) / 512)}\nexec ${sidecarProgram} run\n`, { mode: 0o755 });
  control("POST", "faults", { kind: "html502", times: 0 });
  let said = "";
  sidecar = start(full, [], { ...environment, CONVEX_SIDECAR_NODE_NAME: `page_${process.pid}@127.0.0.1`, CONVEX_SIDECAR_NODE_COOKIE: "page", CONVEX_SIDECAR_STORE_DIR: store, CONVEX_SIDECAR_SINK_TYPE: "http", CONVEX_SIDECAR_SINK_BASE_URL: info.url, CONVEX_SIDECAR_SINK_ADMIN_KEY_FILE: key, CONVEX_SIDECAR_OBSERVE_PORT: "-1" });
  for (const out of [sidecar.stdout, sidecar.stderr]) out.on("data", (chunk) => { said += chunk; });
  await until(() => /^ready .*observe_port=/m.test(said));
  url = `http://127.0.0.1:${/observe_port=(\d+)/.exec(said)?.[1]}`;
  await page.goto(url);
  const filling = setInterval(() => { spawn(sidecarProgram, ["rebuild", "--from", join(dir, "big.jsonl"), "--store", store, "--timeout", "3"], { env: environment, stdio: "ignore" }); }, 1500);
  writeFileSync(join(dir, "big.jsonl"), Array.from({ length: 300 }, (_, i) => JSON.stringify({ kind: "run_summary", id: `big_${i}`, row: { status: "x".repeat(3000) }, events: [{ seq: 1, event_type: "t", inserted_at: null }] })).join("\n"));
  await shows("a full disk: red, and what to do", async () => (await mood("bad")) && /^The store fails/.test(await text("#what")) && /too large/.test(await text("#why")) && /room/.test(await text("#next")), 40000);
  clearInterval(filling);
  await picture("full");
  eq("no other problem", problems.filter((p) => !/Failed to load resource|ERR_/.test(p)), []);
} catch (e) {
  eq("the test gets to its end", e.stack, "");
} finally {
  await clean();
}
finish();
