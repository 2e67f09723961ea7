"""What the pages of the board read from the ledger: figures and rows, never written.

No statement here reads an identifier (`submission.identifiers`, `identity_hash`, `request.fingerprint`).
A test renders each page with a database role that may not read these columns.
"""
