"""How the model that Causeway ships is made: data, training, export. README.md says how to run it."""
