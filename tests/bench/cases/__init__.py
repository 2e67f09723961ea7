"""One module per case. `ALL` lists them in the order in which they run; add a new case there.

Each module implements `case.Case`.
"""

ALL = ("pipeline", "rate", "calls", "writes", "package", "intake", "size", "trigger", "dag")
