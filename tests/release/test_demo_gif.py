"""The picture at the top of README.md is made with one command."""

import pytest
from PIL import Image

from lift.commands import demo
from lift.errors import LiftError
from lift.release import demo_gif
from tests.support.video_samples import moving_frames, write_video

pytestmark = pytest.mark.videos
pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command on a side-by-side video of so many frames."""

    def run(frames: int, *flags: str):
        def write_demo(argv):
            assert argv[0] == "--output" and list(flags) == argv[2:]
            write_video(f"{argv[1]}/side_by_side.mp4", moving_frames(frames, 32, 96))

        monkeypatch.setattr(demo, "main", write_demo)
        demo_gif.main(["--output", str(tmp_path / "demo.gif"), *flags])
        return tmp_path / "demo.gif"

    return run


def test_the_gif_is_endless_and_has_the_chosen_part(run):
    with Image.open(run(60, "--checkpoint", "weights.safetensors")) as gif:
        assert gif.n_frames == demo_gif.COUNT and gif.info["loop"] == 0
        assert gif.size == (demo_gif.WIDTH, 300)
        assert gif.info["duration"] == pytest.approx(demo_gif.MILLISECONDS, abs=10)


def test_a_video_that_ends_too_early_leaves_the_gif_as_it_is(run, tmp_path):
    with pytest.raises(LiftError, match="shorter than 48 frames"):
        run(40)
    assert not (tmp_path / "demo.gif").exists()


def test_the_gif_of_the_project_is_there():
    with Image.open(demo_gif.GIF) as gif:
        assert gif.n_frames == demo_gif.COUNT and gif.width == demo_gif.WIDTH
