"""Plans: an expression bound to a schema and a snapshot's statistics, rewritten, ordered by cost, explainable.

`bind` turns an Expression (what is asked) into a Plan (what will be read); `rules` rewrite it, one rule a file;
`segidx.exec` runs it on the snapshot it was bound to. Imports store, kernels and model only.
"""
