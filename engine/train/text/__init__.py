"""Between conversations and tokens: the chat template and the tokenizer."""
