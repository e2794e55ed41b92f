/* Checksums, UTF-8 validation and the names of decoding errors. */
#include "st_common.h"

const char *st_status_text(int status) {
    switch (status) {
    case ST_OK: return "fine";
    case ST_MISSING: return "it is missing";
    case ST_SHORT: return "shorter than its header";
    case ST_VERSION: return "unknown format version";
    case ST_RESERVED: return "a reserved byte is not zero";
    case ST_COUNT: return "its count is not the one the table expects";
    case ST_WIDTH: return "its offsets are not 2 bytes wide";
    case ST_LENGTH: return "its length does not match its header";
    case ST_OFFSETS: return "string offsets decrease or run past the end";
    case ST_TOO_LONG: return "a string is longer than the limit";
    case ST_CHECKSUM: return "checksum mismatch";
    case ST_PLACE: return "it is another bucket's value";
    case ST_ORDER: return "entries are not in ascending order";
    case ST_ADDRESS: return "an entry belongs to another bucket";
    case ST_CODE: return "an entry's code is beyond the table's end";
    case ST_UTF8: return "a string is not UTF-8";
    case ST_BLANK: return "a blanked string is not empty";
    case ST_ENTRY: return "the entry of a stored string is missing";
    case ST_NO_MEMORY: return "out of memory";
    default: return "unknown problem";
    }
}

static uint32_t crc_table[8][256];

void st_crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = (c & 1) ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (uint32_t i = 0; i < 256; i++)
            crc_table[t][i] = (crc_table[t - 1][i] >> 8) ^ crc_table[0][crc_table[t - 1][i] & 0xFF];
}

/* Slicing-by-8 (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC
 * Generation", 2008): eight independent table look-ups for each eight bytes. */
uint32_t st_crc32(uint32_t crc, const uint8_t *p, size_t n) {
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t w = st_load64(p) ^ crc;
        crc = crc_table[7][w & 0xFF] ^ crc_table[6][(w >> 8) & 0xFF] ^ crc_table[5][(w >> 16) & 0xFF] ^
              crc_table[4][(w >> 24) & 0xFF] ^ crc_table[3][(w >> 32) & 0xFF] ^ crc_table[2][(w >> 40) & 0xFF] ^
              crc_table[1][(w >> 48) & 0xFF] ^ crc_table[0][w >> 56];
    }
    for (; n; p++, n--) crc = crc_table[0][(crc ^ *p) & 0xFF] ^ (crc >> 8);
    return ~crc;
}

static inline int continuation(uint8_t b) { return (b & 0xC0) == 0x80; }

int st_utf8_valid(const uint8_t *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        if (n - i >= 8 && !(st_load64(p + i) & 0x8080808080808080ull)) {
            i += 8;
            continue;
        }
        uint8_t b = p[i];
        size_t left = n - i;
        if (b < 0x80) {
            i += 1;
        } else if (b < 0xC2) {
            return 0; /* a stray continuation byte, or an overlong two-byte form */
        } else if (b < 0xE0) {
            if (left < 2 || !continuation(p[i + 1])) return 0;
            i += 2;
        } else if (b < 0xF0) {
            if (left < 3 || !continuation(p[i + 1]) || !continuation(p[i + 2])) return 0;
            if (b == 0xE0 && p[i + 1] < 0xA0) return 0; /* overlong */
            if (b == 0xED && p[i + 1] > 0x9F) return 0; /* surrogates */
            i += 3;
        } else if (b < 0xF5) {
            if (left < 4 || !continuation(p[i + 1]) || !continuation(p[i + 2]) || !continuation(p[i + 3])) return 0;
            if (b == 0xF0 && p[i + 1] < 0x90) return 0; /* overlong */
            if (b == 0xF4 && p[i + 1] > 0x8F) return 0; /* above U+10FFFF */
            i += 4;
        } else {
            return 0;
        }
    }
    return 1;
}
