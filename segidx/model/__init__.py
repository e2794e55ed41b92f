"""What is asked and answered: frozen values for schema, expressions, windows, results and errors.

This floor imports nothing of segidx, knows no data and does no I/O.
"""
