"""The pages of the board: filters, links, words, charts and templates.

The queries are in `ledger/board/`; the plugin that serves the pages decides who may read them.
"""
