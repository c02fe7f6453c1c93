// The subscriber of test/bench/subscriber.exs: a ConvexClient signed in as user 42 that watches the given documents. It
// prints "ready" once it sees them all. Then, for each file of stamps (lines of "document seq microseconds") named on
// standard input, it prints their latency to the POST (the stand-in's history) and to this client.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import WebSocket from "ws";
import { standin, until } from "./checks.mjs";

const { info, control, token } = standin(), watched = process.argv.slice(2);
const now = () => Number(process.hrtime.bigint() / 1000n);
const client = new ConvexClient(info.url, { webSocketConstructor: WebSocket, logger: false, unsavedChangesWarning: false });
client.setAuth(() => token({ sub: "42" }));
const seen = new Map(watched.map((id) => [id, []])); // [seq, when], rising
for (const document_id of watched) client.onUpdate(api.summaries.getRun, { document_id }, (run) => { if (run) seen.get(document_id).push([run.latest_seq, now()]); });
const PATIENCE_MS = 300000; // a late update is measured, not given up
if (!(await until(() => [...seen.values()].every((s) => s.length > 0), PATIENCE_MS))) process.exit(1);
console.log("ready");

const percentile = (times, p) => times.sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * p))];
/** For each stamp, the time until the first of its document's `events` that includes it. */
function delays(stamps, events) {
  const at = new Map();
  const out = [];
  for (const [id, seq, us] of stamps) {
    const all = events.get(id);
    if (!all) continue;
    let i = at.get(id) ?? 0;
    while (i < all.length && all[i][0] < seq) i++;
    at.set(id, i);
    if (i < all.length) out.push(all[i][1] - us);
  }
  return out;
}

let before = (await control("GET", "history")).length;
for await (const file of createInterface({ input: process.stdin })) {
  const stamps = readFileSync(file, "utf8").trim().split("\n").map((line) => { const [id, seq, us] = line.split(" "); return [id, Number(seq), Number(us)]; });
  const last = new Map(stamps.map(([id, seq]) => [id, seq]));
  const complete = await until(() => watched.every((id) => !last.has(id) || seen.get(id).at(-1)[0] >= last.get(id)), PATIENCE_MS);
  const written = await control("GET", `history?after=${before}`), posts = new Map();
  before += written.length;
  for (const { document_id, seq, arrived_us } of written) { if (!posts.has(document_id)) posts.set(document_id, []); posts.get(document_id).push([seq, arrived_us]); }
  const post = delays(stamps, posts), mine = delays(stamps, seen);
  if (!complete || post.length !== stamps.length) { console.error("subscriber.mjs: not everything arrived"); process.exit(1); }
  console.log(`post_p50=${percentile(post, 0.5)} post_p99=${percentile(post, 0.99)} seen_p50=${percentile(mine, 0.5)} seen_p99=${percentile(mine, 0.99)} seen=${mine.length} writes=${written.length}`);
}
process.exit(0);
