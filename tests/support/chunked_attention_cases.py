"""Cases of `temporal_attention` on a CPU: small windows at edges, clips masked in part or whole."""

import torch

#        B  Tq Tk H  W heads d window shift
CASES = [
    (2, 1, 3, 8, 8, 2, 8, 8, 0),
    (2, 1, 5, 9, 14, 2, 8, 8, 3),
    (1, 3, 3, 5, 6, 2, 4, 3, 1),
    (2, 2, 1, 4, 4, 1, 4, 4, 0),
    (1, 1, 15, 3, 4, 2, 8, 1, 0),
    (3, 1, 4, 11, 7, 2, 12, 4, 2),
    (1, 1, 2, 1, 1, 1, 4, 8, 7),
    (2, 1, 32, 5, 5, 1, 4, 2, 1),
]


def make(case, dtype=torch.float64, bias_batch=True, whole=False):
    """Arguments in the order of the reference; without `whole`, the first of two clips is masked
    altogether, the others in part.
    """
    B, Tq, Tk, H, W, heads, d, window, shift = case
    mask = torch.rand(B, Tk) < 0.7
    mask[-1, 0] = True
    mask[0] = mask[0] & (B == 1)
    mask[-1, -1] = True
    tables = torch.float64 if dtype == torch.float64 else torch.float32
    return [
        *(torch.randn(B, T, H, W, heads, d).to(dtype) for T in (Tq, Tk, Tk)),
        window,
        shift,
        torch.randn(B if bias_batch else 1, heads, Tq, Tk, dtype=tables),
        torch.randn(heads, 2 * window - 1, 2 * window - 1, dtype=tables),
        mask | whole,
        0.3,
    ]


def doubled(given) -> list:
    return [
        x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in given
    ]
