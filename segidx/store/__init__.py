"""LMDB: data directories, key layout, codecs, snapshots, the catalog, postings, columns, string tables.

Imports kernels and model only. docs/FORMAT.md describes every byte written here.
"""
