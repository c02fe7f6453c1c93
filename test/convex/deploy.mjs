// The real Convex CLI, typecheck enabled, against a recorder of the deployment API (deployment.mjs): priv/ alone, and
// the app of template/ that has a convex/ folder of its own; and a check that no functions are deleted by mistake.
// If this Node is too old for the CLI, npm provides another one. Prints "N passed, N failed".
import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";
import { counter } from "./checks.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
if (!vm.SourceTextModule) process.exit(spawnSync(process.execPath, ["--no-warnings", "--experimental-vm-modules", fileURLToPath(import.meta.url)], { stdio: "inherit" }).status);
const { record } = await import("./deployment.mjs");

const { eq, finish } = counter();
const priv = join(here, "../../priv"), work = mkdtempSync(join(tmpdir(), "convex-deploy-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));

/** A Node that the locked CLI runs on. */
function cliNode() {
  const wanted = Number(/\d+/.exec(JSON.parse(readFileSync(join(here, "node_modules/convex/package.json"))).engines.node)[0]);
  if (Number(process.versions.node.split(".")[0]) >= wanted) return process.execPath;
  const lent = spawnSync("npx", ["-y", "-p", `node@${wanted}`, "node", "-p", "process.execPath"], { encoding: "utf8" });
  if (lent.status !== 0) { console.log(`skipped: deploy.mjs: the CLI needs Node ${wanted}, this is ${process.versions.node}, and npm has none: ${lent.stderr.trim().split("\n").pop()}`); process.exit(0); }
  return lent.stdout.trim();
}
const node = cliNode();

/** node_modules of a folder: convex as it is locked, TypeScript, nothing else (no @types/node). */
function modules(folder) {
  mkdirSync(join(folder, "node_modules"), { recursive: true });
  for (const name of ["convex", "typescript"]) symlinkSync(join(here, "node_modules", name), join(folder, "node_modules", name));
}
async function run(folder, deployment, ...args) {
  const { CONVEX_DEPLOYMENT, CONVEX_DEPLOY_KEY, NODE_OPTIONS, ...inherited } = process.env;
  // CI: the CLI sends no telemetry. All its requests go to the recorder, which answers, however slow this machine is.
  const env = { ...inherited, HOME: work, CI: "1", CONVEX_ASK_SECONDS: "900", CONVEX_VERSION_API_ORIGIN: deployment.url, CONVEX_SELF_HOSTED_URL: deployment.url, CONVEX_SELF_HOSTED_ADMIN_KEY: deployment.adminKey, ...deployment.env };
  const child = spawn(node, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const out of [child.stdout, child.stderr]) out.on("data", (chunk) => { text += chunk; });
  const status = await new Promise((ended) => child.on("close", ended));
  return { status, text };
}
const cli = "node_modules/convex/bin/main.js";
const typechecked = ["--typecheck", "enable"];
const settings = { OPENAGENTS_JWT_ISSUER: "https://openagents.example", OPENAGENTS_JWT_AUDIENCE: "openagents-convex", OPENAGENTS_JWKS: "https://openagents.example/.well-known/jwks.json" };
const provider = { type: "customJwt", applicationID: "openagents-convex", issuer: "https://openagents.example", jwks: settings.OPENAGENTS_JWKS, algorithm: "RS256" };
const listed = ({ functions }) => Object.entries(functions).flatMap(([path, m]) => m.functions.map((f) => `${f.visibility.kind} ${f.udfType} ${path.replace(".js", "")}:${f.name}`)).sort();
const tables = ({ schema }) => schema.tables.map((t) => [t.tableName, t.indexes.map((i) => i.fields.join(" "))]).sort();
const ok = (name, { status, text }) => eq(`${name}${status === 0 ? "" : `:\n${text}`}`, status, 0);

// What the source exports, read independently of the CLI.
const makers = (text) => text.replace(/ = (get|list)Own\(/g, " = query(").replace(/ = upsertOne\(/g, " = internalMutation(");
const written = (file) => [...makers(readFileSync(join(priv, "convex", file), "utf8")).matchAll(/^export const (\w+) = (internal)?(query|mutation)\(/gim)].map(([, name, internal, type]) => `${internal ? "internal" : "public"} ${type.replace(/^./, (c) => c.toUpperCase())} ${file.replace(".ts", "")}:${name}`);
const ours = [...written("runtime.ts"), ...written("summaries.ts")].sort();
for (const f of ["internal Mutation runtime:upsertBatch", "internal Query runtime:listDigests", "public Query summaries:getRun", "public Query summaries:listRuns"]) eq(`${f} is among ours`, ours.includes(f), true);
eq("nothing public writes", ours.filter((f) => f.startsWith("public") && !f.startsWith("public Query")), []);

// ---- alone, as docs/CONVEX.md says
const alone = join(work, "priv");
mkdirSync(alone);
for (const f of ["package.json", "check-node.cjs", "deploy.cjs", "tables.ts", "convex"]) cpSync(join(priv, f), join(alone, f), { recursive: true });
modules(alone);
const d = await record();
let seen = await run(alone, d, "deploy.cjs", "deploy", ...typechecked);
eq("a variable that is not set is named", [seen.status === 0, /OPENAGENTS_JWT_\w+|OPENAGENTS_JWKS/.test(seen.text), d.deployed], [false, true, null]);
for (const [name, value] of Object.entries(settings)) ok(`env set ${name}`, await run(alone, d, "deploy.cjs", "env", "set", name, value));
eq("the variables arrived", d.variables, settings);
seen = await run(alone, d, "deploy.cjs", "deploy", "--dry-run", ...typechecked);
ok("--dry-run", seen);
eq("and nothing was deployed", d.deployed, null);
ok("deploy", await run(alone, d, "deploy.cjs", "deploy", ...typechecked));
eq("the functions", listed(d.deployed), ours);
const projections = tables(d.deployed).find(([name]) => name === "runtime_projections");
eq("one table", tables(d.deployed).map(([name]) => name), ["runtime_projections"]);
eq("an index by kind and document_id", projections[1].includes("kind document_id"), true);
eq("the auth provider", d.deployed.auth, [provider]);
ok("deploy again, over our own functions", await run(alone, d, "deploy.cjs", "deploy", ...typechecked));
appendFileSync(join(alone, "convex/canonical.ts"), "\nexport const wrong: number = 'text';\n");
seen = await run(alone, d, "deploy.cjs", "deploy", ...typechecked);
eq("the typecheck is on", [seen.status === 0, /TS2322/.test(seen.text)], [false, true]);
cpSync(join(priv, "convex/canonical.ts"), join(alone, "convex/canonical.ts"));

// ---- onto somebody else's functions: nothing is deployed, and the error says what to do
const theirs = await record({ standing: [{ identifier: "messages.js:list", functionType: "Query", visibility: { kind: "public" } }, { identifier: "runtime.js:theirOwn", functionType: "Mutation", visibility: { kind: "public" } }, { functionType: "HttpAction", method: "GET", path: "/hook" }] });
Object.assign(theirs.variables, settings);
const pushes = () => theirs.calls.filter((c) => c.includes("push"));
for (const words of [["deploy"], ["deploy", "--dry-run"], ["dev", "--once"]]) {
  seen = await run(alone, theirs, "deploy.cjs", ...words);
  eq(`${words.join(" ")} over somebody's functions ends with 1`, [seen.status, pushes()], [1, []]);
  if (words[0] === "deploy") for (const part of ["NOTHING WAS DEPLOYED", "3 functions", "messages:list", "runtime:theirOwn", "GET /hook (HTTP)", "docs/guides/convex-beside-your-own.md", "npm run deploy -- --replace-everything"]) eq(`it says ${part}`, seen.text.includes(part), true);
}
seen = await run(alone, { url: theirs.url, adminKey: "convex-self-hosted|02", env: { CONVEX_ASK_SECONDS: "5" } }, "deploy.cjs", "deploy");
eq("a deployment that does not say what it has", [seen.status, pushes(), /no answer within 5 s.*CONVEX_ASK_SECONDS.*Nothing was deployed/s.test(seen.text)], [1, [], true]);
ok("when it is said in so many words", await run(alone, theirs, "deploy.cjs", "deploy", "--replace-everything", ...typechecked));
eq("they are replaced", listed(theirs.deployed), ours);
theirs.close();

// ---- beside a convex folder of one's own: the package as npm packs it
const app = join(work, "app");
cpSync(join(here, "template"), app, { recursive: true });
modules(app);
const packed = spawnSync("npm", ["pack", "--silent", "--pack-destination", work], { cwd: priv, encoding: "utf8" });
eq(`npm pack${packed.status === 0 ? "" : packed.stderr}`, packed.status, 0);
mkdirSync(join(app, "node_modules/convex-sidecar-functions"));
spawnSync("tar", ["xzf", join(work, packed.stdout.trim()), "-C", join(app, "node_modules/convex-sidecar-functions"), "--strip-components=1"]);
eq("the package is small", readdirSync(join(app, "node_modules/convex-sidecar-functions")).sort(), ["convex", "package.json", "tables.ts"]);
const a = await record();
Object.assign(a.variables, settings);
ok("deploy of the app", await run(app, a, cli, "deploy", ...typechecked));
eq("both sides' functions", listed(a.deployed), [...ours, "public Mutation notes:add", "public Query notes:ofRun", "public Query invoices:get", "public Query invoices:list"].sort());
eq("both sides' tables and indexes", tables(a.deployed), [["notes", ["run"]], projections]);
eq("both sides' auth providers", a.deployed.auth, [provider, { domain: "https://users.example", applicationID: "convex" }]);
// The types are deployed too: a type error here is found.
writeFileSync(join(app, "convex/wrong.ts"), `import { internal } from "./_generated/api.js";\nimport type { FunctionArgs } from "convex/server";\nconst args: FunctionArgs<typeof internal.runtime.upsertBatch> = { items: [{ kind: "run_summary", document_id: 5 }] };\nvoid args;\n`);
seen = await run(app, a, cli, "deploy", ...typechecked);
eq("the functions are typed for the app", [seen.status === 0, /wrong\.ts.*TS2322/s.test(seen.text)], [false, true]);
writeFileSync(join(app, "convex/wrong.ts"), `import { api } from "./_generated/api.js";\nimport type { FunctionReturnType } from "convex/server";\nconst amount = (invoice: NonNullable<FunctionReturnType<typeof api.invoices.get>>): string => invoice.amount;\nvoid amount;\n`);
seen = await run(app, a, cli, "deploy", ...typechecked);
eq("and so are its documents", [seen.status === 0, /wrong\.ts.*TS2322.*'number'/s.test(seen.text)], [false, true]);
rmSync(join(app, "convex/wrong.ts"));
seen = await run(alone, a, "deploy.cjs", "deploy");
eq("priv/ alone is not deployed over the app", [seen.status, /notes:add/.test(seen.text)], [1, true]);
a.close(); d.close();
finish();
