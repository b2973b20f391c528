"""What answers cost: prices, the ledger, caps, and what is told of them."""
