// Checks the deployed functions (../../priv/convex) against docs/CONVEX.md: the guard, tombstones, resets,
// hashes, and who may read what. Drives a running stand-in with ConvexHttpClient.
import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference as ref } from "convex/server";

const info = JSON.parse(readFileSync(new URL(`${process.env.STANDIN_STATE ?? ".state"}/ready.json`, import.meta.url)));
const client = (auth) => new ConvexHttpClient(info.url, { logger: false, ...(auth ? { auth } : {}) });
const admin = client();
admin.setAdminAuth(info.admin_key);
const control = (method, path, body) =>
  fetch(`${info.url}/__standin/${path}`, { method, body: body && JSON.stringify(body) }).then((r) => r.json());
const token = async (claims, provider = "jwt") => (await control("POST", provider, claims)).token;

let passed = 0, failed = 0;
const eq = (name, got, want) => {
  if (JSON.stringify(got) === JSON.stringify(want)) return void passed++;
  failed++;
  console.log(`FAIL ${name}\n  got  ${JSON.stringify(got)}\n  want ${JSON.stringify(want)}`);
};
const refused = async (name, promise, pattern) => {
  try { eq(name, await promise, "an error"); } catch (e) {
    const text = `${e.message} ${JSON.stringify(e.data ?? null)}`;
    if (pattern.test(text)) passed++; else { failed++; console.log(`FAIL ${name}\n  got  ${text}\n  want ${pattern}`); }
  }
};

await control("POST", "reset");
const at = (s) => `2026-02-19T20:00:${String(s).padStart(2, "0")}.000000Z`;
const doc = (seq, s, more = {}) => ({ kind: "run_summary", document_id: "d", seq, content_hash: `h${seq}.${s}`, summary: { seq, projected_at: at(s), ...more } });
const put = async (item) => (await admin.mutation(ref("runtime:upsertBatch"), { items: [item] })).results[0].outcome;
const stands = async () => (await admin.query(ref("runtime:listProjections"), { kind: "run_summary", paginationOpts: { numItems: 10, cursor: null } })).page.map((r) => r.summary?.seq ?? null);

// ---- the guard
eq("first", await put(doc(1, 1)), "inserted");
eq("again", await put(doc(1, 1)), "unchanged");
eq("same content projected later is not written", await put({ ...doc(1, 2), content_hash: "h1.1" }), "unchanged");
eq("content that its hash does not promise is replaced", await put({ ...doc(1, 2, { altered: true }), content_hash: "h1.1" }), "updated");
eq("and by the true content again", await put({ ...doc(1, 2), content_hash: "h1.1" }), "updated");
eq("an altered owner, too", await put({ ...doc(1, 2, { owner_user_id: 7 }), content_hash: "h1.1" }), "updated");
eq("newer", await put(doc(3, 3)), "updated");
eq("older seq", await put(doc(2, 4)), "stale");
eq("same seq, projected later", await put(doc(3, 5)), "updated");
eq("same seq, projected earlier", await put(doc(3, 4)), "stale");
eq("other precision sorts as time", await put({ ...doc(3, 5), content_hash: "x", summary: { seq: 3, projected_at: "2026-02-19T20:00:05Z" } }), "updated");
eq("offsets sort as time", await put({ ...doc(3, 5), content_hash: "y", summary: { seq: 3, projected_at: "2026-02-19T21:00:04.9+01:00" } }), "stale");

const version = (s, row_version) => ({ ...doc(3, s, { runtime_source: { seq: 3, row_version } }), content_hash: `v${row_version}` });
eq("same seq, versions of the row", [await put(version(9, 1)), await put(version(6, 2)), await put(version(8, 1)), await put(version(5, 2))], ["updated", "updated", "stale", "unchanged"]);
eq("the same version of the row, by time", [await put({ ...version(5, 2), content_hash: "z" }), await put({ ...version(7, 2), content_hash: "z" })], ["stale", "updated"]);

// ---- reset: history was corrected, a lower seq must be stored, and no late call may undo it
eq("reset goes below", await put({ ...doc(2, 10), reset: true }), "updated");
eq("a late write from before the reset", await put(doc(9, 9)), "stale");
eq("the reset again", await put({ ...doc(2, 10), reset: true }), "unchanged");
eq("on from the reset", await put(doc(3, 11)), "updated");
eq("what stands", await stands(), [3]);

// ---- removal leaves a tombstone
const remove = (s) => admin.mutation(ref("runtime:remove"), { kind: "run_summary", document_id: "d", projected_at: at(s) }).then((r) => r.outcome);
eq("removing what is newer", await remove(10), "stale");
eq("remove", await remove(20), "removed");
eq("remove again", await remove(20), "unchanged");
eq("a late write does not resurrect", await put(doc(99, 19)), "stale");
eq("gone", await stands(), [null]);
eq("digests leave tombstones out", await admin.query(ref("runtime:listDigests"), { kind: "run_summary" }), { digests: [], next: null });
eq("projected anew, from a lower seq", await put(doc(1, 21)), "updated");
eq("and on", await put(doc(2, 22)), "updated");
eq("still nothing from before", await put(doc(99, 19)), "stale");
eq("removing what was never there", (await admin.mutation(ref("runtime:upsertBatch"), { items: [{ kind: "run_summary", op: "remove", document_id: "ghost", projected_at: at(30) }] })).results[0].outcome, "removed");
eq("its late write", await put({ ...doc(1, 29), document_id: "ghost" }), "stale");

// ---- a limit of the whole transaction (16 MiB read, each row twice) is not an item's fault
const batch = (items) => admin.mutation(ref("runtime:upsertBatch"), { items });
const rows = (kind, n, seq, bytes, from = 0) => Array.from({ length: n }, (_, i) => ({ kind, document_id: `${kind}${from + i}`, seq, projected_at: at(seq), summary: { seq, text: "x".repeat(bytes) } }));
const pages = async (kind, limit) => { const all = []; let after = null; do { const page = await admin.query(ref("runtime:listDigests"), { kind, limit, after }); all.push(page.digests); after = page.next; } while (after !== null); return all; };
const seqs = async (kind) => (await pages(kind)).flat().map((d) => d.seq);
await control("POST", "config", { MAX_BYTES_WRITTEN_PER_SECOND: 1 << 30 });
for (let i = 0; i < 24; i += 8) await batch(rows("large", 8, 1, 450_000, i));
const tooMuch = /Uncaught Error: Too many bytes read in a single function execution/;
await refused("small versions of 24 large rows at once", batch(rows("large", 24, 2, 1)), tooMuch);
eq("nothing of it was written", await seqs("large"), Array(24).fill(1));
eq("a page is 2 MiB of rows", (await pages("large")).map((p) => p.length), [5, 5, 5, 5, 4]);
const removals = rows("large", 24, 2, 0).map(({ summary: _, ...item }) => ({ ...item, op: "remove" }));
await refused("their removal at once", batch(removals), tooMuch);
eq("half of them", (await batch(rows("large", 12, 2, 1))).results.filter((r) => r.outcome === "updated").length, 12);
eq("half the removals", (await batch(removals.slice(12))).results.filter((r) => r.outcome === "removed").length, 12);
await refused("more than 4,096 ranges", batch(rows("ranges", 4100, 1, 1)), /Uncaught Error: Too many reads in a single function execution/);
const mixed = (await batch([...rows("fits", 1, 1, 1), ...rows("huge", 1, 1, 1 << 20), ...rows("fits", 1, 1, 1, 1)])).results;
eq("an item too large by itself is still its own fault", mixed.map((r) => r.outcome), ["inserted", "rejected", "inserted"]);
await control("POST", "config", { MAX_BYTES_WRITTEN_PER_SECOND: 4 << 20 });

// ---- one document a call, as the runtime's HttpSink sends it: guarded by the summary's own fields
const single = (summary) => admin.mutation(ref("runtime:upsertRunSummary"), { document_id: "s", summary }).then((r) => r.outcome);
const plain = (seq, s) => ({ runtime_source: { entity: "run", run_id: "s", seq }, projected_at: at(s), projection_hash: `${seq}` });
eq("single", await single(plain(5, 1)), "inserted");
eq("single, older", await single(plain(4, 2)), "stale");
eq("single, again", await single(plain(5, 3)), "unchanged");
await refused("an invalid seq", single({ ...plain(1.5, 1) }), /BAD_SEQ/);
await refused("an invalid time", single({ ...plain(6, 1), projected_at: "yesterday" }), /BAD_PROJECTED_AT/);

// ---- hashes recomputed in Convex: canonical JSON, int64, keys in UTF-16 order
const body = { b: 1, a: [1.5, null, true, "ü\n\u0001"], "": {}, big: 9007199254740993n, projected_at: at(1), projection_hash: "left out" };
const canonical = `{"":{},"a":[1.5,null,true,"ü\\n\\u0001"],"b":1,"big":{"$integer":"AQAAAAAAIAA="}}`;
const hash = createHash("sha256").update(canonical).digest("hex");
await admin.mutation(ref("runtime:upsertBatch"), { items: [{ kind: "hashes", document_id: "h", seq: 1, content_hash: hash, summary: body }] });
const digests = (args) => admin.query(ref("runtime:listDigests"), { kind: "hashes", verify: true, ...args });
const key = (s) => `${String(Date.parse(at(s)) / 1000).padStart(12, "0")}.000000000`;
const digest = { actual_hash: hash, content_hash: hash, document_id: "h", intact: true, projected_at: key(1), seq: 1 };
eq("verify", (await digests()).digests, [digest]);

// ---- the audit's second comparison: only the given ids, with tombstones and edited rows
await admin.mutation(ref("runtime:upsertBatch"), { items: [{ kind: "hashes", op: "remove", document_id: "gone", projected_at: at(9) }] });
eq("by id, in their order", await digests({ document_ids: ["never", "h", "gone"] }), { digests: [digest, { content_hash: null, document_id: "gone", projected_at: key(9), removed: true, seq: 0 }], next: null });
eq("by id, in parts", await digests({ document_ids: ["h", "gone"], limit: 1 }), { digests: [digest], next: "h" });
await refused("by too many ids", digests({ document_ids: Array(201).fill("h") }), /TOO_MANY_IDS/);
const tamper = (patch) => admin.mutation(ref("diag:tamper"), { kind: "hashes", document_id: "h", patch });
const look = async () => { const { actual_hash, intact } = (await digests({ document_ids: ["h"] })).digests[0]; return [actual_hash === hash, intact]; };
const mend = async (s) => (await admin.mutation(ref("runtime:upsertBatch"), { items: [{ kind: "hashes", document_id: "h", seq: 1, content_hash: hash, reset: true, summary: { ...body, projected_at: at(s) } }] })).results[0].outcome;
await tamper({ summary: { b: 2 } });
eq("an edited field shows", await look(), [false, true]);
eq("a reset puts it right", [await mend(2), await look()], ["updated", [true, true]]);
for (const patch of [{ owner: "user:666" }, { projected_at: key(1) }, { summary: { projected_at: at(40) } }]) {
  await tamper(patch);
  eq(`an edit of ${Object.keys(patch)[0]} alone shows`, await look(), [true, false]);
  eq("a reset puts that right", [await mend(3), await look()], ["updated", [true, true]]);
}
eq("the same reset again writes nothing", await mend(3), "unchanged");

// ---- a fault that is not an item's fails the call; an item's is reported beside the other results
const standing = async (kind) => (await control("GET", "docs?all")).filter((row) => row.kind === kind);
const refusing = async (what, fault, work) => { await control("POST", "faults", fault); try { await work(); } finally { await control("DELETE", "faults"); } };
await refusing("an index", { kind: "index_building" }, () =>
  refused("an index that is being built", batch(rows("faults", 2, 1, 1)), /Uncaught Error: Index runtime_projections.by_kind_document_id is currently backfilling/));
await refusing("a text that is not on the list", { kind: "refuse_item", message: "Something new went wrong", match: { document_id: "faults1" } }, () =>
  refused("a fault that is not known", batch(rows("faults", 2, 1, 1)), /Uncaught Error: Something new went wrong/));
await refusing("the schema", { kind: "refuse_item", match: { document_id: "faults1" } }, async () =>
  eq("against the schema", (await batch(rows("faults", 3, 1, 1))).results.map((r) => r.error ?? r.outcome), ["inserted", 'Failed to insert or update a document in table "runtime_projections" because it does not match the schema: this document is refused', "inserted"]));
const deep = JSON.parse(`${"[".repeat(16)}1${"]".repeat(16)}`);
const bad = (await batch([{ ...rows("faults", 1, 1, 1)[0], summary: { deep } }, { kind: "faults", document_id: "no-summary" }, { kind: "faults", document_id: "no-seq", seq: 1.5, summary: {} }, { kind: "faults", document_id: "no-time", projected_at: "now", summary: {} }, { kind: "_faults", document_id: "reserved", summary: {} }, { kind: "_sidecar", op: "remove", document_id: "deployment", projected_at: at(1) }])).results;
eq("faults of items", bad.map((r) => r.outcome === "rejected" && /too nested|[A-Z]+_[A-Z_]+/.exec(r.error)[0]), ["too nested", "BAD_SUMMARY", "BAD_SEQ", "BAD_PROJECTED_AT", "RESERVED_KIND", "RESERVED_KIND"]);

// ---- attach: the version, the deployment's id, the mark
const store = "0123456789abcdef0123456789abcdef", other = store.replace("0", "f");
const attach = (more) => admin.mutation(ref("runtime:attach"), { store, propose: "first", ...more });
const controls = ["runtime:upsertRunSummary", "runtime:upsertCodexWorkerSummary"];
eq("the first attach names the deployment", await attach(), { controls, deployment: "first", functions: 2, mark: null });
eq("the next one does not", await attach({ propose: "second" }), { controls, deployment: "first", functions: 2, mark: null });
const marks = async (...raises) => { const seen = []; for (const [from, to] of raises) seen.push((await attach({ raise: { from, to } })).mark); return seen; };
eq("a raise is a comparison", await marks([3, 4], [null, 1], [null, 5], [1, 2], [1, 2], [1, 3]), [null, 1, 1, 2, 2, 2]);
eq("a mark is of its store", (await attach({ store: other })).mark, null);
await refused("a store that is none", attach({ store: "deployment" }), /BAD_STORE/);

// ---- a numbered call gets its number back; one without gets the answer of version 1
const call = 2 ** 53 - 1;
eq("a batch", await admin.mutation(ref("runtime:upsertBatch"), { items: rows("calls", 1, 1, 1), call, store, raise: { from: 2, to: 7 } }), { call, deployment: "first", functions: 2, mark: 7, results: [{ outcome: "inserted", seq: 1 }] });
eq("one document", await admin.mutation(ref("runtime:upsertRunSummary"), { document_id: "c", summary: plain(1, 1), call, store }), { call, deployment: "first", functions: 2, mark: 7, outcome: "inserted", seq: 1 });
eq("a removal", await admin.mutation(ref("runtime:remove"), { kind: "run_summary", document_id: "c", projected_at: at(9), call, store: other }), { call, deployment: "first", functions: 2, mark: null, outcome: "removed", seq: 1 });
eq("without a number", [await batch(rows("calls", 1, 1, 1)), await admin.mutation(ref("runtime:upsertRunSummary"), { document_id: "e", summary: plain(1, 1) })], [{ results: [{ outcome: "unchanged", seq: 1 }] }, { outcome: "inserted", seq: 1 }]);

// ---- controls are written each time, and no client can read them
const controlItem = (s) => ({ kind: "_control", document_id: store, projected_at: at(s), summary: { kind: "run_summary" } });
const controlled = async (s) => (await batch([controlItem(s)])).results[0].outcome;
eq("controls in a batch", [await controlled(1), await controlled(2)], ["inserted", "updated"]);
const { kind: _kind, ...asOne } = controlItem(3);
eq("by the kind's own mutation", (await admin.mutation(ref("runtime:upsertRunSummary"), { ...asOne, control: true })).outcome, "updated");
eq("one of an earlier time is written, too: the clock was put back", await controlled(1), "updated");
eq("one row", (await standing("_control")).map((row) => [row.document_id, row.summary.kind]), [[store, "run_summary"]]);
eq("among no documents", (await control("GET", "docs")).filter((row) => row.kind.startsWith("_")), []);

// ---- lists: the last changed first, by the log's own times, whatever the order of delivery
const listed = async () => (await client(await token({ sub: "77" })).query(ref("summaries:listRuns"), { paginationOpts: { numItems: 10, cursor: null } })).page.map((s) => s.id);
const dated = (id, changed, more) => ({ kind: "run_summary", document_id: id, seq: 1, content_hash: `${id}${changed}`, summary: { id, owner_user_id: 77, projected_at: at(50), latest_event_at: at(changed), ...more } });
await batch([dated("second", 2), dated("first", 3), dated("third", 1)]);
eq("by the last event", await listed(), ["first", "second", "third"]);
await batch([{ ...dated("third", 1, { updated_at: at(4), projected_at: at(51) }), content_hash: "third4" }]);
eq("or the last update, if it is later", await listed(), ["third", "first", "second"]);
eq("in ms, with a fraction", (await put({ ...dated("fine", 5), summary: { owner_user_id: 78, projected_at: at(50), latest_event_at: "2026-02-19T20:00:05.123456Z" } })) && (await standing("run_summary")).find((row) => row.document_id === "fine").updated_at_ms, Date.parse(at(5)) + 123.456);
eq("the same once more", await put(dated("first", 3)), "unchanged");

// ---- a hash is stored once
const hashes = async (id) => { const row = (await standing("run_summary")).find((r) => r.document_id === id); return [row.content_hash ?? null, row.summary.projection_hash ?? null]; };
const once = (id, content_hash, projection_hash) => put({ kind: "run_summary", document_id: id, seq: 1, content_hash, summary: { projected_at: at(1), ...(projection_hash && { projection_hash }) } });
await once("h1", "same", "same"), await once("h2", "beside"), await once("h3", "another", "own");
eq("only where the summary does not have it", [await hashes("h1"), await hashes("h2"), await hashes("h3")], [[null, "same"], ["beside", null], ["another", "own"]]);
// one that can be derived is stored unchanged, or as null if the deployment says so; either way it is read as written
const following = (s) => { const rest = { owner_user_id: 81, run_id: "f" }; const projection_hash = createHash("sha256").update(JSON.stringify(rest)).digest("hex"); return { owner_user_id: 81, projected_at: at(s), projection_hash, run_id: "f" }; };
const follow = (s, content_hash) => put({ kind: "run_summary", document_id: "f", seq: 1, content_hash, summary: following(s) });
const followHash = following(1).projection_hash;
eq("a hash that follows is kept, for functions of 0.1 to read", [await follow(1, followHash), await hashes("f")], ["inserted", [null, followHash]]);
await control("POST", "config", { derive_hashes: true });
eq("or derived, if the deployment says so", [await follow(2, followHash), await hashes("f")], ["updated", [null, null]]);
eq("again, with it beside and without", [await follow(3, followHash), await follow(4)], ["unchanged", "unchanged"]);
eq("is read", await client(await token({ sub: "81" })).query(ref("summaries:getRun"), { document_id: "f" }), following(2));
eq("and listed", (await client(await token({ sub: "81" })).query(ref("summaries:listRuns"), { paginationOpts: { numItems: 9, cursor: null } })).page.filter((r) => r.run_id === "f"), [following(2)]);
const [followed] = (await admin.query(ref("runtime:listDigests"), { kind: "run_summary", document_ids: ["f"], verify: true })).digests;
eq("and told", [followed.content_hash, followed.actual_hash, followed.intact], [followHash, followHash, true]);
eq("a hash that promises something else stays", [await put({ kind: "run_summary", document_id: "f", seq: 2, summary: { ...following(5), more: 1 } }), await hashes("f")], ["updated", [null, followHash]]);
const again = (s) => put({ kind: "run_summary", document_id: "f2", seq: 1, summary: following(s) });
await again(6);
await control("POST", "config", { derive_hashes: false });
eq("unset, the next write of the same keeps it again", [await hashes("f2"), await again(7), await hashes("f2")], [[null, null], "updated", [null, followHash]]);
const told = (await admin.query(ref("runtime:listDigests"), { kind: "run_summary", document_ids: ["h1", "h2", "h3"] })).digests.map((d) => d.content_hash);
eq("digests tell it all the same", told, ["same", "beside", "another"]);

// ---- sweeping: expired tombstones
const bury = (id, s) => ({ kind: "graves", op: "remove", document_id: id, projected_at: at(s) });
await batch([...rows("graves", 1, 1, 1), bury("old", 10), bury("older", 9), bury("young", 30)]);
const sweep = (more) => admin.mutation(ref("runtime:sweep"), { kind: "graves", before: Date.parse(at(20)), ...more });
eq("a page of them", await sweep({ limit: 1 }), { deleted: 1, is_done: false });
eq("the rest", await sweep(), { deleted: 1, is_done: true });
eq("what stays", (await standing("graves")).map((row) => [row.document_id, row.owner ?? null]).sort(), [["graves0", null], ["young", "removed"]]);

// ---- pages are bounded by rows and bytes
const many = (from, n) => rows("many", n, 1, 1, from);
for (let from = 0; from < 1200; from += 600) await batch(many(from, 600));
eq("digests", (await pages("many", 5000)).map((p) => p.length), [1000, 200]);
eq("whole rows", (await admin.query(ref("runtime:listProjections"), { kind: "many", paginationOpts: { numItems: 5000, cursor: null } })).page.length, 1000);
const clear = (args) => admin.mutation(ref("runtime:clear"), args);
eq("clear", [await clear({ kind: "many", limit: 5000 }), await clear({ kind: "many" })], [{ deleted: 1000, is_done: false }, { deleted: 200, is_done: true }]);
eq("marks go with what is cleared", [await standing("_sidecar"), await standing("_control"), (await attach({ propose: "third" }))], [[], [], { controls, deployment: "third", functions: 2, mark: null }]);
await control("POST", "snapshot");
eq("a mark after a backup", await marks([null, 1]), [1]);
await control("POST", "restore");
eq("is not in it", (await attach()).mark, null);

// ---- versions 1 and 2 over each other's rows
const deploy = (functions) => control("POST", "deploy", { functions });
const aged = { kind: "run_summary", document_id: "aged", seq: 3, content_hash: "aa", summary: { id: "aged", owner_user_id: 80, projected_at: at(3), projection_hash: "aa", latest_event_at: at(3) } };
const grave = { kind: "run_summary", op: "remove", document_id: "grave", projected_at: at(9) };
const aging = async () => [await put(aged), await put(grave)];
const shape = async (id) => { const row = (await standing("run_summary")).find((r) => r.document_id === id); return Object.keys(row).filter((k) => ["content_hash", "owner", "floor"].includes(k)).sort(); };
eq("version 1 takes over", await deploy(1), { functions: 1 });
await refused("it knows no attach", attach(), /Could not find public function for 'runtime:attach'/);
await refused("and no call", admin.mutation(ref("runtime:upsertBatch"), { items: [], call }), /ArgumentValidationError: Object contains extra field `call`/);
eq("rows of version 2 stand", [await put(dated("first", 3)), await put({ ...dated("first", 2), seq: 0 })], ["unchanged", "stale"]);
eq("and are listed", (await listed()).sort(), ["first", "second", "third"]);
eq("a removal of version 2", await put({ ...rows("graves", 1, 1, 1)[0], document_id: "young" }), "stale");
eq("its own rows", [await aging(), await aging(), await shape("aged"), await shape("grave")], [["inserted", "removed"], ["unchanged", "unchanged"], ["content_hash", "owner"], ["floor"]]);
eq("version 2 again", await deploy(2), { functions: 2 });
eq("the mark is as it was", (await attach({ propose: "fourth" })).deployment, "third");
eq("the guard stands", [await put({ ...aged, seq: 2 }), await put({ ...aged, document_id: "grave", summary: { projected_at: at(8) } })], ["stale", "stale"]);
eq("a row of version 1 is written once, with its order", [await aging(), await aging(), await shape("aged"), await shape("grave")], [["updated", "removed"], ["unchanged", "unchanged"], ["owner"], ["floor", "owner"]]);

// ---- who may read what
const owned = (id, more) => ({ kind: "run_summary", document_id: id, seq: 1, summary: { id, projected_at: at(1), ...more } });
await admin.mutation(ref("runtime:upsertBatch"), { items: [owned("mine", { owner_user_id: 42 }), owned("theirs", { owner_user_id: 43 }), owned("guests", { owner_guest_scope: "g1" }), owned("nobodys", {})] });
const get = (c, id) => c.query(ref("summaries:getRun"), { document_id: id }).then((s) => s?.id ?? null);
const list = (c) => c.query(ref("summaries:listRuns"), { paginationOpts: { numItems: 10, cursor: null } }).then((p) => p.page.map((s) => s.id));
const user = client(await token({ sub: "42" }));
eq("own document", await get(user, "mine"), "mine");
for (const id of ["theirs", "guests", "nobodys", "absent"]) eq(`not ${id}`, await get(user, id), null);
eq("own list", await list(user), ["mine"]);
eq("a guest's", await list(client(await token({ sub: "x", guest_scope: "g1" }))), ["guests"]);
eq("another kind", await user.query(ref("summaries:listCodexWorkers"), { paginationOpts: { numItems: 10, cursor: null } }).then((p) => p.page), []);
await refused("anonymous", get(client(), "mine"), /UNAUTHENTICATED/);

// ---- ids are the issuer's own: the same ids of another auth provider own nothing
const elsewhere = client(await token({ sub: "42" }, "jwt?second"));
const guestElsewhere = client(await token({ sub: "x", guest_scope: "g1" }, "jwt?second"));
eq("42 of a second provider", [await get(elsewhere, "mine"), await list(elsewhere)], [null, []]);
eq("guest g1 of a second provider", [await get(guestElsewhere, "guests"), await list(guestElsewhere)], [null, []]);
const actingAs = (identity) => { const c = client(); c.setAdminAuth(info.admin_key, { tokenIdentifier: "t|1", ...identity }); return c; };
eq("an admin acts as 42", await list(actingAs({ issuer: info.issuer, subject: "42" })), ["mine"]);
eq("the issuer is compared as Convex does", await list(actingAs({ issuer: `${info.issuer.replace("https://", "")}//`, subject: "42" })), ["mine"]);
for (const issuer of [undefined, "", "https://other.test", `${info.issuer}.evil.test`, info.issuer.replace("https", "http")])
  eq(`42 of ${issuer}`, await list(actingAs({ issuer, subject: "42" })), []);

// ---- which tokens are accepted
const now = Math.floor(Date.now() / 1000);
const reads = async (claims, provider) => { try { return await get(client(await token(claims, provider)), "mine"); } catch (e) { return /"code":"(\w+)"/.exec(e.message)?.[1] ?? e.message; } };
for (const [what, claims] of Object.entries({
  "a string jti": { jti: "one" }, "no jti": { jti: null }, "no iat": { iat: null }, "iat as far ahead as clocks may differ": { iat: now + 4 },
  "several audiences": { aud: ["another-app", "standin-app"] }, "an issuer with a slash": { iss: `${info.issuer}/` }, "just expired": { exp: now - 2 },
})) eq(`${what} is believed`, await reads({ sub: "42", ...claims }), "mine");
for (const [what, claims] of Object.entries({
  "an integer sub": { sub: 42 }, "no sub": { sub: null }, "an integer jti": { jti: 7 }, "an array jti": { jti: ["a"] }, "iat ahead": { iat: now + 60 },
  "iat with a fraction": { iat: now - 0.5 }, "exp as text": { exp: `${now + 60}` }, "no exp": { exp: null }, "nbf ahead": { nbf: now + 60 },
  "no issuer": { iss: null }, "no kid": { $header: { kid: null } }, "an unknown kid": { $header: { kid: "k2" } }, "no algorithm": { $header: { alg: "none" } },
  "HS256": { $header: { alg: "HS256" } }, "another algorithm": { $header: { alg: "ES256" } },
})) eq(`${what} is refused`, await reads({ sub: "42", ...claims }), "InvalidAuthHeader");
for (const [what, claims] of Object.entries({ "no audience": { aud: null }, "an integer audience": { aud: [1] } }))
  eq(`${what} is refused`, await reads({ sub: "42", ...claims }), what === "no audience" ? "NoAuthProvider" : "InvalidAuthHeader");
await refused("expired", get(client(await token({ sub: "42", exp: now - 60 })), "mine"), /InvalidAuthHeader/);
await refused("foreign issuer", get(client(await token({ sub: "42", iss: "https://elsewhere.test" })), "mine"), /NoAuthProvider/);
await refused("wrong audience", get(client(await token({ sub: "42", aud: "another-app" })), "mine"), /NoAuthProvider/);
await refused("tampered", get(client((await token({ sub: "42" })).replace(/\.[^.]*\./, `.${Buffer.from(JSON.stringify({ sub: "43", iss: "https://issuer.standin.test", aud: "standin-app", exp: now + 60 })).toString("base64url")}.`)), "mine"), /InvalidAuthHeader/);
for (const f of ["attach", "upsertRunSummary", "upsertCodexWorkerSummary", "upsertBatch", "remove", "clear", "sweep"])
  for (const [who, c] of [["a user", user], ["anonymous", client()]])
    await refused(`${who} cannot call ${f}`, c.mutation(ref(`runtime:${f}`), { document_id: "mine", kind: "run_summary", summary: {}, items: [] }), /Could not find public function/);
const digestsOf = async () => JSON.stringify(await admin.query(ref("runtime:listDigests"), { kind: "run_summary", verify: true }));
const before = await digestsOf();
const byPath = async (path, body, auth) => {
  const r = await fetch(info.url + path, { method: "POST", headers: { "content-type": "application/json", ...(auth && { authorization: auth }) }, body: JSON.stringify(body) });
  return `${r.status} ${await r.text()}`;
};
const bearer = `Bearer ${await token({ sub: "42" })}`;
for (const path of ["/api/mutation", "/api/action", "/api/query"])
  for (const f of ["runtime:upsertBatch", "runtime.js:upsertBatch", "runtime:clear", "summaries:upsertBatch", "summaries:getOwn", "schema:default", "canonical:canonical", "_generated/server:mutation"])
    for (const auth of [bearer, undefined])
      eq(`${path} ${f} ${auth ? "by a user" : "by nobody"}`, /Could not find public function/.test(await byPath(path, { path: f, args: { items: [] } }, auth)), true);
for (const auth of [bearer, undefined]) {
  eq(`/api/run ${auth ? "by a user" : "by nobody"}`, /Could not find function/.test(await byPath("/api/run/runtime/clear", { args: {} }, auth)), true);
  eq(`/api/function ${auth ? "by a user" : "by nobody"}`, /^403 .*BadDeployKey/.test(await byPath("/api/function", { path: "runtime:clear", args: {} }, auth)), true);
}
eq("all are as they were", await digestsOf(), before);
for (const f of ["listDigests", "listProjections"])
  await refused(`a user cannot call ${f}`, user.query(ref(`runtime:${f}`), { kind: "run_summary" }), /Could not find public function/);

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
