from .reference import temporal_attention_reference


def temporal_attention(q, k, v, *, window, shift=0, time_bias=None, window_bias=None, mask=None, scale=None, backend=None):
    return temporal_attention_reference(q, k, v, window, shift, time_bias, window_bias, mask, scale)
