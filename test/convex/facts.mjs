// Checks docs/CONVEX.md against the sources it names: the functions, the sidecar's defaults, the stand-in's knobs, the npm
// packages; and, if CONVEX_BACKEND names a clone of get-convex/convex-backend, its source (for example at 94a42c3).
// Prints "N passed, N failed".
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { counter, standin } from "./checks.mjs";
import { MAX_ARRAY_LEN } from "./values.mjs";

const { eq, finish } = counter();
const root = fileURLToPath(new URL("../..", import.meta.url)), read = (path) => readFileSync(join(root, path), "utf8");
const doc = read("docs/CONVEX.md"), server = read("test/convex/server.mjs"), guard = read("priv/convex/guard.ts"), runtime = read("priv/convex/runtime.ts");
const has = (name, text, ...parts) => { for (const part of parts) eq(`${name}: ${part}`, text.includes(part), true); };
const number = (n) => n.toLocaleString("en");
/** The cells of the table under `heading`, row by row, without its head. */
const table = (heading) => /(?:^\|.*\n)+/m.exec(doc.slice(doc.indexOf(heading)))[0].trim().split("\n").slice(2).map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));

// ---- limits: Convex's, as the stand-in has them; ours, as the configuration has them
const { knobs: K } = await standin().control("GET", "stats");
const limits = Object.fromEntries(table("## Limits").map(([limit, theirs, ours]) => [limit, { theirs, ours }]));
const metrics = read("test/convex/node_modules/convex-test/dist/transactionMetrics.js") + read("test/convex/node_modules/convex-test/dist/index.js");
has("a body", limits["body of a call"].theirs, `${(K.MAX_BACKEND_PUBLIC_API_REQUEST_SIZE - 2000) >> 20} MiB + 2000 bytes`);
has("items", limits["items of a call"].theirs, `array of ${number(MAX_ARRAY_LEN)}`, "16,000 writes", `${K.DATABASE_UDF_USER_TIMEOUT_SECONDS} s of JavaScript`);
has("mutations", limits["mutations at once"].theirs, `${K.APPLICATION_MAX_CONCURRENT_MUTATIONS}, shared`);
has("reads", limits["reads of a call"].theirs, "16 MiB", "32,000 documents", "4,096 index ranges");
for (const n of ["16 * MiB", "32000", "16000", "4096"]) eq(`convex-test has ${n}`, new RegExp(`\\b${n.replace("*", "\\*")}\\b`).test(metrics.replace(/(\d)_(\d)/g, "$1$2")), true);
has("conflicts", limits["calls for one document"].theirs, `after ${K.UDF_EXECUTOR_OCC_MAX_RETRIES} retries`);
has("an answer", limits.answer.theirs, `${K.FUNCTION_MAX_RESULT_SIZE >> 20} MiB of result`);
const ini = read("priv/sidecar.ini"), set = (name) => new RegExp(`^;${name} = (.*)$`, "m").exec(ini)[1];
has("bytes of a batch", limits["body of a call"].ours, `\`sink.batch_bytes\`, default ${set("batch_bytes").replace("m", " MiB")}`);
has("documents of a batch", limits["items of a call"].ours, `\`sink.batch_documents\`, default ${set("batch_documents")}`);
has("calls at once", limits["mutations at once"].ours, `\`delivery.max_in_flight\`, default ${set("max_in_flight")},`);
has("bytes of an answer", limits.answer.ours, `\`sink.max_answer_bytes\`, default ${set("max_answer_bytes").replace("m", " MiB")};`);
has("a page", limits["time of a function"].ours, `${/#define DIGESTS_PAGE (\d+)/.exec(read("c_src/audit/digests.h"))[1]} documents`);

// ---- the functions
const exported = (text) => [...text.matchAll(/^export const (\w+) = (?:internal)?(?:query|mutation|getOwn|listOwn|upsertOne)\(/gim)].map(([, name]) => name).filter((name) => !["getOwn", "listOwn", "upsertOne"].includes(name));
const named = (module) => [...new Set(table("| function | who |").flatMap(([cell]) => [...cell.matchAll(new RegExp(`\`${module}:(\\w+)\``, "g"))].map(([, name]) => name)))];
eq("the table has every function of runtime.ts", named("runtime").sort(), exported(runtime).sort());
eq("and of summaries.ts", named("summaries").sort(), exported(read("priv/convex/summaries.ts")).sort());
const rows = Number(/PAGE_ROWS = (\d+)/.exec(runtime)[1]), bytes = Number(/PAGE_BYTES = (\d+) << 20/.exec(runtime)[1]);
has("a page of rows", doc, `read at most ${number(rows)} rows and ${bytes} MiB a call`);
has("ids at once", doc, `at most ${/document_ids\.length > (\d+)/.exec(runtime)[1]} \`document_ids\` a call`);
const faults = /FAULTS = \[(.*?)\]/.exec(guard)[1].replaceAll('"', "").split(", ");
has("what is rejected", doc.slice(doc.indexOf("An item is `rejected`")), ...faults);
const outcomes = [...guard.slice(guard.indexOf("outcomeFields"), guard.indexOf("What stands after")).matchAll(/literal\("(\w+)"\)/g)].map(([, o]) => o);
has("outcomes", doc, `**Outcomes.** ${[...outcomes.slice(0, 2), outcomes[4]].join(", ")}; ${outcomes.slice(2, 4).join(" and ")} `, `"outcome":"${outcomes.slice(0, 1)}"|"updated"|"unchanged"|"stale"|"removed"`);
eq("there are five", outcomes, ["inserted", "updated", "unchanged", "stale", "removed"]);
eq("functions of version", /FUNCTIONS = (\d)/.exec(runtime)[1], /\*\*Functions of version (\d)\*\*/.exec(doc)[1]);

// ---- answers: the stand-in gives the codes that a row names with that status
const answers = table("| answer | verdict | because |");
const statusOf = (code) => [...server.matchAll(new RegExp(`new Http\\((\\d+), "${code}"`, "g"))].map(([, s]) => s).concat(new RegExp(`badRequest\\("${code}"`).test(server) ? ["400"] : []);
for (const [status, code] of [["400", "BadJsonBody"], ["401", "BadAdminKey"], ["403", "BadDeployKey"], ["404", "FunctionPathNotFound"], ["429", "TooManyConcurrentRequests"], ["429", "TooManyWrites"]]) {
  const row = answers.find(([answer]) => answer === status);
  has(`${status} says`, row?.[2] ?? "", code);
  eq(`the stand-in gives ${code} with ${status}`, statusOf(code).includes(status), true);
}
for (const [status, name] of [["408", "timeout408"], ["500", "internal"], ["503", "committer_full"]]) eq(`${name} is ${status}`, new RegExp(`${name}: \\(\\) => new Http\\(${status},`).test(server), true);
eq("408 is after so long", answers.find(([answer]) => answer === "408")[2].includes(`${K.HTTP_SERVER_TIMEOUT_SECONDS} s in the server`), true);

// ---- the npm packages
const modules = (path) => read(join("test/convex/node_modules", path));
eq("STATUS_CODE_UDF_FAILED of convex-js", `${/STATUS_CODE_UDF_FAILED = (\d+)/.exec(modules("convex/dist/esm/browser/http_client.js"))[1]} with an error body`, /560 with an error body/.exec(doc)?.[0]);
has("the header that clients send", modules("convex/dist/esm/browser/http_client.js"), "Convex-Client");
const locked = JSON.parse(read("priv/package-lock.json")).packages["node_modules/convex"];
has("the locked CLI", doc, `locks the Convex CLI at ${locked.version}, which needs Node ${locked.engines.node.replace(/^>=(\d+).*/, ">= $1")}`);
eq("the tests run the same convex", JSON.parse(modules("convex/package.json")).version, locked.version);

// ---- the backend's source, if a clone exists
const backend = process.env.CONVEX_BACKEND;
const paths = [...new Set([...doc.matchAll(/\b((?:[a-z_]+\/)+src\/(?:\{[\w,]+\}|[\w/]+)\.rs)/g)].map(([, path]) => path))];
eq("files of the backend are named", paths.length > 8, true);
if (backend && existsSync(join(backend, "crates"))) {
  for (const path of paths) eq(`crates/${path}`, existsSync(join(backend, "crates", path)), true);
  const knobs = readFileSync(join(backend, "crates/common/src/knobs.rs"), "utf8");
  for (const name of Object.keys(K).filter((k) => typeof K[k] === "number" && doc.includes(k))) eq(`knobs.rs has ${name}`, knobs.includes(name), true);
  eq("crates are there", readdirSync(join(backend, "crates")).length > 50, true);
} else console.log(`skipped: facts.mjs: ${paths.length} files of the backend (CONVEX_BACKEND=folder of a clone looks for them)`);
finish();
