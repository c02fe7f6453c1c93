// readback.mjs HISTORY [SUMMARY]: reads every document back with ConvexHttpClient and compares it, field
// by field, with the event history; the expected document and its hash are made here, independently of
// the sidecar's code. Prints a table; exits with 1 if a document differs, is missing, or is unexpected.
//
// HISTORY: JSON lines {"kind","id","row":{...},"events":[{"seq","event_type","inserted_at"}, ...]}
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference as ref } from "convex/server";

const [historyFile, summaryFile] = process.argv.slice(2);
const info = JSON.parse(readFileSync(join(process.env.STANDIN_STATE, "ready.json")));
// The fields of a kind come from priv/kinds.ini; the rules for building it are implemented here again.
const KINDS = {};
for (const line of readFileSync(new URL("../../priv/kinds.ini", import.meta.url), "utf8").split("\n")) {
  const [, kind, key, value] = line.match(/^\[kind\.(\w+)\]|^(\w+) = (.*)/) ?? [];
  if (kind) KINDS[kind] = {};
  else if (key) Object.values(KINDS).at(-1)[key] = value;
}

export function expected({ kind, id, row, events }, version = "convex_summary_v1") {
  const k = KINDS[kind], last = events.at(-1), seq = last?.seq ?? row.latest_seq ?? 0;
  const doc = { document_id: k.prefix + id, kind, [k.id_field]: id };
  for (const field of k.fields.split(/\s+/)) {
    const [name, type] = field.split(":");
    doc[name] = row[name] ?? (type === "map" ? {} : null);
  }
  return { ...doc, latest_seq: seq, event_count: events.length, latest_event_type: last?.event_type ?? null, latest_event_at: last?.inserted_at ?? null, runtime_source: { entity: k.entity, [k.id_field]: id, seq }, projection_version: version };
}
const canonical = (v) => Array.isArray(v) ? `[${v.map(canonical)}]` : v !== null && typeof v === "object" ? `{${Object.keys(v).sort().map((key) => `${JSON.stringify(key)}:${canonical(v[key])}`)}}` : JSON.stringify(v);
const hash = (doc) => createHash("sha256").update(canonical(doc)).digest("hex");

const admin = new ConvexHttpClient(info.url, { logger: false });
admin.setAdminAuth(info.admin_key);
const standing = new Map();
for (const kind of Object.keys(KINDS)) {
  for (let cursor = null, done = false; !done; ) {
    const page = await admin.query(ref("runtime:listProjections"), { kind, paginationOpts: { numItems: 500, cursor } });
    for (const row of page.page) if (row.summary !== null) standing.set(row.document_id, row.summary);
    [cursor, done] = [page.continueCursor, page.isDone];
  }
}
const history = readFileSync(historyFile, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
let lost = 0, differing = 0;
for (const entity of history) {
  const want = expected(entity), got = standing.get(want.document_id);
  standing.delete(want.document_id);
  if (got === undefined) { lost++; console.log(`  lost: ${want.document_id}`); continue; }
  const { projected_at, projection_hash, ...rest } = got;
  const wrong = [...new Set([...Object.keys(want), ...Object.keys(rest)])].filter((f) => canonical(want[f]) !== canonical(rest[f]));
  if (projection_hash !== hash(want)) wrong.push("projection_hash");
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(projected_at)) wrong.push("projected_at");
  if (wrong.length) { differing++; console.log(`  differs: ${want.document_id}: ${wrong.map((f) => `${f} ${JSON.stringify(got[f])}, the log says ${JSON.stringify(want[f])}`).join("; ")}`); }
}
for (const id of standing.keys()) console.log(`  never sent: ${id}`);

const stats = await fetch(`${info.url}/__standin/stats`).then((r) => r.json());
const facts = summaryFile ? JSON.parse(readFileSync(summaryFile)) : {};
const events = history.reduce((n, h) => n + h.events.length, 0);
const rows = [["runs", facts.runs ?? history.length], ["events", events], ["documents", history.length], ["writes sent", stats.documentsWritten], ["writes saved by coalescing", events - stats.documentsWritten], ["HTTP calls", stats.requests], ["differing from the log", differing], ["lost", lost]];
console.log("");
for (const [what, n] of rows) console.log(`  ${what.padEnd(28)}${String(n).padStart(8)}`);
process.exit(lost || differing || standing.size ? 1 : 0);
