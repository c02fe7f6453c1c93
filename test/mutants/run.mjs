// run.mjs: do the tests notice wrong code?  Small changes, one at a time, each judged by the tests that belong to
// the file: make mutants COUNT=400 SEED=1 [ONLY=c_src/outbox] [JOBS=2] [LIMIT_S=300]      (README.md says more)
//
// A mutant is one change of one line (kinds.mjs).  It is *killed* when a test of its file fails or takes four times
// as long as without it, *survived* when all pass; what does not compile is replaced by another.  equivalent.txt
// lists, with a reason, changes that change nothing one could test.  Tests belong to files by tests.mjs.  Each job
// works in a copy of HEAD of its own (build/mutants/N), where the C code is a shared library, so that a mutant costs
// one compilation and one link.  A test that fails without any change ends the run: it would kill everything.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { sitesOf } from "./kinds.mjs";
import { files, testsOf } from "./tests.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const WORK = join(ROOT, "build/mutants");
const number = (name, fallback) => Number(process.env[name] || fallback);
const COUNT = number("COUNT", 400), SEED = number("SEED", 1), JOBS = number("JOBS", 2), LIMIT_MS = 1000 * number("LIMIT_S", 300);
const ONLY = process.env.ONLY ?? "";
const LIBRARY = "build/shared/libsidecar.so";

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

// What tests keep on a disk lies in memory here: thousands of synced commits would measure the disk.
const QUICK = existsSync("/dev/shm") ? { TMPDIR: "/dev/shm" } : {};

// Run a command in `cwd`; resolves to {ok, late, out}.  It is ended with all it has started: by session, since Check
// gives each test a process group of its own.
function run(cwd, command, limitMs) {
  return new Promise((done) => {
    const child = spawn("sh", ["-c", command], { cwd, detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...QUICK } });
    let out = "", late = false;
    const end = () => { try { execFileSync("pkill", ["-KILL", "-s", String(child.pid)]); } catch { /* ended by itself */ } };
    const timer = setTimeout(() => { late = true; end(); }, limitMs);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (d) => { if (out.length < 100_000) out += d; });
    child.on("exit", (status) => { clearTimeout(timer); end(); done({ ok: status === 0 && !late, late, out }); });
  });
}

const git = (...args) => execFileSync("git", args, { cwd: ROOT, encoding: "utf8" });

// ---- a tree of its own a job ---------------------------------------------------------------------

class Tree {
  constructor(n) { this.dir = join(WORK, String(n)); }

  // A tree of HEAD, built and with its tests' programs.
  async prepare() {
    if (!existsSync(this.dir)) execFileSync("git", ["clone", "-q", ROOT, this.dir]);
    execFileSync("git", ["-C", this.dir, "fetch", "-q", "origin"]);
    execFileSync("git", ["-C", this.dir, "checkout", "-q", "-f", "--detach", git("rev-parse", "HEAD").trim()]);
    const modules = join(ROOT, "test/convex/node_modules");
    if (existsSync(modules)) await this.must(`[ -e test/convex/node_modules ] || cp -a '${modules}' test/convex/`);
    await this.must(`make -s -j${JOBS} all build/dist_node MIX_ENV=test && make -s -j${JOBS} -f test/mutants/shared.mk all`);
    const { out } = await this.must("make -s -f test/mutants/shared.mk commands");
    [this.compile, this.link] = out.trim().split("\n");
    await this.must(`cp ${LIBRARY} ${LIBRARY}.good`);
  }

  async must(command) {
    const said = await run(this.dir, command, 1_800_000);
    if (!said.ok) throw new Error(`${this.dir}: "${command}" fails without any change:\n${said.out.slice(-3000)}`);
    return said;
  }

  write(file, text) { writeFileSync(join(this.dir, file), text); }

  // The changed object stands in the place of the good one, which stays.
  build(file) {
    if (!file.endsWith(".c")) return /\.(erl|ex)$/.test(file) ? "SIDECAR_PREBUILT=1 MIX_ENV=test mix compile --no-deps-check" : "true";
    const object = `build/shared/${file.slice(6, -2)}.o`;
    const link = this.link.split(" ").map((word) => (word === object ? "build/shared/mutant.o" : word)).join(" ");
    return `${this.compile} -c -o build/shared/mutant.o ${file} && ${link} -o ${LIBRARY}.new && mv -f ${LIBRARY}.new ${LIBRARY}`;
  }

  async restore(file) {
    this.write(file, texts.get(file));
    if (file.endsWith(".c")) await this.must(`cp ${LIBRARY}.good ${LIBRARY}.new && mv -f ${LIBRARY}.new ${LIBRARY}`);
  }

  // {verdict: "killed", "survived" or "invalid", by}
  async judge(site) {
    const lines = texts.get(site.file).split("\n");
    lines[site.line] = site.text;
    this.write(site.file, lines.join("\n"));
    try {
      const built = await run(this.dir, this.build(site.file), LIMIT_MS);
      if (!built.ok) return { verdict: "invalid" };
      for (const test of testsOf(site.file, this.dir)) {
        const { ok, late } = await run(this.dir, test, limits.get(test));
        if (!ok) return { verdict: "killed", by: late ? `${test} (too long)` : test };
      }
      return { verdict: "survived" };
    } finally {
      await this.restore(site.file);
    }
  }

  // How long the test may take, by how long it takes without a change.  One of three tries has to pass: a machine
  // that is busy may fail one.
  async unchanged(test, tries = 3) {
    const began = Date.now();
    const { ok, late, out } = await run(this.dir, test, LIMIT_MS);
    if (!ok && tries > 1) return this.unchanged(test, tries - 1);
    if (!ok) throw new Error(`"${test}" ${late ? "takes longer than LIMIT_S" : "fails"} without any change:\n${out.slice(-2000)}`);
    limits.set(test, Math.max(10_000, 4 * (Date.now() - began)));
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
const texts = new Map(files(ROOT).filter((f) => f.startsWith(ONLY)).map((file) => [file, readFileSync(join(ROOT, file), "utf8")]));
const sites = shuffled([...texts].flatMap(([file, text]) => sitesOf(file, text).map((site) => ({ file, ...site }))));
const limits = new Map(); // test -> ms
mkdirSync(WORK, { recursive: true });
const trees = Array.from({ length: JOBS }, (_, n) => new Tree(n + 1));
console.log(`${sites.length} places where one line can be changed; ${Math.min(COUNT, sites.length)} of them, SEED=${SEED}`);
for (const tree of trees) await tree.prepare();

const tally = {};
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
      if (!checked.has(test)) checked.set(test, tree.unchanged(test));
      await checked.get(test);
    }
    const { verdict, by } = await tree.judge(site);
    if (verdict === "invalid") { judged--; continue; }
    count(site.file, verdict);
    const what = `${site.file}:${site.line + 1} (${site.kind})`;
    if (verdict === "survived") console.log(`survived ${what}\n  - ${site.was.trim()}\n  + ${site.text.trim()}`);
    else if (process.env.V) console.log(`killed ${what} by ${by}`);
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
