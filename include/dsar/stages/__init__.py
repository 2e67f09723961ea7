"""The stages. Each stage reads its work from the ledger and records its results there."""
