"""The picture of a run's curve."""

import cv2
import pytest

from lift.errors import LiftError
from lift.release.curves import main, read

HEADER = "step,loss,psnr,val_psnr\n"


def test_phases_follow_one_another(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "curve.csv").write_text(
            HEADER + "100,0.5,30,\n200,0.4,31,\n200,,,30.5\n"
        )
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "curve.png")])
    assert cv2.imread(str(tmp_path / "curve.png")).std() > 0
    assert read(tmp_path / "a")[2] == {"step": 200, "val_psnr": 30.5}


@pytest.mark.parametrize("content", [None, "", "x,y\n1,2\n", "step,loss\n1,abc\n"])
def test_what_is_no_curve_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "curve.csv").write_text(content)
    with pytest.raises(LiftError, match=r"curve\.csv"):
        main([str(tmp_path), "--output", str(tmp_path / "curve.png")])
    assert not (tmp_path / "curve.png").exists()
