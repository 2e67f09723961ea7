"""The board: what the ledger says, as pages for people.

Queries, models, charts and templates; whoever serves them decides who may read. No page shows an
identifier of a person: no statement here reads `submission.identifiers` or `identity_hash`, and a
test with marker values searches every page.
"""
