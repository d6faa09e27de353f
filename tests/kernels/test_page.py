"""docs/kernels.md is true: its ops, backends, limits and formulas are those of the code."""

import re
from pathlib import Path

import pytest

from benchmarks.harness import frame_work, work
from lift.kernels import checks, dispatch

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
OPS = sorted(dispatch.operations())
ROWS = re.findall(r"^\| (\w+) \| (`.*?`) \| `(.*?)` \| (.*?) \| `(.*?)` \|$", PAGE, re.M)
SIZES = {"B": 3, "C": 5, "H": 12, "W": 20, "h": 7, "w": 9, "r": 2, "D": 9, "G": 6, "groups": 2}
SIZES |= {"N": 11, "T": 15, "Tq": 2, "Tk": 4, "heads": 2, "d": 16, "window": 4, "s": 2, "R": 11}


@pytest.mark.parametrize("op", OPS)
def test_each_op_has_a_section_with_its_backends(op):
    assert f"](#{op})" in PAGE, "not in the list"
    (named,) = re.findall(r"^- Backends: (.*)$", SECTIONS[op], re.M)
    assert named == ", ".join(backend.name for backend in dispatch.operations()[op])
    assert all(part in SECTIONS[op] for part in ("- Shapes: ", "- Gradient: ", "- Limits: "))


def test_the_limits_are_those_of_the_code():
    text = {op: " ".join(SECTIONS[op].split()) for op in OPS}
    assert checks.MAX_SIDE == 2**24 and "at most 2^24 pixels" in PAGE
    pytest.importorskip("triton")
    from lift.kernels.ops.add_layer_norm import triton_launch as add_layer_norm
    from lift.kernels.ops.correlation import triton_launch as correlation
    from lift.kernels.ops.group_norm import triton_launch as group_norm
    from lift.kernels.ops.temporal_attention import triton_launch as attention
    from lift.kernels.ops.time_mlp import triton_launch as time_mlp

    channels, radius = correlation.MAX_CHANNELS, correlation.MAX_RADIUS
    assert f"at most {channels} channels and a radius of {radius}" in text["correlation"]
    channels, groups = group_norm.MAX_CHANNELS, group_norm.MAX_GROUPS
    assert f"at most {channels} channels in at most {groups} groups" in text["group_norm"]
    assert f"at most {add_layer_norm.MAX_CHANNELS} channels" in text["add_layer_norm"]
    units, channels = time_mlp.MAX_HIDDEN, time_mlp.MAX_CHANNELS
    assert f"at most {units} hidden units and {channels} channels" in text["time_mlp"]
    window, frames = attention.MAX_WINDOW, attention.MAX_FRAMES
    expected = f"windows of at most {window}, at most {frames} frames of keys"
    assert expected in text["temporal_attention"]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_formulas_of_a_call_are_those_of_the_benchmarks(row):
    op, sizes, forward, backward, operations = row
    names = re.findall(r"`(\w+)`", sizes)
    shape = tuple(SIZES[name] for name in names)
    count = getattr(work, op, None) or getattr(frame_work, op)
    values = {name: SIZES[name] for name in names} | {"v": 2, "min": min}
    if {"B", "H", "W"} <= values.keys():
        values["P"] = SIZES["B"] * SIZES["H"] * SIZES["W"]
    values["M"] = (2 * SIZES["r"] + 1) ** 2
    if op == "temporal_attention":
        w, heads, B, Tq, Tk = (SIZES[name] for name in ("window", "heads", "B", "Tq", "Tk"))
        values["tables"] = 4 * heads * (B * Tq * Tk + (2 * w - 1) ** 2)
        windows = work.window_pairs(SIZES["H"], w) * work.window_pairs(SIZES["W"], w)
        values["pairs"] = B * heads * Tq * Tk * windows
    found = count(shape, "bfloat16", False)
    assert eval(forward, {}, values) == found.bytes
    assert eval(operations, {}, values) == found.operations + found.products
    if backward != "none":
        assert eval(backward.strip("`"), {}, values) == count(shape, "bfloat16", True).bytes


def test_there_is_a_formula_for_every_suite_but_frame_inputs():
    counted = {name for name in OPS if hasattr(work, name) or hasattr(frame_work, name)}
    assert {row[0] for row in ROWS} == counted - {"frame_inputs"}
