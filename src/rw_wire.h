/* What the parsers of rw_*.c share: growing buffers, the wire format of protobuf, values that are written as text. All of
 * it is bounds-checked; nothing of the wire is trusted. */
#ifndef RW_WIRE_H
#define RW_WIRE_H

#include "rw_rows.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ID 255u
#define MAX_STRING 2048u
#define MAX_DECIMAL 128u /* characters */

#define TRY(call)                  \
    do {                           \
        int status_ = (call);      \
        if (status_) return status_; \
    } while (0)

/* --- growing buffers ---------------------------------------------------------------------------------------- */

static inline int reserve(rw_buf *b, size_t more) {
    if (b->n + more <= b->cap) return RW_OK;
    size_t cap = b->cap ? b->cap * 2 : 1024;
    while (cap < b->n + more) cap *= 2;
    uint8_t *at = realloc(b->at, cap);
    if (!at) return RW_NO_MEMORY;
    b->at = at;
    b->cap = cap;
    return RW_OK;
}

static inline int push(rw_buf *b, const void *data, size_t n) {
    TRY(reserve(b, n));
    if (n) memcpy(b->at + b->n, data, n);
    b->n += n;
    return RW_OK;
}

static inline int push_i64(rw_buf *b, int64_t v) { return push(b, &v, 8); }

static inline int push_string(rw_strings *s, const uint8_t *data, uint32_t n) {
    if (s->data.n + n > INT32_MAX) return RW_UNUSUAL;
    TRY(push(&s->data, data, n));
    int32_t end = (int32_t)s->data.n;
    return push(&s->ends, &end, 4);
}

/* --- the wire ----------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
} span;

typedef struct {
    uint32_t number, type; /* of the field; wire type */
    uint64_t value;        /* varint */
    span bytes;            /* length-delimited */
    const uint8_t *from;   /* where the field's tag begins */
} token;

static inline bool varint(span *s, uint64_t *value) {
    *value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (s->at == s->end) return false;
        uint8_t byte = *s->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* The next field; false at a malformed one. Call while s->at < s->end. */
static inline bool next(span *s, token *t) {
    uint64_t tag;
    *t = (token){.from = s->at};
    if (!varint(s, &tag) || tag >> 32 || tag < 8) return false;
    t->number = (uint32_t)(tag >> 3);
    t->type = tag & 7;
    switch (t->type) {
    case 0: return varint(s, &t->value);
    case 1:
        if (s->end - s->at < 8) return false;
        s->at += 8;
        return true;
    case 2:
        if (!varint(s, &t->value) || t->value > (uint64_t)(s->end - s->at)) return false;
        t->bytes = (span){s->at, s->at + t->value};
        s->at += t->value;
        return true;
    case 5:
        if (s->end - s->at < 4) return false;
        s->at += 4;
        return true;
    default: return false;
    }
}

static inline uint32_t length(span s) { return (uint32_t)(s.end - s.at); }

static inline bool is_ascii(span s) {
    uint8_t high = 0;
    for (const uint8_t *p = s.at; p < s.end; p++) high |= *p;
    return high < 0x80;
}

/* --- values ------------------------------------------------------------------------------------------------- */

/* Digits with an optional sign and point, as minor units: 18 digits at most, far within the largest number. */
static inline bool decimal(span s, uint32_t scale, int64_t *units) {
    bool negative = false, point = false;
    if (length(s) > MAX_DECIMAL) return false;
    uint32_t digits = 0, decimals = 0;
    int64_t v = 0;
    if (s.at < s.end && (*s.at == '-' || *s.at == '+')) negative = *s.at++ == '-';
    if (s.at == s.end || *s.at == '.') return false;
    for (; s.at < s.end; s.at++) {
        if (*s.at == '.') {
            if (point || s.at + 1 == s.end) return false;
            point = true;
            continue;
        }
        if (*s.at < '0' || *s.at > '9') return false;
        if (point && decimals == scale) { /* only zeros may follow */
            if (*s.at != '0') return false;
            continue;
        }
        if (++digits > 17) return false;
        v = v * 10 + (*s.at - '0');
        decimals += point;
    }
    for (; decimals < scale; decimals++) {
        if (++digits > 18) return false;
        v *= 10;
    }
    *units = negative ? -v : v;
    return true;
}

/* google.protobuf.Timestamp as milliseconds since 1970, rounded down. */
static inline bool timestamp(span s, int64_t *millis) {
    int64_t seconds = 0, nanos = 0;
    token t;
    while (s.at < s.end) {
        if (!next(&s, &t) || t.type != 0) return false;
        if (t.number == 1) seconds = (int64_t)t.value;
        else if (t.number == 2) nanos = (int64_t)t.value;
        else return false;
    }
    if (seconds < -62135596800 || seconds > 253402300799 || nanos < 0 || nanos > 999999999) return false;
    *millis = seconds * 1000 + nanos / 1000000;
    return true;
}

#endif
