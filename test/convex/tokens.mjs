// Tokens minted by docs/convex-token.php are accepted by the functions: a stand-in of its own gets that issuer and its JWKS.
// Skipped without PHP (Debian's php-cli; installed with CI=true).  Prints "N passed, N failed".
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference as ref } from "convex/server";
import { program } from "./debian.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const script = join(here, "../../docs/convex-token.php");
if (!program("php", "php-cli", { test: "tokens.mjs, the PHP example of docs/TOKENS.md" })) process.exit(0);

let passed = 0, failed = 0;
const eq = (name, got, want) => {
  if (JSON.stringify(got) === JSON.stringify(want)) return void passed++;
  failed++;
  console.log(`FAIL ${name}\n  got  ${JSON.stringify(got)}\n  want ${JSON.stringify(want)}`);
};

const folder = mkdtempSync(join(tmpdir(), "convex-token-"));
const keys = join(folder, "keys");
mkdirSync(keys, { mode: 0o700 });
const issuer = { OPENAGENTS_JWT_ISSUER: "https://openagents.example", OPENAGENTS_JWT_AUDIENCE: "openagents-convex" };
const php = (...args) => execFileSync("php", [script, ...args], { encoding: "utf8", env: { ...process.env, ...issuer } }).trim();
const says = (env, ...args) => { const run = spawnSync("php", [script, ...args], { encoding: "utf8", env: { ...process.env, ...env } }); return [run.status, run.stderr.trim()]; };
const kid = (token) => JSON.parse(Buffer.from(token.split(".")[0], "base64url")).kid;
const kids = () => JSON.parse(php("jwks", keys)).keys.map((k) => k.kid).sort();
const age = (file, seconds) => utimesSync(file, Date.now() / 1000 - seconds, Date.now() / 1000 - seconds);

// ---- keys
eq("no key yet", says(issuer, "token", keys, "42"), [1, `convex-token: there is no key in ${keys}: php convex-token.php key ${keys}`]);
const first = php("key", keys);
eq("the key is nobody else's to read", statSync(first).mode & 0o777, 0o600);
eq("an issuer must be named", says({ OPENAGENTS_JWT_ISSUER: "" }, "token", keys, "42")[1].startsWith("convex-token: OPENAGENTS_JWT_ISSUER is not set"), true);
eq("the first key signs at once", kid(php("token", keys, "42")), kids()[0]);
age(first, 3600);
const second = php("key", keys);
eq("a new key is published", kids().length, 2);
eq("and does not sign yet", first.includes(kid(php("token", keys, "42"))), true);
const jwks = php("jwks", keys);

// ---- a deployment configured with both
const env = { ...process.env, ...issuer, OPENAGENTS_JWKS: `data:application/json;base64,${Buffer.from(jwks).toString("base64")}`, PORT: "0", STANDIN_STATE: join(folder, "state"), STANDIN_BUILD: `.build/tokens-${process.pid}`, STANDIN_LIFELINE: "1" };
const standin = spawn(process.execPath, [join(here, "server.mjs")], { env, stdio: ["pipe", "pipe", "inherit"] });
const info = await new Promise((resolve, reject) => {
  let out = "";
  standin.stdout.on("data", (chunk) => { out += chunk; const m = /^READY (.*)$/m.exec(out); if (m) resolve(JSON.parse(m[1])); });
  standin.on("exit", () => reject(new Error(`the stand-in ended: ${out}`)));
});
try {
  const admin = new ConvexHttpClient(info.url, { logger: false });
  admin.setAdminAuth(info.admin_key);
  const own = (id, more) => ({ kind: "run_summary", document_id: id, seq: 1, summary: { id, ...more } });
  await admin.mutation(ref("runtime:upsertBatch"), { items: [own("mine", { owner_user_id: 42 }), own("theirs", { owner_user_id: 43 }), own("guests", { owner_guest_scope: "g1" })] });
  const list = async (auth) => {
    try { return (await new ConvexHttpClient(info.url, { logger: false, auth }).query(ref("summaries:listRuns"), { paginationOpts: { numItems: 10, cursor: null } })).page.map((s) => s.id); }
    catch (e) { return JSON.parse(e.message).code; }
  };
  eq("a user's token", await list(php("token", keys, "42")), ["mine"]);
  eq("a guest's token", await list(php("token", keys, "guest", "g1")), ["guests"]);
  age(second, 700);
  const later = php("token", keys, "42");
  eq("the new key signs when it is known", second.includes(kid(later)), true);
  eq("and is believed", await list(later), ["mine"]);
  rmSync(join(keys, readdirSync(keys).find((f) => second.endsWith(f))));
  const third = php("key", keys); age(third, 700);
  eq("a key that is not in the JWKS is not", await list(php("token", keys, "42")), "InvalidAuthHeader");
  issuer.OPENAGENTS_JWT_AUDIENCE = "another-app";
  eq("another audience", await list(php("token", keys, "42")), "NoAuthProvider");
} finally {
  standin.stdin.end();
  await new Promise((r) => standin.once("exit", r));
  rmSync(join(here, env.STANDIN_BUILD), { recursive: true, force: true });
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
