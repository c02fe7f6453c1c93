// A recorder of the deployment API: it answers what the real Convex CLI asks of a self-hosted deployment (deploy, env
// set, function-spec) and records all of it. A push is analysed as in the backend
// (crates/application/src/deploy_config.rs, crates/isolate): modules are imported in a context that has only what the
// isolate has, functions and schema export themselves, auth.config is evaluated with the deployment's variables.
//
// Needs `node --experimental-vm-modules`. It is not the backend's V8, and keeps no data.
import http from "node:http";
import vm from "node:vm";
import zlib from "node:zlib";
import { webcrypto } from "node:crypto";
import { attach } from "./sync.mjs";

class Refused extends Error { constructor(code, message) { super(message); this.code = code; } }

/** The globals of an isolate. Variables that were read are added to `reads`. */
function isolate(variables, reads) {
  const quiet = () => {}, never = (what) => () => { throw new Error(what); };
  const globals = {
    console: { log: quiet, info: quiet, warn: quiet, error: quiet, debug: quiet },
    TextEncoder, TextDecoder, URL, URLSearchParams, Headers, Request, Response, Blob, FormData, AbortController, AbortSignal, Event, EventTarget,
    ReadableStream, WritableStream, TransformStream, atob, btoa, structuredClone, queueMicrotask, crypto: webcrypto,
    setTimeout: never("Can't use setTimeout in queries and mutations."),
    process: { env: new Proxy(variables, { get: (all, name) => (reads.push(String(name)), all[name]) }) },
    Convex: { syscall: never("no syscalls at import"), asyncSyscall: never("no syscalls at import"), jsSyscall: never("no syscalls at import") },
  };
  return vm.createContext(Object.assign(globals, { globalThis: globals, self: globals }));
}

/** Import the wanted modules of all that were pushed: {namespaces by path, variables read}. */
async function load(pushed, wanted, variables = {}) {
  const reads = [], context = isolate(variables, reads), known = new Map(pushed.map((m) => [m.path, m])), made = new Map();
  const module = (path) => {
    if (!known.has(path)) throw new Refused("InvalidModules", `${path} is imported and was not pushed`);
    if (!made.has(path)) made.set(path, new vm.SourceTextModule(known.get(path).source, { context, identifier: path }));
    return made.get(path);
  };
  const namespaces = {};
  for (const { path } of wanted) {
    const m = module(path);
    if (m.status === "unlinked") await m.link((specifier, from) => module(new URL(specifier, `file:///${from.identifier}`).pathname.slice(1)));
    await m.evaluate();
    namespaces[path] = m.namespace;
  }
  return { namespaces, reads };
}

const kindOf = (f) => (f?.isQuery ? "Query" : f?.isMutation ? "Mutation" : f?.isAction ? "Action" : null);
const visibility = (f) => ({ kind: f.isPublic ? "public" : "internal" });

async function analyze({ appDefinition: app, componentDefinitions }, variables) {
  if (componentDefinitions?.length) throw new Refused("Unsupported", "the recorder knows no components");
  const modules = app.changedModules, own = modules.filter((m) => !m.path.startsWith("_deps/") && m.path !== "auth.config.js");
  const { namespaces } = await load(modules, own);
  const functions = {};
  for (const { path } of own) {
    const found = Object.entries(namespaces[path]).filter(([, f]) => kindOf(f));
    functions[path] = { functions: found.map(([name, f]) => ({ name, pos: null, udfType: kindOf(f), visibility: visibility(f), args: f.exportArgs?.() ?? null, returns: f.exportReturns?.() ?? null })), httpRoutes: null, cronSpecs: null, sourceMapped: null };
  }
  let schema = null, auth = [];
  if (app.schema) schema = JSON.parse((await load([...modules, app.schema], [app.schema])).namespaces[app.schema.path].default.export());
  const config = modules.find((m) => m.path === "auth.config.js");
  if (config) {
    const { namespaces, reads } = await load(modules, [config], variables);
    const missing = reads.find((name) => variables[name] === undefined);
    if (missing) throw new Refused("AuthConfigMissingEnvironmentVariable", `Environment variable ${missing} is used in auth config file but its value was not set.`);
    auth = namespaces["auth.config.js"].default.providers;
  }
  return { functions, schema, auth };
}

function startPush(request, { functions, schema, auth }, variables) {
  const seed = { importPhaseRngSeed: { $bytes: "" }, importPhaseUnixTimestamp: { $integer: "AAAAAAAAAAA=" } };
  const definition = { path: "", definitionType: { type: "app" }, childComponents: [], httpMounts: {}, exports: { type: "branch", branch: [] }, envVars: null };
  return {
    environmentVariables: variables, externalDepsId: null, componentDefinitionPackages: {}, appAuth: auth,
    analysis: { "": { definition, schema, functions, udfConfig: { serverVersion: request.appDefinition.udfServerVersion, ...seed } } },
    app: { definitionPath: "", componentPath: "", args: {}, childComponents: {}, httpRoutes: { httpModuleRoutes: null, mounts: [] }, exports: {} },
    schemaChange: { allocatedComponentIds: {}, schemaIds: {}, indexDiffs: {} },
  };
}

/**
 * A deployment that is empty, but for the functions in `standing` ({identifier, functionType, visibility}). Returns
 * {url, adminKey, variables, calls, deployed, standing, close}: `calls` are the paths asked for, `deployed` what the last
 * push that was finished brought ({functions, schema, auth}), null before.
 */
export async function record({ standing = [] } = {}) {
  const adminKey = "convex-self-hosted|01";
  const d = { adminKey, standing, variables: {}, calls: [], deployed: null };
  let pushed = null;
  const routes = {
    "/api/get_config_hashes": () => ({ config: { functions: "convex/", authInfo: [] }, moduleHashes: [], udfServerVersion: null, nodeVersion: null, nodeDependencies: [] }),
    "/api/deploy2/start_push": async (body) => { pushed = await analyze(body, d.variables); return startPush(body, pushed, d.variables); },
    "/api/deploy2/wait_for_schema": () => ({ type: "complete" }),
    "/api/deploy2/finish_push": (body) => {
      if (!body.dryRun) {
        d.deployed = pushed;
        d.standing = Object.entries(pushed.functions).flatMap(([path, m]) => m.functions.map((f) => ({ identifier: `${path}:${f.name}`, functionType: f.udfType, visibility: f.visibility })));
      }
      return { authDiff: { added: [], removed: [] }, definitionDiffs: {}, componentDiffs: {} };
    },
    "/api/deploy2/report_push_completed": () => null,
    "/api/update_environment_variables": ({ changes }) => { for (const { name, value } of changes) if (value === null) delete d.variables[name]; else d.variables[name] = value; return null; },
    "/api/query": () => ({ status: "success", value: null, logLines: [] }),
  };
  routes["/api/v1/update_environment_variables"] = routes["/api/update_environment_variables"];
  routes["/api/deploy2/evaluate_push"] = routes["/api/deploy2/start_push"];

  const server = http.createServer(async (req, res) => {
    const path = req.url.split("?")[0], chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    d.calls.push(path);
    const answer = (status, value) => res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    if (path === "/version") return res.end("unknown");
    try {
      const body = bytes.length ? JSON.parse(req.headers["content-encoding"] === "br" ? zlib.brotliDecompressSync(bytes) : bytes) : {};
      return routes[path] ? answer(200, await routes[path](body)) : answer(404, {});
    } catch (e) {
      return answer(e instanceof Refused ? 400 : 500, { code: e.code ?? "InternalServerError", message: e.message });
    }
  });
  // `convex function-spec` asks over the websocket.
  const sync = attach(server, {
    snapshot: (f) => f(), parsePath: (path) => path, render: (e) => e.message, clientVersion: () => {},
    authenticate: (token) => { if (token.admin !== adminKey) throw Object.assign(new Error("bad admin key"), { status: 401 }); return { admin: true }; },
    execute: (_type, path) => ({ logs: [], ok: path.startsWith("_system/cli/modules") ? d.standing.map((f) => ({ args: "{}", returns: "{}", ...f })) : d.url }),
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  d.url = `http://127.0.0.1:${server.address().port}`;
  d.close = () => { sync.closeAll(); server.closeAllConnections(); server.close(); };
  return d;
}
