/* Every threshold of the evaluator in one place.
 *
 * The layout constants are the Roaring format's and the column format's: changing them changes bytes on disk.
 * The others only move work between two correct ways of doing it. Figures: Xeon (model 207), 2.3 GHz, AVX-512. */
#ifndef BM_TUNING_H
#define BM_TUNING_H

/* --- layout ------------------------------------------------------------------------------------------- */
#define BM_ROWS 65536u        /* ordinals a container */
#define BM_WORDS 1024u        /* 64-bit words of a bitset container */
#define BM_BITS_BYTES 8192u   /* bytes of a bitset container */
#define BM_ARRAY_MAX 4096u    /* the largest cardinality the format keeps as an array */
#define BM_CHUNK_ROWS 16384u  /* rows a column chunk */
#define BM_CHUNK_WORDS 256u   /* 64-bit words of one chunk's result */
#define BM_CHUNKS 4u          /* chunks a container */

/* --- scratch ------------------------------------------------------------------------------------------ */
#define BM_PAD 64u                            /* slack behind each buffer, so that vector stores may overhang */
#define BM_BUF (BM_BITS_BYTES + BM_PAD)       /* one scratch buffer: a bitset, or an array of BM_ARRAY_MAX */
#define BM_MASK_WORDS (BM_ARRAY_MAX / 64)     /* one bit a candidate */

/* --- choices ------------------------------------------------------------------------------------------ */
/* An AND whose accumulated bitset holds this many or fewer continues as a candidate list: extraction costs 1 to 3
 * microseconds, a gathered candidate 1.5 ns, a column scanned whole 2 to 20 microseconds. Before an inner node the
 * list must be so short that its arrays are searched, not laid out. */
#define BM_SWITCH_BEFORE_SCAN 2048u
#define BM_SWITCH_BEFORE_INNER 192u
/* An inner node leads an AND as a candidate list when it holds this many or fewer; a posting up to BM_ARRAY_MAX. */
#define BM_INNER_LEAD 192u
/* When the narrowest plain operand of an AND holds at most this many, the plain operands are folded before
 * anything dear is evaluated, because their intersection may well be empty or sparse. */
#define BM_FOLD_EARLY 12288u
/* Array against array: a binary search per element pays beyond this ratio of lengths. */
#define BM_GALLOP_RATIO 16u
/* A union of arrays stays an array below this total: clearing and counting 8 KiB costs about 250 cycles,
 * a merged element about 7. */
#define BM_MERGE_MAX 64u
/* Up to this many runs are set range by range (8 ns each), more by flipping ends and a running XOR (bm_run.c);
 * up to this many candidates are searched for in the runs one by one. */
#define BM_WALK_RUNS 64u
/* A shared inner node is remembered within one container when its unfolded size reaches this. */
#define BM_MEMO_WEIGHT 4u
/* ... and candidate mode evaluates it whole rather than per candidate from this size on. */
#define BM_MEMO_FILTER_WEIGHT 64u
/* At most this many shared nodes are remembered: 8 KiB each, allocated at first use. */
#define BM_MEMO_SLOTS 2048u

/* An array stays one under an overlay of up to so many rows. */
#define BM_OVERLAY_LISTED 2048u
/* The count of two postings of bitsets or runs is put right at the rows that their overlays touch, up to this many each;
 * beyond, they are laid out. */
#define BM_PAIR_TOUCHED 256u

/* --- limits ------------------------------------------------------------------------------------------- */
#define BM_MAX_DEPTH 1024u     /* of an expression: bounds the C stack and the scratch */
#define BM_MAX_NODES 1000000u  /* of a program */
#define BM_STOP_TICKS 64u      /* leaf evaluations between two looks at the clock inside one container */

#endif
