"""Orthogonalisation by Newton-Schulz iteration, Muon's heart (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982)."""

import torch
from torch import Tensor

# Five rounds of Polar Express (Amsel et al. 2025, arXiv 2505.16932): x -> a x + b x^3 + c x^5, the best cubic-quintic
# bounds for the interval that the round before has left; singular values end within 0.7 and 1.2.
ROUNDS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


def orthogonalise(matrices: Tensor) -> Tensor:
    """[count, rows, columns] to the nearest semi-orthogonal matrices, about.

    X_k = Q_k X_0 with Q_k a polynomial of the Gram matrix X_0 X_0^T, so that all rounds but the last product run in
    the smaller dimension.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=x.dtype)
    product = None
    for number, (a, b, c) in enumerate(ROUNDS, start=1):
        factor = torch.baddbmm(b * gram + a * identity, gram, gram, beta=1.0, alpha=c)
        product = factor if product is None else factor @ product
        if number < len(ROUNDS):
            gram = factor @ gram @ factor
    x = product @ x
    return x.mT if tall else x
