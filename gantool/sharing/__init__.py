"""Model cards: what a generator is, for people that it is shared with."""
