from fractions import Fraction
from pathlib import Path

import pytest

from lift.errors import LiftError
from lift.io.codecs import CONTAINERS
from lift.io.names import ANIMATIONS, OUTPUT_SUFFIXES
from lift.io.streams import FORMATS, plan_streams
from lift.io.timing import Timing
from tests.support.media import SRT, encoded_picture, join, write_media

av = pytest.importorskip("av")


def plan(source, suffix, encoder="libx264", **options):
    with encoded_picture(4, encoder) as (template, _):
        return plan_streams(source, suffix, template=template, **options)


def actions(made):
    return [(stream.kind, stream.action) for stream in made.streams]


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A Matroska file with two sounds, subtitles, a font, chapters, titles and flags."""
    return write_media(
        Path(tmp_path_factory.mktemp("rich")) / "a.mkv",
        sounds=("aac", "ac3"),
        subtitles=SRT,
        font=b"\0" * 64,
        chapters=((0, 0.2, "One"), (0.2, 0.4, "Two")),
        metadata={"title": "Film", "creation_time": "2020-05-06T07:08:09Z"},
        dispositions=(1, 1 | 8, 0, 1 | 64),
        options={"default_mode": "passthrough"},
    )


def test_matroska_keeps_everything(rich):
    made = plan(rich, ".mkv")
    kinds = ["audio", "audio", "subtitle", "attachment"]
    assert actions(made) == [(kind, "copy") for kind in kinds] and not made.notes
    assert [chapter["metadata"]["title"] for chapter in made.chapters] == ["One", "Two"]
    assert [stream.disposition for stream in made.streams][:3] == [9, 0, 65]
    assert made.metadata["title"] == "Film" and made.picture_disposition == 1


@pytest.mark.parametrize("suffix", (".mp4", ".mov", ".m4v"))
def test_fonts_are_left_out_of_mp4_and_text_is_converted(rich, suffix):
    made = plan(rich, suffix)
    assert actions(made) == [("audio", "copy"), ("audio", "copy"), ("subtitle", "convert")]
    assert made.streams[2].encoder == "mov_text"
    assert any("font.ttf" in note and "left out" in note for note in made.notes)
    assert len(made.chapters) == 2


def test_webm_gets_opus_and_webvtt(rich):
    made = plan(rich, ".webm", encoder="libvpx-vp9")
    assert [stream.encoder for stream in made.streams] == ["libopus", "libopus", "webvtt"]
    assert sum("converted to opus" in note for note in made.notes) == 2


@pytest.mark.parametrize("suffix", (".ts", ".avi"))
def test_what_a_container_lacks_is_named(rich, suffix):
    made = plan(rich, suffix)
    assert [stream.kind for stream in made.streams] == ["audio", "audio"]
    notes = " ".join(made.notes)
    assert "chapters are left out" in notes and "subtitle stream 3 (subrip) is left out" in notes


@pytest.mark.parametrize(
    "source_suffix, encoder, suffix, action, unlisted",
    (
        (".wmv", "wmav2", ".mkv", "copy", True),
        (".wmv", "wmav2", ".mp4", "convert", False),
        (".avi", "pcm_s16le", ".mp4", "copy", False),  # a camera's: two channels, no layout
        (".mkv", "pcm_s16le", ".mp4", "copy", False),
        (".mkv", "flac", ".webm", "convert", False),
    ),
)
def test_sound_is_never_lost(tmp_path, source_suffix, encoder, suffix, action, unlisted):
    source = write_media(tmp_path / f"a{source_suffix}", sounds=(encoder,))
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    (stream,) = plan(source, suffix, codec).streams
    assert (stream.kind, stream.action, stream.unlisted) == ("audio", action, unlisted)


def test_covers_and_telemetry_are_kept_where_the_container_holds_them(tmp_path):
    source = write_media(tmp_path / "a.mp4", cover=True, data=True)
    kept = [("audio", "copy"), ("cover", "copy"), ("data", "copy")]
    assert sorted(actions(plan(source, ".mp4"))) == kept
    matroska = plan(source, ".mkv")
    assert ("cover", "attach") in actions(matroska)
    assert any("data stream" in note for note in matroska.notes)


def test_a_codec_that_the_container_lacks_is_refused_before_the_first_frame(tmp_path):
    source = write_media(tmp_path / "a.mkv", sounds=())
    with pytest.raises(LiftError, match=".webm does not support video coded as h264"):
        plan(source, ".webm")


def test_chapters_follow_a_cut_and_slow_motion(rich):
    timing = Timing(Fraction(1, 10), Fraction(3, 10), Fraction(2))
    made = plan(rich, ".mkv", timing=timing, sound="drop")
    times = [
        [chapter[key] * chapter["time_base"] for key in ("start", "end")]
        for chapter in made.chapters
    ]
    assert times == [[0, Fraction(1, 5)], [Fraction(1, 5), Fraction(2, 5)]]
    assert not [stream for stream in made.streams if stream.kind == "audio"]


def test_stretched_sound_keeps_its_codec(rich):
    made = plan(rich, ".mkv", timing=Timing(factor=Fraction(4)), sound="stretch")
    assert [stream.encoder for stream in made.streams if stream.kind == "audio"] == ["aac", "ac3"]


def test_folders_have_no_other_streams():
    made = plan_streams(None, ".mkv", template=None)
    assert made.streams == () and made.format == "matroska"


def test_unknown_suffixes_and_modes_are_refused():
    with pytest.raises(ValueError, match="suffix"):
        plan_streams(None, ".xyz", template=None)
    with pytest.raises(ValueError, match="sound"):
        plan_streams(None, next(iter(FORMATS)), template=None, sound="loud")


def test_times_that_matroska_rounds_are_named(rich):
    fast, slow = (plan(rich, ".mkv", new_rate=Fraction(rate)) for rate in (2000, 1000))
    assert "milliseconds" in fast.notes[0] and not slow.notes
    assert not any(
        "milliseconds" in note for note in plan(rich, ".mp4", new_rate=Fraction(2000)).notes
    )


def test_every_output_that_is_a_video_has_a_container():
    videos = set(OUTPUT_SUFFIXES) - set(ANIMATIONS)
    assert videos <= set(FORMATS) and videos <= set(CONTAINERS)


def test_pcm_in_mp4_is_named_since_few_players_support_it(tmp_path):
    source = write_media(tmp_path / "a.avi", sounds=("pcm_s16le",))
    assert "not compressed" in plan(source, ".mp4").notes[0]
    assert not plan(source, ".mov").notes


def test_a_second_picture_is_cut_at_a_keyframe_and_keeps_its_title(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.gop_size = 12
        streams[1].metadata["title"] = "Second"
        for k in range(25):
            for stream in streams:
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert not plan(path, ".mkv").notes
    timing = Timing(start=Fraction(1, 5))
    assert any(
        "from its first keyframe" in note for note in plan(path, ".mkv", timing=timing).notes
    )
    found = []
    for name in (path, join(tmp_path / "cut.mkv", path, timing=timing)):
        with av.open(str(name)) as container:
            packets = [p for p in container.demux(container.streams.video[1]) if p.size]
        found.append([(bytes(p), p.is_keyframe) for p in packets])
    key = next(k for k in range(5, 25) if found[0][k][1])
    assert 5 < key and found[1] == found[0][key:]


def test_converted_subtitles_are_noted_in_slow_motion_too(rich):
    made = plan(rich, ".mov", timing=Timing(factor=Fraction(2)), sound="stretch")
    assert any("mov_text" in note for note in made.notes)
