"""Sizes and switches of the model, and its presets."""

from dataclasses import dataclass

from lift.config.values import setting


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the five stages.

    Channels are counts; radii are in pixels of the scale they are named after.
    """

    preset: str = setting("base", "name of the preset the sizes come from")
    stem_channels: int = setting(48, "encoder channels at 1/2", low=1)
    c4: int = setting(96, "encoder channels at 1/4", low=1)
    c8: int = setting(192, "encoder channels at 1/8", low=1)
    c16: int = setting(256, "encoder channels at 1/16", low=1)
    encoder_blocks: int = setting(2, "residual blocks per encoder scale", low=1)
    attn_channels: int = setting(
        256, "channels of the temporal transformer and of its output", low=1
    )
    heads: int = setting(8, "attention heads", low=1)
    layers: int = setting(
        4,
        "temporal transformer layers",
        low=1,
        hint="; model.context_mode average or none leaves the transformer out",
    )
    window: int = setting(8, "side of the attention window, 1/16 pixels", choices=(1, 2, 4, 8))
    context_mode: str = setting(
        "attention",
        "what the target reads of the input frames: attention (the temporal transformer), "
        "average (the mean of their features) or none (ablation)",
        choices=("attention", "average", "none"),
    )
    self_attention: bool = setting(
        False, "let frames attend to each other before the target's query reads them (ablation)"
    )
    corr_channels: int = setting(64, "channels of the features that are correlated", low=1)
    global_motion: bool = setting(
        True, "estimate the global motion at 1/16; without it flows start at zero at 1/8 (ablation)"
    )
    radius16: int = setting(
        6,
        "search radius of the global motion estimate between the references, 1/16 pixels",
        low=1,
    )
    radius8: int = setting(3, "search radius of the correlation at 1/8", low=1)
    radius4: int = setting(3, "search radius of the correlation at 1/4", low=1)
    hidden16: int = setting(256, "hidden channels of the global motion estimate", low=1)
    hidden8: int = setting(256, "hidden channels of the 1/8 flow block", low=1)
    hidden4: int = setting(160, "hidden channels of the 1/4 flow block", low=1)
    flow_blocks: int = setting(3, "residual blocks per flow scale", low=1)
    align8: int = setting(1, "Lucas-Kanade steps at 1/8; 0: none", low=0)
    align4: int = setting(1, "Lucas-Kanade steps at 1/4; 0: none", low=0)
    align2: int = setting(2, "Lucas-Kanade steps at 1/2; 0: none", low=0)
    propagation: int = setting(
        0,
        "passes of propagation of flows before each flow block and before the refinement, over "
        "distances that are halved from pass to pass, down to 2 pixels",
        low=0,
    )
    convex_upsampling: bool = setting(
        True, "upsample flows with predicted weights instead of bilinearly"
    )
    path_frames: int = setting(
        8,
        "largest number of frames that a point's curved path runs through, references included; "
        "2: straight paths (ablation)",
        choices=(2, 4, 6, 8),
    )
    trajectory_channels: int = setting(64, "channels of the trajectory curvature stage", low=1)
    occlusion: bool = setting(
        True,
        "predict how visible each reference is; without it they are blended by time alone "
        "(ablation)",
    )
    full_resolution_blend: bool = setting(
        True,
        "warp and blend the references at full resolution; without it the frame is the one "
        "blended at 1/4, enlarged, plus details (ablation)",
    )
    refine_channels: int = setting(
        32, "channels of the full-resolution stage, after the reduction", low=1
    )
    refine_stride: int = setting(
        1, "space-to-depth factor of the full-resolution stage", choices=(1, 2, 4)
    )
    refine_unet: bool = setting(
        False,
        "a second, coarser scale in the full-resolution stage, as in a U-Net",
    )
    sharpness: bool = setting(
        True,
        "predict how far the blend goes from bilinear to bicubic samples, which are sharper "
        "(ablation)",
    )


def base() -> ModelConfig:
    """15 to 20 M parameters, for one GPU."""
    return ModelConfig()


def small() -> ModelConfig:
    """At most 6 M parameters."""
    return ModelConfig(
        "small",
        stem_channels=32,
        c4=48,
        c8=80,
        c16=128,
        encoder_blocks=2,
        attn_channels=128,
        heads=4,
        layers=3,
        window=8,
        corr_channels=48,
        radius16=6,
        radius8=3,
        radius4=3,
        hidden16=128,
        hidden8=128,
        hidden4=80,
        flow_blocks=3,
        trajectory_channels=32,
        refine_channels=24,
        refine_stride=1,
    )


def tiny() -> ModelConfig:
    """At most 1.5 M parameters, for CPUs and tests."""
    return ModelConfig(
        "tiny",
        stem_channels=16,
        c4=32,
        c8=48,
        c16=64,
        encoder_blocks=1,
        attn_channels=64,
        heads=2,
        layers=2,
        window=4,
        corr_channels=24,
        radius16=5,
        radius8=3,
        radius4=2,
        hidden16=64,
        hidden8=96,
        hidden4=64,
        flow_blocks=2,
        align8=2,
        align4=2,
        align2=3,
        propagation=3,
        trajectory_channels=24,
        refine_channels=24,
        refine_stride=2,
        refine_unet=True,
    )


PRESETS = {"base": base, "small": small, "tiny": tiny}
