import schema from "./convex/schema.js";

/** The tables of the projections, for a schema of one's own: `defineSchema({ ...projectionTables, notes: ... })`. */
export const projectionTables = schema.tables;
