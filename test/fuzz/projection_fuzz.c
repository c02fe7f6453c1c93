/*
 * projection_fuzz.c - any checked term as row, events or summary becomes a document or a refusal.
 *
 * The input is one term. It is taken as the row of both kinds, as their events, and as a finished
 * summary; what is accepted must finish, and finishing again from its own fold must give the same
 * hash. Faults must be filled in.  Input that is no term is taken as a fold from the disk.
 */

#include "projection/projection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct projection_options options = {.version = {(const uint8_t *)"v", 1}};

/* What was prepared must finish; ${draft} is freed. */
static void finish(struct draft *draft)
{
    struct document first, again;
    struct fault fault = {0};
    const int64_t now_us = 1700000000000000;

    if (projection_finish(draft, (struct past){0}, 0, now_us, &first, &fault) == ERR_OK) {
        struct buf fold = {0}, recent = {0};
        uint8_t hash[32];
        buf_slice(&fold, first.past.fold);
        buf_slice(&recent, first.past.recent);
        struct past past = {buf_view(&fold), buf_view(&recent)};
        memcpy(hash, first.hash, sizeof hash);
        PRE(projection_finish(draft, past, now_us, now_us, &again, &fault) == ERR_OK);
        PRE(memcmp(hash, again.hash, sizeof hash) == 0 && again.projected_at_us > now_us);
        buf_free(&fold);
        buf_free(&recent);
    } else {
        PRE(fault.why[0] != '\0' || fault.expected != fault.got);
    }
    draft_free(draft);
}

/* A fold from the disk, and the last events after it, are understood or refused. */
static void try_fold(const struct kind *kind, struct slice bytes, term empty_map, term nil)
{
    size_t cut = bytes.len > 0 ? bytes.data[bytes.len - 1] % bytes.len : 0;
    const struct past past = {slice_of(bytes.data, cut),
                              slice_of(bytes.data + cut, bytes.len - cut)};
    struct draft *draft = NULL;
    struct document document;
    struct fault fault = {0};

    PRE(projection_prepare(kind, slice_str("x"), empty_map, nil, &options, &draft, &fault) ==
        ERR_OK);
    if (projection_finish(draft, past, 0, 1, &document, &fault) == ERR_OK)
        PRE(document.seq >= 0 && document.event_count <= document.seq);
    else
        PRE(fault.why[0] != '\0');
    draft_free(draft);
}

static void try_all(const struct kind *kind, term input, term empty_map, term nil)
{
    struct slice id = slice_str("x");
    struct draft *draft = NULL;
    struct fault fault = {0};
    char document_id[128];

    snprintf(document_id, sizeof document_id, "%sx", kind->prefix);
    if (projection_prepare(kind, id, input, nil, &options, &draft, &fault) == ERR_OK)
        finish(draft);
    if (projection_prepare(kind, id, empty_map, input, &options, &draft, &fault) == ERR_OK)
        finish(draft);
    if (projection_adopt(kind, slice_str(document_id), input, &options, &draft, &fault) == ERR_OK)
        finish(draft);
    struct projection_options at = options;
    at.now = input;
    if (projection_prepare(kind, id, empty_map, nil, &at, &draft, &fault) == ERR_OK)
        finish(draft);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t empty_map[] = {131, 116, 0, 0, 0, 0}, nil[] = {131, 106};
    static struct kinds *kinds;
    term input, map, none;
    struct fault fault = {0};

    if (kinds == NULL) {
        kinds = kinds_new();
        PRE(kinds_finish(kinds, &fault) == ERR_OK);
    }
    PRE(term_check(slice_of(empty_map, sizeof empty_map), &map, &fault) == ERR_OK);
    PRE(term_check(slice_of(nil, sizeof nil), &none, &fault) == ERR_OK);
    if (term_check(slice_of(data, size), &input, &fault) == ERR_OK)
        for (size_t k = 0; k < kinds_count(kinds); k++)
            try_all(kinds_at(kinds, k), input, map, none);
    else
        try_fold(kinds_at(kinds, 0), slice_of(data, size), map, none);
    return 0;
}
