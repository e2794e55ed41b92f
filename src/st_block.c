/* Forward blocks; the layout is in st_block.h. */
#include "st_block.h"

int st_block_open(st_block *block, st_value value, uint32_t expected) {
    const uint8_t *p = value.p;
    if (!p) return ST_MISSING;
    if (value.n < ST_BLOCK_HEADER) return ST_SHORT;
    if (p[0] != ST_BLOCK_VERSION) return ST_VERSION;
    if (p[1] != ST_BLOCK_WIDTH) return ST_WIDTH;
    uint32_t count = st_load16(p + 2);
    if (!count || count > ST_BLOCK || count != expected) return ST_COUNT;
    size_t head = ST_BLOCK_HEADER + (size_t)count * ST_BLOCK_WIDTH;
    if (value.n < head || value.n - head > (size_t)ST_BLOCK * ST_MAX_STRING) return ST_LENGTH;
    block->ends = p + ST_BLOCK_HEADER;
    block->bytes = p + head;
    block->blanked = st_load32(p + 8);
    block->size = (uint32_t)(value.n - head);
    block->count = count;
    if (st_block_end(block, count - 1) != block->size) return ST_LENGTH;
    return ST_OK;
}

int st_block_check(st_value value, uint32_t expected) {
    st_block block;
    int status = st_block_open(&block, value, expected);
    if (status) return status;
    if (st_value_crc(value.p, value.n) != st_load32(value.p + 4)) return ST_CHECKSUM;
    if (block.count < ST_BLOCK && block.blanked >> block.count) return ST_RESERVED;
    for (uint32_t i = 0; i < block.count; i++) {
        const uint8_t *p;
        uint32_t len;
        if ((status = st_block_at(&block, i, &p, &len))) return status;
        if (!st_utf8_valid(p, len)) return ST_UTF8;
        if (len && (block.blanked >> i & 1)) return ST_BLANK;
    }
    return ST_OK;
}

/* Fill in header and ends of a block whose strings already stand at their place; returns the block's size. */
static size_t seal(uint8_t *out, uint32_t count, uint32_t blanked, const uint32_t *ends) {
    out[0] = ST_BLOCK_VERSION;
    out[1] = ST_BLOCK_WIDTH;
    st_store16(out + 2, (uint16_t)count);
    st_store32(out + 8, blanked);
    uint8_t *e = out + ST_BLOCK_HEADER;
    for (uint32_t i = 0; i < count; i++) st_store16(e + ST_BLOCK_WIDTH * i, (uint16_t)ends[i]);
    size_t size = ST_BLOCK_HEADER + (size_t)count * ST_BLOCK_WIDTH + ends[count - 1];
    st_store32(out + 4, st_value_crc(out, size));
    return size;
}

size_t st_block_pack(const st_block *old, const st_batch *batch, const uint32_t *fresh, size_t m, uint8_t *out,
                     int64_t *block_ends) {
    size_t total = 0, next = 0, k = 0;
    uint32_t kept = old->count, old_size = old->count ? old->size : 0;
    while (next < m) {
        uint32_t ends[ST_BLOCK], count = kept + (uint32_t)(m - next < ST_BLOCK - kept ? m - next : ST_BLOCK - kept);
        uint32_t bytes = old_size;
        for (uint32_t i = 0; i < kept; i++) ends[i] = st_block_end(old, i);
        for (uint32_t i = kept; i < count; i++) {
            size_t len;
            (void)st_batch_at(batch, fresh[next + i - kept], &len);
            bytes += (uint32_t)len;
            ends[i] = bytes;
        }
        if (out) {
            uint8_t *block = out + total, *to = block + ST_BLOCK_HEADER + (size_t)count * ST_BLOCK_WIDTH;
            if (old_size) memcpy(to, old->bytes, old_size);
            to += old_size;
            for (uint32_t i = kept; i < count; i++) {
                size_t len;
                const uint8_t *p = st_batch_at(batch, fresh[next + i - kept], &len);
                if (len) memcpy(to, p, len);
                to += len;
            }
            seal(block, count, kept ? old->blanked : 0, ends);
        }
        total += ST_BLOCK_HEADER + (size_t)count * ST_BLOCK_WIDTH + bytes;
        if (block_ends) block_ends[k] = (int64_t)total;
        k++;
        next += count - kept;
        kept = 0;
        old_size = 0;
    }
    return total;
}

size_t st_block_blank(const st_block *block, uint32_t slots, uint8_t *out) {
    uint32_t ends[ST_BLOCK], bytes = 0, lens[ST_BLOCK];
    const uint8_t *from[ST_BLOCK];
    for (uint32_t i = 0; i < block->count; i++) {
        (void)st_block_at(block, i, &from[i], &lens[i]); /* cannot fail: the block passed its check */
        if (slots >> i & 1) lens[i] = 0;
        bytes += lens[i];
        ends[i] = bytes;
    }
    uint8_t *to = out + ST_BLOCK_HEADER + (size_t)block->count * ST_BLOCK_WIDTH;
    for (uint32_t i = 0; i < block->count; i++) {
        if (lens[i]) memcpy(to, from[i], lens[i]);
        to += lens[i];
    }
    return seal(out, block->count, block->blanked | slots, ends);
}

/* The loop every bulk read shares: open each group's block, then run BODY with `code`, `index`, `p`, `len`. */
#define FOR_EACH_KEY(in, count, bad, BODY)                                                       \
    for (size_t g = 0; g < (in)->groups; g++) {                                                  \
        st_block block;                                                                          \
        *(bad) = g;                                                                              \
        int status = st_block_open(&block, (in)->values[g], st_block_expected((in)->ids[g], count)); \
        if (status) return status;                                                               \
        for (int64_t k = (in)->starts[g]; k < (in)->starts[g + 1]; k++) {                        \
            uint32_t code = (uint32_t)((in)->keys[k] >> 32), index = (uint32_t)(in)->keys[k];    \
            uint32_t slot = code & (ST_BLOCK - 1), len;                                          \
            const uint8_t *p;                                                                    \
            if (slot >= block.count) return ST_CODE;                                             \
            if ((status = st_block_at(&block, slot, &p, &len))) return status;                   \
            BODY                                                                                 \
        }                                                                                        \
    }

int st_block_match(const st_grouped *in, uint64_t count, const st_batch *batch, int64_t *codes, size_t *bad) {
    FOR_EACH_KEY(in, count, bad, {
        size_t want;
        const uint8_t *q = st_batch_at(batch, index, &want);
        if (want == len && (codes[index] < 0 || code < codes[index]) && !(block.blanked >> slot & 1) &&
            !memcmp(p, q, len))
            codes[index] = code;
    })
    return ST_OK;
}

int st_block_lengths(const st_grouped *in, uint64_t count, int64_t *lengths, size_t *bad) {
    FOR_EACH_KEY(in, count, bad, { lengths[index] = len; })
    return ST_OK;
}

int st_block_copy(const st_grouped *in, uint64_t count, const int32_t *at, uint8_t *out, size_t *bad) {
    FOR_EACH_KEY(in, count, bad, {
        if (!st_utf8_valid(p, len)) return ST_UTF8;
        if (len) memcpy(out + at[index], p, len);
    })
    return ST_OK;
}

int st_block_entries(const st_grouped *in, uint64_t count, const uint8_t *hash_key, uint64_t hash_mask,
                     uint64_t *entries, size_t *bad) {
    for (size_t g = 0; g < in->groups; g++) {
        *bad = g;
        int status = st_block_check(in->values[g], st_block_expected(in->ids[g], count));
        if (status) return status;
    }
    FOR_EACH_KEY(in, count, bad, {
        uint64_t hash = st_siphash13(hash_key, p, len) & hash_mask;
        entries[index] = block.blanked >> slot & 1 ? ~0ull : (uint64_t)(uint32_t)hash << 32 | code;
    })
    return ST_OK;
}

int st_block_slice(const st_value *values, uint64_t first, uint64_t last, uint64_t count, int32_t *offsets,
                   uint8_t *out, int64_t *total, size_t *bad) {
    int64_t at = 0;
    uint64_t base = first >> ST_BLOCK_BITS;
    if (!out) offsets[0] = 0;
    for (uint64_t code = first; code < last;) {
        uint64_t id = code >> ST_BLOCK_BITS, stop = (id + 1) << ST_BLOCK_BITS;
        if (stop > last) stop = last;
        st_block block;
        *bad = (size_t)(id - base);
        int status = st_block_open(&block, values[id - base], st_block_expected((uint32_t)id, count));
        if (status) return status;
        for (; code < stop; code++) {
            const uint8_t *p;
            uint32_t len;
            if ((status = st_block_at(&block, (uint32_t)(code & (ST_BLOCK - 1)), &p, &len))) return status;
            if (out) {
                if (!st_utf8_valid(p, len)) return ST_UTF8;
                if (len) memcpy(out + at, p, len);
            }
            at += len;
            if (!out) offsets[code - first + 1] = at > INT32_MAX ? INT32_MAX : (int32_t)at;
        }
    }
    *total = at;
    return ST_OK;
}
