"""One run as data: its recipe, budget and ledger, record and folder. Nothing here imports torch."""
