"""What the header of an image file states."""

import struct
import zlib

import cv2
import pytest

from lift.io.image_headers import has_other_colors
from tests.support.video_samples import moving_frames


def with_profile(path, profile):
    """An image with an ICC profile; its content is not looked at, but for its name."""
    suffix = path.suffix
    cv2.imwrite(str(path), moving_frames(1)[0])
    data = path.read_bytes()
    if suffix == ".png":
        body = b"iCCP" + b"any\0\0" + zlib.compress(profile)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        data = data[:33] + chunk + data[33:]
    elif suffix == ".jpg":
        body = b"ICC_PROFILE\0\1\1" + profile
        data = data[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + data[2:]
    else:
        data += b"ICCP" + struct.pack("<I", len(profile)) + profile
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", (".png", ".jpg", ".webp"))
def test_a_profile_of_other_colors_is_found(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    assert has_other_colors(with_profile(path, b"Display P3!!"))
    assert not has_other_colors(with_profile(path, b"\0s\0R\0G\0B IEC61966"))
    cv2.imwrite(str(path), moving_frames(1)[0])
    assert not has_other_colors(path)
    path.write_bytes(path.read_bytes()[:20])
    assert not has_other_colors(path) and not has_other_colors(tmp_path / "none.png")
