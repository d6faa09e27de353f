import json
import re

import cv2
import numpy as np
import pytest

from lift import cli


@pytest.fixture
def root(tmp_path):
    for name in "abc":
        (tmp_path / "clips" / name).mkdir(parents=True)
        for i in range(24):
            rng = np.random.default_rng([ord(name), i])
            image = rng.integers(0, 256, (40, 56, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "clips" / name / f"{i:02d}.png"), image)
    return tmp_path / "clips"


def run(capsys, *argv) -> tuple[int, str, str]:
    code = cli.main(["data", *map(str, argv)])
    return code, *capsys.readouterr()


def test_check_ends_with_1_where_something_is_broken(root, tmp_path, capsys):
    assert run(capsys, "check", "--data_root", root)[0] == 0
    (root / "b" / "07.png").write_bytes(b"nothing")
    code, out, _ = run(capsys, "check", "--data_root", root, "--json", tmp_path / "found.json")
    assert code == 1 and "broken: b: 1 frame damaged: 07.png" in out
    assert "1 of them serious" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["sequences"] == 3
    assert [each["sequence"] for each in found["findings"] if each["serious"]] == ["b"]


def test_shard_writes_what_train_reads(root, tmp_path, capsys):
    code, out, _ = run(capsys, "shard", "--data_root", root, "--output", tmp_path / "s")
    assert code == 0 and "3 sequences in 1 shards" in out
    assert run(capsys, "check", "--data_root", tmp_path / "s")[0] == 0


def test_bench_says_what_limits(root, capsys):
    argv = ["bench", "--data_root", root, "--workers", "0", "--seconds", "0.01"]
    argv += ["--crop_height", 32, "--crop_width", 32, "--batch_size", 2]
    code, out, _ = run(capsys, *argv)
    assert code == 0 and re.search(r"read \S+ ms, prepare \S+ ms, collate \S+ ms per sample", out)
    assert re.search(r"0 loading processes: \S+ samples/s", out) and "most of a sample's" in out
    assert "the model limits" in run(capsys, *argv, "--step_ms", "1e6")[1]
    assert "the loader limits" in run(capsys, *argv, "--step_ms", "1e-3")[1]


@pytest.mark.parametrize(
    "argv, words",
    [
        ([], "give one of check, shard, bench"),
        (["chekc"], "no part 'chekc'"),
        (["check", "--data_root", "nowhere"], "nowhere does not exist"),
        (["bench"], "no training data"),
    ],
)
def test_mistakes_are_one_sentence(argv, words, capsys):
    code, _, err = run(capsys, *argv)
    assert code == 1 and words in err and "Traceback" not in err


def test_an_empty_folder_holds_no_sequences(tmp_path, capsys):
    code, _, err = run(capsys, "check", "--data_root", tmp_path)
    assert code == 1 and "holds no sequences" in err
