"""The command line: `segidx`. One module a group of commands; flags, wiring and printing, no logic.

Commands import what they run inside their functions, so that `segidx --help` answers at once.
"""
