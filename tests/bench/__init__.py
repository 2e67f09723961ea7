"""The benchmark, `make bench`, compares measured figures with the best possible figures. It is not a test.

`docs/performance.md` explains every benchmark case.
"""
