// run.mjs: do the tests notice wrong code?  Small changes, one at a time, each judged by the tests that belong to
// the file: make mutants COUNT=400 SEED=1 [ONLY=c_src/outbox] [JOBS=2] [LIMIT_S=120]
//
// A mutant is one change of one line (kinds.mjs).  It is *killed* when a test of its file fails or takes too long,
// *survived* when all pass; what does not compile is replaced by another.  equivalent.txt lists, with a reason,
// changes that change nothing one could test.  Tests belong to files by tests.mjs.  Each job works in a copy of the
// tree of its own (build/mutants/N), where the C code is a shared library, so that a mutant costs one compilation
// and one link.  A test that fails without any change ends the run: it would kill everything.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { sitesOf } from "./kinds.mjs";
import { files, testsOf } from "./tests.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const WORK = join(ROOT, "build/mutants");
const number = (name, fallback) => Number(process.env[name] || fallback);
const COUNT = number("COUNT", 400), SEED = number("SEED", 1), JOBS = number("JOBS", 2), LIMIT_MS = 1000 * number("LIMIT_S", 120);
const ONLY = process.env.ONLY ?? "";

// mulberry32: the same SEED draws the same mutants from the same tree
let state = SEED >>> 0;
const random = () => {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};

function shuffled(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

// Run a command in `cwd`; resolves to {ok, late, out}.  It is ended with all it has started.
function run(cwd, command, limitMs, env = {}) {
  return new Promise((done) => {
    const child = spawn("sh", ["-c", command], { cwd, detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    let out = "", late = false;
    const end = () => { try { process.kill(-child.pid, "SIGKILL"); } catch { /* ended by itself */ } };
    const timer = setTimeout(() => { late = true; end(); }, limitMs);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (d) => { if (out.length < 100_000) out += d; });
    child.on("exit", (status) => { clearTimeout(timer); end(); done({ ok: status === 0 && !late, late, out }); });
  });
}

const git = (...args) => execFileSync("git", args, { cwd: ROOT, encoding: "utf8" });

// ---- a tree of its own a job ---------------------------------------------------------------------

class Tree {
  constructor(n) { this.dir = join(WORK, String(n)); this.n = n; }

  async prepare() {
    if (!existsSync(this.dir)) execFileSync("git", ["clone", "-q", ROOT, this.dir]);
    execFileSync("git", ["-C", this.dir, "fetch", "-q", "origin"]);
    execFileSync("git", ["-C", this.dir, "checkout", "-q", "-f", "--detach", git("rev-parse", "HEAD").trim()]);
    const modules = join(ROOT, "test/convex/node_modules");
    if (existsSync(modules)) await run(this.dir, `[ -e test/convex/node_modules ] || cp -a '${modules}' test/convex/`, 60_000);
    await this.must("make -s all build/dist_node MIX_ENV=test && make -f test/mutants/shared.mk all");
  }

  async must(command) {
    const { ok, out } = await run(this.dir, command, 1_800_000);
    if (!ok) throw new Error(`${this.dir}: "${command}" fails without any change:\n${out.slice(-3000)}`);
  }

  write(file, text) { writeFileSync(join(this.dir, file), text); }

  build(file) {
    if (file.endsWith(".c")) return "make -f test/mutants/shared.mk library";
    if (/\.(erl|ex)$/.test(file)) return "MIX_ENV=test mix compile --no-deps-check";
    return "true";
  }

  // "killed", "survived" or "invalid"
  async judge(site) {
    const original = readFileSync(join(ROOT, site.file), "utf8");
    const lines = original.split("\n");
    lines[site.line] = site.text;
    this.write(site.file, lines.join("\n"));
    try {
      const built = await run(this.dir, this.build(site.file), LIMIT_MS);
      if (!built.ok) return { verdict: "invalid" };
      for (const test of testsOf(site.file, this.dir)) {
        const { ok, late } = await run(this.dir, test, LIMIT_MS);
        if (!ok) return { verdict: "killed", by: late ? `${test} (too long)` : test };
      }
      return { verdict: "survived" };
    } finally {
      this.write(site.file, original);
      if (site.file.endsWith(".c")) await run(this.dir, this.build(site.file), LIMIT_MS);
    }
  }

  // What the tests say without a change.
  async unchanged(tests) {
    for (const test of tests) {
      const { ok, late, out } = await run(this.dir, test, LIMIT_MS);
      if (!ok) throw new Error(`"${test}" ${late ? "takes longer than LIMIT_S" : "fails"} without any change:\n${out.slice(-2000)}`);
    }
  }
}

// ---- what is equivalent --------------------------------------------------------------------------

// Each entry: file, the line as it is and as it would be (both trimmed), and why: four lines, then an empty one.
function equivalents() {
  const entries = readFileSync(join(ROOT, "test/mutants/equivalent.txt"), "utf8").split(/\n\s*\n/).filter((e) => e.trim() && !e.startsWith("#"));
  return new Map(entries.map((entry) => {
    const [file, was, is, why] = entry.trim().split("\n");
    if (!why) throw new Error(`test/mutants/equivalent.txt: an entry wants four lines:\n${entry}`);
    return [[file, was.trim(), is.trim()].join("\n"), why];
  }));
}

// ---- all together --------------------------------------------------------------------------------

const folderOf = (file) => (file.startsWith("c_src/") ? file.split("/").slice(0, 2).join("/") : dirname(file));
const changed = git("status", "--porcelain", "--", "c_src", "src", "lib", "priv/convex", "test").trim();
if (changed) { console.error(`mutants: commit first; the copies are made of HEAD:\n${changed}`); process.exit(2); }

const known = equivalents();
const sites = shuffled(files(ROOT).filter((f) => f.startsWith(ONLY)).flatMap((file) =>
  sitesOf(file, readFileSync(join(ROOT, file), "utf8")).map((site) => ({ file, ...site }))));
mkdirSync(WORK, { recursive: true });
const trees = Array.from({ length: JOBS }, (_, n) => new Tree(n + 1));
console.log(`${sites.length} places where one line can be changed; ${Math.min(COUNT, sites.length)} of them, SEED=${SEED}`);
for (const tree of trees) await tree.prepare();

const tally = {}, survivors = [];
let judged = 0, next = 0;
const count = (file, what) => { const t = (tally[folderOf(file)] ??= { killed: 0, survived: 0, equivalent: 0 }); t[what]++; };
const checked = new Map(); // test -> promise: it passes without any change
const began = Date.now();

async function work(tree) {
  while (judged < COUNT && next < sites.length) {
    const site = sites[next++];
    const key = [site.file, site.was.trim(), site.text.trim()].join("\n");
    judged++;
    if (known.has(key)) { count(site.file, "equivalent"); continue; }
    for (const test of testsOf(site.file, tree.dir)) {
      if (!checked.has(test)) checked.set(test, tree.unchanged([test]));
      await checked.get(test);
    }
    const { verdict } = await tree.judge(site);
    if (verdict === "invalid") { judged--; continue; }
    count(site.file, verdict);
    if (verdict === "survived") {
      survivors.push(site);
      console.log(`survived ${site.file}:${site.line + 1} (${site.kind})\n  - ${site.was.trim()}\n  + ${site.text.trim()}`);
    }
  }
}
await Promise.all(trees.map(work));

const sum = { killed: 0, survived: 0, equivalent: 0 };
const rate = (t) => (t.killed + t.survived ? Math.round((100 * t.killed) / (t.killed + t.survived)) : 100);
console.log(`\n${"folder".padEnd(36)} killed survived equivalent   killed of the rest`);
for (const [folder, t] of Object.entries(tally).sort()) {
  for (const k in sum) sum[k] += t[k];
  console.log(`${folder.padEnd(36)} ${String(t.killed).padStart(6)} ${String(t.survived).padStart(8)} ${String(t.equivalent).padStart(10)} ${String(rate(t)).padStart(18)} %`);
}
console.log(`${"all".padEnd(36)} ${String(sum.killed).padStart(6)} ${String(sum.survived).padStart(8)} ${String(sum.equivalent).padStart(10)} ${String(rate(sum)).padStart(18)} %   in ${Math.round((Date.now() - began) / 60_000)} min`);
process.exit(rate(sum) >= 90 ? 0 : 1);
