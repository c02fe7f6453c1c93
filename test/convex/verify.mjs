// Drives a running stand-in (or a real deployment: URL=... ADMIN_KEY=...) with the real ConvexHttpClient and with raw HTTP.
import { readFileSync } from "node:fs";
import net from "node:net";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference as ref } from "convex/server";
import { ConvexError } from "convex/values";
const info = process.env.URL ? { url: process.env.URL, admin_key: process.env.ADMIN_KEY, user_jwt: process.env.JWT, issuer: process.env.ISSUER } : JSON.parse(readFileSync(new URL(`${process.env.STANDIN_STATE ?? ".state"}/ready.json`, import.meta.url)));
let pass = 0, fail = 0;
const eq = (name, got, want) => { const g = JSON.stringify(got), w = JSON.stringify(want); if (g === w) pass++; else { fail++; console.log(`FAIL ${name}\n  got  ${g}\n  want ${w}`); } };
const like = (name, got, re) => { if (re.test(got)) pass++; else { fail++; console.log(`FAIL ${name}\n  got  ${JSON.stringify(got)}\n  want ${re}`); } };
const throws = async (name, p, f) => { try { await p; fail++; console.log(`FAIL ${name}: no error`); } catch (e) { f(e); } };
const post = async (path, body, headers = {}) => { const r = await fetch(info.url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: typeof body === "string" ? body : JSON.stringify(body) }); const text = await r.text(); let json; try { json = JSON.parse(text); } catch {} return { status: r.status, text, json, headers: r.headers }; };
const admin = { authorization: `Convex ${info.admin_key}` };
const ctl = (m, p, b) => fetch(info.url + "/__standin/" + p, { method: m, body: b && JSON.stringify(b) }).then((r) => r.json());

await ctl("POST", "reset");
// ---- the real client
const c = new ConvexHttpClient(info.url, { logger: false }); c.setAdminAuth(info.admin_key);
const up = ref("runtime:upsertRunSummary"), upw = ref("runtime:upsertCodexWorkerSummary"), batch = ref("runtime:upsertBatch");
eq("insert", await c.mutation(up, { document_id: "r1", summary: { a: 1 }, seq: 5 }), { outcome: "inserted", seq: 5 });
eq("replay", await c.mutation(up, { document_id: "r1", summary: { a: 1 }, seq: 5 }), { outcome: "unchanged", seq: 5 });
eq("stale", await c.mutation(up, { document_id: "r1", summary: { a: 0 }, seq: 4 }), { outcome: "stale", seq: 5 });
eq("newer", await c.mutation(up, { document_id: "r1", summary: { a: 2, owner_user_id: 1 }, seq: 6 }), { outcome: "updated", seq: 6 });
eq("no seq", await c.mutation(up, { document_id: "r2", summary: {} }), { outcome: "inserted", seq: 0 });
eq("worker kind is apart", await c.mutation(upw, { document_id: "r1", summary: { w: 1n, nan: NaN, z: -0, b: new ArrayBuffer(3) }, seq: 1 }), { outcome: "inserted", seq: 1 });
eq("worker replay (int64/NaN/-0/bytes)", await c.mutation(upw, { document_id: "r1", summary: { w: 1n, nan: NaN, z: -0, b: new ArrayBuffer(3) }, seq: 1 }), { outcome: "unchanged", seq: 1 });
const big = "x".repeat(1100000);
const b = await c.mutation(batch, { items: [{ kind: "run_summary", document_id: "r3", summary: { ok: true }, seq: 1 }, { kind: "run_summary", document_id: "big", summary: { big }, seq: 1 }, { kind: "run_summary", document_id: "r1", summary: { a: 9 }, seq: 1 }] });
eq("batch", b.results.map((r) => r.outcome), ["inserted", "rejected", "stale"]);
like("batch reject reason", b.results[1].error, /^Value is too large \(1\.05 MiB > maximum size 1 MiB\)/);
eq("digests", await c.query(ref("runtime:listDigests"), { kind: "run_summary", limit: 2 }), { digests: [{ content_hash: null, document_id: "r1", seq: 6 }, { content_hash: null, document_id: "r2", seq: 0 }], next: "r2" });
eq("digests 2", await c.query(ref("runtime:listDigests"), { kind: "run_summary", after: "r2" }), { digests: [{ content_hash: null, document_id: "r3", seq: 1 }], next: null });
const pg = await c.query(ref("runtime:listProjections"), { kind: "run_summary", paginationOpts: { numItems: 2, cursor: null } });
eq("page 1", [pg.page.map((d) => d.document_id), pg.isDone], [["r1", "r2"], false]);
const pg2 = await c.query(ref("runtime:listProjections"), { kind: "run_summary", paginationOpts: { numItems: 2, cursor: pg.continueCursor } });
eq("page 2", [pg2.page.map((d) => d.document_id), pg2.isDone], [["r3"], true]);
await throws("ConvexError reaches the client", c.mutation(up, { document_id: "r1", summary: {}, seq: 1.5 }), (e) => { eq("ConvexError data", [e instanceof ConvexError, e.data], [true, { code: "BAD_SEQ", document_id: "r1" }]); });
await throws("anonymous cannot see internal", new ConvexHttpClient(info.url, { logger: false }).mutation(up, { document_id: "x", summary: {} }), (e) => like("internal hidden", e.message, /Could not find public function for 'runtime:upsertRunSummary'\./));
const user = new ConvexHttpClient(info.url, { logger: false, auth: info.user_jwt });
await throws("jwt cannot see internal", user.mutation(up, { document_id: "x", summary: {} }), (e) => like("internal hidden (jwt)", e.message, /Could not find public function/));
eq("jwt reads", await user.query(ref("summaries:getRun"), { document_id: "r1" }), { a: 2, owner_user_id: 1 });
await throws("anonymous read", new ConvexHttpClient(info.url, { logger: false }).query(ref("summaries:getRun"), { document_id: "r1" }), (e) => eq("unauth data", e.data?.code, "UNAUTHENTICATED"));
const acting = new ConvexHttpClient(info.url, { logger: false }); acting.setAdminAuth(info.admin_key, { subject: "1", issuer: info.issuer, tokenIdentifier: `${info.issuer}|1` });
eq("acting as user", await acting.query(ref("summaries:getRun"), { document_id: "r1" }), { a: 2, owner_user_id: 1 });
eq("consistentQuery", await c.consistentQuery(ref("runtime:listDigests"), { kind: "codex_worker_summary" }), { digests: [{ content_hash: null, document_id: "r1", seq: 1 }], next: null });
eq("action", await c.action(ref("diag:act"), {}), "acted");
eq("clear", await c.mutation(ref("runtime:clear"), { kind: "run_summary", limit: 2 }), { deleted: 2, is_done: false });
eq("clear 2", await c.mutation(ref("runtime:clear"), {}), { deleted: 2, is_done: true });

// ---- raw: success bodies and formats
let r = await post("/api/mutation", { path: "runtime:upsertRunSummary", args: { document_id: "f", summary: { n: 1, s: "é" }, seq: 3 }, format: "json" }, admin);
eq("body (json)", [r.status, r.text, r.headers.get("content-type")], [200, '{"status":"success","value":{"outcome":"inserted","seq":3.0}}', "application/json"]);
r = await post("/api/mutation", { path: "runtime.js:upsertRunSummary", args: [{ document_id: "f", summary: { n: 1, s: "é" }, seq: 3 }], format: "convex_encoded_json" }, { authorization: admin.authorization.replace("Convex", "cOnVeX") });
eq("array args, .js path, case-blind scheme", r.text, '{"status":"success","value":{"outcome":"unchanged","seq":3.0}}');
const spec = { i: { $integer: "KgAAAAAAAAA=" }, f: { $float: "AAAAAAAA+H8=" }, z: { $float: "AAAAAAAAAIA=" }, b: { $bytes: "AAEC" }, n: 1e21, h: 0.5, l: [1, null, true] };
r = await post("/api/query", { path: "diag:echo", args: { value: spec }, format: "convex_encoded_json" });
eq("echo encoded", r.text, '{"status":"success","value":{"b":{"$bytes":"AAEC"},"f":{"$float":"AAAAAAAA+H8="},"h":0.5,"i":{"$integer":"KgAAAAAAAAA="},"l":[1.0,null,true],"n":1e21,"z":{"$float":"AAAAAAAAAIA="}}}');
r = await post("/api/query", { path: "diag:echo", args: { value: spec } });
eq("echo default format for an unnamed client is json", r.text, '{"status":"success","value":{"b":"AAEC","f":"NaN","h":0.5,"i":"42","l":[1.0,null,true],"n":1e21,"z":-0.0}}');
r = await post("/api/query", { path: "diag:echo", args: { value: spec }, format: "export_json" });
eq("echo export_json", r.text, '{"status":"success","value":{"b":{"$bytes":"AAEC"},"f":{"$float":"AAAAAAAA+H8="},"h":0.5,"i":42,"l":[1.0,null,true],"n":1e21,"z":-0.0}}');
r = await post("/api/mutation", { path: "diag:logs", args: {} });
eq("logLines", r.json.logLines, ["[LOG] 'hello' 1 { a: [ true ] }", "[WARN] 'careful'"]);
r = await post("/api/run/runtime/upsertRunSummary", { args: { document_id: "g", summary: {} } }, admin);
eq("run", r.text, '{"status":"success","value":{"outcome":"inserted","seq":0.0}}');
r = await post("/api/function", { path: "runtime:upsertRunSummary", args: { document_id: "g", summary: {} } }, admin);
eq("function", r.text, '{"status":"success","value":{"outcome":"unchanged","seq":0.0}}');
r = await post("/api/query_batch", { queries: [{ path: "diag:echo", args: { value: 1 } }, { path: "diag:nope", args: {} }] });
eq("query_batch", [r.status, r.json.results[0], r.json.results[1].status], [200, { status: "success", value: 1 }, "error"]);

// ---- raw: function errors are HTTP 200
const ferr = async (name, path, args, re, headers = admin) => { const r = await post("/api/mutation", { path, args, format: "json" }, headers); eq(`${name}: status`, [r.status, r.json?.status], [200, "error"]); like(name, r.json?.errorMessage ?? r.text, re); return r; };
await ferr("missing function", "runtime:nope", {}, /^\[Request ID: [0-9a-f]{16}\] Server Error\nCould not find public function for 'runtime:nope'\.\n$/);
await ferr("default export", "runtime", {}, /Could not find public function for 'runtime'\.\n/);
await ferr("wrong type", "runtime:listDigests", { kind: "x" }, /\nTrying to execute runtime\.js:listDigests as Mutation, but it is defined as Query\.\n$/);
await ferr("missing field", "runtime:upsertRunSummary", { summary: {} }, /\nArgumentValidationError: Object is missing the required field `document_id`\. Consider wrapping the field validator in `v\.optional\(\.\.\.\)` if this is expected\.\n\nObject: \{summary: \{\}\}\nValidator: v\.object\(\{call: v\.optional\(v\.float64\(\)\), content_hash: v\.optional\(v\.string\(\)\), control: v\.optional\(v\.literal\(true\)\), document_id: v\.string\(\), projected_at: v\.optional\(v\.string\(\)\), reset: v\.optional\(v\.boolean\(\)\), seq: v\.optional\(v\.float64\(\)\), store: v\.optional\(v\.string\(\)\), summary: v\.optional\(v\.any\(\)\)\}\)\n$/);
await ferr("extra field", "runtime:upsertRunSummary", { document_id: "a", summary: {}, nope: 1 }, /ArgumentValidationError: Object contains extra field `nope` that is not in the validator\.\n\nObject: \{document_id: "a", nope: 1\.0, summary: \{\}\}/);
await ferr("wrong type of field", "diag:typed", { s: 1, n: 2 }, /ArgumentValidationError: Value does not match validator\.\nPath: \.s\nValue: 1\.0\nValidator: v\.string\(\)\n$/);
await ferr("null is not optional", "runtime:upsertRunSummary", { document_id: "a", summary: {}, seq: null }, /Path: \.seq\nValue: null\nValidator: v\.float64\(\)/);
await ferr("two args", "diag:typed", [{}, {}], /Expected to receive a single object as the function's argument\. Instead received 2 arguments: \[\{\}, \{\}\]/);
await ferr("string args", "diag:typed", "x", /Expected to receive an object as the function's argument\. Instead received: "x"/);
await ferr("$ field", "runtime:upsertRunSummary", { document_id: "a", summary: { $x: 1, y: 2 } }, /\nInvalid arguments for runtime\.js:upsertRunSummary: Field name \$x starts with '\$', which is reserved\.\n$/);
await ferr("non-ASCII field", "runtime:upsertRunSummary", { document_id: "a", summary: { "é": 1 } }, /Field name é has invalid character 'é': Field names can only contain non-control ASCII characters/);
await ferr("long field", "runtime:upsertRunSummary", { document_id: "a", summary: { ["k".repeat(1025)]: 1 } }, /Field name is too long \(1025 > maximum 1024\)/);
await ferr("array too long", "runtime:upsertRunSummary", { document_id: "a", summary: { l: Array(8193).fill(0) } }, /Array length is too long \(8193 > maximum length 8192\)/);
await ferr("too many fields", "runtime:upsertRunSummary", { document_id: "a", summary: Object.fromEntries(Array.from({ length: 1025 }, (_, i) => ["k" + i, 1])) }, /Object has too many fields \(1025 > maximum number 1024\)/);
const deep = (n) => { let v = 1; for (let i = 0; i < n; i++) v = { a: v }; return v; };
await ferr("argument nesting", "runtime:upsertRunSummary", { document_id: "a", summary: deep(63) }, /Value is too nested \(nested 65 levels deep > maximum nesting 64\)/);
await ferr("recursion limit", "runtime:upsertRunSummary", { document_id: "a", summary: deep(200) }, /\nInvalid arguments provided\n$/);
await ferr("document nesting", "runtime:upsertRunSummary", { document_id: "a", summary: deep(16) }, /Document is too nested \(nested 17 levels deep > maximum nesting 16\)/);
r = await post("/api/mutation", { path: "runtime:upsertRunSummary", args: { document_id: "deep", summary: deep(15) } }, admin); eq("nesting 16 is fine", r.json.status, "success");
await ferr("document too large", "runtime:upsertRunSummary", { document_id: "a", summary: { big } }, /\nUncaught Error: Value is too large \(1\.05 MiB > maximum size 1 MiB\)\n( {4}at .*\n)+$/);
await ferr("args too large", "runtime:upsertRunSummary", `{"document_id":"a","summary":{"s":"${"y".repeat(100)}"}}`, /Expected to receive an object/);
await ferr("bad $integer", "diag:throwConvexError", { data: { $integer: "AA==" } }, /Int64 must be exactly eight bytes/);
await ferr("bad $float", "diag:throwConvexError", { data: { $float: "AAAAAAAA8D8=" } }, /Float64 1 should be encoded as a number/);
await ferr("throw Error", "diag:throwError", { message: "boom" }, /\nUncaught Error: boom\n {4}at .*handler.*\(\.\.\/convex\/diag\.ts:\d+:\d+\)\n/);
r = await ferr("throw ConvexError", "diag:throwConvexError", { data: { code: "X", n: 1 } }, /\nUncaught ConvexError: \{"code":"X","n":1\}\n/); eq("errorData", r.json.errorData, { code: "X", n: 1 });
await ferr("user timeout", "diag:spin", { ms: 1100 }, /\nFunction execution timed out \(maximum duration: 1s\)\n$/);
for (const n of [0, 1000]) await post("/api/mutation", { path: "runtime:upsertBatch", args: { items: Array.from({ length: 1000 }, (_, i) => ({ kind: "searched", document_id: `${n + i}`, summary: {} })) } }, admin);
await ctl("POST", "config", { DATABASE_UDF_USER_TIMEOUT_SECONDS: 0.1 });
r = await post("/api/query", { path: "diag:search", args: { ms: 400 } }, admin); eq(`the database's time is not the function's: ${r.json.errorMessage ?? ""}`, r.json.status, "success");
await ctl("POST", "config", { DATABASE_UDF_USER_TIMEOUT_SECONDS: 1 });
await ferr("paused", "runtime:upsertRunSummary", { document_id: "a", summary: {} }, /./, {}); // anonymous: hidden

// ---- raw: HTTP errors
const herr = async (name, path, body, headers, status, code, re) => { const r = await post(path, body, headers); eq(name, [r.status, r.json?.code], [status, code]); if (re) like(name, r.json?.message ?? "", re); eq(`${name}: no Retry-After`, r.headers.get("retry-after"), null); };
const ok = { path: "runtime:upsertRunSummary", args: { document_id: "h", summary: {} } };
await herr("bad key", "/api/mutation", ok, { authorization: "Convex convex-self-hosted|0123" }, 401, "BadAdminKey", /^The provided admin key was invalid for this instance$/);
await herr("other instance's key", "/api/mutation", ok, { authorization: admin.authorization.replace(/Convex [^|]*/, "Convex other") }, 401, "BadAdminKey");
await herr("basic auth", "/api/mutation", ok, { authorization: "Basic abcdef" }, 400, "InvalidAdminKey", /^Invalid admin key$/);
await herr("short header", "/api/mutation", ok, { authorization: "Foo" }, 400, "InvalidHeaderFailure");
await herr("junk bearer", "/api/mutation", ok, { authorization: "Bearer not-a-jwt" }, 401, "InvalidAuthHeader", /^Could not parse JWT payload/);
await herr("admin key as bearer", "/api/mutation", ok, { authorization: `Bearer ${info.admin_key}` }, 401, "InvalidAuthHeader");
await herr("no content type", "/api/mutation", JSON.stringify(ok), { ...admin, "content-type": "text/plain" }, 400, "BadJsonBody", /^Expected request with `Content-Type: application\/json`$/);
await herr("syntax", "/api/mutation", "{", admin, 400, "BadJsonBody", /^Failed to parse the request body as JSON: /);
await herr("missing args", "/api/mutation", { path: "a:b" }, admin, 400, "BadJsonBody", /missing field `args`/);
await herr("missing path", "/api/mutation", { args: {} }, admin, 400, "BadJsonBody", /missing field `path`/);
await herr("bad path", "/api/mutation", { path: "run-time:x", args: {} }, admin, 400, "BadConvexFunctionIdentifier", /^run-time:x is not a valid path to a Convex function\. Path component run-time\.js can only contain alphanumeric characters, underscores, or periods\.$/);
await herr("bad path before bad key", "/api/mutation", { path: "run-time:x", args: {} }, { authorization: "Convex x|00" }, 400, "BadConvexFunctionIdentifier");
await herr("bad client version", "/api/mutation", ok, { ...admin, "convex-client": "nodash" }, 400, "InvalidClientVersion");
await herr("old npm client", "/api/mutation", ok, { ...admin, "convex-client": "npm-0.1.0" }, 400, "ClientVersionUnsupported");
r = await post("/api/mutation", ok, { ...admin, "convex-client": "khala-sidecar-0.1.0" }); eq("own client name", r.status, 200);
await herr("bad format", "/api/mutation", { ...ok, args: { document_id: "badformat", summary: {} }, format: "xml" }, admin, 400, "BadFormat", /^format param must be one of \[`json`\]\. Got xml$/);
eq("... but it committed", (await c.mutation(up, { document_id: "badformat", summary: {} })).outcome, "unchanged");
await herr("too large", "/api/mutation", `{"path":"runtime:upsertRunSummary","args":{"document_id":"a","summary":"${"z".repeat((1 << 24) + 2000)}"}}`, admin, 400, "BadJsonBody", /^Failed to buffer the request body: length limit exceeded$/).catch((e) => console.log("note: too-large upload was cut:", e.cause?.code ?? e.message));
r = await fetch(info.url + "/api/mutation"); eq("GET mutation", [r.status, await r.text()], [405, ""]);
r = await fetch(info.url + "/api/nope"); eq("unknown route", [r.status, await r.text()], [404, ""]);
eq("/version", (await fetch(info.url + "/version")).status, 200);
eq("/instance_name", await (await fetch(info.url + "/instance_name")).text(), info.instance_name);
r = await (await fetch(info.url + "/api/check_admin_key", { headers: admin })).json(); eq("check_admin_key", r, { success: true, allowedOps: [], isReadOnly: false });
eq("check_admin_key anonymous", (await fetch(info.url + "/api/check_admin_key")).status, 403);
await ferr("read-only key", ok.path, ok.args, /\nYou do not have permission to perform this operation \(deployment:functions:runInternalMutations\)\.\n$/, { authorization: `Convex ${info.read_only_key}` });
r = await post("/api/query", { path: "runtime:listDigests", args: { kind: "none" } }, { authorization: `Convex ${info.read_only_key}` }); eq("read-only key may query", r.json.status, "success");
r = await post("/api/mutation", '{"path":"runtime:upsertRunSummary","args":{"document_id":"a","summary":{"s":"\\ud800"}}}', admin); like("lone surrogate escape", r.json.errorMessage, /\nInvalid arguments provided\n$/);
{ const bad = Buffer.concat([Buffer.from('{"path":"runtime:upsertRunSummary","args":{"document_id":"a","summary":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}}')]); const q = await fetch(info.url + "/api/mutation", { method: "POST", headers: { "content-type": "application/json", ...admin }, body: bad }); eq("invalid UTF-8", [q.status, (await q.json()).code], [400, "BadJsonBody"]); }
await herr("/api/function anonymous", "/api/function", ok, {}, 403, "BadDeployKey");

// ---- faults
const fault = (f) => ctl("POST", "faults", f);
for (const [kind, status, code] of [["occ", 503, "OptimisticConcurrencyControlFailure"], ["too_many_concurrent", 429, "TooManyConcurrentRequests"], ["too_many_writes", 429, "TooManyWrites"], ["committer_full", 503, "CommitterFullError"], ["expired_in_queue", 503, "ExpiredInQueue"], ["internal", 500, "InternalServerError"]]) { await fault({ kind }); await herr(`fault ${kind}`, "/api/mutation", ok, admin, status, code); }
await fault({ kind: "timeout408" }); r = await post("/api/mutation", ok, admin); eq("408", [r.status, r.text], [408, ""]);
await fault({ kind: "reset_after" }); await throws("reset_after", post("/api/mutation", { ...ok, args: { document_id: "lost", summary: {} } }, admin), () => pass++);
eq("... but it committed", (await c.mutation(up, { document_id: "lost", summary: {} })).outcome, "unchanged");
await fault({ kind: "reset_before" }); await throws("reset_before", post("/api/mutation", { ...ok, args: { document_id: "lost2", summary: {} } }, admin), () => pass++);
eq("... and it did not commit", (await c.mutation(up, { document_id: "lost2", summary: {} })).outcome, "inserted");
await fault({ kind: "chunked" }); r = await post("/api/mutation", ok, admin); eq("chunked", r.json.status, "success");
await fault({ kind: "truncate" }); await throws("truncate", post("/api/mutation", ok, admin), () => pass++);
await fault({ kind: "html502" }); r = await post("/api/mutation", ok, admin); eq("html502", [r.status, r.json], [502, undefined]);

// ---- faults added later: the answer, and whether the call was committed
const one = (id, more) => ({ ...ok, args: { document_id: id, summary: {}, ...more } });
const outcomes = async (id) => (await c.mutation(up, { document_id: id, summary: {} })).outcome;
for (const state of ["paused", "suspended", "disabled", "disabled_paid", "usage_limit"]) {
  await fault({ kind: state }); const { errorMessage } = (await post("/api/mutation", ok, admin)).json;
  await ctl("POST", "state", { state }); eq(`${state} says it whatever is asked`, (await post("/api/query", { path: "runtime:listDigests", args: { kind: "x" } }, admin)).json.errorMessage.split("\n")[1], errorMessage.split("\n")[1]);
}
like("a usage limit", (await post("/api/mutation", ok, admin)).json.errorMessage, /\nThis deployment has been disabled because it exceeded a configured usage limit\./);
await ctl("POST", "state", { state: "running" });
await fault({ kind: "status", status: 406, body: "no", match: { text: "DROP TABLE" }, times: 0 });
r = await post("/api/mutation", one("wall", { summary: { s: "DROP TABLE" } }), admin); eq("a firewall refuses by content", [r.status, r.text], [406, "no"]);
eq("and nothing else", await outcomes("wall"), "inserted");
await ctl("DELETE", "faults");
await fault({ kind: "not_deployed" }); like("not deployed", (await post("/api/mutation", ok, admin)).json.errorMessage, /\nCould not find public function for 'runtime:upsertRunSummary'\. Did you forget/);
await fault({ kind: "says", message: "Uncaught TypeError: x is not a function", for_ms: 400 });
const says = async () => (await post("/api/mutation", ok, admin)).json.status;
eq("a deploy that is bad for a while", [await says(), await says()], ["error", "error"]);
await new Promise((done) => setTimeout(done, 450)); eq("and is mended", await says(), "success");
await fault({ kind: "stall", ms: 50 }); like("a function that hangs", (await post("/api/mutation", one("stalled"), admin)).json.errorMessage, /\nFunction execution timed out \(maximum duration: 1s\)/);
eq("has written nothing", await outcomes("stalled"), "inserted");
const late0 = performance.now(); await fault({ kind: "late", ms: 200 }); eq("a late answer", [(await post("/api/mutation", ok, admin)).json.status, performance.now() - late0 >= 199], ["success", true]);
await ctl("POST", "config", { REDACT_LOGS_TO_CLIENT: true });
await fault({ kind: "function_error" }); like("redacted", (await post("/api/mutation", ok, admin)).json.errorMessage, /^\[Request ID: \w+\] Server Error$/);
await ctl("POST", "config", { REDACT_LOGS_TO_CLIENT: false });
await fault({ kind: "twice", ms: 20 });
await new Promise((done) => {
  const s = net.connect(new URL(info.url).port, "127.0.0.1"), b = JSON.stringify(ok); let buf = "";
  s.write(`POST /api/mutation HTTP/1.1\r\nHost: x\r\nAuthorization: ${admin.authorization}\r\nContent-Type: application/json\r\nContent-Length: ${b.length}\r\n\r\n${b}`);
  s.on("data", (d) => { buf += d; if (buf.split("HTTP/1.1 200").length === 3) { const [first, second] = buf.match(/\{"status".*?\}\}/g); eq("an answer sent twice", first, second); s.end(); done(); } });
});

// ---- keep-alive and pipelining on one socket
await new Promise((done) => {
  const s = net.connect(new URL(info.url).port, "127.0.0.1"); let buf = "";
  const q = (i) => { const b = JSON.stringify({ path: "runtime:upsertRunSummary", args: { document_id: `p${i}`, summary: {} } }); return `POST /api/mutation HTTP/1.1\r\nHost: x\r\n${"Authorization: " + admin.authorization}\r\nContent-Type: application/json\r\nContent-Length: ${b.length}\r\n\r\n${b}`; };
  s.write(q(1) + q(2) + q(3)); s.on("data", (d) => { buf += d; if (buf.split("HTTP/1.1 200").length === 4) { eq("pipelined", buf.match(/"outcome":"inserted"/g).length, 3); s.end(); done(); } });
});
// ---- the concurrency limit
await ctl("POST", "config", { latency: "2000", APPLICATION_FUNCTION_RUNNER_SEMAPHORE_TIMEOUT: 300 });
const many = await Promise.all(Array.from({ length: 20 }, (_, i) => post("/api/mutation", { ...ok, args: { document_id: `c${i}`, summary: {} } }, admin)));
eq("16 run, the rest time out with 429", [many.filter((x) => x.status === 200).length, many.filter((x) => x.json?.code === "TooManyConcurrentRequests").length], [16, 4]);
await ctl("POST", "config", { latency: "0", APPLICATION_FUNCTION_RUNNER_SEMAPHORE_TIMEOUT: 5000 });
// ---- the write-throughput limit: 4 MiB, in a window longer than the test
await ctl("POST", "reset");
await ctl("POST", "config", { WRITE_THROUGHPUT_WINDOW: 600000, MAX_BYTES_WRITTEN_PER_SECOND: (4 << 20) / 600 });
const chunk = "w".repeat(900000), codes = {};
for (let i = 0; i < 12; i++) { const { json } = await post("/api/mutation", { path: "runtime:upsertRunSummary", args: { document_id: `w${i}`, summary: { chunk } } }, admin), code = json?.code ?? json?.status; codes[code] = (codes[code] ?? 0) + 1; }
eq("4 MiB are written, then no more", codes, { success: 5, TooManyWrites: 7 });
console.log(`${pass} passed, ${fail} failed`);
process.exit(fail ? 1 : 0);
