"""The benchmark, `make bench`: each figure beside the best that can be had. Never part of the tests.

`docs/performance.md` explains every case.
"""
