"""What the load benchmark is made of: the corpus as Parquet, a process that loads it, and what it left on the disk."""
