// What viewers of the status page cost the sidecar: processor time and memory while nobody looks, one does, and fifty do.
// Each asks as the page does: /status every two seconds, /history every ten, on a connection of its own.
//
//   node test/bench/viewers.mjs [SECONDS]        (20 for each; needs epmd, and priv/convex_sidecar built)
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const seconds = Number(process.argv[2] ?? 20), program = fileURLToPath(new URL("../../priv/convex_sidecar", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "viewers-"));
const port = await new Promise((resolve) => { const s = createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => resolve(port)); }); });
const env = { ...process.env, ERL_EPMD_PORT: String(port), CONVEX_SIDECAR_NODE_NAME: `viewers_${process.pid}@127.0.0.1`, CONVEX_SIDECAR_NODE_COOKIE: "viewers", CONVEX_SIDECAR_STORE_DIR: join(dir, "store"), CONVEX_SIDECAR_OBSERVE_PORT: "-1", CONVEX_SIDECAR_OBSERVE_DETAILS: "on" };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const epmd = spawn("epmd", ["-address", "127.0.0.1", "-port", String(port)], { stdio: "ignore" });
while (spawnSync("epmd", ["-port", String(port), "-names"]).status !== 0) await wait(20);
const sidecar = spawn(program, ["run"], { env, stdio: ["ignore", "pipe", "ignore"] });
const url = await new Promise((resolve) => { let said = ""; sidecar.stdout.on("data", (chunk) => { said += chunk; const m = /observe_port=(\d+)/.exec(said); if (m) resolve(`http://127.0.0.1:${m[1]}`); }); });

const ticks = () => { const f = readFileSync(`/proc/${sidecar.pid}/stat`, "utf8").split(") ")[1].split(" "); return (Number(f[11]) + Number(f[12])) * 10; };
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${sidecar.pid}/status`, "utf8"))[1]);
let failed = 0;
const ask = (agent, path) => new Promise((resolve) => { get(url + path, { agent }, (r) => { r.resume(); r.on("end", resolve); }).on("error", () => { failed++; resolve(); }); });

async function look(over, start) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await wait(start);
  for (let turn = 0; !over.is; turn++) {
    await ask(agent, "/status");
    if (turn % 5 === 0) await ask(agent, "/history");
    for (let i = 0; i < 20 && !over.is; i++) await wait(100);
  }
  agent.destroy();
}

console.log(`viewers  processor time of ${seconds} s  of one core  resident`);
for (const viewers of [0, 1, 50]) {
  const over = { is: false }, all = Array.from({ length: viewers }, (_, i) => look(over, (2000 * i) / Math.max(viewers, 1)));
  await wait(3000);
  const before = ticks();
  await wait(seconds * 1000);
  const ms = ticks() - before;
  console.log(`${String(viewers).padStart(7)}  ${`${ms} ms`.padStart(25)}  ${`${((ms / seconds) / 10).toFixed(2)} %`.padStart(11)}  ${`${(resident() / 1024).toFixed(1)} MiB`.padStart(8)}`);
  over.is = true;
  await Promise.all(all);
}
if (failed) console.log(`${failed} questions were not answered: their connection gave way to another, and the next one was`);
sidecar.kill("SIGTERM");
await new Promise((resolve) => sidecar.on("close", resolve));
epmd.kill();
rmSync(dir, { recursive: true, force: true });
