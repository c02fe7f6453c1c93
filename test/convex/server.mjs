// A local stand-in for a self-hosted Convex deployment: the real Convex functions
// (../../priv/convex) under convex-test, behind the HTTP surface of
// crates/local_backend.  See README.md; `node server.mjs --help`.
import http from "node:http";
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash, randomBytes, webcrypto } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "./build.mjs";
import * as V from "./values.mjs";
import * as keys from "./adminkey.mjs";
import * as jwt from "./jwt.mjs";
import { attach } from "./sync.mjs";
import { total, writeBytes } from "./bytes.mjs";

const root = dirname(fileURLToPath(import.meta.url));
process.setSourceMapsEnabled?.(true);

if (process.argv.includes("--help")) {
  console.log(`usage: node server.mjs
PORT=3210 HOST=127.0.0.1        where to listen (PORT=0 picks one; the line "READY {json}" on stdout says which)
INSTANCE_NAME=convex-self-hosted INSTANCE_SECRET=<64 hex>   as on a real backend (default: a random secret, kept in .state/)
OPENAGENTS_JWT_ISSUER, OPENAGENTS_JWT_AUDIENCE, OPENAGENTS_JWKS   as auth.config.ts reads them (default: a throw-away issuer; a token is in READY)
STANDIN_STATE=.state STANDIN_BUILD=.build   folders, so that several stand-ins can run side by side
STANDIN_LIFELINE=1               end when standard input does
STANDIN_LATENCY_MS=0 | 5 | 5-40  time each function holds its permit
REDACT_LOGS_TO_CLIENT, UDF_404_ON_BAD_PATH, and the knobs of crates/common/src/knobs.rs by name
control plane: GET /__standin/{stats,docs,history?after=n}, POST /__standin/{faults,reset,config,away,deploy,state,snapshot,restore,import,wipe}`);
  process.exit(0);
}

// ---------------------------------------------------------------- knobs ----
const env = (k, d) => (process.env[k] === undefined || process.env[k] === "" ? d : Number(process.env[k]));
const K = {
  MAX_BACKEND_PUBLIC_API_REQUEST_SIZE: env("MAX_BACKEND_PUBLIC_API_REQUEST_SIZE", (1 << 24) + 2000),
  FUNCTION_MAX_ARGS_SIZE: env("FUNCTION_MAX_ARGS_SIZE", 1 << 24),
  FUNCTION_MAX_RESULT_SIZE: env("FUNCTION_MAX_RESULT_SIZE", 1 << 24),
  APPLICATION_MAX_CONCURRENT_MUTATIONS: env("APPLICATION_MAX_CONCURRENT_MUTATIONS", 16),
  APPLICATION_MAX_CONCURRENT_QUERIES: env("APPLICATION_MAX_CONCURRENT_QUERIES", 16),
  APPLICATION_MAX_CONCURRENT_V8_ACTIONS: env("APPLICATION_MAX_CONCURRENT_V8_ACTIONS", 64),
  APPLICATION_FUNCTION_RUNNER_SEMAPHORE_TIMEOUT: env("APPLICATION_FUNCTION_RUNNER_SEMAPHORE_TIMEOUT", 5000),
  MAX_CONCURRENT_REQUESTS: 128, // a constant in crates/local_backend/src/lib.rs
  MAX_BYTES_WRITTEN_PER_SECOND: env("MAX_BYTES_WRITTEN_PER_SECOND", 4 * 1024 * 1024),
  WRITE_THROUGHPUT_WINDOW: env("WRITE_THROUGHPUT_WINDOW", 1000),
  UDF_EXECUTOR_OCC_MAX_RETRIES: env("UDF_EXECUTOR_OCC_MAX_RETRIES", 4),
  UDF_EXECUTOR_OCC_INITIAL_BACKOFF_MS: env("UDF_EXECUTOR_OCC_INITIAL_BACKOFF_MS", 100),
  UDF_EXECUTOR_OCC_MAX_BACKOFF_MS: env("UDF_EXECUTOR_OCC_MAX_BACKOFF_MS", 2000),
  DATABASE_UDF_USER_TIMEOUT_SECONDS: env("DATABASE_UDF_USER_TIMEOUT_SECONDS", 1),
  HTTP_SERVER_TIMEOUT_SECONDS: env("HTTP_SERVER_TIMEOUT_SECONDS", 300),
  REDACT_LOGS_TO_CLIENT: !["", "0", "false", undefined].includes(process.env.REDACT_LOGS_TO_CLIENT),
  UDF_404_ON_BAD_PATH: process.env.UDF_404_ON_BAD_PATH === "true",
};
let latency = process.env.STANDIN_LATENCY_MS ?? "0";
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const draw = (spec) => { const [a, b] = String(spec).split("-").map(Number); return b === undefined ? a : a + Math.random() * (b - a); };

// ------------------------------------------------------------- identity ----
const stateDir = resolve(root, process.env.STANDIN_STATE ?? ".state");
import { mkdirSync } from "node:fs";
mkdirSync(stateDir, { recursive: true });
const INSTANCE_NAME = process.env.INSTANCE_NAME || "convex-self-hosted";
function persistentSecret() { const f = join(stateDir, "instance_secret"); if (!existsSync(f)) writeFileSync(f, randomBytes(32).toString("hex"), { mode: 0o600 }); return readFileSync(f, "utf8").trim(); }
const INSTANCE_SECRET = process.env.INSTANCE_SECRET || persistentSecret();
// The providers are those of the deployed auth.config.ts; unless the environment says otherwise its
// variables name an issuer made up for this run, whose tokens /__standin/jwt mints.
const issuer = process.env.OPENAGENTS_JWKS ? null : jwt.makeIssuer();
if (issuer) {
  process.env.OPENAGENTS_JWT_ISSUER = issuer.provider.issuer;
  process.env.OPENAGENTS_JWT_AUDIENCE = issuer.provider.applicationID;
  process.env.OPENAGENTS_JWKS = issuer.provider.jwks;
}
globalThis.crypto ??= webcrypto; // Node 18, Debian 12's, has it under another name

// ------------------------------------------------------------ functions ----
const { out, versions } = await build();
// A second provider besides the deployed one, as in an app with its own users: they can sign in, and own nothing here.
const second = jwt.makeIssuer({ issuer: "https://second.standin.test", kid: "second", algorithm: "ES256" });
const providers = [...(await import(join(out, "convex/auth.config.js"))).default.providers, second.provider];
const { convexTest } = await import(join(out, "convex-test.mjs"));
const { convexToJson, jsonToConvex } = await import("convex/values");
const run = new AsyncLocalStorage();

/** Milliseconds of wall-clock time, and of CPU time. */
const clocks = () => { const { user, system } = process.cpuUsage(); return { wall: performance.now(), cpu: (user + system) / 1000 }; };
const since = (t0) => { const now = clocks(); return { wall: now.wall - t0.wall, cpu: now.cpu - t0.cpu }; };
const timed = new Set(); // functions whose time is measured; the stand-in's own are in every version
/** {schema, modules, functions: Map "runtime.js:upsertRunSummary" -> {type, internal, args}} */
async function load(paths) {
  const loaded = {}, functions = new Map();
  for (const [m, path] of Object.entries(paths)) loaded[m] = await import(path);
  for (const [m, mod] of Object.entries(loaded)) {
    if (m.startsWith("_generated") || m === "schema") continue;
    for (const [name, fn] of Object.entries(mod)) {
      const type = fn?.isQuery ? "Query" : fn?.isMutation ? "Mutation" : fn?.isAction ? "Action" : null;
      if (!type) continue;
      if (!timed.has(fn)) {
        timed.add(fn);
        const handler = fn._handler;
        fn._handler = async (ctx, args) => {
          const clock0 = clocks(), store = run.getStore(), sys0 = { ...store?.sys };
          const r = await handler(ctx, args);
          // user time: without the database's share, and without the time that other processes took
          const ms = Math.min(...Object.entries(since(clock0)).map(([clock, ms]) => ms - ((store?.sys[clock] ?? 0) - (sys0[clock] ?? 0))));
          const limit = K.DATABASE_UDF_USER_TIMEOUT_SECONDS;
          if (type !== "Action" && ms > limit * 1000) throw new SystemLimit(timedOut());
          return r;
        };
      }
      functions.set(`${m}.js:${name}`, { type, internal: !!fn.isInternal, args: JSON.parse(fn.exportArgs()) });
    }
  }
  const { schema: { default: schema }, ...modules } = loaded;
  return { schema, functions, kinds: loaded.kinds ?? {}, canonical: loaded.canonical.canonical, modules: Object.fromEntries(Object.entries({ ...modules, schema: loaded.schema }).map(([m, mod]) => [`./convex/${m}.js`, async () => mod])) };
}
const timedOut = () => `Function execution timed out (maximum duration: ${K.DATABASE_UDF_USER_TIMEOUT_SECONDS}s)`;
class SystemLimit extends Error {} // a JsError made by the backend, not thrown by JS
const releases = Object.fromEntries(await Promise.all(Object.entries(versions).map(async ([v, paths]) => [v, await load(paths)])));
let version, functions, t, db;
const indexesOf = {}; // by table: the fields of each index
const empty = (release) => { for (const [name, table] of Object.entries(release.schema.tables)) indexesOf[name] = table.export().indexes.map((i) => i.fields); t = convexTest({ schema: release.schema, modules: release.modules, transactionLimits: true }); db = globalThis.__standinDb; };
/** Deploy other functions and another schema over the existing rows; throws if a row does not match. */
function deploy(v) {
  const release = releases[v];
  if (release === undefined) throw new Error(`there are functions ${Object.keys(releases)}`);
  const rows = db === undefined ? {} : db._documents;
  for (const { _id, _creationTime, ...row } of Object.values(rows)) {
    const m = V.validate(release.schema.tables.runtime_projections.export().documentType, convexToJson(row));
    if (m !== null) throw new Error(`Schema validation failed.\nDocument with ID "${_id}" in table "runtime_projections" does not match the schema: ${m}`);
  }
  const { _nextDocId, _lastCreationTime } = db ?? {};
  empty(release);
  if (_nextDocId !== undefined) take(rows, { _nextDocId, _lastCreationTime });
  [version, functions] = [Number(v), release.functions];
}
/** Replace all rows: with a restored backup, or (none) as a new deployment. */
const putRows = (rows) => { const { _nextDocId, _lastCreationTime } = db; empty(releases[version]); take(rows, { _nextDocId, _lastCreationTime }); };
function take(rows, clocks) {
  Object.assign(db, { _documents: rows, ...clocks });
  for (const id of Object.keys(rows)) { // "10000runtime_projections"
    const table = id.replace(/^[0-9]+/, "");
    if (!db._tableIds.has(table)) db._tableIds.set(table, new Set());
    db._tableIds.get(table).add(id);
  }
}
const fresh = () => { db = undefined; deploy(version ?? 2); };
let kept = {}; // set by the control `snapshot`
fresh();

// convex-test counts what a transaction reads and writes as the backend does, but with other error texts
const LIMIT_TEXT = [
  [/^Wrote too much data in a single function execution \(limit: (\d+) bytes\).*/s, (n) => `Too many bytes written in a single function execution (limit: ${V.human(Number(n))})`],
  [/^Wrote too many documents in a single function execution \(limit: (\d+)\).*/s, (n) => `Too many writes in a single function execution (limit: ${n})`],
  [/^Read too much data in a single function execution \(limit: (\d+) bytes\).*/s, (n) => `Too many bytes read in a single function execution (limit: ${n} bytes). Consider using smaller limits in your queries, paginating your queries, or using indexed queries with a selective index range expressions.`],
  [/^Scanned too many documents in a single function execution \(limit: (\d+)\).*/s, (n) => `Too many documents read in a single function execution (limit: ${n}). Consider using smaller limits in your queries, paginating your queries, or using indexed queries with a selective index range expressions.`],
  [/^Too many index ranges read.*\(limit: (\d+)\).*/s, (n) => `Too many reads in a single function execution (limit: ${n}). Consider using smaller limits in your queries, paginating your queries, or using indexed queries with a selective index range expressions.`],
];
const inConvexWords = (e) => { for (const [re, f] of LIMIT_TEXT) { const m = re.exec(e?.message); if (m) e.message = f(m[1]); } return e; };

{ // charge time spent inside the fake database to "system", not to the function
  const charge = (s, t0) => { if (s) for (const [clock, ms] of Object.entries(since(t0))) s.sys[clock] += ms; };
  const inner = globalThis.Convex, WRITES = new Set(["1.0/insert", "1.0/shallowMerge", "1.0/replace", "1.0/remove"]);
  globalThis.Convex = {
    syscall: (...a) => { const s = run.getStore(), t0 = clocks(); try { return inner.syscall(...a); } catch (e) { throw inConvexWords(e); } finally { charge(s, t0); } },
    asyncSyscall: async (...a) => { const s = run.getStore(), t0 = clocks(); if (s && WRITES.has(a[0])) s.wrote = true; if (s && a[0] === "1.0/queryStreamNext" || s && a[0] === "1.0/queryPage") indexFault(); try { return await inner.asyncSyscall(...a); } catch (e) { throw inConvexWords(e); } finally { charge(s, t0); } },
    get jsSyscall() { return inner.jsSyscall; },
  };
}

// faults inside a function: when a document is written, or an index is read
const notSchema = (why) => `Failed to insert or update a document in table "runtime_projections" because it does not match the schema: ${why}`;
const INSIDE = new Set(["refuse_item", "index_building"]);
const meet = (f) => { bump(stats.faults, f.kind); return f; };
function indexFault() {
  const f = standing().find((f) => f.kind === "index_building");
  if (f) throw new Error(`Index runtime_projections.${meet(f).index ?? "by_kind_document_id"} is currently backfilling and not available to query yet.`);
}
globalThis.__standinCheckDocument = (table, doc) => {
  const kind = doc.kind === "_control" ? doc.summary?.kind : doc.kind; // a control counts as a document of its kind
  const f = standing().find((f) => f.kind === "refuse_item" && globMatch(f.match?.document_id ?? "*", doc.document_id ?? "") && globMatch(f.match?.kind ?? "*", kind ?? ""));
  if (f) throw new Error(meet(f).message ?? notSchema("this document is refused"));
  const full = convexToJson({ ...doc, _id: "x".repeat(32), _creationTime: 1.5 });
  const { size, nesting } = V.measure(full);
  for (const k of Object.keys(doc)) if (k.startsWith("_")) throw new Error(`${V.display(full)} isn't a valid document: Field '${k}' starts with an underscore, which is only allowed for system fields like '_id'`);
  if (nesting > V.MAX_DOCUMENT_NESTING) throw new Error(`${V.display(full).slice(0, 200)} isn't a valid document: Document is too nested (nested ${nesting} levels deep > maximum nesting ${V.MAX_DOCUMENT_NESTING})`);
  if (size > V.MAX_USER_SIZE) throw new Error(`Value is too large (${V.human(size)} > maximum size ${V.human(V.MAX_USER_SIZE)})`);
  const s = run.getStore(); if (s && doc.document_id !== undefined && isDocument(doc)) s.writes.push({ kind: doc.kind, document_id: doc.document_id, seq: doc.seq, projected_at: doc.projected_at, content_hash: doc.content_hash ?? hashOf(doc.summary), removed: doc.summary === null, arrived_us: s.arrived_us });
};

// what a commit counts towards the write-throughput limit
globalThis.__standinWritten = (table, before, after) => {
  const s = run.getStore();
  if (!s) return;
  const bytes = writeBytes(before, after, indexesOf[table]);
  s.bytes += total(bytes);
  if (isDocument(after ?? before)) for (const part of Object.keys(bytes)) stats.bytes[part] += bytes[part];
};

/** The hash of a stored summary: its own, or the derived one (guard.ts, `lean`). */
function hashOf(summary) {
  if (summary?.projection_hash !== null) return summary?.projection_hash ?? null;
  const { projected_at, projection_hash, ...content } = summary;
  return createHash("sha256").update(releases[version].canonical(content)).digest("hex");
}
const isDocument = (row) => !row.kind?.startsWith("_"); // not a mark or control
// console.log inside functions -> logLines
const show = (x) => typeof x === "string" ? `'${x}'` : typeof x === "bigint" ? `${x}n` : Array.isArray(x) ? `[ ${x.map(show).join(", ")} ]` : x && typeof x === "object" ? `{ ${Object.entries(x).map(([k, y]) => `${k}: ${show(y)}`).join(", ")} }` : String(x);
for (const [m, tag] of [["log", "LOG"], ["info", "INFO"], ["warn", "WARN"], ["error", "ERROR"], ["debug", "DEBUG"]]) {
  const real = console[m].bind(console);
  console[m] = (...a) => { const s = run.getStore(); if (s) { if (s.logs.length < 256) s.logs.push(`[${tag}] ${a.map(show).join(" ")}`); } else real(...a); };
}

// --------------------------------------------------------------- errors ----
class Http extends Error { constructor(status, code, message, headers) { super(message); Object.assign(this, { status, code, headers }); } }
const badRequest = (c, m) => new Http(400, c, m);
const E = {
  occ: () => new Http(503, "OptimisticConcurrencyControlFailure", `Documents read from or written to the "runtime_projections" table changed while this mutation was being run and on every subsequent retry. Another call to this mutation changed the document with ID "j57cq69zzk3v4s9ktbn6g3dskx7m7aj5". See https://docs.convex.dev/error#1`),
  too_many_concurrent: (n = K.APPLICATION_MAX_CONCURRENT_MUTATIONS, type = "mutation") => new Http(429, "TooManyConcurrentRequests", `Too many concurrent requests. Your backend is limited to ${n} concurrent ${type}s. ${n > 16 ? "If you need more resources, please contact support." : "To get more resources, upgrade to Convex Pro. If you are already on Convex Pro, please contact support."}`),
  too_many_writes: () => new Http(429, "TooManyWrites", `Too many writes per second. Your deployment is limited to ${V.human(K.MAX_BYTES_WRITTEN_PER_SECOND)} bytes written per ${K.WRITE_THROUGHPUT_WINDOW / 1000} second. Reduce your write rate or upgrade to a larger deployment.`),
  committer_full: () => new Http(503, "CommitterFullError", "Too many concurrent commits in a short period of time. Spread your writes out over time or throttle them to avoid errors."),
  expired_in_queue: () => new Http(503, "ExpiredInQueue", "Too many concurrent requests in a short period of time. Spread out your requests out over time or throttle them to avoid errors."),
  execute_full: () => new Http(503, "ExecuteFullError", "Too many concurrent requests in a short period of time. Spread out your requests out over time or throttle them to avoid errors."),
  worker_overloaded: () => new Http(503, "WorkerOverloaded", "There are no available workers to process the request"),
  internal: () => new Http(500, "InternalServerError", "Your request couldn't be completed. Try again later."),
  bad_admin_key: () => new Http(401, "BadAdminKey", "The provided admin key was invalid for this instance"),
  timeout408: () => new Http(408, "", ""),
};

// -------------------------------------------------------------- request ----
const DEPRECATION = { npm: "0.19.1", "npm-cli": "0.19.1", actions: "0.19.1", python: "0.0.2", "python-convex": "0.0.2", rust: "0.0.1" };
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;
const cmpv = (a, b) => { const x = a.split(/[-+]/)[0].split(".").map(Number), y = b.split(".").map(Number); for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return x[i] - y[i]; return 0; };
function clientVersion(h) {
  if (h === undefined) return { client: "unknown", version: null };
  const parts = h.split("-");
  if (parts.length < 2) throw badRequest("InvalidClientVersion", `Failed to parse client version string: '${h}'. Expected format is {client_name}-{semver}, e.g. my-esolang-client-0.0.1`);
  let client = parts[0], version = null;
  for (let n = 1; n < parts.length; n++) { const s = parts.slice(n).join("-"); if (SEMVER.test(s)) { client = parts.slice(0, n).join("-"); version = s; break; } }
  client = client.toLowerCase();
  const floor = DEPRECATION[client];
  if (floor !== undefined && (version === null || cmpv(version, floor) <= 0)) {
    const m = `The Convex ${client} package at version ${version ?? parts.slice(1).join("-")} is no longer supported.`;
    throw new Http(400, "ClientVersionUnsupported", m, { "x-convex-deprecation-state": "Unsupported", "x-convex-deprecation-message": m });
  }
  return { client, version };
}
function defaultFormat({ client, version }) {
  const min = ["npm", "npm-cli", "actions"].includes(client) ? "1.4.1" : ["python", "python-convex"].includes(client) ? "0.5.0" : null;
  return min !== null && version !== null && cmpv(version, min) < 0 ? V.encodeText : V.cleanText;
}
function authToken(h, url) {
  if (h !== undefined) {
    if (h.length < 7) throw badRequest("InvalidHeaderFailure", "Invalid authentication header");
    if (h.slice(0, 7).toLowerCase() === "convex ") {
      let key = h.slice(7);
      const bar = key.indexOf("|");
      if (bar >= 0) {
        const pre = key.slice(0, bar), c = pre.indexOf(":");
        if (c >= 0) key = ["preview", "project"].includes(pre.slice(0, c).toLowerCase()) ? key.slice(bar + 1) : `${pre.slice(c + 1)}|${key.slice(bar + 1)}`;
      }
      const colon = key.indexOf(":");
      if (colon < 0) return { admin: key };
      try { return { admin: key.slice(0, colon), acting: JSON.parse(Buffer.from(key.slice(colon + 1), "base64").toString()) }; }
      catch { throw badRequest("HeaderParseFailure", "Malformed Authorization header."); }
    }
    if (h.length <= 7 || h.slice(0, 7).toLowerCase() !== "bearer ") throw badRequest("InvalidAdminKey", "Invalid admin key");
    return { user: h.slice(7).trim() };
  }
  const q = url.searchParams.get("adminKey");
  return q === null ? {} : { admin: q };
}
function authenticate(tok) {
  if (tok.admin !== undefined) {
    const k = keys.check(tok.admin, INSTANCE_SECRET);
    if (k === null || k.instance !== INSTANCE_NAME || !k.issuedS) throw E.bad_admin_key();
    return { admin: true, system: k.system, readOnly: k.readOnly, acting: tok.acting ?? null };
  }
  if (tok.user !== undefined) {
    try { return { user: jwt.validate(tok.user, providers, Date.now() / 1000, K.REDACT_LOGS_TO_CLIENT) }; }
    catch (e) { if (e instanceof jwt.Unauthenticated) throw new Http(401, e.code, e.message); throw e; }
  }
  return {};
}
const isJson = (ct) => { const m = /^\s*([^\s/;]+)\/([^\s;]+)\s*(;.*)?$/.exec(ct ?? ""); return !!m && m[1].toLowerCase() === "application" && (m[2].toLowerCase() === "json" || m[2].toLowerCase().endsWith("+json")); };
function readBody(req) {
  return new Promise((ok, no) => {
    const chunks = []; let n = 0;
    req.on("data", (c) => { n += c.length; if (n > K.MAX_BACKEND_PUBLIC_API_REQUEST_SIZE) { req.pause(); no(Object.assign(badRequest("BadJsonBody", "Failed to buffer the request body: length limit exceeded"), { close: true })); return; } chunks.push(c); });
    req.on("end", () => ok(Buffer.concat(chunks)));
    req.on("error", no); req.on("aborted", () => no(new Error("aborted")));
  });
}
const typeOf = (v) => v === null ? "null" : typeof v === "string" ? `string ${JSON.stringify(v)}` : typeof v === "number" ? (Number.isInteger(v) ? `integer \`${v}\`` : `floating point \`${v}\``) : typeof v === "boolean" ? `boolean \`${v}\`` : Array.isArray(v) ? "sequence" : "map";
function parseBody(buf, fields) {
  let text;
  try { text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(buf); } catch { throw badRequest("BadJsonBody", "Failed to parse the request body as JSON: invalid unicode code point at line 1 column 1"); }
  let j;
  try { j = JSON.parse(text); } catch (e) { throw badRequest("BadJsonBody", `Failed to parse the request body as JSON: ${e.message}`); }
  const data = (m) => badRequest("BadJsonBody", `Failed to deserialize the JSON body into the target type: ${m} at line 1 column ${text.length}`);
  if (j === null || typeof j !== "object" || Array.isArray(j)) throw data(`invalid type: ${typeOf(j)}, expected struct UdfPostRequest`);
  for (const [k, type] of Object.entries(fields)) {
    const opt = type.endsWith("?"), base = type.replace("?", "");
    if (j[k] === undefined || (opt && j[k] === null)) { if (!opt) throw data(`missing field \`${k}\``); continue; }
    if (base === "string" && typeof j[k] !== "string") throw data(`${k}: invalid type: ${typeOf(j[k])}, expected a string`);
  }
  // `args` is a RawValue: kept as text, parsed (with serde_json's rules) when the function is called
  return { ...j, argsText: j.args === undefined ? undefined : JSON.stringify(j.args), bytes: buf.length };
}
function parsePath(p) {
  const bad = (m) => badRequest("BadConvexFunctionIdentifier", `${p} is not a valid path to a Convex function. ${m}`);
  const c = p.lastIndexOf(":");
  const mod = c < 0 ? p : p.slice(0, c), fn = c < 0 ? "default" : p.slice(c + 1);
  if (mod === "" || mod.endsWith("/..") || mod === ".." || mod === "/") throw bad(`Module path ${mod} doesn't have a filename.`);
  const last = mod.split("/").pop(), dot = last.lastIndexOf(".");
  if (dot > 0 && last.slice(dot) !== ".js") throw bad(`Module path (${mod}) has an extension that isn't 'js'.`);
  if (mod.startsWith("/")) throw bad(`Module paths must be relative (${mod} is absolute).`);
  const canon = dot > 0 ? mod : `${mod}.js`;
  for (const s of canon.split("/")) {
    if (s.length > 64) throw bad(`Path component is too long (${s.length} > maximum 64): ${s.slice(0, 64)}...`);
    if (!/^[A-Za-z0-9_.]*$/.test(s)) throw bad(`Path component ${s} can only contain alphanumeric characters, underscores, or periods.`);
    if (!/[A-Za-z0-9]/.test(s)) throw bad(`Path component ${s} must have at least one alphanumeric character.`);
  }
  if (c >= 0) {
    if (fn === "") throw bad("Identifier cannot be empty");
    if (!/^[A-Za-z_]/.test(fn)) throw bad(`Invalid first character '${fn[0]}' in ${fn}: Identifiers must start with an alphabetic character or underscore`);
    const x = /[^A-Za-z0-9_]/.exec(fn); if (x) throw bad(`Identifier ${fn} has invalid character '${x[0]}': Identifiers can only contain alphanumeric characters or underscores`);
    if (fn.length > 64) throw bad(`Identifier is too long (${fn.length} > maximum 64)`);
    if (/^_+$/.test(fn)) throw bad(`Identifier ${fn} cannot have exclusively underscores`);
  }
  return { full: `${canon}:${fn}`, stripped: fn === "default" ? canon.slice(0, -3) : `${canon.slice(0, -3)}:${fn}`, call: `${canon.slice(0, -3)}:${fn}` };
}

// ------------------------------------------------------------- limiters ----
class Limiter {
  constructor(type, permits) { Object.assign(this, { type, permits, running: 0, waiters: [], peak: 0 }); }
  acquire() {
    if (this.running < this.permits) { this.running++; this.peak = Math.max(this.peak, this.running); return Promise.resolve(); }
    return new Promise((ok, no) => {
      const w = { ok }; w.timer = setTimeout(() => { this.waiters.splice(this.waiters.indexOf(w), 1); no(E.too_many_concurrent(this.permits, this.type)); }, K.APPLICATION_FUNCTION_RUNNER_SEMAPHORE_TIMEOUT);
      this.waiters.push(w);
    });
  }
  release() { const w = this.waiters.shift(); if (w) { clearTimeout(w.timer); w.ok(); } else this.running--; }
}
const limiters = { Mutation: new Limiter("mutation", K.APPLICATION_MAX_CONCURRENT_MUTATIONS), Query: new Limiter("query", K.APPLICATION_MAX_CONCURRENT_QUERIES), Action: new Limiter("action", K.APPLICATION_MAX_CONCURRENT_V8_ACTIONS) };
const writes = { log: [], total: 0 };
function throughputOk() {
  const now = Date.now(); while (writes.log.length && now - writes.log[0][0] > K.WRITE_THROUGHPUT_WINDOW) writes.total -= writes.log.shift()[1];
  return writes.total <= (K.MAX_BYTES_WRITTEN_PER_SECOND * K.WRITE_THROUGHPUT_WINDOW) / 1000;
}
const recordWrite = (bytes) => { writes.log.push([Date.now(), bytes]); writes.total += bytes; };
// convex-test runs one function at a time; queue here rather than among its waiters
let tail = Promise.resolve();
const serially = (f) => { const p = tail.then(f); tail = p.then(() => {}, () => {}); return p; };

// -------------------------------------------------------------- execute ----
const HISTORY_MAX = 2000000, history = []; // every committed version of every document, in commit order
const noBytes = () => ({ document: 0, indexes: 0, log: 0 });
const stats = { requests: 0, documentsWritten: 0, bytes: noBytes(), byStatus: {}, byCode: {}, functions: {}, commits: 0, faults: {}, startedMs: Date.now() };
const bump = (o, k) => { o[k] = (o[k] ?? 0) + 1; };
function jsError(e) {
  if (e instanceof SystemLimit) return { message: e.message };
  const text = String(e?.message ?? e);
  const frames = String(e?.stack ?? "").split("\n").map((l) => /at (.*?) ?\(?(?:file:\/\/)?[^ (]*\/convex\/([A-Za-z0-9_/]+\.[tj]s:\d+:\d+)\)?$/.exec(l.trim())).filter((m) => m && !l_is_internal(m[2])).map((m) => `    at ${m[1] || "<anonymous>"} (../convex/${m[2]})`);
  const isConvex = e && typeof e === "object" && Symbol.for("ConvexError") in e;
  const out = { message: `Uncaught ${isConvex ? "ConvexError" : e?.name || "Error"}: ${text}`, frames };
  if (isConvex) out.data = convexToJson(e.data);
  return out;
}
const l_is_internal = (s) => s.startsWith("node_modules");
const render = (err, requestId) => `[Request ID: ${requestId}] Server Error` + (K.REDACT_LOGS_TO_CLIENT ? "" : `\n${err.message}\n${(err.frames ?? []).map((f) => f + "\n").join("")}`);

/**
 * want: "Mutation" | "Query" | "Action" | null (any). Returns {ok: json} | {err, logs}.
 * held: the caller has the turn already (`serially`), and so needs no permit.
 */
async function execute(want, path, argsText, identity, held = false, arrived_us = 0) {
  const js = (message) => ({ err: { message }, logs: [] });
  if (state !== "running") return js(STATES[state]);
  const f = functions.get(path.full);
  const missing = () => { const m = want === null ? `Could not find function for '${path.stripped}'. Did you forget to run \`npx convex dev\`?` : `Could not find public function for '${path.stripped}'.`; if (K.UDF_404_ON_BAD_PATH && want !== null) throw new Http(404, "FunctionPathNotFound", m); return js(m); };
  if (!f) return missing();
  // any_udf asks is_admin(), which an acting user is not (get-convex/convex-backend#444)
  if (f.internal && !(identity.admin && (want !== null || !identity.acting))) return missing();
  // Forbidden is a "deterministic user error": raised inside the call it becomes a 200 error
  if (f.internal && identity.readOnly && f.type !== "Query") return js(`You do not have permission to perform this operation (deployment:functions:runInternal${f.type}s).`);
  if (want !== null && want !== f.type) { const m = `Trying to execute ${path.full} as ${want}, but it is defined as ${f.type}.`; if (K.UDF_404_ON_BAD_PATH) throw new Http(404, "FunctionPathWrongType", m); return js(m); }
  let args;
  try { args = V.serdeParse(argsText.startsWith("[") ? argsText : `[${argsText}]`); } catch { return js("Invalid arguments provided"); }
  let size;
  try { size = V.measure(args).size; } catch (e) { if (e instanceof V.UserError) return js(`Invalid arguments for ${path.full}: ${e.message}`); throw e; }
  if (size > K.FUNCTION_MAX_ARGS_SIZE) return js(`Arguments for ${path.full} are too large (actual: ${V.human(size)}, limit: ${V.human(K.FUNCTION_MAX_ARGS_SIZE)})`);
  if (f.args.type === "object") {
    if (args.length !== 1) return js(`ArgumentValidationError: Expected to receive a single object as the function's argument. Instead received ${args.length} arguments: ${V.display(args)}`);
    if (args[0] === null || typeof args[0] !== "object" || Array.isArray(args[0])) return js(`ArgumentValidationError: Expected to receive an object as the function's argument. Instead received: ${V.display(args[0])}`);
    const m = V.validate(f.args, args[0]);
    if (m !== null) return js(`ArgumentValidationError: ${m}`);
  }
  bump(stats.functions, path.full);
  const limiter = limiters[f.type];
  for (let attempt = 0; ; attempt++) {
    if (f.type === "Mutation" && !throughputOk()) {
      if (attempt >= K.UDF_EXECUTOR_OCC_MAX_RETRIES) throw E.too_many_writes();
      await sleep(Math.min(K.UDF_EXECUTOR_OCC_INITIAL_BACKOFF_MS * 2 ** attempt, K.UDF_EXECUTOR_OCC_MAX_BACKOFF_MS) * Math.random());
      continue;
    }
    if (!held) await limiter.acquire();
    const store = { logs: [], bytes: 0, sys: { wall: 0, cpu: 0 }, writes: [], arrived_us };
    try {
      const ms = held ? 0 : draw(latency); if (ms > 0) await sleep(ms);
      const who = identity.user ?? identity.acting;
      const acc = who ? t.withIdentity(who) : t;
      const call = { componentPath: "", udfPath: path.call };
      const value = await run.run(store, () => f.type === "Action"
        ? acc.actionFromPath(call, jsonToConvex(args[0] ?? {}))
        : (held ? (g) => g() : serially)(() => f.type === "Mutation" ? acc.mutationFromPath(call, jsonToConvex(args[0] ?? {})) : acc.queryFromPath(call, jsonToConvex(args[0] ?? {}))));
      const json = convexToJson(value === undefined ? null : value);
      const n = V.measure(json).size;
      if (n > K.FUNCTION_MAX_RESULT_SIZE) return { err: { message: `Function ${path.full} return value is too large (actual: ${V.human(n)}, limit: ${V.human(K.FUNCTION_MAX_RESULT_SIZE)})` }, logs: store.logs };
      if (f.type === "Mutation") { if (!path.full.endsWith(":attach")) stats.commits++; stats.documentsWritten += store.writes.length; for (const w of store.writes) if (history.length < HISTORY_MAX) history.push(w); if (store.bytes) recordWrite(store.bytes); if (store.wrote) sync.changed(); }
      return { ok: json, logs: store.logs };
    } catch (e) {
      if (e instanceof Http) throw e;
      return { err: jsError(e), logs: store.logs };
    } finally { if (!held) limiter.release(); }
  }
}

// crates/udf/src/validation.rs: a deployment that is not running gives this answer to every request
const STATES = {
  running: "",
  paused: "Cannot run functions while this deployment is paused. Resume the deployment in the dashboard settings to allow functions to run.",
  suspended: "Cannot run functions while this deployment is suspended. Please contact Convex if you believe this is a mistake.",
  disabled: "You have exceeded the free plan limits, so your deployments have been disabled. Please upgrade to a Pro plan or reach out to us at support@convex.dev for help.",
  disabled_paid: "You have exceeded your spending limits, so your deployments have been disabled. Please increase your spending limit on the Convex dashboard or wait until limits reset.",
  usage_limit: "This deployment has been disabled because it exceeded a configured usage limit. Update or disable the usage limit in the Convex dashboard in deployment settings to resume function execution.",
};
let state = "running";

// --------------------------------------------------------------- faults ----
// {kind, match?: {path?, document_id?, kind?, text?, over_bytes?}, times?: n (default 1, 0 = for ever), for_ms?, p?: probability, ms?}
let faults = [];
const standing = () => (faults = faults.filter((f) => f.until === undefined || Date.now() < f.until));
const injected = (f) => { const times = f.times ?? (f.for_ms === undefined && !INSIDE.has(f.kind) ? 1 : 0); return { ...f, times, left: times, ...(f.for_ms === undefined ? {} : { until: Date.now() + f.for_ms }) }; };
const globMatch = (pat, s) => new RegExp(`^${String(pat).replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*")}$`).test(s);
function takeFault(path, argsText) {
  for (const f of standing()) {
    if (INSIDE.has(f.kind)) continue;
    if (f.match?.path !== undefined ? !globMatch(f.match.path, path) : path.endsWith(":attach")) continue;
    if (f.match?.document_id !== undefined && !argsText?.includes(JSON.stringify(f.match.document_id))) continue;
    if (f.match?.kind !== undefined && !argsText?.includes(`"kind":${JSON.stringify(f.match.kind)}`)) continue;
    if (f.match?.text !== undefined && !argsText?.includes(f.match.text)) continue;
    if (f.match?.over_bytes !== undefined && !(argsText?.length > f.match.over_bytes)) continue;
    if (f.p !== undefined && Math.random() >= f.p) continue;
    if (f.times !== 0 && --f.left <= 0) faults = faults.filter((x) => x !== f);
    bump(stats.faults, f.kind);
    return f;
  }
  return null;
}

// --------------------------------------------------------------- routes ----
const CORS = { vary: "origin, access-control-request-method, access-control-request-headers", "access-control-allow-credentials": "true" };
function send(res, status, body, headers = {}) {
  bump(stats.byStatus, status);
  const b = Buffer.from(body ?? "");
  res.writeHead(status, { ...CORS, ...(b.length && !headers["content-type"] ? { "content-type": "application/json" } : {}), ...headers, "content-length": b.length });
  res.end(b);
}
const plain = { "content-type": "text/plain; charset=utf-8" };
const response = (r, fmt, requestId) => r.err
  ? `{"status":"error","errorMessage":${JSON.stringify(render(r.err, requestId))}${r.err.data === undefined ? "" : `,"errorData":${fmt(r.err.data)}`}${logs(r)}}`
  : `{"status":"success","value":${fmt(r.ok)}${logs(r)}}`;
const logs = (r) => (r.logs.length && !K.REDACT_LOGS_TO_CLIENT ? `,"logLines":${JSON.stringify(r.logs)}` : "");
function format(name, cv) {
  if (name === undefined || name === null) return defaultFormat(cv);
  const f = V.FORMATS[name];
  if (!f) throw badRequest("BadFormat", `format param must be one of [\`json\`]. Got ${name}`);
  return f;
}
const TYPES = { "/api/mutation": "Mutation", "/api/query": "Query", "/api/action": "Action", "/api/query_at_ts": "Query" };
const ts64 = () => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(Date.now()) * 1000000n); return b.toString("base64"); };
const requireAdmin = (id) => { if (!id.admin) throw new Http(403, "BadDeployKey", "The provided deploy key was invalid for this deployment. Double check that the environment this key was generated for matches the desired deployment."); };

async function callRoute(req, res, url, type) {
  const arrived_us = Number(process.hrtime.bigint() / 1000n); // CLOCK_MONOTONIC
  const requestId = req.headers["convex-request-id"] ?? randomBytes(8).toString("hex");
  const cv = clientVersion(req.headers["convex-client"]);
  const tok = authToken(req.headers.authorization, url);
  if (!isJson(req.headers["content-type"])) throw badRequest("BadJsonBody", "Expected request with `Content-Type: application/json`");
  const raw = await readBody(req);
  const isRun = url.pathname.startsWith("/api/run/");
  const body = parseBody(raw, isRun ? { args: "any", format: "string?" } : { path: "string", args: "any", format: "string?", ...(url.pathname === "/api/query_at_ts" ? { ts: "string" } : {}) });
  let path;
  const parseAny = () => {
    if (!isRun) return parsePath(body.path);
    const parts = url.pathname.slice("/api/run/".length).split("/").map(decodeURIComponent);
    if (parts.length < 2) throw badRequest("MissingIdentifier", "Path or function name not provided in path, e.g. /api/run/messages/list");
    const fn = parts.pop(); return parsePath(`${parts.join("/")}:${fn}`);
  };
  let identity;
  if (type !== null) { path = parseAny(); identity = authenticate(tok); }
  else { identity = authenticate(tok); if (!isRun) requireAdmin(identity); path = parseAny(); }

  const fault = takeFault(path.stripped, body.argsText);
  const kind = fault?.kind;
  if (fault?.ms && !["slow_body", "stall", "late", "twice"].includes(kind)) await sleep(fault.ms);
  if (kind === "reset_before") { bump(stats.byStatus, "reset"); return void req.socket.resetAndDestroy(); }
  if (kind === "close_before") { bump(stats.byStatus, "closed"); return void req.socket.destroy(); }
  if (kind && E[kind]) throw E[kind]();
  if (kind === "html502") return send(res, 502, "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>", { "content-type": "text/html" });
  if (kind === "retry_after") return send(res, 429, '{"code":"TooManyConcurrentRequests","message":"from a proxy"}', { "retry-after": String(fault.seconds ?? 1) });
  const says = (message) => send(res, 200, response({ err: { message, frames: [] }, logs: [] }, V.encodeText, requestId));
  if (kind in STATES) return says(STATES[kind]);
  if (kind === "function_error") return says(`Uncaught Error: ${fault.message ?? "injected"}`);
  if (kind === "says") return says(fault.message ?? "injected");
  if (kind === "not_deployed") return says(`Could not find public function for '${path.stripped}'. Did you forget to run \`npx convex dev\` or \`npx convex deploy\`?`);
  if (kind === "status") return send(res, fault.status ?? 403, fault.body ?? "<html><body>Request blocked.</body></html>", { "content-type": fault.type ?? "text/html" });
  if (kind === "stall") { // a function that hangs: it holds its permit until Convex ends it
    const limiter = limiters[type ?? "Mutation"];
    await limiter.acquire();
    try { await sleep(fault.ms ?? K.DATABASE_UDF_USER_TIMEOUT_SECONDS * 1000); } finally { limiter.release(); }
    return says(timedOut());
  }

  const timer = setTimeout(() => { if (!res.headersSent) send(res, 408, ""); }, K.HTTP_SERVER_TIMEOUT_SECONDS * 1000);
  const r = await execute(type, path, body.argsText, identity, false, arrived_us).finally(() => clearTimeout(timer));
  if (res.headersSent) return;
  // As in the backend, `format` is only checked here: an invalid one is a 400 *after* the commit.
  const fmt = body.format === undefined && isRun ? V.cleanText : format(body.format, cv);
  const text = response(r, fmt, requestId);
  if (kind === "reset_after") { bump(stats.byStatus, "reset"); return void req.socket.resetAndDestroy(); }
  if (kind === "close_after") { bump(stats.byStatus, "closed"); return void req.socket.destroy(); }
  if (kind === "hang") { bump(stats.byStatus, "hang"); return; }
  if (kind === "late") await sleep(fault.ms ?? 1000);
  if (kind === "twice") { // the same answer again, unsolicited, on the same connection
    const { socket } = req, again = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
    res.once("finish", () => setTimeout(() => socket.writable && socket.write(again), fault.ms ?? 0));
  }
  if (kind === "internal_after") throw E.internal();
  if (kind === "truncate") { bump(stats.byStatus, "truncated"); res.writeHead(200, { ...CORS, "content-type": "application/json", "content-length": Buffer.byteLength(text) }); res.write(text.slice(0, text.length >> 1)); return void setTimeout(() => req.socket.destroy(), 20); }
  if (kind === "garbage") return send(res, 200, text.slice(0, -1) + "!");
  if (kind === "connection_close") return send(res, 200, text, { connection: "close" });
  if (kind === "chunked") { bump(stats.byStatus, 200); res.writeHead(200, { ...CORS, "content-type": "application/json" }); for (let i = 0; i < text.length; i += 7) res.write(text.slice(i, i + 7)); return void res.end(); }
  if (kind === "slow_body") { bump(stats.byStatus, 200); res.writeHead(200, { ...CORS, "content-type": "application/json", "content-length": Buffer.byteLength(text) }); for (const c of text) { res.write(c); await sleep(fault.ms ?? 10); } return void res.end(); }
  send(res, 200, text);
}

/** Documents that do not match kinds.ts: [[id, why], ...]. */
async function misfits() {
  const shapes = Object.values(releases[version].kinds).filter((x) => x?.isConvexValidator).map((x) => [x.fields.kind.value, x.json]);
  const why = ({ kind, summary }) => { const shape = shapes.find(([k]) => k === kind); return summary === null || !shape ? null : V.validate(shape[1], convexToJson({ ...summary, projection_hash: hashOf(summary) ?? undefined })); };
  return (await dump(false)).map((row) => [row.document_id, why(row)]).filter(([, w]) => w !== null);
}

async function dump(all = true) { return (await serially(() => t.run(async (ctx) => await ctx.db.query("runtime_projections").collect()))).filter((row) => all || isDocument(row)); }

async function route(req, res) {
  const url = new URL(req.url, "http://standin");
  const p = url.pathname, m = req.method;
  const only = (...allowed) => { if (allowed.includes(m) || (m === "HEAD" && allowed.includes("GET"))) return true; send(res, 405, "", { allow: allowed.join(",") + (allowed.includes("GET") ? ",HEAD" : "") }); return false; };
  if (p === "/version") return void (only("GET") && send(res, 200, "standin", plain));
  if (p.startsWith("/__standin/")) return control(req, res, url);
  clientVersion(req.headers["convex-client"]); // middleware: before routing, on every route
  if (m === "OPTIONS") return send(res, 200, "", { "access-control-allow-methods": "GET,POST,OPTIONS,PATCH,DELETE,PUT", "access-control-max-age": "86400" });
  if (p === "/") return void (only("GET") && send(res, 200, "This Convex deployment is running. See https://docs.convex.dev/.", plain));
  if (p === "/instance_name") return void (only("GET") && send(res, 200, INSTANCE_NAME, plain));
  if (p === "/instance_version") return void (only("GET") && send(res, 200, "standin", plain));
  if (p === "/echo") return void (only("POST") && send(res, 200, await readBody(req), { "content-type": "application/octet-stream" }));
  if (p === "/api/query" && (m === "GET" || m === "HEAD")) {
    const cv = clientVersion(req.headers["convex-client"]), tok = authToken(req.headers.authorization, url);
    const path = parsePath(url.searchParams.get("path") ?? ""), id = authenticate(tok);
    const r = await execute("Query", path, url.searchParams.get("args") ?? "{}", id);
    return send(res, 200, response(r, format(url.searchParams.get("format") ?? undefined, cv), randomBytes(8).toString("hex")));
  }
  if (TYPES[p]) return void (only(...(p === "/api/query" ? ["GET", "POST"] : ["POST"])) && (await callRoute(req, res, url, TYPES[p])));
  if (p === "/api/function" || p.startsWith("/api/run/")) return void (only("POST") && (await callRoute(req, res, url, null)));
  if (p === "/api/query_ts") return void (only("POST") && send(res, 200, JSON.stringify({ ts: ts64() })));
  if (p === "/api/query_batch") {
    if (!only("POST")) return;
    const cv = clientVersion(req.headers["convex-client"]), tok = authToken(req.headers.authorization, url);
    if (!isJson(req.headers["content-type"])) throw badRequest("BadJsonBody", "Expected request with `Content-Type: application/json`");
    const { queries } = parseBody(await readBody(req), { queries: "any" });
    const id = authenticate(tok), outs = [];
    for (const q of queries) { const fmt = format(q.format, cv); const r = await execute("Query", parsePath(q.path), JSON.stringify(q.args), id); outs.push(response(r, fmt, randomBytes(8).toString("hex"))); }
    return send(res, 200, `{"results":[${outs.join(",")}]}`);
  }
  if (p === "/api/check_admin_key") {
    if (!only("GET")) return;
    const id = authenticate(authToken(req.headers.authorization, url)); requireAdmin(id);
    return send(res, 200, JSON.stringify({ success: true, allowedOps: id.readOnly ? ["ViewEnvironmentVariables", "ViewLogs", "ViewMetrics", "ViewIntegrations", "ViewData", "ViewBackups", "DownloadBackups", "RunInternalQueries", "RunTestQuery", "ViewAuditLog", "ViewUsageLimits", "ViewUsage"] : [], isReadOnly: !!id.readOnly }));
  }
  if (p === "/api/list_snapshot") {
    if (!only("GET", "POST")) return;
    requireAdmin(authenticate(authToken(req.headers.authorization, url)));
    const ts = BigInt(Date.now()) * 1000000n;
    const rows = (await dump()).map((d) => `{"_component":"","_table":"runtime_projections","_ts":${ts},${V.cleanText(convexToJson(d)).slice(1)}`);
    return send(res, 200, `{"values":[${rows.join(",")}],"snapshot":${ts},"cursor":null,"hasMore":false}`);
  }
  send(res, 404, "");
}

async function control(req, res, url) {
  const body = async () => JSON.parse((await readBody(req)).toString() || "{}");
  switch (`${req.method} ${url.pathname}`) {
    case "GET /__standin/stats": return send(res, 200, JSON.stringify({ ...stats, pendingFaults: faults, peakConcurrency: Object.fromEntries(Object.entries(limiters).map(([k, l]) => [k, l.peak])), latency, functions_version: version, state, sync: sync.stats, knobs: K, rss: process.memoryUsage().rss }));
    case "POST /__standin/faults": { const b = await body(); faults.push(...[b].flat().map(injected)); return send(res, 200, JSON.stringify({ pending: faults.length })); }
    case "DELETE /__standin/faults": faults = []; return send(res, 200, "{}");
    case "POST /__standin/reset": version = 2; fresh(); sync.changed(); faults = []; kept = {}; state = "running"; history.length = 0; Object.assign(stats, { requests: 0, documentsWritten: 0, bytes: noBytes(), byStatus: {}, byCode: {}, functions: {}, commits: 0, faults: {} }); writes.log = []; writes.total = 0; for (const l of Object.values(limiters)) l.peak = l.running; return send(res, 200, "{}");
    case "POST /__standin/config": { const b = await body(); if (b.latency !== undefined) latency = b.latency; if (b.derive_hashes !== undefined) process.env.OPENAGENTS_DERIVE_HASHES = b.derive_hashes ? "1" : "0"; for (const k of Object.keys(K)) if (b[k] !== undefined) K[k] = b[k]; limiters.Mutation.permits = K.APPLICATION_MAX_CONCURRENT_MUTATIONS; limiters.Query.permits = K.APPLICATION_MAX_CONCURRENT_QUERIES; return send(res, 200, JSON.stringify({ latency, ...K })); }
    case "GET /__standin/history": return send(res, 200, `[${history.slice(Number(url.searchParams.get("after") ?? 0)).map((w) => JSON.stringify(w)).join(",\n")}]`);
    case "POST /__standin/deploy": { // the index is built first, over `ms`; then the functions change
      const { functions: v, ms = 0 } = await body();
      await sleep(ms);
      try { await serially(() => deploy(v)); } catch (e) { return send(res, 400, JSON.stringify({ code: "SchemaDefinitionError", message: e.message })); }
      sync.changed();
      return send(res, 200, JSON.stringify({ functions: version }));
    }
    case "POST /__standin/state": { const b = await body(); if (!(b.state in STATES)) return send(res, 400, JSON.stringify(Object.keys(STATES))); state = b.state; return send(res, 200, "{}"); }
    case "POST /__standin/snapshot": await serially(() => { kept = { ...db._documents }; }); return send(res, 200, JSON.stringify({ rows: Object.keys(kept).length }));
    case "POST /__standin/import": await serially(() => { // every second row of the snapshot, and the sidecar's own: half of an old export
      const rows = Object.entries(kept).filter(([, row], i) => i % 2 === 0 || row.kind === "_sidecar");
      putRows({ ...db._documents, ...Object.fromEntries(rows) });
    }); sync.changed(); return send(res, 200, "{}");
    case "POST /__standin/restore": case "POST /__standin/wipe": await serially(() => putRows(url.pathname.endsWith("wipe") ? {} : { ...kept })); sync.changed(); return send(res, 200, "{}");
    case "GET /__standin/docs": return send(res, 200, `[${(await dump(url.searchParams.has("all"))).map((d) => V.cleanText(convexToJson(d))).join(",\n")}]`);
    case "GET /__standin/misfits": return send(res, 200, JSON.stringify(await misfits()));
    case "POST /__standin/away": { // a restart as clients see it: connections are cut, new ones refused; calls under way commit without an answer
      const { ms = 500 } = await body(), { port } = server.address();
      send(res, 200, "{}");
      res.once("close", () => { server.close(); server.closeAllConnections(); sync.closeAll(); setTimeout(() => server.listen(port, HOST, 256), ms); });
      return;
    }
    case "POST /__standin/jwt": {
      const { $header, ...claims } = await body(), from = url.searchParams.has("second") ? second : issuer;
      return from ? send(res, 200, JSON.stringify({ token: from.sign(claims, $header) })) : send(res, 404, "");
    }
  }
  send(res, 404, "");
}

// at most 128 requests inside, the rest wait (GlobalConcurrencyLimitLayer: no rejection)
let inside = 0; const outside = [];
const enter = () => (inside < K.MAX_CONCURRENT_REQUESTS ? (inside++, null) : new Promise((r) => outside.push(r)));
const leave = () => { const w = outside.shift(); if (w) w(); else inside--; };
const server = http.createServer({ keepAlive: true, noDelay: true }, async (req, res) => {
  stats.requests++;
  const gate = !req.url.startsWith("/__standin/");
  if (gate) await enter();
  try { await route(req, res); }
  catch (e) {
    if (res.headersSent || res.destroyed) return;
    if (!(e instanceof Http)) { if (e?.message !== "aborted") console.error(e); e = E.internal(); }
    if (e.code) bump(stats.byCode, e.code);
    send(res, e.status, e.code || e.message ? JSON.stringify({ code: e.code, message: e.message }) : "", { ...e.headers, ...(e.close ? { connection: "close" } : {}) });
    if (e.close) setTimeout(() => req.socket.destroy(), 200);
  } finally { if (gate) leave(); }
});
const sync = attach(server, { execute, snapshot: serially, authenticate, parsePath, render: (err) => render(err, randomBytes(8).toString("hex")), clientVersion });
server.keepAliveTimeout = 0; server.headersTimeout = 0; server.requestTimeout = 0; server.timeout = 0; server.maxRequestsPerSocket = 0;
const HOST = process.env.HOST || "127.0.0.1";
server.once("listening", () => {
  const { port, address } = server.address();
  const info = { url: `http://${address}:${port}`, pid: process.pid, instance_name: INSTANCE_NAME, admin_key: keys.issue(INSTANCE_NAME, INSTANCE_SECRET), read_only_key: keys.issue(INSTANCE_NAME, INSTANCE_SECRET, "read_only"), user_jwt: issuer?.sign() ?? null, issuer: process.env.OPENAGENTS_JWT_ISSUER };
  writeFileSync(join(stateDir, "ready.json"), JSON.stringify(info, null, 1), { mode: 0o600 });
  console.log(`READY ${JSON.stringify(info)}`);
});
server.listen(env("PORT", 3210), HOST, 256);
for (const s of ["SIGINT", "SIGTERM"]) process.on(s, () => { server.close(() => process.exit(0)); server.closeIdleConnections(); sync.closeAll(); setTimeout(() => process.exit(0), 500).unref(); });
if (process.env.STANDIN_LIFELINE) process.stdin.resume().on("end", () => process.exit(0)); // the process that started it has ended
