"""The flags of `lift evaluate`."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from pathlib import Path

from lift.commands.machine_flags import add_machine_flags
from lift.config import flag_values
from lift.config.flags import Parser
from lift.config.old_names import DEPRECATED_FLAGS
from lift.config.values import did_you_mean
from lift.evaluation import worst
from lift.evaluation.builtin_methods import BASELINES, FUNCTION
from lift.evaluation.protocols import long_context, real16
from lift.evaluation.protocols.registry import TEST_SETS
from lift.evaluation.run import Shard
from lift.evaluation.scoring import FURTHER, METRICS, STANDARD

RENAMED = {"small": real16.NAME}
CLIP_PROTOCOLS = {
    real16.NAME: "real clips listed in manifest.json, 20 targets each at 448x256",
    long_context.NAME: "targets that only frames beyond the nearest four can know",
}
NAMES = (*CLIP_PROTOCOLS, *TEST_SETS)


def parser(other_methods: Iterable[str] = ()) -> Parser:
    """The parser; `other_methods` are names of methods beside lift and the baselines."""
    made = Parser(
        prog="lift evaluate",
        description="Score weights, baselines and other methods under a published protocol.",
        epilog=f"protocols (also: --protocol list)\n{protocol_list()}",
    )
    _add_inputs(made, (*BASELINES, *other_methods))
    _add_outputs(made)
    made.deprecated_flags |= DEPRECATED_FLAGS
    return made


def protocol_list() -> str:
    """Name and layout of every protocol, a line each."""
    rows = {**CLIP_PROTOCOLS, **{name: each.layout for name, each in TEST_SETS.items()}}
    width = max(map(len, rows)) + 2
    return "\n".join(f"  {name:<{width}}{text}" for name, text in rows.items())


def _add_inputs(made: Parser, known_methods: tuple[str, ...]) -> None:
    made.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights to score: a .safetensors file, or the name of bundled weights (tiny)",
    )
    made.add_argument(
        "--data_root",
        metavar="DIR",
        help="folder of the test set; real16: of clips and their manifest.json; frames: a video, "
        f"or frames; without it {long_context.NAME} scores its synthetic clips only",
    )
    made.add_argument(
        "--protocol",
        type=_protocol,
        default=real16.NAME,
        metavar="NAME",
        help=f"how frames are chosen, prepared and scored (default {real16.NAME})",
    )
    made.add_argument(
        "--split",
        help="only clips of this split: train, val, test or all (default all)",
        choices=("train", "val", "test", "all"),
    )
    made.add_argument(
        "--clips", type=flag_values.names, metavar="A,B", help="only these clips or groups"
    )
    made.add_argument(
        "--every",
        type=flag_values.whole_number(1),
        metavar="K",
        help="only every K-th sample of a test set",
    )
    made.add_argument(
        "--limit",
        type=flag_values.whole_number(1),
        metavar="N",
        help="only the first N samples of a test set, of those that --every leaves",
    )
    made.add_argument(
        "--methods",
        type=_methods(known_methods),
        metavar="A,B",
        help=f"methods to score: lift, {', '.join(known_methods)}, or path/to/file.py:function, "
        "called as function(frame0, frame1, t) (default lift with --checkpoint, average, dis, and "
        "dis_cubic where there are four input frames)",
    )
    made.add_argument(
        "--frames",
        type=flag_values.named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="also score frames that another program saved as DIR/SAMPLE.png; can be repeated",
    )
    made.add_argument(
        "--context_frames",
        type=flag_values.whole_numbers(2),
        metavar="N,M",
        help="input frames of lift, 2 or more; several are compared (default: 2 and the most that "
        f"the protocol has; real16: 15; {long_context.NAME}: "
        f"{','.join(map(str, long_context.CONTEXT_FRAMES))})",
    )
    made.add_argument(
        "--metrics",
        type=_metrics,
        metavar="A,B",
        help=f"also compute {', '.join(FURTHER)}",
    )
    made.add_argument(
        "--reversal",
        action="store_true",
        default=None,
        help="also compare lift with itself on the time-reversed clips",
    )
    add_machine_flags(made)


def _add_outputs(made: Parser) -> None:
    made.add_argument(
        "--output",
        metavar="FILE",
        help="write the means to this JSON file, and the scores of each sample to a CSV file "
        "beside it; the same command resumes an evaluation that was stopped",
    )
    made.add_argument(
        "--restart",
        action="store_true",
        default=None,
        help="score everything anew, in place of what is at --output",
    )
    made.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="score the I-th of N parts; the process that finds all parts done writes the files "
        "(under torchrun each process is a part)",
    )
    made.add_argument(
        "--save_frames",
        type=Path,
        metavar="DIR",
        help="write the generated frames as DIR/METHOD/SAMPLE.png",
    )
    made.add_argument(
        "--worst",
        type=_picture,
        metavar="FILE",
        help="also draw the worst frames: inputs, truth, result, flow, errors of lift and dis",
    )
    made.add_argument(
        "--worst_count",
        type=flag_values.whole_number(1),
        default=5,
        metavar="N",
        help="frames in that picture, one of each clip where there are enough (default 5)",
    )
    made.add_argument(
        "--worst_by",
        choices=worst.ORDERS,
        default="gain",
        help="the worst frames have the lowest PSNR gain over dis, or the lowest psnr "
        "(default gain)",
    )


# -- values ----------------------------------------------------------------------------------------


def _protocol(text: str) -> str:
    if text in RENAMED:
        print(f"lift evaluate: warning: protocol {text} is now {RENAMED[text]}", file=sys.stderr)
        text = RENAMED[text]
    if text != "list" and text not in NAMES:
        raise ArgumentTypeError(
            f"unknown protocol '{text}'{did_you_mean(text, NAMES)}; there are {', '.join(NAMES)}"
        )
    return text


def _methods(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = flag_values.names(text)
        for name in names:
            if name not in ("lift", *known) and not FUNCTION.fullmatch(name):
                raise ArgumentTypeError(
                    f"unknown method '{name}'{did_you_mean(name, ('lift', *known))}; there are "
                    f"lift, {', '.join(known)}, and path/to/file.py:function"
                )
        return list(dict.fromkeys(names))

    return parse


def _metrics(text: str) -> list[str]:
    names = flag_values.names(text)
    for name in names:
        if name not in METRICS:
            raise ArgumentTypeError(
                f"unknown metric '{name}'{did_you_mean(name, METRICS)}; there are "
                f"{', '.join(FURTHER)}, and always {', '.join(STANDARD)}"
            )
    return names


def _shard(text: str) -> Shard:
    index, slash, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()) or not 1 <= int(index) <= int(count):
        raise ArgumentTypeError(f"must be I/N with I from 1 to N, such as 1/4, got '{text}'")
    return Shard(int(index) - 1, int(count))


def _picture(text: str) -> str:
    if Path(text).suffix.lower() not in (".png", ".jpg", ".pdf"):
        raise ArgumentTypeError(f"must be a .png, .jpg or .pdf file, got '{text}'")
    return text
