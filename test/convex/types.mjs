// What a user sees before a deploy: the functions' types without @types/node, and the message that an
// old Node gets instead of the CLI's stack trace; and kinds.ts, which is generated from kinds.ini.  Prints "N passed, N failed".
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const priv = join(here, "../../priv");
const node = (...args) => {
  const run = spawnSync(process.execPath, args, { encoding: "utf8", cwd: here });
  return { status: run.status, text: run.stdout + run.stderr };
};

let passed = 0, failed = 0;
const check = (name, ok, seen) => {
  if (ok) return void passed++;
  failed++;
  console.log(`FAIL ${name}\n  got  ${seen}`);
};

// ---- types
for (const typescript of ["typescript", "typescript-6"]) {
  const { version } = JSON.parse(readFileSync(join(here, "node_modules", typescript, "package.json")));
  const types = node(`node_modules/${typescript}/bin/tsc`, "-p", "tsconfig.deployed.json");
  check(`the functions typecheck without @types/node, TypeScript ${version}`, types.status === 0, types.text);
}

// ---- kinds
const kinds = spawnSync("awk", ["-v", "to=ts", "-f", "tools/kinds.awk", "priv/kinds.ini"], { encoding: "utf8", cwd: join(here, "../..") });
check("priv/convex/kinds.ts is that of priv/kinds.ini; if not: make kinds", kinds.status === 0 && kinds.stdout === readFileSync(join(priv, "convex/kinds.ts"), "utf8"), kinds.stdout + kinds.stderr);

// ---- the version of convex, by Node version
const wants = JSON.parse(readFileSync(join(priv, "package.json")));
const lock = JSON.parse(readFileSync(join(priv, "package-lock.json"))).packages;
const locked = lock["node_modules/convex"];
check("the lock file has the version of package.json", locked.version === wants.devDependencies.convex, locked.version);
check("package.json wants the Node of the locked CLI", wants.engines.node === locked.engines.node, locked.engines.node);

const vsn = /\{vsn, *"(.*?)"\}/.exec(readFileSync(join(here, "../../src/convex_sidecar.app.src"), "utf8"))[1];
const versions = [wants.version, JSON.parse(readFileSync(join(priv, "package-lock.json"))).version, lock[""].version];
check("the package and its lock file have the sidecar's version", versions.every((v) => v === vsn), versions.join(", "));

const folder = mkdtempSync(join(tmpdir(), "check-node-"));
const onNode = (version) =>
  node("-e", `Object.defineProperty(process, "versions", { value: { node: "${version}" } }); require(${JSON.stringify(join(folder, "check-node.cjs"))})`);
cpSync(join(priv, "check-node.cjs"), join(folder, "check-node.cjs"));
let seen = onNode("22.0.0");
check("without the CLI npm ci is named", seen.status === 1 && seen.text.includes("npm ci"), seen.text);
mkdirSync(join(folder, "node_modules/convex"), { recursive: true });
writeFileSync(join(folder, "node_modules/convex/package.json"), JSON.stringify({ version: locked.version, engines: locked.engines }));
seen = onNode("18.20.4");
check("an old Node is told what is needed", seen.status === 1 && seen.text.startsWith(`convex ${locked.version} needs Node ${locked.engines.node}, this is 18.20.4.`), seen.text);
seen = onNode("22.0.0");
check("the Node it needs passes", seen.status === 0 && seen.text === "", seen.text);
rmSync(folder, { recursive: true });

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
