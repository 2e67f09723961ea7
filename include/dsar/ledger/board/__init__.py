"""The queries that read figures and rows for the pages of the board. They change nothing.

No statement here reads an identifier (`submission.identifiers`, `identity_hash`, `request.fingerprint`). A
test renders each page with a database role that may not read these columns.
"""
