/* Memory for what is made of months and read here and there. */
#ifndef EV_MEMORY_H
#define EV_MEMORY_H

#include <stddef.h>

#define EV_LINE_BYTES 64u /* of the cache */

/* So many bytes from the beginning of a line on, which free() gives back; NULL without memory. */
void *ev_memory(size_t size);
/* What these take. */
size_t ev_memory_bytes(size_t size);

#endif
