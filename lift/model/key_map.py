"""Former names of the model's parameters: weights that were stored under them load.

Weights are written under today's names. Each rule renames one module or parameter; `*` stands for
an index.
"""

import re

RENAMED = {
    "transformer.tokens": "transformer.token_proj",
    "transformer.key_value": "transformer.kv_proj",
    "transformer.blend": "transformer.query_proj",
    "transformer.time": "transformer.time_embed",
    "transformer.project": "transformer.out_proj",
    "transformer.frame_key_value": "transformer.frame_kv_proj",
    **{
        f"transformer.{layer}.{old}": f"transformer.{layer}.{new}"
        for layer in ("attention.*", "frame_attention")
        for old, new in {
            "query": "q_proj",
            "out": "out_proj",
            "time_bias.net": "time_bias.mlp",
            "feed_forward.net": "feed_forward.mlp",
        }.items()
    },
    "flow.motion.match": "flow.global_motion.corr_proj",
    "flow.motion.read": "flow.global_motion.decoder",
    "flow.motion.sharpness": "flow.global_motion.inv_temperature",
    "flow.motion.prior": "flow.global_motion.prior",
    "flow.motion.head": "flow.global_motion.head",
    **{
        f"flow.{block}.{old}": f"flow.{block}.{new}"
        for block in ("block8", "block4")
        for old, new in {
            "match": "corr_proj",
            "carry": "hidden_proj",
            "gather": "conv_in",
            "net": "body",
        }.items()
    },
    "flow.trajectory.context": "flow.trajectory.context_proj",
    "flow.trajectory.gather": "flow.trajectory.conv_in",
    "flow.trajectory.net": "flow.trajectory.body",
    "synthesis.context": "synthesis.context_proj",
    "synthesis.gather": "synthesis.conv_in",
    "refine.gather": "refine.conv_in",
    "refine.blocks": "refine.body",
    "refine.still": "refine.log_static_threshold",
}


def _rule(old: str, new: str) -> tuple[re.Pattern, str]:
    pattern = re.escape(old).replace(r"\*", r"(\d+)")
    return re.compile(rf"{pattern}(?=\.|$)"), new.replace("*", r"\1")


_RULES = [_rule(old, new) for old, new in RENAMED.items()]


def current_key(key: str) -> str:
    """Today's name of a parameter; names that were never changed stay."""
    for pattern, new in _RULES:
        if match := pattern.match(key):
            return match.expand(new) + key[match.end() :]
    return key
