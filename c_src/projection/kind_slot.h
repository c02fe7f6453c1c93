/* kind_slot.h - a kind's document as a list of texts and values, shared by kinds and projection. */

/* Private to projection/. */

#ifndef KIND_SLOT_H
#define KIND_SLOT_H

#include "ground/base.h"

/* What comes after a slot's text. */
enum slot_value {
    SLOT_LITERAL, /* nothing: the text includes the constant */
    SLOT_FIELD,   /* column `field` of the row */
    SLOT_SOURCE,  /* the object runtime_source; only while a list is made, never in one */
    SLOT_DOCUMENT_ID,
    SLOT_ENTITY_ID,
    SLOT_SEQ,
    SLOT_SEQ_RANGE,   /* left out unless the request names a range */
    SLOT_ROW_VERSION, /* left out unless the request names one */
    SLOT_EVENT_COUNT,
    SLOT_EVENT_TYPE,
    SLOT_EVENT_AT,
    SLOT_VERSION,
    SLOT_PROJECTED_AT,
    SLOT_HASH,  /* left out when the configuration says so */
    SLOT_VALUES /* how many there are */
};

/*
 * A document is its slots in order: each slot's text, then its value.  Keys are in canonical order
 * (RFC 8785), so making a document is copying, and its hash needs no second rendering.
 */
struct kind_slot {
    char *text; /* the bytes in front of the value: comma, key, colon */
    size_t len;
    enum slot_value value;
    size_t field;
    size_t weight; /* what the text adds to the document's size as Convex counts it */
};

#endif
