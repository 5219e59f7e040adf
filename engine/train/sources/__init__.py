"""Where text that we did not write comes from, and how it is converted."""
