// Written by `make kinds` from priv/kinds.ini: change that, then run it again.
// The runtime's own kinds; a kind of your own needs no line here (docs/CONVEX.md).
export const RUN_SUMMARY = "run_summary";
export const CODEX_WORKER_SUMMARY = "codex_worker_summary";
