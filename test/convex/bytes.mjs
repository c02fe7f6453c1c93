// What a write costs a deployment, in the bytes that MAX_BYTES_WRITTEN_PER_SECOND counts. Paths are in
// get-convex/convex-backend under crates/, at 94a42c3:
//   database/src/committer.rs:1058        the sum over log entries and index entries of a commit
//   common/src/persistence.rs:61, 96      a log entry, an index entry
//   indexing/src/index_registry.rs:189    of a key that changes the old one is deleted, of one that stays nothing is
//   common/src/document.rs:1139, value/src/sorting.rs:303    a key: the index's fields, the creation time, the id
import { convexToJson } from "convex/values";
import { measure } from "./values.mjs";

const TS = 8, INTERNAL_ID = 32 /* tablet, id */, INDEX_ID = 16, ID_TEXT = 32 /* of an id as functions see it */;

/** A value in a key; an absent one is a byte. */
function keySize(value) {
  if (value === undefined || value === null || typeof value === "boolean") return 1;
  if (typeof value === "number") return 9;
  if (typeof value === "string") return 2 + Buffer.byteLength(value) + (value.match(/\0/g)?.length ?? 0);
  throw new Error(`no index of ours has a ${typeof value}`);
}

const SYSTEM_INDEXES = [[], ["_creationTime"]]; // by_id, by_creation_time

/** `indexes`: the fields of each of the table's own. Of a row that changes from `before` to `after` (null: none). */
export function writeBytes(before, after, indexes) {
  const all = [...SYSTEM_INDEXES, ...indexes.map((fields) => [...fields, "_creationTime"])];
  const size = ({ _id, ...row }) => measure(convexToJson({ ...row, _id: "x".repeat(ID_TEXT) })).size;
  let inIndexes = 0;
  for (const fields of all) {
    const entry = (row) => TS + INDEX_ID + fields.reduce((n, f) => n + keySize(row[f]), 0) + 2 + ID_TEXT;
    const stays = before !== null && after !== null && fields.every((f) => before[f] === after[f]);
    if (before !== null && !stays) inIndexes += entry(before);
    if (after !== null) inIndexes += entry(after) + INTERNAL_ID;
  }
  return { document: after === null ? 0 : size(after), indexes: inIndexes, log: TS + INTERNAL_ID + (before === null ? 0 : TS) };
}

export const total = ({ document, indexes, log }) => document + indexes + log;
