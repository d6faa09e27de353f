"""Where the chroma of 4:2:0 lies, from the header of a source to that of an output."""

import av
import pytest

from lift.io.chroma_location import location_option, stated_location
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout
from lift.io.decode import open_frames
from lift.io.encoder import VideoTags, probe


def write(path, codec, options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")) + stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ("libx264", "libx265"))
@pytest.mark.parametrize("suffix", (".mkv", ".ts"))
def test_the_stated_location_is_read(tmp_path, codec, suffix):
    options = {"chroma_sample_location": "topleft"}
    source = open_frames(write(tmp_path / f"a{suffix}", codec, options))
    assert source.chroma_location == "topleft"


@pytest.mark.parametrize("codec", ("libx264", "mpeg4"))
def test_without_a_statement_there_is_none(tmp_path, codec):
    assert open_frames(write(tmp_path / "a.mkv", codec, {})).chroma_location is None


@pytest.mark.parametrize("codec", ("h264", "hevc", "av1"))
def test_it_is_written(codec):
    encoding = choose_encoding(".mkv", FrameLayout(), codec=codec)
    file = probe(encoding, (64, 48), 25, VideoTags(chroma_location="topleft"))
    with av.open(file) as container:
        assert stated_location(container.streams.video[0]) == "topleft"


def test_only_encoders_of_420_that_write_it_get_the_option():
    assert location_option("libx264", "420", "left") == {"chroma_sample_location": "left"}
    for case in (("libx264", "444", "left"), ("ffv1", "420", "left"), ("libx264", "420", None)):
        assert location_option(*case) == {}
