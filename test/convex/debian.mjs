// Programs that only some tests need: already installed, or installed from Debian on request.
import { spawnSync } from "node:child_process";

const has = (program) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;

/** Whether `program` is available; with `install`, apt installs its package. Reports a test that is skipped without it. */
export function program(program, pkg, { install = process.env.CI === "true", test, how = `apt-get install ${pkg}, or CI=true` } = {}) {
  if (has(program)) return true;
  if (install) {
    console.log(`installing ${pkg}`);
    const sudo = process.getuid() === 0 ? "" : "sudo ";
    const command = `${sudo}apt-get update -qq && DEBIAN_FRONTEND=noninteractive ${sudo}apt-get install -y -qq --no-install-recommends ${pkg}`;
    const run = spawnSync("sh", ["-c", command], { encoding: "utf8" });
    if (run.status === 0 && has(program)) return true;
    throw new Error(`apt-get install ${pkg} failed:\n${run.stderr}`);
  }
  console.log(`skipped: ${test}: there is no ${program} (${how})`);
  return false;
}
