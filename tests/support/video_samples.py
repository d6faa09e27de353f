"""Small frames and videos for the tests of reading, writing and interpolating."""

import io
from fractions import Fraction

import cv2
import numpy as np

from tests.support.exact_color import needs_display_matrix


def moving_frames(
    n: int, height: int = 48, width: int = 64, tint: tuple[int, int, int] = (120, 90, 60)
) -> list[np.ndarray]:
    """n frames (H, W, 3) uint8 RGB: a smooth texture around `tint` that slides a pixel a frame."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for k in range(n):
        wave = 30 * np.sin((x + k) / 6) + 20 * np.cos(y / 5 + k / 7)
        frames.append((np.array(tint) + wave[..., None]).clip(0, 255).astype(np.uint8))
    return frames


def write_folder(folder, frames, first: int = 1, pattern: str = "im{:03d}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for k, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / pattern.format(first + k)), frame[..., ::-1])
    return folder


def write_video(
    path,
    frames,
    ticks=None,
    tick=Fraction(1, 1000),
    *,
    rotate: int = 0,
    sound: bool = False,
    subtitles: bool = False,
    options=None,
):
    """An H.264 video, frame k displayed at ticks[k] * tick seconds; 40 ms apart where None."""
    import av

    ticks = [40 * k for k in range(len(frames))] if ticks is None else ticks
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "8", "preset": "ultrafast"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv444p" if video.height % 2 or video.width % 2 else "yuv420p"
        video.codec_context.time_base = tick
        if rotate:
            needs_display_matrix(video)
            video.set_display_rotation(rotate)
        audio = out.add_stream("aac", rate=44100) if sound else None
        script = (
            av.open(io.BytesIO(b"1\n00:00:00,040 --> 00:00:00,240\nHello\n"), format="srt")
            if subtitles
            else None
        )
        text = out.add_stream_from_template(script.streams[0]) if subtitles else None
        for frame, at in zip(frames, ticks, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = at, tick
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if audio is not None:
            wave = (0.1 * np.sin(np.arange(1024) / 20)).astype(np.float32)
            for k in range(int(44100 * ticks[-1] * tick) // 1024):
                chunk = av.AudioFrame.from_ndarray(
                    np.stack([wave, wave]), format="fltp", layout="stereo"
                )
                chunk.sample_rate, chunk.pts = 44100, 1024 * k
                out.mux(audio.encode(chunk))
            out.mux(audio.encode(None))
        if text is not None:
            for packet in script.demux():
                if packet.dts is not None:
                    packet.stream = text
                    out.mux(packet)
    return path
