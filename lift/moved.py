"""Modules that earlier versions had under another name: importing one names the new one."""

from importlib.abc import MetaPathFinder

MOVED = {
    "lift.backend": "lift.kernels.dispatch",
    "lift.config_values": "lift.config.values",
    "lift.demo": "lift.commands.demo",
    "lift.doctor": "lift.commands.doctor",
    "lift.bench": "lift.commands.bench",
    "lift.flags": "lift.config.flags",
    "lift.origin": "lift.provenance",
    "lift.data.batch": "lift.data.sample",
    "lift.data.several": "lift.data.sample",
    "lift.data.video_sequence": "lift.io.video_index",
    "lift.evaluation.command": "lift.commands.evaluate",
    "lift.evaluation.small": "lift.evaluation.protocols.real16",
    "lift.kernels.ahead_of_time": "benchmarks.static.compile",
    "lift.kernels.attention": "lift.kernels.ops.temporal_attention",
    "lift.kernels.backend": "lift.kernels.dispatch",
    "lift.model.prediction": "lift.model.types",
    "lift.training.average": "lift.training.optim",
    "lift.training.bundle": "lift.release.export",
    "lift.training.card": "lift.release.model_card",
    "lift.training.curve": "lift.release.curves",
    "lift.training.history": "lift.provenance",
    "lift.training.journal": "lift.training.logger",
    "lift.training.memory": "lift.profiling.memory",
    "lift.training.processes": "lift.training.distributed",
    "lift.training.schedule": "lift.training.optim",
    "lift.training.setup": "lift.training.state",
    "lift.training.stages": "lift.profiling.stages",
    "lift.video.command": "lift.commands.interpolate",
    "lift.video.frame_change": "lift.scenes.frame_change",
    "lift.video.read": "lift.io.decode",
    "lift.video.scenes": "lift.scenes.detector",
    "lift.video.streams": "lift.io.streams",
    "lift.video.write": "lift.io.encode",
}


class MovedModules(MetaPathFinder):
    """The last finder, for modules that no other one finds."""

    def find_spec(self, name, path=None, target=None):
        if name in MOVED:
            raise ModuleNotFoundError(f"{name} is now {MOVED[name]}", name=name)
        return None
