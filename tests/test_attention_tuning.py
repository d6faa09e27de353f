"""The table of tuned settings: what is in it is right, compiles without a spill, and says where it is from."""
import json
import os
import subprocess
import sys

import pytest
from attention_cases import GPU, INTERPRETED, assert_parity, fused, make, results
from lift.kernels.attention import op, tuning

if op.triton is None:
    pytest.skip("Triton has no build for this machine", allow_module_level=True)

from benchmarks import tune_attention  # noqa: E402
from benchmarks.cards import CARDS  # noqa: E402

TABLE = json.loads(tuning.TABLE.read_text())
ENTRIES = {(entry["class"], json.dumps(entry["settings"])): entry["settings"] for card in TABLE.values() for entry in card["entries"]}
CLASSES = {str(shape): shape for shape in tune_attention.CLASSES}


def test_every_rtx_card_has_every_class_and_says_that_nobody_measured_it():
    rtx = [card.reported for card in CARDS if card.name.startswith("RTX")]
    assert rtx and set(rtx) <= set(TABLE)
    for name, card in TABLE.items():
        assert {entry["class"] for entry in card["entries"]} >= set(CLASSES), name
        assert all(entry["source"].startswith(("static model, not measured", "measured ")) for entry in card["entries"]), name


def test_an_unknown_card_gets_the_default_and_a_known_one_its_own():
    for shape in tune_attention.CLASSES:
        assert tuning.settings(shape, "a card of tomorrow") == tuning.settings(shape) == tuning.default(shape)
    shape = CLASSES["window_forward places=64 frames=one d=32 bits=16"]
    known = next(e["settings"] for e in TABLE["NVIDIA GeForce RTX 4090"]["entries"] if e["class"] == str(shape))
    assert tuning.settings(shape, "NVIDIA GeForce RTX 4090") == known != tuning.default(shape)


@pytest.mark.parametrize(("name", "settings"), ENTRIES, ids=str)
def test_every_entry_computes_the_definition(name, settings, monkeypatch):
    if not (GPU or INTERPRETED):
        pytest.skip("Triton has neither a GPU nor its interpreter here")
    plain, shape, taken = tuning.settings, CLASSES[name], []

    def chosen(asked, card=None):
        if asked != shape:
            return plain(asked)
        taken.append(asked)
        return json.loads(settings)

    monkeypatch.setattr(tuning, "settings", chosen)
    side = tune_attention.window(shape)
    arguments = make((1, 1, 2, side + 1, side, 1, shape.d, side, 0), "float16")
    assert_parity(results(fused, arguments), arguments)
    assert taken


COMPILE = """
import json
from benchmarks.tune_attention import ARCHITECTURES, CLASSES, launch_of
from lift.kernels.ahead_of_time import compile_for
from lift.kernels.attention import tuning
table, done = json.loads(tuning.TABLE.read_text()), set()
for card, found in table.items():
    for series, architecture in ARCHITECTURES.items():
        for entry in found["entries"]:
            shape = next(shape for shape in CLASSES if str(shape) == entry["class"])
            key = (architecture, entry["class"], str(entry["settings"]))
            if series in card and entry["settings"] != tuning.default(shape) and key not in done:
                done.add(key)
                figures = compile_for(architecture, *launch_of(shape, entry["settings"]))
                assert figures.local == 0, (key, figures)
print(len(done))
"""


def test_every_entry_compiles_for_its_card_without_a_spill():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    answer = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert int(answer.stdout) > 0


def test_the_table_is_extended_card_by_card(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "TABLE", tmp_path / "tuned.json")
    first, second = tune_attention.CLASSES[:2]
    tune_attention.write("A", "measured once", {first: {"BN": 16}, second: {"BN": 32}})
    tune_attention.write("A", "measured again", {first: {"BN": 64}})
    tune_attention.write("B", "static model", {first: {"BN": 32}})
    tuning._table.cache_clear()
    try:
        assert tuning.settings(first, "A") == {"BN": 64} and tuning.settings(second, "A") == {"BN": 32}
        assert tuning.settings(first, "B") == {"BN": 32} and tuning.settings(second, "B") == tuning.default(second)
    finally:
        tuning._table.cache_clear()
