/**
 * The shape of documents, as validators: clients get their types from these (`Infer`, the return types of
 * queries), and other languages from `npx convex function-spec`. kinds.ts has those of the runtime's own kinds.
 */
import { type PropertyValidators, type Validator, v, type VString } from "convex/values";

/** A column as in the row: text, a time, or null. */
export const text = v.union(v.string(), v.null());
/** A user's id, as in the runtime. */
export const userId = v.union(v.string(), v.number(), v.int64(), v.null());
/** A column that is copied unchanged; `{}` if the row has none. */
export const map = v.record(v.string(), v.any());

/** The document of a kind: its own fields, and those that every document has (docs/PROTOCOL.md). */
export function documentOf<Kind extends string, Id extends string, Fields extends PropertyValidators>(
  kind: Kind,
  id_field: Id,
  fields: Fields,
) {
  const id = { [id_field]: v.string() } as Record<Id, VString>;
  const runtime_source = v.object({
    ...id,
    entity: v.string(),
    seq: v.number(),
    seq_range: v.optional(v.array(v.number())),
    row_version: v.optional(v.number()),
  });
  return v.object({
    ...fields,
    ...id,
    document_id: v.string(),
    kind: v.literal(kind),
    event_count: v.number(),
    latest_seq: v.number(),
    latest_event_type: text,
    latest_event_at: text,
    runtime_source,
    projection_version: v.string(),
    projected_at: v.string(),
    // Lower-case hex SHA-256 (docs/DESIGN.md), unless projection.hash is off.
    projection_hash: v.optional(v.string()),
  });
}

/**
 * The same type, but any stored value passes: a document from a writer of your own, or one from before a
 * field was added, must not keep its readers from the others on the page.
 */
export const open = <V extends Validator<any, "required", any>>(document: V) =>
  v.union(document, v.record(v.string(), v.any())) as unknown as V;
