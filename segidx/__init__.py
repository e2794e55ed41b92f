"""segidx: exact contact segmentation in milliseconds, from Roaring bitmaps in LMDB."""
