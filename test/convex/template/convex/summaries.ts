export * from "convex-sidecar-functions/summaries";
