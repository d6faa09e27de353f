"""Names of earlier versions, and what they are called now."""

SUITES = {"attention": "temporal_attention", "op": "ops"}
GPU_FLAGS = ("--card",)  # now --gpu
VALUES = {  # of recorded rows, by the name of the column
    "variant": {
        "apart": "separate passes",
        "together": "shared encoding",
        "together+recompute": "shared encoding+recompute",
    },
    "direction": {"all free": "encoder trainable"},
}
