"""Programs that make training and evaluation episodes, each with a held-out part."""
