"""Configurations: defaults, then a file, then flags; every mistake is one sentence that names the
key.
"""

import json
import shlex
from dataclasses import fields

import pytest

from lift.config import (
    BUILTIN_FOLDER,
    PRESETS,
    SECTIONS,
    Config,
    DataConfig,
    TrainConfig,
    add_flags,
    apply_flags,
    from_dict,
    load_config,
    old_names,
    resolve,
    to_dict,
    to_flags,
)
from lift.config.flags import Parser
from lift.errors import LiftError

FIELDS = [(section, field) for section, cls in SECTIONS.items() for field in fields(cls)]
PHASES = ("warmup", "finetune", "polish")
BUNDLED = ("pairs128", "pairs224", "context224")


def parse(*argv: str):
    parser = Parser(prog="lift train")
    add_flags(parser)
    return parser.parse_args(argv)


def written(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


# -- plain data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_json(preset):
    config = Config(
        model=PRESETS[preset](),
        data=DataConfig(strides=(3, 5)),
        train=TrainConfig(lr=1e-3),
        kernels="reference",
    )
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_what_is_missing_stays_as_in_the_base():
    base = Config(train=TrainConfig(seed=7))
    assert from_dict({"train": {"epochs": 3}}, base) == Config(train=TrainConfig(seed=7, epochs=3))


def test_a_preset_in_a_file_sets_the_sizes_and_its_other_keys_change_single_ones():
    model = from_dict({"model": {"layers": 1, "preset": "tiny"}}).model
    tiny, base = (PRESETS[name]().stem_channels for name in ("tiny", "base"))
    assert model.layers == 1 and model.stem_channels == tiny != base


def test_a_whole_number_serves_as_a_number():
    lr = from_dict({"train": {"lr": 1}}).train.lr
    assert lr == 1.0 and type(lr) is float


@pytest.mark.parametrize(
    "data, words",
    [
        ({"train": {"batchsize": 4}}, ("'train.batchsize'", "did you mean 'batch_size'")),
        ({"trian": {}}, ("'trian'", "did you mean 'train'")),
        ({"zzz": 1}, ("'zzz'", "model, data, train, kernels")),
        ({"train": {"lr": "fast"}}, ("train.lr", "a number", "'fast'")),
        ({"train": {"epochs": 1.5}}, ("train.epochs", "a whole number", "1.5")),
        ({"train": {"epochs": True}}, ("train.epochs", "a whole number", "True")),
        ({"data": {"preload": 1}}, ("data.preload", "true or false")),
        ({"data": {"strides": 2}}, ("data.strides", "a list of whole numbers")),
        ({"data": {"strides": [2, 2.5]}}, ("data.strides", "a list of whole numbers")),
        ({"model": 3}, ("model", "a section", "3")),
        ([], ("a configuration", "a section", "[]")),
        (
            {"model": {"preset": "tinny"}},
            ("model.preset", "base, small, tiny", "did you mean 'tiny'"),
        ),
        ({"model": {"window": 3}}, ("model.window", "1, 2, 4, 8", "3")),
        ({"model": {"layers": 0}}, ("model.layers", "at least 1", "0")),
        ({"model": {"heads": 7}}, ("model.attn_channels", "model.heads (7)")),
        ({"kernels": "fusd"}, ("kernels", "auto, fused, reference", "did you mean 'fused'")),
        ({"data": {"sampling": "skipped"}}, ("data.sampling", "skip, dense")),
        ({"data": {"strides": []}}, ("data.strides", "at least one")),
        ({"data": {"strides": [2, 0]}}, ("data.strides", "at least 1", "[2, 0]")),
        (
            {"data": {"min_context_frames": 9, "context_frames": 8}},
            ("data.min_context_frames", "data.context_frames (8)", "9"),
        ),
        ({"data": {"min_context_frames": 1}}, ("data.min_context_frames", "at least 2")),
        (
            {"data": {"sampling": "dense", "context_frames": 17}},
            ("data.context_frames", "at most 15"),
        ),
        ({"data": {"synthetic_fraction": 1.5}}, ("data.synthetic_fraction", "from 0 to 1")),
        ({"train": {"amp": "fp8"}}, ("train.amp", "bfloat16", "'fp8'")),
        ({"train": {"lr": float("nan")}}, ("train.lr", "finite")),
        ({"train": {"lr": 1e-7}}, ("train.lr_min", "train.lr (1e-07)")),
        ({"train": {"ema_decay": 1.0}}, ("train.ema_decay", "less than 1")),
        ({"train": {"device": "gpu"}}, ("train.device", "cuda:N", "'gpu'")),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key(data, words):
    with pytest.raises(LiftError) as caught:
        from_dict(data)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


# -- files -----------------------------------------------------------------------------------------


def test_a_file_changes_what_it_names(tmp_path):
    path = written(tmp_path / "mine.toml", 'kernels = "reference"\n[data]\nstrides = [2, 8]\n')
    assert load_config(path) == Config(data=DataConfig(strides=(2, 8)), kernels="reference")


@pytest.mark.parametrize(
    "content, word",
    [
        (b"[train\n", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"[train]\nlr = 0\n", "train.lr"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, word):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(LiftError) as caught:
        load_config(path)
    assert (
        str(path) in str(caught.value)
        and word in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_a_missing_file_is_answered_with_the_builtin_ones():
    with pytest.raises(
        LiftError, match="pairs224, polish, tiny_long, warmup; did you mean 'warmup'"
    ):
        load_config("warmpu")


def test_the_phases_are_builtin_and_there_are_no_others():
    assert sorted(file.stem for file in BUILTIN_FOLDER.glob("*.toml")) == sorted(
        [*PHASES, *BUNDLED, "tiny_long", "ablate_cpu"]
    )


def test_the_phases_follow_each_other():
    warmup, finetune, polish = (load_config(name) for name in PHASES)
    assert [(c.data.crop_height, c.data.crop_width) for c in (warmup, finetune, polish)] == [
        (224, 224),
        (256, 256),
        (256, 448),
    ]
    assert warmup.train.freeze_epochs >= warmup.train.epochs == 10, (
        "the encoder stays frozen throughout the warm-up"
    )
    assert finetune.train.freeze_epochs == polish.train.freeze_epochs == 0
    assert polish.train.epochs == 50
    assert (
        warmup.train.lr
        == finetune.train.lr
        == 3e-4
        > finetune.train.lr_min
        == polish.train.lr
        > polish.train.lr_min
    )


def test_the_phases_of_bundled_weights_go_from_small_pairs_to_context_with_a_free_encoder():
    small, large, context = (load_config(name) for name in BUNDLED)
    assert small.data.crop_width < large.data.crop_width == context.data.crop_width
    assert [c.data.context_frames for c in (small, large, context)] == [2, 2, 15]
    for c in (small, large, context):
        assert (
            c.train.freeze_epochs == 0
            and c.train.epoch_steps
            and c.data.preload
            and c.data.data_source == "mixed"
        )
        assert (
            c.data.strides == (2, 2, 2, 4)
            and c.data.resize_short_side == 256
            and c.train.warmup_steps <= c.train.epochs * c.train.epoch_steps / 10
        )
    assert small.train.lr > large.train.lr > context.train.lr


# -- flags -----------------------------------------------------------------------------------------


def test_flags_go_before_the_file_and_the_file_before_the_defaults(tmp_path):
    path = written(tmp_path / "mine.toml", "[train]\nbatch_size = 2\nepochs = 9\n")
    config = resolve(parse("--config", str(path), "--epochs", "5"))
    assert config == Config(train=TrainConfig(batch_size=2, epochs=5))


def test_no_flags_leave_the_defaults():
    assert resolve(parse()) == Config()


@pytest.mark.parametrize("section, field", FIELDS, ids=lambda v: getattr(v, "name", v))
def test_every_field_has_a_flag_in_both_spellings(section, field):
    value = field.default
    words = (
        [str(v) for v in value]
        if isinstance(value, tuple)
        else []
        if isinstance(value, bool)
        else [str(value)]
    )
    for spelling in (field.name, field.name.replace("_", "-")):
        given = vars(parse(f"--{spelling}", *words))
        ((name, got),) = given.items()
        assert name == f"{section}.{field.name}"
        assert got == (
            True if isinstance(value, bool) else list(value) if isinstance(value, tuple) else value
        )


def test_a_value_or_a_name_that_ends_like_a_flag_is_none():
    parser = Parser()
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--fps")
    args = parser.parse_args(["myfps", "--fps", "60fps"])
    assert (args.paths, args.fps) == (["myfps"], "60fps")


def test_a_command_s_own_flags_have_both_spellings_too():
    parser = Parser()
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--max_size", type=int)
    for argv in (["--dry-run", "--max_size=3"], ["--dry_run", "--max-size", "3"]):
        given = parser.parse_args(argv)
        assert given.dry_run and given.max_size == 3
    assert parser.parse_args(["--max-size", "-1"]).max_size == -1


def test_flag_names_are_unique_across_sections():
    names = [field.name for _, field in FIELDS] + ["config", "kernels"]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "argv, preload",
    [(["--preload"], True), (["--no_preload"], False), (["--no-preload"], False), ([], True)],
)
def test_a_switch_turns_on_and_off(argv, preload):
    base = Config(data=DataConfig(preload=True)) if "--preload" not in argv else Config()
    assert apply_flags(base, parse(*argv)).data.preload is preload


def test_several_values_become_a_tuple():
    assert resolve(parse("--strides", "2", "8")).data.strides == (2, 8)


@pytest.mark.parametrize(
    "argv", [["--preset", "tiny", "--layers", "1"], ["--layers", "1", "--preset", "tiny"]]
)
def test_the_preset_flag_replaces_the_model_before_the_other_flags(argv, tmp_path):
    path = written(tmp_path / "mine.toml", "[model]\nstem_channels = 8\n")
    model = resolve(parse("--config", str(path), *argv)).model
    assert model.layers == 1 and model.preset == "tiny"
    assert model.stem_channels == PRESETS["tiny"]().stem_channels


def test_a_command_s_own_argument_is_no_field():
    parser = Parser()
    add_flags(parser, sections=())
    parser.add_argument("--context", type=int)
    assert resolve(parser.parse_args(["--context", "7"])) == Config()


def test_a_flag_s_value_is_checked():
    with pytest.raises(
        LiftError, match="data.min_context_frames must be at most data.context_frames"
    ):
        resolve(parse("--min_context_frames", "16"))


@pytest.mark.parametrize(
    "argv, words",
    [
        (
            ["--batchsize", "4"],
            ("lift train: error:", "'--batchsize'", "did you mean '--batch_size'"),
        ),
        (["--bat", "4"], ("'--bat'",)),
        (["--lr=x"], ("--lr", "'x'")),
        (["clip"], ("unexpected argument 'clip'",)),
    ],
)
def test_a_mistake_in_a_flag_is_one_line_and_exit_code_2(argv, words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert message.count("\n") == 1 and all(word in message for word in words), message


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(model=PRESETS["small"](), kernels="reference"),
        from_dict(
            {
                "model": {"preset": "tiny", "layers": 1, "self_attention": True},
                "kernels": "fused",
                "data": {"data_root": "a folder/b", "strides": [4], "preload": True},
                "train": {"lr": 1 / 3, "channels_last": False, "lr_min": 1e-5},
            }
        ),
    ],
    ids=["defaults", "preset", "much"],
)
def test_a_configuration_can_be_to_flags_as_flags(config):
    assert resolve(parse(*shlex.split(" ".join(to_flags(config).values())))) == config


# -- former names ----------------------------------------------------------------------------------

OLD = [
    (section, name, new)
    for section, names in old_names.RENAMED.items()
    for name, new in names.items()
]


@pytest.mark.parametrize("section, name, new", OLD)
def test_a_former_name_loads_from_a_stored_configuration_and_nowhere_else(
    section, name, new, tmp_path, capsys
):
    value = getattr(getattr(Config(), section), new)
    stored = from_dict({section: {name: value}})
    assert getattr(getattr(stored, section), new) == value
    assert from_dict({section: {name: value, new: value}}) == stored
    path = written(tmp_path / "mine.toml", f"[{section}]\n{name} = {json.dumps(value)}\n")
    with pytest.raises(LiftError, match=rf"{section}\.{name} is now {section}\.{new}"):
        load_config(path)
    with pytest.raises(SystemExit):
        parse(f"--{name}", "1")
    assert f"--{new}" in capsys.readouterr().err


def test_a_file_with_several_former_names_hears_all_of_them_at_once(tmp_path):
    path = written(tmp_path / "mine.toml", "[model]\nstem = 8\nbend = 8\n[train]\nema = 0.9\n")
    with pytest.raises(LiftError) as error:
        load_config(path)
    for new in ("model.stem_channels", "model.trajectory_channels", "train.ema_decay"):
        assert new in str(error.value)


def test_a_flag_that_meant_two_things_names_both(capsys):
    with pytest.raises(SystemExit):
        parse("--context", "8")
    message = capsys.readouterr().err
    assert "--context_frames" in message and "--attn_channels" in message
