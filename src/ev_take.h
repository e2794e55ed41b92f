/* Which orders take the source of a visit: of each, the contact's last visit at the order's time or a while before it.
 *
 * Range by range: no more is held at a time than the rows of one range, and what was found. Times may be any, those of
 * damaged blocks too: differences are taken without sign. */
#ifndef EV_TAKE_H
#define EV_TAKE_H

#include "ev_layer.h"

/* n numbers, side by side as said where they are used. */
typedef struct {
    int64_t *at;
    size_t n, cap;
} ev_numbers;

/* Of an order whose last visits are at one time and do not say the same, the ids decide, which are not known here: all
 * visits of that time are a group, numbered from 0. */
typedef struct {
    ev_numbers settled; /* by 3: the order's event, and source and paid of its visit (EV_MISSING without) */
    ev_numbers torn;    /* by 2: the order's event, and its group */
    ev_numbers tied;    /* by 4: the group, then the visit's event, source and paid; groups ascend */
    int64_t groups;
} ev_taken;

/* `asked` lists the orders' EV_TIME and EV_EVENT, and `seen` the visits' EV_TIME, EV_EVENT and two columns of source and
 * paid; both are EV_ROWS, and of visits those of the orders' contacts are looked at, whatever `seen` says. Ranges are
 * those of `orders`. A status; the caller frees what was found, whatever is returned. */
int ev_take(const ev_held *orders, const ev_query *asked, const ev_held *visits, const ev_query *seen, uint64_t within,
            const bm_stop *stop, ev_taken *found);
void ev_taken_free(ev_taken *t);

#endif
