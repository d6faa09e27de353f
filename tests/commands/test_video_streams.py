"""What stands beside the picture is kept, converted where the container needs it, or noted."""

import pytest

from tests.support import video_output as out
from tests.support.video_checks import (
    Row,
    doubled,
    frames,
    in_step,
    noted,
    same_chapters,
    same_samples,
    same_sound,
    starts_at,
    table,
)

pytestmark = pytest.mark.videos

TEXT = [(0.1, "Hello"), (0.32, "World ünï")]


def everything_beside_the_picture(run):
    """Kind, codec, language, title and dispositions of every stream, the picture's too."""
    source, target = out.streams(run.source), out.streams(run.output)
    assert [s[2:] for s in target] == [s[2:] for s in source]
    assert [s[:2] for s in target[1:]] == [s[:2] for s in source[1:]]
    for number in range(3):
        same = [out.packet_hashes(path, "subtitle", number) for path in (run.source, run.output)]
        assert same[0] == same[1]


def same_font(run):
    fonts = []
    for path in (run.source, run.output):
        with out.av.open(str(path)) as container:
            found = [s for s in container.streams if s.type == "attachment"]
            fonts.append([(s.metadata["filename"], s.mimetype, bytes(s.data)) for s in found])
    assert fonts[0] == fonts[1] != []


def font_noted(run):
    """A note before the first frame says that the font is left out."""
    found = [run.noted_before_the_first_frame(word) for word in ("font", "ttf", "attachment")]
    assert any(found), run.out


def file_tags(run):
    with out.av.open(str(run.output)) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
    assert (tags["title"], tags["artist"], tags["comment"]) == ("My Film", "Me", "nice")


@table(
    Row(
        "V11-mkv",
        "v11_full.mkv",
        "o.mkv",
        (same_chapters, same_font, file_tags, same_sound, in_step),
    ),
    Row("V11-mp4", "v11_full.mkv", "o.mp4", (same_chapters, same_sound, in_step)),
    Row("V11-mov", "v11_full.mkv", "o.mov", (same_chapters, same_sound)),
    Row("V11-from_mp4", "v13_movtext.mp4", "o.mkv", (same_chapters, file_tags)),
    Row("V11-mp4_to_mp4", "v13_movtext.mp4", "o.mp4", (same_chapters, file_tags, same_sound)),
    Row("V11c-mp4", "v11_vt.mkv", "o.mp4", (doubled, font_noted)),
    Row("V11c-mov", "v11_vt.mkv", "o.mov", (doubled, font_noted)),
    Row("V11c-mkv", "v11_vt.mkv", "o.mkv", (doubled, same_font)),
    Row("V11d", "v11_full.mkv", "o.mkv", (everything_beside_the_picture,)),
)
def test_chapters_fonts_tags_and_dispositions(lift_file, row):
    row.check(lift_file)


def test_V11d_languages_and_titles_survive_a_change_of_container(lift_file):
    run = lift_file("v11_full.mkv", "o.mp4")
    sound = [s for s in out.streams(run.output) if s[0] == "audio"]
    assert [s[2] for s in sound] == ["eng", "fra"]
    assert [bool(s[4] & out.av.stream.Disposition.default) for s in sound] == [False, True]
    assert out.streams(run.output)[0][2] == "jpn"


def test_titles_are_names_in_mp4_and_lost_tags_are_noted(lift_file, inputs, tmp_path):
    source, flags = tmp_path / "tagged.mkv", out.av.stream.Disposition
    with out.av.open(str(inputs("v11_full.mkv"))) as read, out.av.open(str(source), "w") as made:
        streams = {s.index: made.add_stream_from_template(s) for s in list(read.streams)[:3]}
        streams[1].metadata.update(title="Main", language="fre")
        streams[1].disposition = flags.default
        streams[2].disposition = flags.visual_impaired
        for packet in read.demux(list(read.streams)[:3]):
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                made.mux(packet)
    run = lift_file(source, "o.mp4")
    with out.av.open(str(run.output)) as read:
        sound = read.streams.audio
        assert sound[0].metadata["handler_name"] == "Main" and sound[0].language == "fre"
        assert flags.visual_impaired & int(sound[1].disposition)
    assert not run.noted("loses its")
    run = lift_file(source, "o.mov")
    with out.av.open(str(run.output)) as read:
        assert read.streams.audio[0].language == "fra"
    assert run.noted_before_the_first_frame("stream 2 loses its flag 'visual_impaired'", ".mov")
    run = lift_file(source, "o.avi")
    assert run.noted_before_the_first_frame("stream 1 loses its language 'fre'", ".avi")


# -- sound -----------------------------------------------------------------------------------------


def heard_or_noted(run):
    """The sound is converted to what the container takes, or a note says that it is left out."""
    if not run.noted_before_the_first_frame("audio", "left out"):
        same_samples(run)


COPIED_BY_MP4 = ("libopus", "libmp3lame", "mp2", "flac", "ac3", "aac", "vorbis")


@table(
    *(
        Row(f"V12d-{codec}_mkv", f"v11b_{codec}.mkv", "o.mkv", (same_sound, doubled))
        for codec in (*COPIED_BY_MP4, "pcm_s16le", "pcm_s24le")
    ),
    *(
        Row(f"V12d-{codec}_mp4", f"v11b_{codec}.mkv", "o.mp4", (same_sound, in_step))
        for codec in COPIED_BY_MP4
    ),
    Row("V12c-wma_mkv", "f_wmv.wmv", "o.mkv", (same_sound, doubled)),
    Row("V12c-wma_mp4", "f_wmv.wmv", "o.mp4", (heard_or_noted, doubled)),
)
def test_sound_is_copied_packet_by_packet(lift_file, row):
    row.check(lift_file)


@table(
    Row("V12-camera", "v11c_camera_stereo.avi", "o.mp4", (same_samples, doubled)),
    Row("V12-camera_m4v", "v11c_camera_stereo.avi", "o.m4v", (heard_or_noted,)),
    Row("V12-camera_mov", "v11c_camera_stereo.avi", "o.mov", (same_samples, same_sound)),
    Row("V12-camera_mkv", "v11c_camera_stereo.avi", "o.mkv", (same_samples, same_sound)),
    Row("V12-dv", "f_dv.dv", "o.mp4", (same_samples,)),
    Row("V12-24_bit", "v11b_pcm_s24le.mkv", "o.mp4", (same_samples,)),
    Row("V12-ogg", "f_ogv.ogv", "o.mp4", (same_samples, doubled)),
    Row("V12-ogg_mkv", "f_ogv.ogv", "o.mkv", (same_samples,)),
    Row("V12-webm", "v11c_camera_stereo.avi", "o.webm", (heard_or_noted,)),
    Row("V12-ts", "v11c_camera_stereo.avi", "o.ts", (heard_or_noted,)),
)
def test_sound_that_the_container_refuses_is_converted_or_noted_never_an_error_at_the_end(
    lift_file, row
):
    row.check(lift_file)


# -- subtitles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, target",
    (
        ("v13_movtext.mp4", "o.mkv"),
        ("v13_movtext.mp4", "o.mp4"),
        ("v13_movtext.mp4", "o.mov"),
        ("v13_movtext.mp4", "o.webm"),
        ("v11_vsrt.mkv", "o.mp4"),
        ("v11_vsrt.mkv", "o.mov"),
        ("v11_vsrt.mkv", "o.mkv"),
        ("v11_vass.mkv", "o.mp4"),
        ("v11_vass.mkv", "o.mkv"),
    ),
    ids=lambda name: f"V13-{name}" if name.startswith("v") else name[1:],
)
def test_text_subtitles_are_converted_to_what_the_container_has(lift_file, source, target):
    run = lift_file(source, target)
    assert run.code == 0, run.err
    found = out.captions(run.output)
    began = float(out.start(run.output))
    first = float(out.start(run.source))
    expected = [(at - first + began, text) for at, text in TEXT]
    assert [text for _, text in found] == [text for _, text in expected]
    assert [at for at, _ in found] == pytest.approx([at for at, _ in expected], abs=0.03)


def test_V13_the_language_of_converted_subtitles_is_kept(lift_file):
    for source, target in (("v13_movtext.mp4", "o.mkv"), ("v11_vsrt.mkv", "p.mp4")):
        run = lift_file(source, target)
        assert [s[2] for s in out.streams(run.output) if s[0] == "subtitle"] == ["eng"]


@table(
    Row("V13-pictures_mkv", "v11_vpgs.mkv", "o.mkv", (doubled,)),
    Row("V13-pictures_mp4", "v11_vpgs.mkv", "o.mp4", (doubled, noted("subtitle"))),
)
def test_subtitles_that_are_pictures_are_kept_by_matroska_and_noted_elsewhere(lift_file, row):
    row.check(lift_file)


# -- data, covers, second pictures -----------------------------------------------------------------


def kept_or_noted(kind: str, *words: str):
    """A stream of that kind with the same bytes is in the output, or a note says what is not."""

    def check(run):
        if run.noted_before_the_first_frame(*words):
            return
        source, target = out.kinds(run.source), out.kinds(run.output)
        assert target.count(kind) == source.count(kind), (target, run.out)
        number = 1 if kind == "video" else 0
        if kind != "cover":
            a, b = (out.payload(path, kind, number) for path in (run.source, run.output))
            assert a == b

    return check


def timecode_kept(run):
    with out.av.open(str(run.output)) as container:
        tags = [container.metadata, *(stream.metadata for stream in container.streams)]
    found = {value for tag in tags for name, value in tag.items() if name.lower() == "timecode"}
    assert found == {"01:00:00:00"} or run.noted_before_the_first_frame("timecode"), run.out


def stereo_kept(run):
    with out.av.open(str(run.output)) as container:
        stream = out.video_of(container)
        mode = {name.lower(): value for name, value in stream.metadata.items()}.get("stereo_mode")
    in_frames = "STEREO3D" in out.side_data(out.decode(run.output)[0])
    assert mode == "left_right" or in_frames or run.noted("stereo"), run.out


@table(
    Row("V14b-telemetry", "v14_gpmd.mp4", "o.mp4", (kept_or_noted("data", "data"), doubled)),
    Row("V14b-telemetry_mkv", "v14_gpmd.mp4", "o.mkv", (kept_or_noted("data", "data"),)),
    Row("V14b-cover", "v14_cover.mp4", "o.mp4", (kept_or_noted("cover", "cover"), same_sound)),
    Row("V14b-cover_mkv", "v14_cover.mp4", "o.mkv", (kept_or_noted("cover", "cover"), same_sound)),
    Row("V14b-cover_first", "v14_coverfirst.mp4", "o.mp4", (doubled, same_sound)),
    Row("V14b-two_videos", "v14_twovideos.mkv", "o.mkv", (kept_or_noted("video", "video"),)),
    Row("V14b-two_videos_mp4", "v14_twovideos.mkv", "o.mp4", (kept_or_noted("video", "video"),)),
    Row("V14b-timecode", "v14_tmcd.mov", "o.mov", (timecode_kept, same_sound)),
    Row("V14b-timecode_mp4", "v14_tmcd.mov", "o.mp4", (timecode_kept,)),
    Row("V14b-stereo", "v14_stereo3d.mkv", "o.mkv", (stereo_kept, starts_at(0))),
    Row("V14b-stereo_mp4", "v14_stereo3d.mkv", "o.mp4", (stereo_kept,)),
)
def test_data_covers_and_further_pictures_are_kept_or_noted(lift_file, row):
    row.check(lift_file)


def says_50_frames(run):
    """Twice the 25 frames/s of PAL, not the 120000 that the container of raw DV guesses."""
    assert "at 50 frames/s" in run.out


# -- other containers and codecs -------------------------------------------------------------------

SILENT = ("f_raw.h264", "f_raw.hevc", "f_y4m.y4m", "f_anim.apng", "f_plain.gif")
WITH_SOUND = (
    "f_xvid_b.avi",
    "f_wmv.wmv",
    "f_flv.flv",
    "f_ogv.ogv",
    "f_vp8.webm",
    "f_vp9.webm",
    "f_svtav1.mp4",
    "f_huffyuv.avi",
    "f_dnxhr.mov",
    "f_prores.mov",
    "f_frag.mp4",
    "f_3gp.3gp",
)


@table(
    *(Row(f"V24-{name}", name, "o.mkv", (doubled, same_sound)) for name in WITH_SOUND),
    *(Row(f"V24-{name}", name, "o.mp4", (doubled, starts_at(0))) for name in SILENT),
    Row("V24-f_anim.webp", "f_anim.webp", "o.mp4", (frames(11), starts_at(0))),
    Row("V24-f_flv.flv_mp4", "f_flv.flv", "o.mp4", (doubled, same_sound)),
    Row("V24-f_prores.mov_mp4", "f_prores.mov", "o.mp4", (doubled, same_samples)),
    Row("V24-f_dv.dv", "f_dv.dv", "o.mkv", (same_samples, starts_at(0), says_50_frames)),
    Row("V22-long_group", "v22_longgop.mp4", "o.mp4", (doubled,)),
    Row("V22-open_group", "v22_og.ts", "o.mp4", (doubled, starts_at(0))),
    Row("V22-starts_inside", "v22_midgop.ts", "o.mp4", (starts_at(0),)),
)
def test_formats_that_people_have(lift_file, row):
    row.check(lift_file)
