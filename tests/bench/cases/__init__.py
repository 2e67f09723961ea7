"""The benchmark cases, one module per case. `ALL` lists the cases in the order in which they run.

Each module implements `case.Case`.
"""

ALL = ("pipeline", "rate", "calls", "writes", "package", "intake", "size", "trigger", "dag")
