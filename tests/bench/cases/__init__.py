"""One module a case, in the order in which they are run: to add one, add its name here.

A module has NAME, SENTENCE, COMPARED_WITH and `run(stand) -> Outcome`, as `case.Case` says.
"""

ALL = ("pipeline", "rate", "calls", "writes", "package", "intake", "size", "trigger", "dag")
