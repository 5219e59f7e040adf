"""MuonClip: Muon on matrices, AdamW on the rest, QK-clip on attention heads."""
