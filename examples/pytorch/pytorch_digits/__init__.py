"""Two post offices train one network that reads digits."""
