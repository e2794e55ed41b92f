/* See rw_orders.h. Fields are those of proto/segidx/v1/events.proto; the rules are those of segidx/ingest/orders.py. */
#include "rw_orders.h"
#include "rw_wire.h"

#define ORDER_KIND 2u /* of EventWrite */
#define MAX_LINES 5000u /* of an order */
#define ONE 1000 /* a quantity, of three decimals */
#define QUANTITY_SCALE 3u
#define MAX_UNITS ((INT64_C(1) << 62) - 1)
#define MAX_REVISION ((INT64_C(1) << 61) - 1)

/* The fields of a message by their number, each given once at most: bytes, or a number. */
typedef struct {
    uint32_t given; /* bits */
    span bytes[10];
    uint64_t value[10];
} fields;

static bool is_given(const fields *f, uint32_t number) { return f->given >> number & 1; }

/* The message's fields up to `last`, those of `numbers` (bits) with wire type 0 and all others with 2. Those of number
 * `many` may be given often, and are counted in *repeated alone. */
static int read_fields(fields *f, span s, uint32_t last, uint32_t numbers, uint32_t many, uint32_t *repeated) {
    token t;
    f->given = 0;
    while (s.at < s.end) {
        if (!next(&s, &t) || t.number > last || t.type != (numbers >> t.number & 1 ? 0 : 2)) return RW_UNUSUAL;
        if (t.number == many) {
            ++*repeated;
            continue;
        }
        if (is_given(f, t.number)) return RW_UNUSUAL;
        f->given |= 1u << t.number;
        if (t.type == 0) f->value[t.number] = t.value;
        else f->bytes[t.number] = t.bytes;
    }
    return RW_OK;
}

static int push_id(rw_strings *to, const fields *f, uint32_t number) {
    if (!is_given(f, number)) return RW_UNUSUAL;
    span id = f->bytes[number];
    if (length(id) == 0 || length(id) > MAX_ID || !is_ascii(id)) return RW_UNUSUAL;
    return push_string(to, id.at, length(id));
}

static int push_text(rw_column *to, const fields *f, uint32_t number) {
    uint8_t there = is_given(f, number);
    span text = there ? f->bytes[number] : (span){NULL, NULL};
    if (there && (length(text) > MAX_STRING || !is_ascii(text))) return RW_UNUSUAL;
    TRY(push(&to->there, &there, 1));
    return push_string(&to->strings, text.at, there ? length(text) : 0);
}

static int push_value(rw_column *to, bool given, int64_t value) {
    uint8_t there = given;
    TRY(push(&to->there, &there, 1));
    return push_i64(&to->values, given ? value : 0);
}

/* A number where it is given; false for one that is not plain. */
static bool number(const fields *f, uint32_t at, uint32_t scale, bool *given, int64_t *value) {
    *given = is_given(f, at);
    return !*given || decimal(f->bytes[at], scale, value);
}

/* Quantity times price, half a unit rounded away from zero. */
static bool line_amount(int64_t quantity, int64_t price, int64_t *amount) {
    __int128 product = (__int128)quantity * price, size = product < 0 ? -product : product;
    size = (size + ONE / 2) / ONE;
    if (size > MAX_UNITS) return false;
    *amount = (int64_t)(product < 0 ? -size : size);
    return true;
}

/* One line; its amount, if it has one, is added to *total, and *amounts counts it. */
static int line_of(rw_orders *o, span message, const rw_order_rules *rules, __int128 *total, uint32_t *amounts) {
    fields f;
    bool some, priced, paid;
    int64_t quantity = ONE, price = 0, amount = 0;
    TRY(read_fields(&f, message, 6, 0, 0, NULL));
    TRY(push_text(&o->lines[RW_PRODUCT], &f, 1));
    TRY(push_text(&o->lines[RW_PRODUCER], &f, 2));
    TRY(push_text(&o->lines[RW_CATEGORY], &f, 3));
    if (!number(&f, 4, QUANTITY_SCALE, &some, &quantity) || !number(&f, 5, rules->money_scale, &priced, &price) ||
        !number(&f, 6, rules->money_scale, &paid, &amount))
        return RW_UNUSUAL;
    if (!paid && priced) {
        if (!line_amount(quantity, price, &amount)) return RW_UNUSUAL;
        paid = true;
    }
    TRY(push_value(&o->lines[RW_QUANTITY], true, quantity));
    TRY(push_value(&o->lines[RW_UNIT_PRICE], priced, price));
    TRY(push_value(&o->lines[RW_LINE_AMOUNT], paid, amount));
    if (paid) {
        *total += amount;
        ++*amounts;
    }
    return RW_OK;
}

static int order_of(rw_orders *o, span message, const rw_order_rules *rules, uint32_t *all_lines) {
    fields f;
    uint32_t lines = 0, amounts = 0;
    int64_t time, amount = 0;
    __int128 total = 0;
    bool given;
    token t;
    TRY(read_fields(&f, message, 9, 1u << 5 | 1u << 9, 8, &lines));
    *all_lines += lines;
    if (lines > MAX_LINES || *all_lines > rules->max_lines) return RW_UNUSUAL;
    if (!is_given(&f, 3) || !timestamp(f.bytes[3], &time)) return RW_UNUSUAL;
    if (is_given(&f, 7) && length(f.bytes[7]) &&
        (length(f.bytes[7]) != rules->currency_len || memcmp(f.bytes[7].at, rules->currency, rules->currency_len)))
        return RW_UNUSUAL;
    if (is_given(&f, 9) && (f.value[9] < 1 || f.value[9] > (uint64_t)MAX_REVISION)) return RW_UNUSUAL;
    TRY(push_id(&o->ids, &f, 1));
    TRY(push_id(&o->contacts, &f, 2));
    TRY(push_i64(&o->times, time));
    TRY(push_i64(&o->revisions, is_given(&f, 9) ? (int64_t)f.value[9] : 0));
    TRY(push_i64(&o->line_counts, lines));
    for (span left = message; left.at < left.end;) {
        if (!next(&left, &t)) return RW_UNUSUAL;
        if (t.number == 8) TRY(line_of(o, t.bytes, rules, &total, &amounts));
    }
    if (!number(&f, 6, rules->money_scale, &given, &amount)) return RW_UNUSUAL;
    if (!given && amounts) {
        if (total > MAX_UNITS || total < -MAX_UNITS) return RW_UNUSUAL;
        amount = (int64_t)total;
        given = true;
    }
    TRY(push_text(&o->orders[RW_SOURCE], &f, 4));
    TRY(push_value(&o->orders[RW_PAID], is_given(&f, 5), is_given(&f, 5) && f.value[5] != 0));
    return push_value(&o->orders[RW_AMOUNT], given, amount);
}

static int begin(rw_strings *strings) {
    int32_t zero = 0;
    return push(&strings->ends, &zero, 4);
}

int rw_parse_orders(
    rw_orders *o, const uint8_t *data, size_t len, uint32_t events_field, const rw_order_rules *rules) {
    span s = {data, data + len};
    uint32_t orders = 0, lines = 0;
    token t, kind;
    memset(o, 0, sizeof *o);
    TRY(begin(&o->ids));
    TRY(begin(&o->contacts));
    for (uint32_t i = 0; i < RW_ORDER_COLUMNS; i++) TRY(begin(&o->orders[i].strings));
    for (uint32_t i = 0; i < RW_LINE_COLUMNS; i++) TRY(begin(&o->lines[i].strings));
    while (s.at < s.end) {
        if (!next(&s, &t)) return RW_UNUSUAL;
        if (t.number != events_field) continue;
        if (t.type != 2 || ++orders > rules->max_orders) return RW_UNUSUAL;
        span event = t.bytes;
        if (event.at == event.end || !next(&event, &kind) || event.at != event.end) return RW_UNUSUAL;
        if (kind.number != ORDER_KIND || kind.type != 2) return RW_UNUSUAL;
        TRY(order_of(o, kind.bytes, rules, &lines));
    }
    return RW_OK;
}

static void free_strings(rw_strings *strings) {
    free(strings->ends.at);
    free(strings->data.at);
}

static void free_columns(rw_column *columns, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        free(columns[i].values.at);
        free(columns[i].there.at);
        free_strings(&columns[i].strings);
    }
}

void rw_free_orders(rw_orders *o) {
    free_strings(&o->ids);
    free_strings(&o->contacts);
    free(o->times.at);
    free(o->revisions.at);
    free(o->line_counts.at);
    free_columns(o->orders, RW_ORDER_COLUMNS);
    free_columns(o->lines, RW_LINE_COLUMNS);
}
