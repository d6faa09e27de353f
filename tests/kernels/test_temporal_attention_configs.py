"""The table of tuned configs: each is right, compiles without a spill and names its source."""

import json
import os
import subprocess
import sys

import pytest
import torch

from benchmarks.static import compile as ahead_of_time
from lift.kernels.ops.temporal_attention import configs, op
from tests.support.temporal_attention_cases import assert_parity, fused, make, results

if op.triton is None:
    pytest.skip("Triton has no build for this machine", allow_module_level=True)

from benchmarks.gpu import tune_temporal_attention
from benchmarks.harness import measure
from benchmarks.report.gpus import GPUS

TABLE = json.loads(configs.TABLE.read_text())
ENTRIES = {
    (entry["class"], json.dumps(entry["config"])): entry["config"]
    for card in TABLE.values()
    for entry in card["entries"]
}
CLASSES = {str(shape): shape for shape in tune_temporal_attention.CLASSES}


def test_every_rtx_card_has_every_class_and_says_that_nobody_measured_it():
    rtx = [card.reported for card in GPUS if card.name.startswith("RTX")]
    assert rtx and set(rtx) <= set(TABLE)
    for name, card in TABLE.items():
        assert {entry["class"] for entry in card["entries"]} >= set(CLASSES), name
        assert all(
            entry["source"].startswith(("static model, not measured", "measured "))
            for entry in card["entries"]
        ), name


def test_an_unknown_card_gets_the_default_and_a_known_one_its_own():
    for shape in tune_temporal_attention.CLASSES:
        assert (
            configs.config(shape, "a GPU of tomorrow")
            == configs.config(shape)
            == configs.default(shape)
        )
    shape = CLASSES["window_fwd positions=64 frames=one d=32 bits=16"]
    known = next(
        e["config"] for e in TABLE["NVIDIA GeForce RTX 4090"]["entries"] if e["class"] == str(shape)
    )
    assert configs.config(shape, "NVIDIA GeForce RTX 4090") == known != configs.default(shape)


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.parametrize(("name", "config"), ENTRIES, ids=str)
def test_every_entry_computes_the_definition(name, config, monkeypatch):
    if op.triton.unsupported_reason():
        pytest.skip("Triton has neither a GPU nor its interpreter here")
    plain, shape, taken = configs.config, CLASSES[name], []

    def chosen(one, gpu=None):
        if one != shape:
            return plain(one)
        taken.append(one)
        return json.loads(config)

    monkeypatch.setattr(configs, "config", chosen)
    side = tune_temporal_attention.window(shape)
    arguments = make((1, 1, 2, side + 1, side, 1, shape.d, side, 0), "float16")
    assert_parity(results(fused, arguments), arguments)
    assert taken


COMPILE = """
import json
from benchmarks.gpu.tune_temporal_attention import ARCHITECTURES, CLASSES, launch_of
from benchmarks.static.compile import compile_for
from lift.kernels.ops.temporal_attention import configs
table, done = json.loads(configs.TABLE.read_text()), set()
for gpu, found in table.items():
    for series, architecture in ARCHITECTURES.items():
        for entry in found["entries"]:
            shape = next(shape for shape in CLASSES if str(shape) == entry["class"])
            key = (architecture, entry["class"], str(entry["config"]))
            if series in gpu and entry["config"] != configs.default(shape) and key not in done:
                done.add(key)
                usage = compile_for(architecture, *launch_of(shape, entry["config"]))
                assert usage.local == 0, (key, usage)
print(len(done))
"""


@pytest.mark.slow
def test_every_entry_compiles_for_its_card_without_a_spill():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    answer = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert int(answer.stdout) > 0


def test_the_table_is_extended_card_by_card(monkeypatch, tmp_path):
    table = tmp_path / "configs.json"
    monkeypatch.setattr(configs, "TABLE", table)
    first, second = tune_temporal_attention.CLASSES[:2]
    try:
        tune_temporal_attention.write(
            table, "A", "measured once", {first: {"BN": 16}, second: {"BN": 32}}
        )
        assert configs.config(first, "A") == {"BN": 16}
        tune_temporal_attention.write(table, "A", "measured again", {first: {"BN": 64}})
        tune_temporal_attention.write(table, "B", "static model", {first: {"BN": 32}})
        assert configs.config(first, "A") == {"BN": 64} and configs.config(second, "A") == {
            "BN": 32
        }
        assert configs.config(first, "B") == {"BN": 32} and configs.config(
            second, "B"
        ) == configs.default(second)
        assert list(tmp_path.iterdir()) == [table]  # nothing half-written stays
    finally:
        configs._table.cache_clear()


class Card:
    """As much of a GPU as `measured` uses."""

    name, architecture = "a GPU of tomorrow", (9, 0)

    @classmethod
    def take_the_place(
        cls, monkeypatch, times: dict[str, float], wrong: set[str], spilling: set[str]
    ) -> None:
        """Candidates take these seconds (1 where none are given), are wrong or spill."""

        def compare(variants, reference, arguments, *, backward, rounds, until=None):
            return {
                v.name: measure.VariantResult(failure="wrong: relative error 1")
                if v.name in wrong
                else measure.VariantResult(times=[times.get(v.name, 1.0)])
                for v in variants
            }

        def compiled(architecture, kernel, arguments):
            assert architecture == 90
            change = {name: arguments[name] for name in ("BN", "num_warps", "num_stages")}
            return ahead_of_time.ResourceUsage(
                100, 0, 8 if json.dumps(change) in spilling else 0, 0
            )

        randn = torch.randn
        monkeypatch.setattr(
            torch,
            "randn",
            lambda *shape, device=None, **options: randn(*shape, device="meta", **options),
        )
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: cls.architecture)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: cls.name)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(tune_temporal_attention.measure, "compare", compare)
        monkeypatch.setattr(tune_temporal_attention.ahead_of_time, "compile_for", compiled)


def test_the_fastest_that_is_right_and_does_not_spill_is_taken(monkeypatch, tmp_path, capsys):
    table, shape = tmp_path / "configs.json", tune_temporal_attention.CLASSES[0]
    one, two, three, four = map(json.dumps, list(tune_temporal_attention.candidates(shape))[:4])
    Card.take_the_place(
        monkeypatch, {one: 0.4, two: 0.1, three: 0.2, four: 0.3}, wrong={two}, spilling={three}
    )
    assert tune_temporal_attention.main(["--measure", "--quick", "--table", str(table)]) == 0
    entries = json.loads(table.read_text())[Card.name]["entries"]
    assert {entry["class"] for entry in entries} == set(
        map(str, tune_temporal_attention.CLASSES[:2])
    )
    taken = next(entry for entry in entries if entry["class"] == str(shape))
    assert json.dumps(taken["config"]) == four and taken["source"].startswith("measured ")
    said = capsys.readouterr()
    assert f"not {three}: spills 8 bytes per thread" in said.err and f"not {two}: wrong" in said.err


def test_a_class_without_a_usable_candidate_keeps_its_config(monkeypatch, tmp_path, capsys):
    table = tmp_path / "configs.json"
    every = {
        json.dumps(change)
        for shape in tune_temporal_attention.CLASSES
        for change in tune_temporal_attention.candidates(shape)
    }
    Card.take_the_place(monkeypatch, {}, wrong=every, spilling=set())
    assert tune_temporal_attention.main(["--measure", "--quick", "--table", str(table)]) == 1
    assert not table.exists() and "no usable candidate; its entry stays" in capsys.readouterr().out


class Watch:
    """Replaces the `time` module: calls take the time that they are given."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def during(self, seconds: float, call):
        def taking(*arguments, **keywords):
            self.now += seconds
            return call(*arguments, **keywords)

        return taking


def test_tuning_ends_in_time_with_every_class_saved(monkeypatch, tmp_path, capsys):
    table, watch = tmp_path / "configs.json", Watch()
    Card.take_the_place(monkeypatch, {}, wrong=set(), spilling=set())
    monkeypatch.setattr(tune_temporal_attention, "time", watch)

    def measured(shape, seconds):
        assert table.exists() == (
            shape != tune_temporal_attention.CLASSES[0]
        )  # what was found before is saved
        watch.now += seconds + 0.5  # of a candidate that was begun
        return configs.default(shape), {json.dumps(configs.default(shape)): 1e-3}, {}

    monkeypatch.setattr(tune_temporal_attention, "measured", measured)
    assert (
        tune_temporal_attention.main(["--measure", "--seconds", "60", "--table", str(table)]) == 0
    )
    assert {entry["class"] for entry in json.loads(table.read_text())[Card.name]["entries"]} == set(
        CLASSES
    )
    assert 50 < watch.now - 1000 <= 60 and "skipped" not in capsys.readouterr().out
    assert {tune_temporal_attention.window(shape) for shape in tune_temporal_attention.CLASSES} == {
        8,
        4,
        1,
    }
    assert tune_temporal_attention.main(["--measure", "--seconds", "1", "--table", str(table)]) == 0
    assert capsys.readouterr().out.count("skipped, out of time") == len(CLASSES)


def test_a_class_that_has_no_more_time_takes_the_best_that_was_tried(monkeypatch):
    shape, watch = tune_temporal_attention.CLASSES[0], Watch()
    one, two, three, *_ = every = list(map(json.dumps, tune_temporal_attention.candidates(shape)))
    Card.take_the_place(monkeypatch, {one: 0.4, two: 0.3, three: 0.1}, wrong=set(), spilling=set())
    monkeypatch.setattr(tune_temporal_attention, "time", watch)
    monkeypatch.setattr(
        tune_temporal_attention.ahead_of_time,
        "compile_for",
        watch.during(3, tune_temporal_attention.ahead_of_time.compile_for),
    )
    config, times, why = tune_temporal_attention.measured(shape, seconds=10)
    assert json.dumps(config) == two and list(times) == [one, two]
    assert why == {name: measure.LATE for name in every[2:]}
    watch.now += 1000
    assert list(tune_temporal_attention.measured(shape, seconds=0.1)[1]) == [
        one
    ]  # the default in any case
    assert len(tune_temporal_attention.measured(shape)[1]) == len(every)


def test_measuring_needs_a_gpu(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        tune_temporal_attention.main(["--measure"])
    assert "torch finds no GPU; --static needs none" in capsys.readouterr().err


@pytest.mark.parametrize("shape", tune_temporal_attention.CLASSES, ids=str)
def test_candidates_differ_and_start_with_the_default(shape):
    found = list(tune_temporal_attention.candidates(shape))
    assert (
        found[0] == configs.default(shape)
        and len({json.dumps(c) for c in found}) == len(found) >= 3
    )


SAMPLE = """
import sys
from benchmarks.static import compile as ahead_of_time
todo = list(ahead_of_time.compile_cases("temporal_attention", exhaustive=True))
spilled = []
for i in range(int(sys.argv[1]), len(todo), int(sys.argv[2])):
    _, label, kernel, arguments = todo[i]
    architecture = ahead_of_time.ARCHITECTURES[i % len(ahead_of_time.ARCHITECTURES)]
    usage = ahead_of_time.compile_for(architecture, kernel, arguments)
    if usage.local or usage.shared > (65536 if architecture == 75 else 99 << 10):
        spilled.append((label, architecture, usage))
assert not spilled, spilled
"""


@pytest.mark.slow
def test_a_sample_of_every_class_compiles_without_a_spill():
    """One in eighteen, each for another architecture.

    `python -m benchmarks.static.compile --everything` compiles them all.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    answer = subprocess.run(
        [sys.executable, "-c", SAMPLE, "4", "18"], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
