"""Benchmarks of segidx against its peers. Run `python -m bench` for the list. The package imports segidx; segidx never
imports it."""
