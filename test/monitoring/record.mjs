// Records what a real sidecar exports while the fault of each alert of priv/monitoring/alerts.yaml is there and after it, and
// writes priv/monitoring/alerts.recorded.test.yaml: promtool's unit tests that each alert fires in its fault and clears after it.
//
//   node test/monitoring/record.mjs [ALERT]...      (about two minutes; root, for a disk that is full; epmd, erl, gcc, promtool)
//
// Values are recorded a sample a second, and told to promtool as one each half minute, since nobody waits half an hour for an
// alert with `for: 15m`.  tools/check-monitoring runs the tests.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url)), program = join(root, "priv/convex_sidecar");
const target = join(root, "priv/monitoring/alerts.recorded.test.yaml"), dir = mkdtempSync(join(tmpdir(), "record-"));
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const freePort = () => new Promise((resolve) => { const s = createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => resolve(port)); }); });
const started = [];
const start = (command, args, options) => { const p = spawn(command, args, options); p.over = new Promise((r) => p.on("close", r)); started.push(p); return p; };
const until = async (f, what, ms = 30000) => { for (const end = Date.now() + ms; Date.now() < end; await wait(50)) { const v = await f(); if (v) return v; } throw new Error(`in vain: ${what}`); };
process.on("exit", () => { for (const p of started) p.kill("SIGKILL"); rmSync(dir, { recursive: true, force: true }); });

const epmdPort = await freePort(), base = { ...process.env, ERL_EPMD_PORT: String(epmdPort) };
start("epmd", ["-address", "127.0.0.1", "-port", String(epmdPort)], { stdio: "ignore" });
await until(() => spawnSync("epmd", ["-port", String(epmdPort), "-names"]).status === 0, "epmd");

async function standin(name) {
  const state = join(dir, name);
  const p = start("node", [join(root, "test/convex/server.mjs")], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, PORT: "0", STANDIN_STATE: state, STANDIN_BUILD: `.build/${name}_${process.pid}` } });
  let said = "";
  p.stdout.on("data", (chunk) => { said += chunk; });
  const info = JSON.parse((await until(() => /^READY (.*)$/m.exec(said), `stand-in ${name}`, 60000))[1]);
  const control = (method, what, body) => fetch(`${info.url}/__standin/${what}`, { method, headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });
  process.on("exit", () => rmSync(join(root, `test/convex/.build/${name}_${process.pid}`), { recursive: true, force: true }));
  return { ...info, fault: (f) => control("POST", "faults", { times: 0, ...f }), mend: () => control("DELETE", "faults"), wipe: () => control("POST", "wipe", {}) };
}

/** A sidecar, and what was seen of it. */
class Side {
  constructor(name, convex, options = {}) {
    Object.assign(this, { name, convex, options, dir: join(dir, `side_${name}`), rows: [], wanted: options.metrics ?? [] });
    this.key = join(dir, `${name}.key`);
    this.setKey(convex.admin_key);
  }
  setKey(key) { writeFileSync(this.key, key, { mode: 0o600 }); }
  async run(before = [], env = {}) {
    this.port ??= await freePort();
    const [command, ...args] = [...before, program, "run"];
    let said = "";
    this.process = start(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...base, CONVEX_SIDECAR_NODE_NAME: `${this.name}_${process.pid}@127.0.0.1`, CONVEX_SIDECAR_NODE_COOKIE: "record", CONVEX_SIDECAR_STORE_DIR: this.dir, CONVEX_SIDECAR_SINK_TYPE: "http", CONVEX_SIDECAR_SINK_BASE_URL: this.convex.url, CONVEX_SIDECAR_SINK_ADMIN_KEY_FILE: this.key, CONVEX_SIDECAR_OBSERVE_PORT: String(this.port), CONVEX_SIDECAR_DELIVERY_DRAIN_MS: "100", ...this.options.env, ...env } });
    for (const out of [this.process.stdout, this.process.stderr]) out.on("data", (chunk) => { said += chunk; });
    await until(() => { if (this.process.exitCode !== null) throw new Error(said); return /^ready /m.test(said); }, `${this.name} is ready: ${said}`);
  }
  async end(signal = "SIGTERM") { this.process.kill(signal); await this.process.over; }
  words(...args) { return new Promise((resolve) => { const p = start(program, [...args, "--store", this.dir], { stdio: "ignore", env: base }); p.on("close", resolve); }); }
  /** `count` documents named after `id`; `bytes` of status each. */
  async feed(count, id, { bytes = 7, kind = "run_summary", from = 0 } = {}) {
    const file = join(dir, `${this.name}_${id}_${from}.jsonl`), now = new Date().toISOString();
    writeFileSync(file, Array.from({ length: count }, (_, i) => JSON.stringify({ kind, id: `${this.name}_${id}_${from + i}`, row: { status: "x".repeat(bytes) }, events: [{ seq: 1, event_type: "t", inserted_at: now }] })).join("\n"));
    return this.words("rebuild", "--from", file, "--timeout", "3");
  }
  async scrape() {
    const row = new Map([["up", "0"]]);
    try {
      const text = await (await fetch(`http://127.0.0.1:${this.port}/metrics`, { signal: AbortSignal.timeout(5000) })).text();
      row.set("up", "1");
      for (const line of text.split("\n")) {
        const m = /^([a-z_]+)(\{[^}]*\})? (\S+)/.exec(line);
        if (m && this.wanted.includes(m[1])) row.set(m[1] + (m[2] ?? ""), m[3]);
      }
    } catch { /* down */ }
    return row;
  }
  /** Take `count` samples, a second apart; the number of the last. */
  async sample(count) {
    for (let i = 0; i < count; i++) { const next = Date.now() + 1000; this.rows.push(await this.scrape()); await wait(Math.max(0, next - Date.now())); }
    return this.rows.length - 1;
  }
}

// ---- the faults: each returns the number of the sample at which its alert fires, and is over when it has cleared
const A = await standin("plain"), B = await standin("faulty"), D = await standin("drift");
const scenarios = {
  ConvexSidecarDown: { metrics: ["up"], run: async (s) => { await s.run(); await s.sample(3); await s.end("SIGKILL"); const fires = await s.sample(6); await s.run(); await s.sample(5); return fires; } },
  ConvexSidecarRestarts: { metrics: ["process_start_time_seconds"], run: async (s) => { await s.run(); await s.sample(3); for (let i = 0; i < 5; i++) { await s.end("SIGKILL"); await s.run(); await s.sample(2); } const fires = await s.sample(1); await s.sample(45); return fires; } },
  ConvexSidecarStopped: { metrics: ["convex_sidecar_stopped"], run: async (s) => { await s.run(); await s.feed(1, "a"); await s.sample(3); s.setKey("convex-self-hosted|00"); await s.words("reload"); await s.feed(3, "b"); await until(async () => (await s.scrape()).get("convex_sidecar_stopped") === "1", "stopped"); const fires = await s.sample(8); s.setKey(A.admin_key); await s.words("reload"); await until(async () => (await s.scrape()).get("convex_sidecar_stopped") === "0", "it runs again"); await s.sample(6); return fires; } },
  ConvexSidecarKindStopped: { convex: B, metrics: ["convex_sidecar_kind_state"], run: async (s) => { await s.run(); await s.feed(2, "a"); await s.sample(3); await B.fault({ kind: "not_deployed", match: { kind: "codex_worker_summary" } }); await s.feed(3, "w", { kind: "codex_worker_summary" }); await until(async () => [...(await s.scrape())].some(([k, v]) => /codex_worker_summary.*stopped/.test(k) && v === "1"), "the kind is stopped"); return s.sample(8); }, after: async (s) => { await s.words("resume"); await until(async () => ![...(await s.scrape())].some(([k, v]) => /stopped/.test(k) && v !== "0"), "the kind runs"); await s.sample(6); } },
  ConvexSidecarPaused: { interval: 60, metrics: ["convex_sidecar_paused"], run: async (s) => { await s.run(); await s.sample(3); await s.words("pause"); const fires = await s.sample(36); await s.words("resume"); await s.sample(4); return fires; } },
  ConvexSidecarStoreFails: { metrics: ["convex_sidecar_store_ok"], run: async (s) => {
    await s.run(); await s.feed(5, "a"); await s.sample(3);
    await s.words("pause"); // what is delivered makes room
    const size = Number(spawnSync("stat", ["-c", "%s", join(s.dir, "data.mdb")], { encoding: "utf8" }).stdout);
    spawnSync("prlimit", ["--pid", String(s.process.pid), `--fsize=${size}:unlimited`]);
    let filling = true;
    const fill = (async () => { for (let n = 0; filling; n += 300) await s.feed(300, "big", { bytes: 3000, from: n % 900 }); })();
    await until(async () => (await s.scrape()).get("convex_sidecar_store_ok") === "0", "the store fails");
    const fires = await s.sample(10); // small commits find room now and then: it comes and goes
    spawnSync("prlimit", ["--pid", String(s.process.pid), "--fsize=unlimited:unlimited"]);
    filling = false; await fill;
    await s.words("resume");
    await s.sample(9);
    return fires;
  } },
  ConvexSidecarStoreFills: { convex: B, env: { CONVEX_SIDECAR_STORE_LIMIT_BYTES: "1048576" }, metrics: ["convex_sidecar_pending_bytes", "convex_sidecar_dead_letter_bytes", "convex_sidecar_store_limit_bytes"], run: async (s) => { await s.run(); await s.sample(3); await B.fault({ kind: "html502", match: { text: "_fills_" } }); await s.feed(280, "fills", { bytes: 3000 }); return s.sample(16); }, after: async (s) => { await s.words("resume"); await s.words("flush", "30000"); await s.sample(5); } },
  ConvexSidecarBehind: { convex: B, metrics: ["convex_sidecar_oldest_pending_age_seconds"], run: async (s) => { await s.run(); await s.sample(3); await B.fault({ kind: "html502", match: { text: "_behind_" } }); await s.feed(3, "behind"); return s.sample(72); }, after: async (s) => { await s.words("resume"); await s.words("flush", "30000"); await s.sample(4); } },
  ConvexSidecarDeadLetters: { convex: B, metrics: ["convex_sidecar_dead_letters"], run: async (s) => { await s.run(); await s.sample(3); await B.fault({ kind: "refuse_item", match: { document_id: "*bad*" } }); await s.feed(2, "bad"); await until(async () => { await s.feed(1, "well"); return (await s.scrape()).get("convex_sidecar_dead_letters") === "2"; }, "two dead letters", 60000); return s.sample(36); }, after: async (s) => { await s.words("dead", "retry", "--all"); await s.words("flush", "30000"); await s.sample(4); } },
  ConvexSidecarBusy: { env: { CONVEX_SIDECAR_STORE_QUEUE_REQUESTS: "16" }, metrics: ["convex_sidecar_requests_busy_total"], run: async (s) => {
    await s.run(); await s.sample(3);
    let flooding = true;
    const floods = Array.from({ length: 5 }, async (_, k) => { for (let n = 0; flooding; n += 1500) await s.feed(1500, `f${k}`, { from: n % 3000 }); });
    await until(async () => Number((await s.scrape()).get("convex_sidecar_requests_busy_total")) > 0, "somebody is told that it is busy");
    const fires = await s.sample(22);
    flooding = false; await Promise.all(floods);
    await s.sample(24);
    return fires;
  } },
  ConvexSidecarConvexSlow: { convex: B, metrics: ["convex_sidecar_call_seconds_bucket"], run: async (s) => { await s.run(); await s.feed(20, "a"); await s.sample(3); await B.fault({ kind: "late", ms: 6500, match: { text: "_slow_" } }); for (let i = 0; i < 6; i++) { await s.feed(8, "slow", { from: i * 8 }); await s.sample(6); } return s.rows.length - 1; }, after: async (s) => { for (let i = 0; i < 5; i++) { await s.feed(20, "c", { from: i * 20 }); await s.sample(6); } } },
  ConvexSidecarDiskSlow: { metrics: ["convex_sidecar_commit_seconds_bucket"], run: async (s) => {
    writeFileSync(join(dir, "slow.c"), '#include <poll.h>\n#include <sys/syscall.h>\n#include <unistd.h>\nint fdatasync(int fd) { poll(0, 0, 700); return (int)syscall(SYS_fdatasync, fd); }\n');
    const built = spawnSync("gcc", ["-shared", "-fPIC", "-o", join(dir, "slow.so"), join(dir, "slow.c")], { encoding: "utf8" });
    if (built.status !== 0) throw new Error(built.stderr);
    let feeding = true;
    const steadily = async () => { for (let n = 0; feeding; n++) { await s.feed(1, "d", { from: n }); await wait(300); } };
    await s.run(); const fed = steadily();
    await s.sample(4);
    await s.end("SIGKILL"); await s.run([], { LD_PRELOAD: join(dir, "slow.so") });
    const fires = await s.sample(36);
    await s.end("SIGKILL"); await s.run();
    await s.sample(26);
    feeding = false; await fed;
    return fires;
  } },
  ConvexSidecarNoNode: { metrics: ["convex_sidecar_peers"], run: async (s) => {
    const node = `${s.name}_${process.pid}@127.0.0.1`;
    const beam = async () => { const p = start("erl", ["-noshell", "-hidden", "-name", `${s.name}_beam_${process.pid}@127.0.0.1`, "-setcookie", "record", "-eval", `pong = net_adm:ping('${node}'), timer:sleep(infinity).`], { stdio: "ignore", env: base }); await until(async () => (await s.scrape()).get("convex_sidecar_peers") === "1", "a node is connected"); return p; };
    await s.run();
    const first = await beam(); await s.sample(3); first.kill("SIGKILL");
    await until(async () => (await s.scrape()).get("convex_sidecar_peers") === "0", "it is gone");
    const fires = await s.sample(14);
    const second = await beam(); await s.sample(4); second.kill("SIGKILL");
    return fires;
  } },
  ConvexSidecarDrift: { convex: D, metrics: ["convex_sidecar_audit_findings"], run: async (s) => { await s.run(); await s.feed(4, "a"); await s.words("flush"); await s.words("audit"); await s.sample(3); await D.wipe(); await s.words("audit", "--repair", "--yes"); const fires = await s.sample(4); await s.feed(4, "a"); await s.words("flush"); await s.words("audit"); await s.sample(3); return fires; } },
};

// ---- promtool's words
/** "1 1 1 2" as "1x2 2". */
function values(list) {
  const parts = [];
  for (let i = 0, n; i < list.length; i += n) { for (n = 1; list[i + n] === list[i]; n++); parts.push(n > 1 ? `${list[i]}x${list[i] === "_" ? n : n - 1}` : list[i]); }
  return parts.join(" ");
}
function asTest(alert, s, fires, interval) {
  const keys = [...new Set(s.rows.flatMap((row) => [...row.keys()]))].filter((k) => s.wanted.some((w) => k === w || k.startsWith(`${w}{`))).sort();
  const series = keys.map((k) => { const [, name, labels] = /^([a-z_]+)(?:\{(.*)\})?$/.exec(k); return `      - {series: '${name}{job="convex_sidecar",instance="recorded"${labels ? `,${labels}` : ""}}', values: '${values(s.rows.map((row) => row.get(k) ?? "_"))}'}`; });
  const look = (at, samples) => `      - {eval_time: ${at * interval}s, expr: 'count(ALERTS{alertname="${alert}",alertstate="firing"}) by (alertname)', exp_samples: ${samples}}`;
  return [`  # ${alert}`, `  - interval: ${interval}s`, "    input_series:", ...series, "    promql_expr_test:", look(1, "[]"), look(fires, `[{labels: '{alertname="${alert}"}', value: 1}]`), look(s.rows.length - 1, "[]")].join("\n");
}

const asked = process.argv.slice(2), names = asked.length ? asked : Object.keys(scenarios), tests = new Map();
const known = [...readFileSync(join(root, "priv/monitoring/alerts.yaml"), "utf8").matchAll(/- alert: (\w+)/g)].map((m) => m[1]);
for (const name of known) if (!scenarios[name]) { console.error(`record.mjs: there is no fault for ${name}`); process.exitCode = 1; }

const faulty = [];
const results = await Promise.allSettled(names.map(async (alert) => {
  const { convex = A, env, metrics, run, after, interval = 30 } = scenarios[alert];
  const s = new Side(alert.replace("ConvexSidecar", "").toLowerCase(), convex, { env, metrics });
  const fires = await run(s);
  if (after) faulty.push({ s, after, alert }); // the stand-in's faults go together, when all have fired
  tests.set(alert, { s, fires, interval });
}));
await B.mend();
const afters = await Promise.allSettled(faulty.map(({ s, after }) => after(s)));
[...results.map((r, i) => [names[i], r]), ...afters.map((r, i) => [faulty[i].alert, r])].forEach(([name, r]) => { if (r.status === "rejected") { console.error(`record.mjs: ${name}: ${r.reason.stack}`); process.exitCode = 1; } });
if (!process.exitCode) {
  const text = ["# What a real sidecar exported in the fault of each alert and after it, a sample a second, told to promtool as one each half minute", "# (minute): test/monitoring/record.mjs writes this file.  Each alert is out before, fires in its fault, and clears after it.", "rule_files: [alerts.yaml]", "evaluation_interval: 30s", "tests:", ...names.map((alert) => { const { s, fires, interval } = tests.get(alert); return asTest(alert, s, fires, interval); }), ""].join("\n");
  const file = asked.length ? join(root, "priv/monitoring/.record.yaml") : target;
  writeFileSync(file, text);
  const tried = spawnSync("promtool", ["test", "rules", file], { encoding: "utf8" });
  console.log(tried.stdout + tried.stderr);
  if (asked.length) { console.log(text); rmSync(file); }
  process.exitCode = tried.status;
}
process.exit();
