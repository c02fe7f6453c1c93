// The guard (../../priv/convex/guard.ts) and the canonical form by themselves: each comparison, with a table of rows
// instead of a deployment. functions.mjs tests them in a deployment; this test is quick. Prints "N passed, N failed".
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { counter } from "./checks.mjs";

const { eq, finish } = counter();
const out = fileURLToPath(new URL(`.build/guard-${process.pid}/`, import.meta.url));
mkdirSync(out, { recursive: true });
process.on("exit", () => rmSync(out, { recursive: true, force: true }));
const entry = (name) => fileURLToPath(new URL(`../../priv/convex/${name}.ts`, import.meta.url));
// One bundle, so that both have the same ConvexError; it resolves convex from its own folder.
await esbuild.build({
  stdin: { contents: `export * as guard from ${JSON.stringify(entry("guard"))}; export * as canonical from ${JSON.stringify(entry("canonical"))}; export { ConvexError } from "convex/values";`, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
  bundle: true, format: "esm", platform: "node", outfile: `${out}/all.mjs`, logLevel: "error", nodePaths: [fileURLToPath(new URL("node_modules", import.meta.url))],
});
const { guard, canonical: { canonical, canonicalHash }, ConvexError } = await import(`${out}/all.mjs`);

// ---- a table
function table() {
  let rows = [], writes = 0, ids = 0;
  const without = ({ _id, ...row }) => row;
  const chosen = (fields) => rows.filter((row) => Object.entries(fields).every(([k, v]) => row[k] === v));
  const db = {
    query: () => ({
      withIndex: (_name, range) => {
        const fields = {}, q = { eq: (k, v) => ((fields[k] = v), q) };
        range(q);
        return { unique: async () => chosen(fields)[0] ?? null, async *[Symbol.asyncIterator]() { yield* chosen(fields); } };
      },
    }),
    insert: async (_table, row) => { writes++; rows.push({ ...row, _id: ++ids }); },
    replace: async (_table, _id, row) => { writes++; rows = rows.map((r) => (r._id === _id ? { ...row, _id } : r)); },
    delete: async (_table, _id) => { writes++; rows = rows.filter((r) => r._id !== _id); },
  };
  return { db, get writes() { return writes; }, row: (document_id = "d") => { const r = rows.find((r) => r.document_id === document_id); return r && without(r); }, rows: () => rows.map(without), edit: (patch) => { Object.assign(rows[0], patch); } };
}
const at = (s) => `2026-02-19T20:00:${String(s).padStart(2, "0")}Z`;
const key = (s) => `${Date.parse(at(s)) / 1000}`.padStart(12, "0") + ".000000000";
const ms = (s) => Date.parse(at(s));
const code = async (f) => { try { return await f(); } catch (e) { return e.data?.code ?? e.message; } };
const start = async (...items) => { const t = table(); for (const i of items) await guard.apply(t, "k", { document_id: "d", ...i }); return t; };
const put = (t, item, kind = "k") => code(async () => (await guard.apply(t, kind, { document_id: "d", ...item })).outcome);
const bury = (t, item, kind = "k") => code(async () => (await guard.bury(t, kind, { document_id: "d", ...item })).outcome);
const item = (seq, s, more = {}, beside = {}) => ({ seq, summary: { ...(s === undefined ? {} : { projected_at: at(s) }), ...more }, ...beside });

// ---- times
for (const [text, want] of Object.entries({
  "1970-01-01T00:00:00Z": "000000000000.000000000", "1970-01-01T00:00:01.5Z": "000000000001.500000000", "2026-02-19T21:00:00.123456789123+01:00": "001771531200.123456789",
  "1969-12-31T23:59:59Z": "BAD_PROJECTED_AT", yesterday: "BAD_PROJECTED_AT", "2026-13-19T20:00:00Z": "BAD_PROJECTED_AT", "2026-02-19T20:00:00": "BAD_PROJECTED_AT", "": "BAD_PROJECTED_AT",
})) eq(`the time ${text}`, await code(() => guard.instant(text, "d")), want);
for (const none of [undefined, null]) eq(`no time, ${none}`, guard.instant(none, "d"), "");
for (const bad of [5, true, {}]) eq(`a time of ${typeof bad}`, await code(() => guard.instant(bad, "d")), "BAD_PROJECTED_AT");

// ---- the row that is written
const first = await start(item(3, 5, { owner_user_id: 7, latest_event_at: at(2), updated_at: at(4), projection_hash: "p" }, { content_hash: "c" }));
eq("a row", first.row(), { kind: "k", document_id: "d", seq: 3, projected_at: key(5), content_hash: "c", summary: { projected_at: at(5), owner_user_id: 7, latest_event_at: at(2), updated_at: at(4), projection_hash: "p" }, owner: "user:7", updated_at_ms: ms(4) });
eq("no time, no hash, no owner", Object.keys((await start(item(0))).row()).sort(), ["document_id", "kind", "projected_at", "seq", "summary", "updated_at_ms"]);
eq("a hash that the summary has is not kept twice", (await start(item(1, 1, { projection_hash: "p" }, { content_hash: "p" }))).row().content_hash, undefined);
eq("without the log's times it is changed when it was projected", (await start(item(1, 9))).row().updated_at_ms, ms(9));
const now = Date.now();
eq("without any, now", (await start(item(1))).row().updated_at_ms >= now, true);
for (const [owner, want] of [[{ owner_user_id: 7 }, "user:7"], [{ owner_user_id: "7" }, "user:7"], [{ owner_user_id: 7n }, "user:7"], [{ owner_user_id: true }, undefined], [{ owner_guest_scope: "g" }, "guest:g"], [{ owner_guest_scope: "" }, undefined], [{ owner_guest_scope: 5 }, undefined], [{}, undefined]])
  eq(`whose it is: ${Object.keys(owner)} ${typeof Object.values(owner)[0]}`, (await start(item(1, 1, owner))).row().owner, want);
for (const [given, want] of [[{ seq: 0 }, "inserted"], [{ seq: 2 ** 53 - 1 }, "inserted"], [{ seq: -1 }, "BAD_SEQ"], [{ seq: 1.5 }, "BAD_SEQ"], [{ seq: 2 ** 53 }, "BAD_SEQ"]])
  eq(`seq ${given.seq}`, await put(table(), { ...item(1, 1), ...given }), want);
eq("seq of the summary", (await start({ summary: { runtime_source: { seq: 6 } } })).row().seq, 6);
eq("no seq", (await start({ summary: {} })).row().seq, 0);
eq("no seq goes on where it stands", await (async () => { const t = await start(item(4, 1)); await put(t, { summary: { projected_at: at(2), x: 1 } }); return t.row().seq; })(), 4);
for (const none of [undefined, null]) eq(`a summary that is ${none}`, await put(table(), { seq: 1, summary: none }), "BAD_SUMMARY");
eq("reserved kinds", [await put(table(), item(1, 1), "_x"), await put(table(), item(1, 1), "_control"), await put(table(), item(1, 1), "x"), await bury(table(), {}, "_sidecar"), await bury(table(), {}, "x")], ["RESERVED_KIND", "inserted", "inserted", "RESERVED_KIND", "removed"]);

// ---- what may replace a stored row: [the stored row, the item, the outcome]
const V = (row_version, more = {}) => ({ runtime_source: { seq: 3, row_version }, ...more });
for (const [name, was, next, want] of [
  ["again", item(3, 5), item(3, 5), "unchanged"],
  ["newer", item(3, 5), item(4, 1), "updated"],
  ["older", item(3, 5), item(2, 9), "stale"],
  ["same seq, later", item(3, 5), item(3, 6, { x: 1 }), "updated"],
  ["same seq, earlier", item(3, 5), item(3, 4, { x: 1 }), "stale"],
  ["same seq, same time, other content", item(3, 5), item(3, 5, { x: 1 }), "updated"],
  ["same seq, without a time", item(3, 5), item(3, undefined, { x: 1 }), "updated"],
  ["a hash that both promise", item(3, 5, {}, { content_hash: "h" }), item(3, 6, {}, { content_hash: "h" }), "unchanged"],
  ["a hash, and other content", item(3, 5, {}, { content_hash: "h" }), item(3, 6, { x: 1 }, { content_hash: "h" }), "updated"],
  ["another hash, and the same content", item(3, 5, {}, { content_hash: "h" }), item(3, 6, {}, { content_hash: "i" }), "updated"],
  ["one hash only, another time", item(3, 5, {}, { content_hash: "h" }), item(3, 6), "updated"],
  ["one hash only, all the same", item(3, 5, {}, { content_hash: "h" }), item(3, 5), "unchanged"],
  ["the other hash only, another time", item(3, 5), item(3, 6, {}, { content_hash: "h" }), "updated"],
  ["the other hash only, all the same", item(3, 5), item(3, 5, {}, { content_hash: "h" }), "unchanged"],
  ["a hash in the summary", item(3, 5, { projection_hash: "p" }), item(3, 6, { projection_hash: "p" }), "unchanged"],
  ["another owner", item(3, 5, { owner_user_id: 1 }, { content_hash: "h" }), item(3, 6, { owner_user_id: 2 }, { content_hash: "h" }), "updated"],
  ["a later version of the row, earlier", item(3, 5, V(1)), item(3, 4, V(2)), "updated"],
  ["an earlier version of the row, later", item(3, 5, V(2)), item(3, 6, V(1)), "stale"],
  ["the same version, later", item(3, 5, V(2)), item(3, 6, V(2, { x: 1 })), "updated"],
  ["the same version, earlier", item(3, 5, V(2)), item(3, 4, V(2, { x: 1 })), "stale"],
  ["a version and none, earlier", item(3, 5, V(2)), item(3, 4, { x: 1 }), "stale"],
  ["none and a version, earlier", item(3, 5), item(3, 4, V(2)), "stale"],
  ["a version and none, later", item(3, 5, V(2)), item(3, 6, { x: 1 }), "updated"],
  ["none and a version, later", item(3, 5), item(3, 6, V(2)), "updated"],
  ["a version that is no number", item(3, 5, V("9")), item(3, 6, V("1")), "updated"],
  ["a reset goes below", item(3, 5), item(2, 6, {}, { reset: true }), "updated"],
  ["a reset of earlier", item(3, 5), item(2, 4, {}, { reset: true }), "stale"],
  ["a reset of the same time", item(3, 5), item(2, 5, {}, { reset: true }), "updated"],
  ["a reset of what stands", item(3, 5), item(3, 5, {}, { reset: true }), "unchanged"],
]) {
  const t = await start(was), before = t.writes;
  eq(name, await put(t, next), want);
  eq(`${name}: writes`, t.writes - before, want === "updated" ? 1 : 0);
}
eq("a control is always written", await (async () => { const t = table(); return [await put(t, item(3, 5), "_control"), await put(t, item(3, 4), "_control"), await put(t, item(1, 4), "_control")]; })(), ["inserted", "updated", "updated"]);
const corrected = await start(item(3, 5), item(2, 6, {}, { reset: true }));
eq("a reset leaves a floor, which what comes later keeps", [corrected.row().floor, await put(corrected, item(9, 5)), await put(corrected, item(9, 6)), corrected.row().floor], [key(6), "stale", "updated", key(6)]);
eq("what has no time is above each floor", await put(corrected, item(10)), "updated");

// ---- rows that somebody edited, and rows of version 1
for (const [name, patch, want] of [["none", {}, [true, "unchanged"]], ["owner", { owner: "user:2" }, [false, "updated"]], ["seq", { seq: 4 }, [false, "stale"]], ["projected_at", { projected_at: key(4) }, [false, "updated"]]]) {
  const t = await start(item(3, 5, { owner_user_id: 1, runtime_source: { seq: 3 } }));
  t.edit(patch);
  eq(`an edit of ${name}`, [guard.intact(t.row()), await put(t, item(3, 5, { owner_user_id: 1, runtime_source: { seq: 3 } }, name === "seq" ? {} : { reset: true }))], want);
}
eq("what says no seq and no time is as it is", guard.intact((await start(item(3))).row()), true);
const one = await start(item(3, 5, { updated_at: at(2) }));
eq("the same content", await put(one, item(3, 5, { updated_at: at(2) })), "unchanged");
one.edit({ updated_at_ms: ms(5) });
eq("a row in the order of delivery is put in that of the log", [await put(one, item(3, 5, { updated_at: at(2) })), one.row().updated_at_ms], ["updated", ms(2)]);
const timeless = await start(item(3));
timeless.edit({ updated_at_ms: 1 });
eq("one without the log's times stays where it is", await put(timeless, item(3)), "unchanged");

// ---- tombstones
for (const [name, was, grave, want, seq] of [
  ["of what was never there", null, { projected_at: at(5), seq: 7 }, "removed", 7],
  ["of what was never there, without a number", null, {}, "removed", 0],
  ["of what stands", item(3, 5), { projected_at: at(6), seq: 9 }, "removed", 3],
  ["of the same time", item(3, 5), { projected_at: at(5) }, "removed", 3],
  ["of something newer", item(3, 5), { projected_at: at(4) }, "stale", 3],
  ["without a time", item(3, 5), {}, "removed", 3],
]) {
  const t = was ? await start(was) : table();
  eq(`a tombstone ${name}`, await guard.bury(t, "k", { document_id: "d", ...grave }), { outcome: want, seq });
  if (want === "removed") {
    const { updated_at_ms, ...row } = t.row(), time = grave.projected_at;
    eq(`it stands ${name}`, row, { kind: "k", document_id: "d", seq, projected_at: time ? guard.instant(time) : "", floor: time ? guard.instant(time) : "", summary: null, owner: guard.REMOVED });
    eq(`its time ${name}`, time ? updated_at_ms === Date.parse(time) : updated_at_ms >= now, true);
    const before = t.writes;
    eq(`once more ${name}`, [await bury(t, grave), t.writes - before], ["unchanged", 0]);
    t.edit({ owner: "user:1" });
    eq(`one that was edited ${name}`, await bury(t, grave), "removed");
  }
}
const buried = await start(item(9, 5));
await bury(buried, { projected_at: at(6) });
eq("a later tombstone", await bury(buried, { projected_at: at(7) }), "removed");
eq("nothing from before, and anything after", [await put(buried, item(99, 6)), await put(buried, item(1, 8)), buried.row().summary !== null], ["stale", "updated", true]);
eq("what has come back is buried anew", await bury(buried, { projected_at: at(8) }), "removed");

// ---- whose fault it is
const fault = (message) => guard.itemFault(new Error(message));
for (const text of ["Value is too large (1.2 MiB > maximum size 1 MiB)", "x Document is too nested (nested 17 levels deep > maximum nesting 16)", 'Failed to insert or update a document in table "t" because it does not match the schema: x']) eq(text, fault(text), text);
for (const text of ["Too many bytes read", "Value is too large", "nonsense"]) eq(text, fault(text), null);
eq("what it says itself", [guard.itemFault(new ConvexError({ code: "BAD_SEQ" })) !== null, guard.itemFault(new ConvexError({ code: "OTHER" })), guard.itemFault(new ConvexError("BAD_SEQ")), guard.itemFault("text"), guard.itemFault(Object.assign(new Error("x"), { data: { code: "BAD_SEQ" } }))], [true, null, null, null, null]);

// ---- hashes that can be derived from the content are not stored
const content = { a: 1, projected_at: at(1) }, follows = { ...content, projection_hash: await canonicalHash(content) };
eq("kept as it was written", await guard.lean(follows), follows);
process.env.OPENAGENTS_DERIVE_HASHES = "1";
eq("lean", [await guard.lean(follows), await guard.lean({ ...content, projection_hash: "other" }), await guard.lean(content)], [{ ...content, projection_hash: null }, { ...content, projection_hash: "other" }, content]);
eq("whole", [await guard.whole(await guard.lean(follows)), await guard.whole(content), await guard.whole({ ...content, projection_hash: "other" }), await guard.whole(null)], [follows, content, { ...content, projection_hash: "other" }, null]);
eq("promised", await Promise.all([{ summary: { ...content, projection_hash: null } }, { summary: content }, { summary: { projection_hash: "p" } }, { summary: content, content_hash: "c" }, { summary: { projection_hash: 5 } }].map(guard.promised)), [follows.projection_hash, undefined, "p", "c", undefined]);

// ---- marks
const store = "0123456789abcdef0123456789abcdef", marks = table();
eq("no deployment, then the first name, then that", [await guard.deploymentOf(marks), await guard.nameDeployment(marks, "one"), await guard.nameDeployment(marks, "two"), await guard.deploymentOf(marks)], ["", "one", "one", "one"]);
const raised = []; for (const raise of [undefined, { from: 3, to: 4 }, { from: null, to: 1 }, { from: null, to: 5 }, { from: 1, to: 2 }, undefined]) raised.push(await guard.markOf(marks, store, raise));
eq("a raise is a comparison", raised, [null, null, 1, 1, 2, 2]);
eq("one row a store", marks.rows().filter((r) => r.kind === guard.SIDECAR).map((r) => [r.document_id, r.seq]), [["deployment", 0], [store, 2]]);
for (const bad of ["deployment", store + "0", store.replace("a", "g")]) eq(`the store ${bad}`, await code(() => guard.markOf(marks, bad)), "BAD_STORE");
await put(marks, item(1, 1), "_control"); await put(marks, item(1, 1));
await guard.forgetSidecars(marks);
eq("marks and controls go, documents do not", marks.rows().map((r) => r.kind), ["k"]);

// ---- the canonical form
for (const [value, want] of [[5, "5"], [1.5, "1.5"], ["ü\n", '"ü\\n"'], [null, "null"], [true, "true"], [[1, [2]], "[1,[2]]"], [{ b: 1, a: { d: 1, c: 2 } }, '{"a":{"c":2,"d":1},"b":1}'], [1n, '{"$integer":"AQAAAAAAAAA="}'], [-2n, '{"$integer":"/v////////8="}'], [Infinity, '{"$float":"Infinity"}'], [NaN, '{"$float":"NaN"}'], [new Uint8Array([1, 2]).buffer, '{"$bytes":"AQI="}'], [{}, "{}"], [[], "[]"]])
  eq(`canonical ${want}`, canonical(value), want);
eq("a hash is of the rest", await canonicalHash(follows), await canonicalHash({ a: 1 }));
eq("of what is no document as well", [await canonicalHash(null), await canonicalHash(5)], ["74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b", "ef2d127de37b942baad06145e54b0c619a1f22327b2ebbcfbec78f5564afe39d"]);
finish();
