// read.mjs [KIND...]: prints every document of these kinds, or of all in priv/kinds.ini, as ConvexHttpClient reads it, a
// line each: id, a tab, the canonical JSON (int64 as {"$integer"}). For tests without a JSON parser.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference as ref } from "convex/server";
import { convexToJson } from "convex/values";

const info = JSON.parse(readFileSync(join(process.env.STANDIN_STATE, "ready.json")));
const client = new ConvexHttpClient(info.url, { logger: false });
client.setAdminAuth(info.admin_key);
const canonical = (v) => Array.isArray(v) ? `[${v.map(canonical)}]` : v !== null && typeof v === "object" ? `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${canonical(v[k])}`)}}` : JSON.stringify(v);
const ours = Array.from(readFileSync(new URL("../../priv/kinds.ini", import.meta.url), "utf8").matchAll(/^\[kind\.(\w+)\]/gm), (m) => m[1]);
for (const kind of process.argv.length > 2 ? process.argv.slice(2) : ours) {
  for (let cursor = null, done = false; !done; ) {
    const page = await client.query(ref("runtime:listProjections"), { kind, paginationOpts: { numItems: 500, cursor } });
    for (const row of page.page) if (row.summary !== null) console.log(`${row.document_id}\t${canonical(convexToJson(row.summary))}`);
    [cursor, done] = [page.continueCursor, page.isDone];
  }
}
