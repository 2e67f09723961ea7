"""The pages of the board: filters, links, words, charts and templates.

`ledger/board/` contains the queries. The plugin that serves the pages decides who may read the pages.
"""
