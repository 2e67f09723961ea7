"""The stages: each reads from the ledger what is ready for it, and writes what it did."""
