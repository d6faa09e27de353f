"""The registry is the only list of suites; imports of the benchmarks run one way."""

import ast
import importlib
from itertools import combinations
from pathlib import Path

import pytest
import torch

from benchmarks.harness import old_names
from benchmarks.harness.frame_suites import FRAME_SUITES
from benchmarks.harness.registry import GROUPS, OPERATIONS, SUITES
from benchmarks.report import plots, targets
from benchmarks.report.gpus import GPUS
from benchmarks.static.occupancy import LIMITS
from benchmarks.suites import (
    bench_correlation,
    bench_grid_sample,
    bench_lucas_kanade,
    bench_model,
    bench_streaming,
    bench_temporal_attention,
    bench_warp_blend,
)
from lift.kernels.extension.build_cuda import ARCHITECTURES

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
# What the files of a folder may import of the other folders.
ALLOWED = {
    "harness": {"harness"},
    "static": {"static", "harness"},
    "suites": {"suites", "harness"},
    "report": {"report", "harness"},
    "gpu": {"gpu", "report", "static", "harness"},
}


def test_every_operation_has_an_entry_and_every_entry_a_suite():
    folders = {path.parent.name for path in (ROOT / "kernels" / "ops").glob("*/op.py")}
    assert set(OPERATIONS) == folders
    files = {path.stem for path in (BENCHMARKS / "suites").glob("bench_*.py")}
    assert {suite.module for suite in SUITES.values()} == files
    assert all(suite.name == name and suite.help for name, suite in SUITES.items())
    assert {name for names in GROUPS.values() for name in names} == set(SUITES)
    assert set(old_names.SUITES.values()) <= {*SUITES, *GROUPS}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_variants_of_the_suites_are_registered(device, monkeypatch):
    """Those of a GPU too, as far as they can be named without one."""
    if device == "cpu":
        found = {
            "warp_blend": bench_warp_blend.names("cpu", False),
            "correlation": bench_correlation.names("cpu", False),
            "lucas_kanade": bench_lucas_kanade.names("cpu", False),
            "grid_sample": bench_grid_sample.names("cpu", "backward", False)
            + bench_grid_sample.names("cpu", "forward+backward", False),
            "temporal_attention": [
                name
                for case in bench_temporal_attention.cases("cpu", False, True)
                for name in bench_temporal_attention.names(case, True)
            ],
        }
    else:
        shared = bench_temporal_attention.SHARED
        found = {
            "temporal_attention": [
                *bench_temporal_attention.SDPA,
                f"sdpa_efficient{shared}",
                f"sdpa_cudnn{shared}",
            ]
        }
    model = bench_model.cases(device, False, False)
    found["training_step"] = [name for case in model for name in bench_model.names(case)]
    streams = bench_streaming.cases(device, False, False)
    found["streaming"] = [n.split()[0] for case in streams for n in bench_streaming.names(case)]
    for suite in FRAME_SUITES:
        module = importlib.import_module(f"benchmarks.suites.{suite.module}")
        found[suite.name] = module.SUITE.names(device, "forward", False) if device == "cpu" else []
    for name, variants in found.items():
        assert set(variants) <= set(SUITES[name].variants), name


def test_every_variant_has_a_colour_of_its_own():
    variants = {name for suite in SUITES.values() for name in suite.variants}
    assert set(plots.COLORS) == variants
    assert len(set(plots.COLORS.values())) == len(variants)


@pytest.mark.parametrize("name", SUITES)
def test_colours_of_a_suite_can_be_told_apart(name):
    """A distance of 60 in RGB between any two."""

    def rgb(variant: str) -> torch.Tensor:
        text = plots.COLORS[variant].lstrip("#")
        return torch.tensor([float(int(text[i : i + 2], 16)) for i in (0, 2, 4)])

    for one, other in combinations(SUITES[name].variants, 2):
        assert (rgb(one) - rgb(other)).norm() >= 60, (one, other)


def test_every_target_has_a_metric_and_one_bound():
    for suite in SUITES.values():
        for target in suite.targets:
            assert target.metric in targets.METRICS
            assert (target.at_least is None) != (target.at_most is None)
    used = {target.metric for suite in SUITES.values() for target in suite.targets}
    assert used == set(targets.METRICS)


def test_the_architectures_are_those_that_are_built():
    assert tuple(LIMITS) == ARCHITECTURES
    assert {gpu.architecture for gpu in GPUS} <= set(ARCHITECTURES)


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_run_one_way(folder):
    wrong = []
    for path in (BENCHMARKS / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for module in _modules(node):
                parts = module.split(".")
                if parts[0] == "tests" or (
                    parts[0] == "benchmarks" and parts[1] not in ALLOWED[folder]
                ):
                    wrong.append(f"{path.name}: {module}")
    assert wrong == []


def test_the_package_does_not_import_its_benchmarks():
    for folder in ("lift", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            modules = [m for node in ast.walk(ast.parse(path.read_text())) for m in _modules(node)]
            assert not any(module.split(".")[0] == "benchmarks" for module in modules), path


def _modules(node: ast.AST) -> list[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
        return [f"benchmarks.{alias.name}" for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
