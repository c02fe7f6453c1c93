// The live page (demo/page) in a real Chromium, fed by the real sidecar from a real BEAM: runs `make demo SERVE=1` and
// checks the page. With PICTURE=file it saves a screenshot there (the README's is demo/live.png).
//
// Runs only with BROWSER=1 or CI=true, and then installs Debian's chromium. Prints "N passed, N failed".
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { counter, until } from "./checks.mjs";
import { program } from "./debian.mjs";

const test = "browser.mjs, the live page in Chromium", asked = process.env.CI === "true" || process.env.BROWSER === "1";
if (!asked) { console.log(`skipped: ${test}: BROWSER=1 or CI=true runs it`); process.exit(0); }
program("chromium", "chromium", { install: true, test });

const { eq, finish } = counter();
const root = fileURLToPath(new URL("../..", import.meta.url));
const profile = mkdtempSync(join(tmpdir(), "live-page-"));
const { STANDIN_STATE, MAKEFLAGS, ...environment } = process.env;
// What a person types, in a group of its own: the stand-in, the VM, the page's server end together.
const demo = spawn("make", ["-s", "demo", "SERVE=1"], { cwd: root, detached: true, env: environment, stdio: ["ignore", "pipe", "pipe"] });
let said = "", ended = false;
for (const out of [demo.stdout, demo.stderr]) out.on("data", (chunk) => { said += chunk; });
const over = new Promise((resolve) => demo.on("close", () => { ended = true; resolve(); }));
let context = null;
async function clean() {
  await context?.close().catch(() => {});
  if (!ended) process.kill(-demo.pid, "SIGTERM");
  await over;
  rmSync(profile, { recursive: true, force: true });
}
const why = (e) => { console.log(`FAIL ${e.message}\n${said.slice(-2000)}`); };

try {
  const page = await (async () => {
    await until(() => /^The live page: /m.test(said) || ended, 240000); // it builds first
    const url = /^The live page: (.*)$/m.exec(said)?.[1];
    if (!url) throw new Error("the demo did not begin");
    context = await chromium.launchPersistentContext(profile, {
      executablePath: "/usr/bin/chromium", headless: true, viewport: { width: 1120, height: 868 },
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    });
    const page = context.pages()[0] ?? (await context.newPage());
    page.problems = []; page.asked = new Set();
    page.on("console", (m) => { if (m.type() === "error") page.problems.push(m.text()); });
    page.on("pageerror", (e) => page.problems.push(e.message));
    page.on("request", (r) => page.asked.add(new URL(r.url()).hostname));
    page.on("websocket", (w) => page.asked.add(new URL(w.url()).hostname));
    await page.goto(url);
    return page;
  })();
  const text = (selector) => page.locator(selector).textContent();
  const rows = () => page.$$eval("#runs tr", (all) => all.map((row) => [...row.cells].map((c) => c.textContent)));
  const number = async (selector) => Number((await text(selector)).replace(/\D/g, ""));
  const shows = async (name, f, ms = 180000) => { const ok = await until(f, ms); eq(`${name}${ok ? "" : `; the page says ${(await page.innerText("body")).replace(/\s+/g, " ")}`}`, ok, true); };

  await shows("the page is live", async () => (await text("#link")) === "live");
  await shows("the runs of the demo come by themselves", async () => (await rows()).filter((r) => r[0] && Number(r[2]) > 0).length >= 8, 120000); // a VM starts first
  await shows("they end, one of them badly", async () => { const states = (await rows()).map((r) => r[1]); return states.includes("succeeded") && states.includes("failed"); });
  await shows("every document was read back", () => /differing from the log +0\n +lost +0\n/.test(said));
  await shows("it goes on", async () => (await rows()).filter((r) => r[1] === "running").length >= 3);
  await shows("workers live", async () => (await page.$$("#workers .worker")).length >= 3);
  const [events, written] = [await number("#events"), await number("#writes")];
  await shows("events and writes grow", async () => (await number("#events")) > events && (await number("#writes")) > written);
  await shows("the way from an append to the page is measured", async () => / ms$/.test(await text("#p50")) && / ms$/.test(await text("#p99")));

  await shows("and the page keeps up with them", async () => (await number("#p50")) < 3000);

  // ---- killed, it comes back, and the page goes on
  const process1 = await text("#process");
  await page.click("#kill");
  await shows("another process took over", async () => (await text("#process")) !== process1 && (await text("#sidecar")) === "running");
  await shows("it says so", async () => /took over/.test(await text("#log")));
  const after = await number("#events");
  await shows("events come again", async () => (await number("#events")) > after);

  // ---- the picture, when enough is to be seen
  await shows("some seconds of it", async () => (await page.$$("#runs rect")).length > 40 && (await page.$$("#latency_chart path")).length === 1);
  if (process.env.PICTURE) {
    await until(async () => (await rows()).length >= 15, 180000); // a full table: a picture, not a check
    await new Promise((r) => setTimeout(r, 2000));
    await page.mouse.move(0, 0);
    await page.screenshot({ path: process.env.PICTURE });
  }

  // ---- somebody else sees his own
  const mine = new Set((await page.$$eval("#runs .name", (all) => all.map((c) => c.title))));
  await page.selectOption("#who", "43");
  const titles = () => page.$$eval("#runs .name", (all) => all.map((c) => c.title));
  await shows("user 43 sees runs, and none of user 42", async () => {
    const shown = await titles();
    return shown.length > 0 && !shown.some((id) => mine.has(id)) && (await page.$$("#workers .worker")).length === 0;
  });
  const before43 = await number("#events");
  await shows("and goes on seeing none", async () => (await number("#events")) > before43 + 20);
  eq("none of user 42", (await titles()).filter((id) => mine.has(id)), []);
  eq("nothing was asked from outside", [...page.asked], ["127.0.0.1"]);
  eq("no error in the browser", page.problems, []);
} catch (e) {
  why(e);
  await clean();
  console.log("0 passed, 1 failed");
  process.exit(1);
}
await clean();
finish();
