export * from "convex-sidecar-functions/runtime";
