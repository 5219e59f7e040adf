"""DeepSeek-V3's architecture, small, in PyTorch; parameters are named as in published checkpoints."""
