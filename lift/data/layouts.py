"""Which sequences a folder holds, and which split each belongs to, as data sets are published.

Official lists and the names of folders decide. A sequence that only the test split has is never
trained on beside others, and of a scene that is there twice (sharp and blurred, in two
resolutions) one version counts.

Sources of the layouts: Vimeo-90K (Xue et al., IJCV 2019), GoPro (Nah et al., CVPR 2017), Adobe240
(Su et al., CVPR 2017), DAVIS (Pont-Tuset et al., 2017), X-TRAIN and X-TEST (Sim et al., ICCV 2021),
SNU-FILM (Choi et al., AAAI 2020).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lift.errors import LiftError
from lift.io.decode import VIDEO_SUFFIXES
from lift.io.frame_folder import is_frame_folder, list_images
from lift.io.manifest import NAME as MANIFEST
from lift.io.manifest import has_manifest, read_manifest

# Folder names of the splits; REDS and others add what is in them, as in train_sharp.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
SPLIT_FOLDER = re.compile(
    r"(train|training|val|valid|validation|test|testing)(_sharp|_orig)?", re.I
)
BLURRED = re.compile(r"(\w+_)?blur(red)?(_\w+)?", re.I)
NOT_FRAMES = ("__macosx", "annotations", "annotations_unsupervised", "scribbles")
LIST_FILE = re.compile(r"(.*?)_?(train|val|test)_?list\.txt", re.I)
IMAGES, SETS = "JPEGImages", "ImageSets"  # folders of DAVIS
PREFERRED_RESOLUTION = "480p"


def in_words(count: int) -> str:
    """A number of sequences: "1 sequence", "2 sequences"."""
    return f"{count} sequence{'s' * (count != 1)}"


@dataclass(frozen=True)
class Stored:
    """Where the frames of a sequence are in a tar file.

    Attributes:
        size: (H, W), pixels.
        frames: (name, first byte, number of bytes) of each frame.
    """

    size: tuple[int, int]
    frames: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Entry:
    """A sequence on disk.

    Attributes:
        name: of the sequence, its path below the root.
        path: a folder of frames, a video, or a tar file with the frames.
        split: the split it belongs to, or None.
        cuts: first frames of new shots that a manifest states; None where nothing is known.
        duplicates: frames that repeat the one before.
        stored: where the frames are in a tar file; None for folders and videos.
    """

    name: str
    path: Path
    split: str | None = None
    cuts: tuple[int, ...] | None = None
    duplicates: tuple[int, ...] = ()
    stored: Stored | None = None


@dataclass(frozen=True)
class Layout:
    """The sequences of a folder.

    Attributes:
        name: of the layout, for people.
        rule: what decides the splits, for people; empty where nothing does.
        root: the folder of the data set, which may be inside or around the folder that was given.
        entries: the sequences, in a fixed order.
        left_out: names of what no split has or what is no sequence of this data set, by reason.
        with_rest: whether sequences without a split count as training data.
    """

    name: str
    rule: str
    root: Path
    entries: list[Entry]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    with_rest: bool = False

    @property
    def splits(self) -> set[str]:
        """Names of the splits."""
        return {entry.split for entry in self.entries if entry.split is not None}


def find_layout(root: Path, split_names: Iterable[str] = ()) -> Layout:
    """The sequences at or below a folder.

    Args:
        root: the folder of a data set, the one above it, or any folder of frames or videos.
        split_names: further names of folders that are splits.

    Raises:
        LiftError: a part of a data set whose lists are above it, a list that cannot be read or
            names nothing that is there, or a broken manifest.
    """
    if has_manifest(root):
        return _of_manifest(root)
    for layout in (_of_lists(root), _of_davis(root)):
        if layout is not None:
            return layout
    _refuse_part(root)
    inner = _with_lists_below(root)
    if len(inner) > 1:
        names = ", ".join(str(folder.relative_to(root)) for folder in inner)
        raise LiftError(
            f"{root} holds several data sets ({names}); give one of them, such as {inner[0]}"
        )
    if inner:
        return _only(find_layout(inner[0], split_names), root)
    return _of_folders(root, split_names)


# -- a manifest ------------------------------------------------------------------------------------


def _of_manifest(root: Path) -> Layout:
    clips = read_manifest(root)
    entries = [
        Entry(c.file, c.path, c.split, c.cuts if "cuts" in c.source else None, c.duplicates)
        for c in clips
    ]
    return Layout("manifest", MANIFEST, root, entries, with_rest=True)


# -- Vimeo-90K: lists of folders -------------------------------------------------------------------


def _of_lists(root: Path) -> Layout | None:
    """A data set whose lists name its sequences: Vimeo-90K's triplets and septuplets."""
    files = _list_files(root)
    if not files:
        return None
    base = root / "sequences" if (root / "sequences").is_dir() else root
    entries, missing = [], []
    for split, file in files.items():
        for name in _lines(file):
            path = base / name
            if path.is_dir():
                entries.append(Entry(name, path, split))
            else:
                missing.append(name)
        if not any(entry.split == split for entry in entries):
            raise LiftError(
                f"{file} names no folder of {base}; copy the list and the sequences of one data set"
            )
    _check_once(entries, files)
    left_out = {"listed, but not there": missing} if missing else {}
    listed = {entry.name for entry in entries}
    others = [name for name in _two_levels(base) if name not in listed]
    rule = ", ".join(file.name for file in files.values())
    if "train" not in files:
        entries += [Entry(name, base / name, "train") for name in others]
        rule = f"all but {rule}"
    elif others:
        left_out["in no list"] = others
    prefix = LIST_FILE.fullmatch(next(iter(files.values())).name)[1].lower()
    kind = {"tri": "Vimeo-90K triplet", "sep": "Vimeo-90K septuplet"}
    return Layout(kind.get(prefix, "lists of sequences"), rule, root, entries, left_out)


def _check_once(entries: list[Entry], files: dict[str, Path]) -> None:
    """Raise where two lists name the same sequence."""
    splits: dict[str, str] = {}
    for entry in entries:
        other = splits.setdefault(entry.name, entry.split)
        if other != entry.split:
            raise LiftError(
                f"{entry.name} is in {files[other].name} and in {files[entry.split].name}; "
                "copy the lists again"
            )


def _list_files(root: Path) -> dict[str, Path]:
    """The lists of a folder by split; of one kind, triplets or septuplets."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(root.glob("*.txt")) if root.is_dir() else ():
        match = LIST_FILE.fullmatch(file.name)
        if match and _names_folders(root, file):
            found.setdefault(match[1].lower(), {})[match[2].lower()] = file
    if len(found) > 1:
        names = ", ".join(file.name for files in found.values() for file in files.values())
        raise LiftError(f"{root} has lists of several data sets ({names}); keep those of one")
    files = next(iter(found.values()), {})
    return {split: files[split] for split in ("train", "val", "test") if split in files}


def _names_folders(root: Path, file: Path) -> bool:
    """Whether a list is one of sequences of this folder, not of anything else."""
    if (root / "sequences").is_dir() and LIST_FILE.fullmatch(file.name)[1].lower() in (
        "tri",
        "sep",
    ):
        return True
    lines = _lines(file)
    return any((root / part / line).is_dir() for line in lines for part in ("", "sequences"))


def _has_lists(root: Path) -> bool:
    return bool(_list_files(root))


def _lines(file: Path) -> list[str]:
    """The lines of a list that are not blank, in their order, each once."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LiftError(f"{file} cannot be read ({error}); copy the list again") from None
    lines = (line.strip().replace("\\", "/").strip("/") for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if line))


def _two_levels(base: Path) -> list[str]:
    """Names of the folders two levels below, as Vimeo-90K has them."""
    return [f"{a.name}/{b.name}" for a in _folders(base) for b in _folders(a)]


# -- DAVIS: images apart from the lists ------------------------------------------------------------


def _is_davis(root: Path) -> bool:
    return (root / IMAGES).is_dir() and (root / SETS).is_dir()


def _of_davis(root: Path) -> Layout | None:
    if not _is_davis(root):
        return None
    resolutions = [p for p in _folders(root / IMAGES) if not is_frame_folder(p)]
    if not resolutions:
        raise LiftError(f"{root / IMAGES} has no folder such as {PREFERRED_RESOLUTION}; copy it")
    base = next((p for p in resolutions if p.name == PREFERRED_RESOLUTION), resolutions[0])
    sets = _davis_sets(root / SETS)
    clips = {path.name: path for path in _folders(base)}
    entries, missing = [], []
    for split, file in sets.items():
        for line in _lines(file):
            # 2016: pairs of an image and a mask; 2017: names
            name = Path(line.split()[0]).parent.name if len(line.split()) > 1 else line
            if any(entry.name == name for entry in entries) or name in missing:
                continue
            if name in clips:
                entries.append(Entry(name, clips[name], split))
            else:
                missing.append(name)
    if not entries:
        raise LiftError(f"{root / SETS} names no clip of {base}; copy both of one data set")
    left_out = {"listed, but not there": missing} if missing else {}
    listed = {entry.name for entry in entries}
    if others := [name for name in clips if name not in listed]:
        left_out["in no list"] = others
    if others := [path.name for path in resolutions if path != base]:
        left_out["the same in another resolution"] = others
    rule = ", ".join(file.relative_to(root).as_posix() for file in sets.values())
    return Layout(f"DAVIS, {base.name}", rule, root, entries, left_out)


def _davis_sets(folder: Path) -> dict[str, Path]:
    """The newest lists, by split."""
    for place in sorted((*_folders(folder), folder), key=lambda p: p.name, reverse=True):
        files = {
            split: file
            for split, name in (("train", "train"), ("val", "val"), ("test", "test-dev"))
            if (file := place / f"{name}.txt").is_file()
        }
        if "train" in files:
            return files
    raise LiftError(f"{folder} has no train.txt; copy DAVIS's {SETS} again")


# -- a part of a data set, or a folder around one --------------------------------------------------


def _with_lists_below(root: Path, depth: int = 2) -> list[Path]:
    """Data sets with lists one or two levels below a folder."""
    found = []
    for folder in () if is_frame_folder(root) else _folders(root):
        if _has_lists(folder) or _is_davis(folder):
            found.append(folder)
        elif depth > 1:
            found += _with_lists_below(folder, depth - 1)
    return found


def _only(layout: Layout, root: Path) -> Layout:
    """The layout of a data set below `root`; other folders beside it are left out."""
    first = layout.root.relative_to(root).parts[0]
    beside = [
        p.name for p in _folders(root) if p.name != first and p.name.lower() not in NOT_FRAMES
    ]
    if not beside:
        return layout
    return replace(layout, left_out={**layout.left_out, "beside the data set": beside})


def _refuse_part(root: Path) -> None:
    """Raise where lists above this folder say which of its sequences are for training."""
    resolved = root.resolve()
    for outer in list(resolved.parents)[:3]:
        if outer.name and (
            _is_davis(outer) or ("sequences" in resolved.parts and _has_lists(outer))
        ):
            inside = resolved.relative_to(outer).parts[0]
            if inside not in ("sequences", IMAGES):
                return
            if is_frame_folder(root):
                return  # one sequence, chosen on purpose
            raise LiftError(
                f"{root} is a part of the data set {outer}, whose lists say what is for training "
                f"and what for testing; give {outer}"
            )


# -- folders ---------------------------------------------------------------------------------------


def _of_folders(root: Path, split_names: Iterable[str]) -> Layout:
    """Frame folders and videos at or below a folder; split folders anywhere above them count."""
    base = root / "sequences" if (root / "sequences").is_dir() else root
    left_out: dict[str, list[str]] = {}
    if is_frame_folder(base):
        entries = [Entry(base.name, base)]
    else:
        entries = [
            Entry(path.relative_to(base).as_posix(), path) for path in _walk(base, base, left_out)
        ]
    names = {name.lower(): name for name in split_names}
    splits = [_split_of(entry, names) for entry in entries]
    if len(_leaf_splits(entries, names)) > 1 and not any(splits):
        # train and test are frame folders themselves
        splits = [_split_name(entry.name, names) for entry in entries]
    if not any(splits) and _split_name(root.name, {}) == "test":
        splits = ["test"] * len(entries)
    entries = [
        Entry(entry.name, entry.path, split) for entry, split in zip(entries, splits, strict=True)
    ]
    if any(splits):
        outside = [entry.name for entry in entries if entry.split is None]
        if outside:
            left_out["in no split"] = outside
        rule = "folders " + ", ".join(sorted({entry.split for entry in entries if entry.split}))
        return Layout("folders by split", rule, root, entries, left_out)
    return Layout("folders of frames, videos", "", root, entries, left_out)


def _split_of(entry: Entry, names: dict[str, str]) -> str | None:
    """The split that a folder above a sequence names; the innermost one counts."""
    for part in reversed(entry.name.split("/")[:-1]):
        if (split := _split_name(part, names)) is not None:
            return split
    return None


def _leaf_splits(entries: list[Entry], names: dict[str, str]) -> set[str]:
    found = {_split_name(entry.name, names) for entry in entries}
    return set() if None in found else found


def _split_name(folder: str, names: dict[str, str]) -> str | None:
    """The split that a folder's name means, or None."""
    if folder.lower() in names:
        return names[folder.lower()]
    match = SPLIT_FOLDER.fullmatch(folder)
    return SPLIT_NAMES[match[1].lower()] if match else None


def _walk(folder: Path, base: Path, left_out: dict[str, list[str]]) -> list[Path]:
    """Every frame folder and video at or below `folder`, sorted by path."""
    if is_frame_folder(folder):
        return [folder]
    found = []
    children = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    sharp = any(path.name.lower().endswith("sharp") for path in children if path.is_dir())
    for path in children:
        name = path.relative_to(base).as_posix()
        if path.is_dir():
            if path.is_symlink() and path.resolve() in (base.resolve(), *folder.resolve().parents):
                continue  # a circle
            if path.name.lower() in NOT_FRAMES:
                left_out.setdefault("no frames", []).append(name)
            elif sharp and BLURRED.fullmatch(path.name):
                left_out.setdefault("blurred, and there in sharp", []).append(name)
            else:
                found += _walk(path, base, left_out)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            found.append(path)
    if not found and folder != base and not any(path.is_dir() for path in children):
        count = len(list_images(folder))
        reason = "a single image" if count == 1 else "no numbered images"
        left_out.setdefault(reason, []).append(folder.relative_to(base).as_posix())
    return found


def _folders(folder: Path) -> list[Path]:
    """The folders inside, without hidden ones, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
