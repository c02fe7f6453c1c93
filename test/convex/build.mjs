// Bundles the deployable functions (../../priv/convex; v1/ has those of 0.1), the stand-in's own
// (convex/) and a lightly patched convex-test into .build/ (no vitest, no import.meta.glob).
import * as esbuild from "esbuild";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
const root = dirname(fileURLToPath(import.meta.url));

function patch(src) {
  const swap = (a, b) => { if (!src.includes(a)) throw new Error(`convex-test changed; patch site missing:\n${a}`); src = src.replace(a, () => b); };
  // never touch import.meta.glob
  swap("specifiedModules ?? import.meta.glob(\"../../../convex/**/*.*s\")", "specifiedModules");
  // drop finished queries (upstream keeps every result for ever)
  swap("        if (results === undefined) {\n            throw new Error(\"Bad queryId\");", "        if (results === undefined) {\n            if (queryId < this._nextQueryId) return { value: null, done: true };\n            throw new Error(\"Bad queryId\");");
  swap("        if (done) {\n            return { value: null, done: true };", "        if (done) {\n            delete this._queryResults[queryId];\n            return { value: null, done: true };");
  swap("case \"1.0/queryCleanup\": {\n                return", "case \"1.0/queryCleanup\": {\n                delete db._queryResults[args.queryId];\n                return");
  // equality-prefix hash index instead of a scan of every document per query; what many rows have in common stays in order
  swap("                fieldPathsToSortBy = fields;\n                validateIndexRangeExpression(source, fields);\n                this._iterateDocs(tableName, (doc) => {",
       "                fieldPathsToSortBy = fields;\n                validateIndexRangeExpression(source, fields);\n                inOrder = this._inOrder(tableName, source, fields, order);\n                if (inOrder === null) this._iterateCandidates(tableName, source, (doc) => {");
  swap("    _iterateDocs(tableName, callback) {", `    _eqKey(fields, doc) {
        return JSON.stringify(fields.map((f) => { const v = evaluateFieldPath(f, doc); return v === undefined ? null : [convexToJson(v)]; }));
    }
    _eqSet(tableName, source) {
        const eq = [];
        for (const f of source.range) { if (f.type !== "Eq") break; eq.push(f); }
        if (eq.length === 0 || source.indexName.endsWith(".by_id")) return null;
        this._eqIndexes ??= new Map();
        const fields = eq.map((f) => f.fieldPath);
        const name = tableName + ":" + fields.join(",");
        let index = this._eqIndexes.get(name);
        if (index === undefined) {
            index = { tableName, fields, map: new Map() };
            this._eqIndexes.set(name, index);
            for (const [id, doc] of Object.entries(this._documents)) if (tableNameFromId(id) === tableName) this._eqAdd(index, id, doc);
        }
        return index.map.get(JSON.stringify(eq.map((f) => { const v = evaluateQueryValue(f.value); return v === undefined ? null : [convexToJson(v)]; }))) ?? new Set();
    }
    _iterateCandidates(tableName, source, callback) {
        const set = this._eqSet(tableName, source);
        if (set === null) return this._iterateDocs(tableName, callback);
        const ids = new Set(set);
        for (const layer of this._writes) for (const id of Object.keys(layer)) if (tableNameFromId(id) === tableName) ids.add(id);
        for (const id of ids) { const doc = this.get(tableName, id); if (doc !== null) callback(doc); }
    }
    // The range as the index has it, when it is one of many rows: in order from commit to commit. Null where this transaction wrote.
    _inOrder(tableName, source, fields, order) {
        const set = this._eqSet(tableName, source);
        if (set === null || set.size < 100 || this._writes.some((layer) => Object.keys(layer).some((id) => tableNameFromId(id) === tableName))) return null;
        const compare = (a, b) => { for (const f of fields) { const v = compareValues(evaluateFieldPath(f, a), evaluateFieldPath(f, b)); if (v !== 0) return v; } return 0; };
        set.lists ??= new Map();
        if (!set.lists.has(source.indexName)) set.lists.set(source.indexName, { compare, docs: [...set].map((id) => this._documents[id]).sort(compare) });
        const { docs } = set.lists.get(source.indexName);
        let from = 0, to = docs.length;
        for (const { type, fieldPath, value } of source.range.filter((f) => f.type !== "Eq")) {
            const bound = evaluateQueryValue(value), past = type === "Gt" || type === "Lte";
            const at = firstWhere(docs, (doc) => { const v = compareValues(evaluateFieldPath(fieldPath, doc), bound); return past ? v > 0 : v >= 0; });
            if (type[0] === "G") from = Math.max(from, at); else to = Math.min(to, at);
        }
        return order === "asc" ? docs.slice(from, to) : docs.slice(from, to).reverse();
    }
    _eqAdd(index, id, doc) {
        const key = this._eqKey(index.fields, doc);
        let set = index.map.get(key);
        if (set === undefined) index.map.set(key, (set = new Set()));
        set.add(id);
        for (const { docs, compare } of set.lists?.values() ?? []) docs.splice(firstWhere(docs, (d) => compare(d, doc) > 0), 0, doc);
    }
    _eqUpdate(id, before, after) {
        const table = tableNameFromId(id);
        for (const index of this._eqIndexes?.values() ?? []) {
            if (index.tableName !== table) continue;
            if (before) { const key = this._eqKey(index.fields, before), set = index.map.get(key); set?.delete(id); for (const { docs, compare } of set?.lists?.values() ?? []) docs.splice(firstWhere(docs, (d) => compare(d, before) >= 0), 1); if (set?.size === 0) index.map.delete(key); }
            if (after) this._eqAdd(index, id, after);
        }
    }
    _iterateDocs(tableName, callback) {`);
  swap("            if (this._writes.length === 0) {\n                const tableName", "            if (this._writes.length === 0) {\n                globalThis.__standinWritten?.(tableNameFromId(_id), this._documents[_id] ?? null, write);\n                this._eqUpdate(_id, this._documents[_id], write);\n                const tableName");
  swap("        const results = [];\n        let fieldPathsToSortBy;", "        const results = [];\n        let inOrder = null;\n        let fieldPathsToSortBy;");
  swap("            sortedDocs: results,", "            sortedDocs: inOrder ?? results,");
  swap("class DatabaseFake {", "const firstWhere = (list, holds) => { let a = 0, b = list.length; while (a < b) { const m = (a + b) >> 1; if (holds(list[m])) b = m; else a = m + 1; } return a; };\nclass DatabaseFake {");
  // sort by keys computed once per document
  swap("        results.sort((a, b) => {\n            const orderMultiplier = order === \"asc\" ? 1 : -1;\n            let v = 0;\n            for (const fp of fieldPathsToSortBy) {\n                v = compareValues(evaluateFieldPath(fp, a), evaluateFieldPath(fp, b));\n                if (v !== 0) {\n                    return v * orderMultiplier;\n                }\n            }\n            return v * orderMultiplier;\n        });",
       `        if (results.length > 1) {
            const sign = order === "asc" ? 1 : -1;
            const quick = (x, y) => (typeof x === "string" && typeof y === "string") ? (x < y ? -1 : x > y ? 1 : 0)
                : (typeof x === "number" && typeof y === "number" && x === x && y === y && x !== 0 && y !== 0) ? x - y : compareValues(x instanceof String ? String(x) : x, y instanceof String ? String(y) : y);
            // strings below U+D800 sort alike in UTF-16 and UTF-8; others take the slow road
            const plain = (v) => (typeof v === "string" && /[\\ud800-\\uffff]/.test(v) ? Object(v) : v);
            const keyed = results.map((doc) => [fieldPathsToSortBy.map((fp) => plain(evaluateFieldPath(fp, doc))), doc]);
            keyed.sort(([a], [b]) => { for (let i = 0; i < a.length; i++) { const v = quick(a[i], b[i]); if (v !== 0) return v * sign; } return 0; });
            for (let i = 0; i < keyed.length; i++) results[i] = keyed[i][1];
        }`);
  // a deploy puts other functions and another schema over the same rows
  swap("        this._componentPath = componentPath;\n        this.validateSchema();", "        this._componentPath = componentPath;\n        globalThis.__standinDb = this;\n        this.validateSchema();");
  // the backend's own document checks (size, nesting, system fields) run first
  swap("    _validate(tableName, doc) {", "    _validate(tableName, doc) {\n        globalThis.__standinCheckDocument?.(tableName, doc);");
  return src;
}

const sources = (dir) => readdirSync(dir).filter((f) => /\.[tj]s$/.test(f) && !f.endsWith(".d.ts")).map((f) => join(dir, f));

const generated = join(root, "../../priv/convex/_generated");

/** {out, versions}: of each version of the deployed functions, its modules by name: {1: {runtime: path, ...}, 2: ...}. */
export async function build(deployed = join(root, "../../priv/convex"), own = join(root, "convex")) {
  const out = join(root, process.env.STANDIN_BUILD ?? ".build");
  rmSync(out, { recursive: true, force: true });
  // what `convex codegen` writes is not kept a second time beside v1/
  const codegen = { name: "generated", setup(b) { b.onResolve({ filter: /^\.\/_generated\// }, (a) => ({ path: join(generated, a.path.slice("./_generated/".length)) })); } };
  const bundle = (entryPoints, outbase, folder) => esbuild.build({ sourcemap: true, entryPoints, outbase, outdir: join(out, folder), bundle: true, splitting: true, format: "esm", platform: "node", target: "node18", packages: "external", logLevel: "error", plugins: [codegen] });
  const names = (dir) => sources(dir).map((f) => f.split("/").pop().replace(/\.[tj]s$/, ""));
  const modules = (dir, folder) => Object.fromEntries(names(dir).filter((m) => m !== "auth.config").map((m) => [m, join(out, folder, `${m}.js`)]));
  const v1 = join(root, "v1");
  await bundle([...sources(deployed), join(generated, "api.js")], deployed, "convex");
  await bundle(sources(own), own, "convex");
  await bundle(sources(v1), v1, "v1/convex");
  await esbuild.build({
    entryPoints: [join(root, "node_modules/convex-test/dist/index.js")], outfile: join(out, "convex-test.mjs"), bundle: true, format: "esm", platform: "node", target: "node18", packages: "external", logLevel: "error",
    plugins: [{ name: "patch", setup(b) { b.onLoad({ filter: /convex-test\/dist\/index\.js$/ }, (a) => ({ contents: patch(readFileSync(a.path, "utf8")), loader: "js" })); } }],
  });
  const common = { ...modules(own, "convex"), "_generated/api": join(out, "convex/_generated/api.js") };
  return { out, versions: { 1: { ...modules(v1, "v1/convex"), ...common }, 2: { ...modules(deployed, "convex"), ...common } } };
}
