// The Convex CLI, with a look before the leap: a deploy makes the deployment what this folder is. Functions of
// somebody else would be deleted, and the indexes of his tables dropped, without a question. So what is there is read
// first (`convex function-spec`), and where there is anything that this folder does not have, nothing is deployed.
//
//   node deploy.cjs deploy [--replace-everything] [what `convex deploy` takes]
//   node deploy.cjs COMMAND...                     every other command goes to the CLI as it is
const { spawnSync } = require("node:child_process");
const { existsSync, readdirSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

// The CLI itself asks for ever where nobody answers, or the key is another deployment's.
const ASK_S = Number(process.env.CONVEX_ASK_SECONDS || 60);
const REPLACE = "--replace-everything";
const args = process.argv.slice(2);
const replace = args.includes(REPLACE);
const passed = args.filter((a) => a !== REPLACE);

/** Run the CLI here; its status. With `output` what it prints to stdout is returned as well. */
function convex(words, output) {
  const cli = join(__dirname, "node_modules/convex/bin/main.js");
  const out = output ? "pipe" : "inherit";
  const run = spawnSync(process.execPath, [cli, ...words], { cwd: __dirname, encoding: "utf8", maxBuffer: 1 << 28, stdio: ["inherit", out, out], timeout: output ? ASK_S * 1000 : undefined });
  const late = run.error && run.error.code === "ETIMEDOUT" ? `no answer within ${ASK_S} s: is the URL right, and the admin key that deployment's? CONVEX_ASK_SECONDS=${10 * ASK_S} waits longer.` : "";
  return { status: run.status === null ? 1 : run.status, stdout: run.stdout || "", stderr: late || run.stderr || "" };
}

/** The functions of this folder, as the deployment names them: "runtime.js:upsertBatch". */
function here() {
  const names = new Set();
  for (const file of readdirSync(join(__dirname, "convex")).filter((f) => f.endsWith(".ts") && f !== "auth.config.ts")) {
    const text = readFileSync(join(__dirname, "convex", file), "utf8");
    // `= query({...})`, and what is made for a kind: `= getOwn("invoice_summary")`.
    for (const m of text.matchAll(/^export const (\w+) = \w+\(/gm)) names.add(`${file.replace(/\.ts$/, ".js")}:${m[1]}`);
  }
  return names;
}

/** How `deploy` was told which deployment to take, for another command to take the same one. */
function sameDeployment() {
  const words = [];
  for (const option of ["--url", "--admin-key", "--env-file"]) {
    const i = passed.findIndex((a) => a === option || a.startsWith(`${option}=`));
    if (i >= 0) words.push(...(passed[i] === option ? passed.slice(i, i + 2) : [passed[i]]));
  }
  const settings = [".env.local", ".env"].map((f) => join(__dirname, f)).filter(existsSync).map((f) => readFileSync(f, "utf8")).join("\n");
  const isSet = (name) => Boolean(process.env[name]) || new RegExp(`^\\s*(export\\s+)?${name}\\s*=\\s*\\S`, "m").test(settings);
  // Without a key `deploy` means production, where the other commands mean the developer's own deployment.
  return words.length > 0 || isSet("CONVEX_SELF_HOSTED_URL") || isSet("CONVEX_DEPLOY_KEY") ? words : ["--prod"];
}

/** The functions that a deploy would delete; null when the deployment does not say. */
function strangers() {
  const asked = convex(["function-spec", ...sameDeployment()], true);
  try {
    if (asked.status !== 0) throw new Error(asked.stderr);
    const own = here();
    const { functions } = JSON.parse(asked.stdout.slice(asked.stdout.indexOf("{")));
    return functions.map((f) => f.identifier || `${f.method} ${f.path} (HTTP)`).filter((name) => !own.has(name));
  } catch (e) {
    console.error(
      `${String(e.message).trim()}\n\nNothing was deployed: what the deployment has could not be read (above), so it is not known whether a deploy would ` +
        `delete somebody's functions.\nWhen you know that it is yours alone: npm run deploy -- ${REPLACE}`,
    );
    return null;
  }
}

if (passed[0] === "dev" && !replace) {
  console.error(`\`convex dev\` deploys again and again, and each time deletes what this folder does not have. Nothing was done.\nWhen that is what you want: npm run convex -- dev ${REPLACE}`);
  process.exit(1);
}
if (passed[0] === "deploy" && !replace) {
  const found = strangers();
  if (found === null) process.exit(1);
  if (found.length > 0) {
    const bar = "!".repeat(100);
    console.error(
      `\n${bar}\n! NOTHING WAS DEPLOYED: this deployment has ${found.length} function${found.length === 1 ? "" : "s"} that ${join(__dirname, "convex")} does not have.\n! A deploy from here would DELETE ` +
        `${found.length === 1 ? "it" : "them"}, and drop the indexes of every table that convex/schema.ts does not name:\n${bar}\n` +
        found.slice(0, 20).map((name) => `  ${name.replace(/\.js:/, ":")}\n`).join("") +
        (found.length > 20 ? `  and ${found.length - 20} more\n` : "") +
        `\nTo keep them, deploy from the folder that they come from, with these functions beside them:\n  docs/guides/convex-beside-your-own.md (a package, two re-exports and projectionTables)\n` +
        `To delete them:\n  npm run deploy -- ${REPLACE}\n`,
    );
    process.exit(1);
  }
}
process.exit(convex(passed).status);
