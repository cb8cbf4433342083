"""Four hospitals train one model, and the data scientist sees only the sum of their updates."""
