/* Shared by the string table's C files: unaligned little-endian access and the status codes of its decoders.
 *
 * Bytes that come from LMDB may start at any 2-byte boundary, so every access goes through memcpy (one plain
 * load on the machines we compile for). Nothing here allocates, and nothing in st_*.c knows Python. */
#ifndef SEGIDX_ST_COMMON_H
#define SEGIDX_ST_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the string table's formats are little-endian; byte-swapping loads are needed on this machine"
#endif

#define ST_MAX_STRING 2048u /* bytes of one string; docs/adr/002-string-table.md */

/* What a decoder found wrong with stored bytes. ST_OK is zero; st_status_text() names the others. */
enum st_status {
    ST_OK = 0,
    ST_MISSING,
    ST_SHORT,
    ST_VERSION,
    ST_RESERVED,
    ST_COUNT,
    ST_WIDTH,
    ST_LENGTH,
    ST_OFFSETS,
    ST_TOO_LONG,
    ST_CHECKSUM,
    ST_PLACE,
    ST_ORDER,
    ST_ADDRESS,
    ST_CODE,
    ST_UTF8,
    ST_BLANK,
    ST_ENTRY,
    ST_NO_MEMORY,
};

const char *st_status_text(int status);

static inline uint16_t st_load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

static inline uint32_t st_load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint64_t st_load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline void st_store16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void st_store32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void st_store64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

/* CRC-32 (ISO-HDLC, the one of zlib and PNG) of n bytes, continuing from `crc` (0 to start).
 * st_crc_init() must have run once before; it is idempotent. */
void st_crc_init(void);
uint32_t st_crc32(uint32_t crc, const uint8_t *p, size_t n);

/* The checksum of a stored value: its CRC-32 without the four bytes at offset 4, where it is kept. n >= 8. */
static inline uint32_t st_value_crc(const uint8_t *p, size_t n) {
    return st_crc32(st_crc32(0, p, 4), p + 8, n - 8);
}

/* Non-zero if the n bytes are well-formed UTF-8 (Unicode 15, table 3-7: no overlongs, no surrogates). */
int st_utf8_valid(const uint8_t *p, size_t n);

#endif
