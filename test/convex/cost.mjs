// What an update costs in Convex: its bytes by part (document, indexes, log) for the bench's document
// (Bench.Source, test/bench/kit.exs) as the sidecar sends it, with the functions of 0.1 and with the current ones, and
// how many updates a second a deployment can take with each. Prints the table, then "N passed, N failed".
//
//   tools/with-standin node test/convex/cost.mjs [RUN_ID]
import { createHash } from "node:crypto";
import { anyApi as api } from "convex/server";
import { counter, standin } from "./checks.mjs";

const { eq, finish } = counter();
const { control, admin } = standin();
const id = process.argv[2] ?? "run_123456789", document_id = `runtime/run_summary:${id}`;

const sorted = (value) => (value !== null && typeof value === "object" ? Object.fromEntries(Object.keys(value).sort().map((k) => [k, sorted(value[k])])) : value);
const hashOf = ({ projected_at, ...content }) => createHash("sha256").update(JSON.stringify(sorted(content))).digest("hex");

/** Version `seq` of the document; one a second. */
function item(seq) {
  const at = new Date(1771531200123 + seq * 1000).toISOString().replace("Z", "456Z");
  const summary = {
    document_id, kind: "run_summary", event_count: seq, latest_event_at: at, latest_event_type: "run.delta", latest_seq: seq,
    owner_guest_scope: null, owner_user_id: 42, projected_at: at, projection_version: "convex_summary_v1",
    run_id: id, runtime_source: { entity: "run", run_id: id, seq }, status: "running", terminal_at: null, terminal_reason: null,
    terminal_reason_class: null, thread_id: `thread_${id}`, updated_at: at,
  };
  const hash = hashOf(summary);
  return { kind: "run_summary", document_id, seq, content_hash: hash, summary: { ...summary, projection_hash: hash } };
}
const put = async (seq) => (await admin.mutation(api.runtime.upsertBatch, { items: [item(seq)] })).results[0].outcome;
const bytes = async () => (await control("GET", "stats")).bytes;

/** An update's bytes by part, with the functions of a version, which store all hashes or derive them. */
async function update(functions, derive_hashes) {
  await control("POST", "reset");
  await control("POST", "config", { derive_hashes });
  await control("POST", "deploy", { functions });
  eq(`functions ${functions}: the first version`, await put(1), "inserted");
  const before = await bytes();
  eq(`functions ${functions}: the second`, await put(2), "updated");
  const after = await bytes();
  const read = (await admin.query(api.runtime.listProjections, { kind: "run_summary", paginationOpts: { numItems: 1, cursor: null } })).page[0].summary;
  eq(`functions ${functions}: it is read as it was written`, sorted(read), sorted(item(2).summary));
  const parts = Object.fromEntries(Object.keys(after).map((part) => [part, after[part] - before[part]]));
  return { ...parts, all: parts.document + parts.indexes + parts.log };
}

const rate = (limit, { all }) => Math.floor(limit / all).toLocaleString("en");
console.log("| functions | document | indexes | log | an update | updates/s at 4 MiB/s | at 1 MiB/s |\n| --- | --- | --- | --- | --- | --- | --- |");
const costs = {};
for (const [name, version, derives] of [["of 0.1", 1, false], ["today's", 2, false], ["and OPENAGENTS_DERIVE_HASHES=1", 2, true]]) {
  const b = (costs[name] = await update(version, derives));
  console.log(`| ${name} | ${b.document} | ${b.indexes} | ${b.log} | ${b.all.toLocaleString("en")} | ${rate(4 << 20, b)} | ${rate(1 << 20, b)} |`);
}
eq("deriving hashes, an update costs less than with the functions of 0.1", costs["and OPENAGENTS_DERIVE_HASHES=1"].all < costs["of 0.1"].all, true);
finish();
