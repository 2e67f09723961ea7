"""The benchmark, `make bench`. It compares figures with the best possible ones. It is not a test.

`docs/performance.md` explains every case.
"""
