/* Hash buckets; layout and addressing are in st_bucket.h. */
#include "st_bucket.h"

#include <stdlib.h>

#include "st_sort.h"

int st_bucket_open(st_bucket *bucket, st_value value, uint32_t place) {
    const uint8_t *p = value.p;
    if (!p) return ST_MISSING;
    if (value.n < ST_BUCKET_HEADER) return ST_SHORT;
    if (p[0] != ST_BUCKET_VERSION) return ST_VERSION;
    uint32_t count = st_load32(p + 8);
    if (st_load32(p + 12) != place) return ST_PLACE;
    if (value.n - ST_BUCKET_HEADER != (size_t)count * 8) return ST_LENGTH;
    bucket->entries = p + ST_BUCKET_HEADER;
    bucket->count = count;
    return ST_OK;
}

int st_bucket_check(st_value value, uint32_t place, uint32_t n, uint64_t count) {
    st_bucket bucket;
    int status = st_bucket_open(&bucket, value, place);
    if (status) return status;
    if (value.p[1] || st_load16(value.p + 2)) return ST_RESERVED;
    if (st_value_crc(value.p, value.n) != st_load32(value.p + 4)) return ST_CHECKSUM;
    for (uint32_t i = 0; i < bucket.count; i++) {
        uint64_t entry = st_bucket_entry(&bucket, i);
        if (i && st_bucket_entry(&bucket, i - 1) >= entry) return ST_ORDER;
        if (st_place((uint32_t)(entry >> 32), n) != place) return ST_ADDRESS;
        if ((uint32_t)entry >= count) return ST_CODE;
    }
    return ST_OK;
}

int st_bucket_probe(const st_grouped *in, uint64_t count, const uint64_t *hashes, uint64_t **out, size_t *out_n,
                    size_t *bad) {
    size_t room = in->groups ? (size_t)in->starts[in->groups] + 16 : 16, n = 0;
    uint64_t *found = malloc(room * sizeof *found);
    int status = found ? ST_OK : ST_NO_MEMORY;
    for (size_t g = 0; g < in->groups && !status; g++) {
        st_bucket bucket;
        *bad = g;
        status = st_bucket_open(&bucket, in->values[g], in->ids[g]);
        for (int64_t k = in->starts[g]; k < in->starts[g + 1] && !status; k++) {
            uint32_t index = (uint32_t)in->keys[k], fingerprint = (uint32_t)hashes[index];
            uint32_t i = st_bucket_lower_bound(&bucket, (uint64_t)fingerprint << 32);
            for (; i < bucket.count; i++) {
                uint64_t entry = st_bucket_entry(&bucket, i);
                if ((uint32_t)(entry >> 32) != fingerprint) break;
                if ((uint32_t)entry >= count) {
                    status = ST_CODE;
                    break;
                }
                if (n == room) {
                    uint64_t *more = realloc(found, (room *= 2) * sizeof *found);
                    if (!more) {
                        status = ST_NO_MEMORY;
                        break;
                    }
                    found = more;
                }
                found[n++] = entry << 32 | index;
            }
        }
    }
    if (status) {
        free(found);
        return status;
    }
    *out = found;
    *out_n = n;
    return ST_OK;
}

int st_bucket_gather(const st_value *values, const uint32_t *ids, size_t groups, uint32_t buckets, uint64_t count,
                     uint64_t *out, size_t *n, size_t *bad) {
    size_t at = 0;
    for (size_t g = 0; g < groups; g++) {
        st_bucket bucket;
        *bad = g;
        int status = st_bucket_open(&bucket, values[g], ids[g]);
        if (!status && out) status = st_bucket_check(values[g], ids[g], buckets, count);
        if (status) return status;
        if (out && bucket.count) memcpy(out + at, bucket.entries, 8 * (size_t)bucket.count);
        at += bucket.count;
    }
    *n = at;
    return ST_OK;
}

static size_t seal(uint8_t *out, uint32_t place, uint32_t count) {
    size_t size = ST_BUCKET_HEADER + 8 * (size_t)count;
    memset(out, 0, 4);
    out[0] = ST_BUCKET_VERSION;
    st_store32(out + 8, count);
    st_store32(out + 12, place);
    st_store32(out + 4, st_value_crc(out, size));
    return size;
}

int st_bucket_build(const uint64_t *entries, size_t n, const uint32_t *ids, size_t k, uint32_t buckets, uint8_t *out,
                    int64_t *ends) {
    uint64_t *keys = malloc((2 * n + 1) * sizeof *keys);
    if (!keys) return ST_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        keys[i] = (uint64_t)st_place((uint32_t)(entries[i] >> 32), buckets) << 32 | (uint32_t)i;
    st_sort(keys, keys + n, n, 64 - st_bits_below(buckets), st_bits_below(buckets));
    uint64_t *sorted = keys + n; /* one bucket's entries at a time; the sort is done with its spare half */
    size_t at = 0, size = 0;
    for (size_t b = 0; b < k; b++) {
        size_t count = 0;
        for (; at < n && (uint32_t)(keys[at] >> 32) == ids[b]; at++) sorted[count++] = entries[(uint32_t)keys[at]];
        st_sort_entries(sorted, count);
        if (count) memcpy(out + size + ST_BUCKET_HEADER, sorted, 8 * count);
        size += seal(out + size, ids[b], (uint32_t)count);
        ends[b] = (int64_t)size;
    }
    free(keys);
    return at == n ? ST_OK : ST_ADDRESS;
}

int st_bucket_remove(st_value value, uint32_t place, const uint64_t *gone, size_t n, uint8_t *out, size_t *size) {
    st_bucket bucket;
    int status = st_bucket_open(&bucket, value, place);
    if (status) return status;
    uint32_t kept = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < bucket.count; i++) {
        uint64_t entry = st_bucket_entry(&bucket, i);
        if (at < n && gone[at] == entry) at++;
        else st_store64(out + ST_BUCKET_HEADER + 8 * (size_t)kept++, entry);
    }
    if (at < n) return ST_ENTRY;
    *size = seal(out, place, kept);
    return ST_OK;
}
