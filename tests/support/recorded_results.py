"""Made-up results of benchmarks, for tests of the report."""

import json

GPU = {
    "name": "NVIDIA H200",
    "driver": "1.2",
    "clock": 1980,
    "memory clock": 3201,
    "lowered by": [],
    "power": 90.0,
    "power limit": 700.0,
    "temperature": 40,
}

ROW = {
    "operation": "warp_blend",
    "variant": "triton",
    "fused": True,
    "device": "cuda",
    "direction": "forward",
    "dtype": "float32",
    "layout": "contiguous",
    "shape": [1, 3, 1080, 1920],
    "flow": "smooth",
    "median": 1e-4,
    "spread": 0.1,
    "bytes": 124416000,
    "gigabytes_per_second": 1244.0,
    "copy_bandwidth": 4000.0,
    "share_of_copy_bandwidth": 0.311,
    "error": 1e-7,
    "tolerance": 1e-4,
    "saved_for_backward": None,
    "peak_memory": 25_000_000,
    "first_call": 2.0001,
}

OTHER = ROW | {"variant": "eager", "fused": False, "median": 2e-4, "peak_memory": 75_000_000}

TRAINING = {"direction": "forward+backward", "saved_for_backward": 10_000_000}

ROWS = [ROW, OTHER, ROW | TRAINING, OTHER | TRAINING | {"saved_for_backward": 40_000_000}]

STEP = ROW | {  # a training step of `base`, as its targets bound it
    "operation": "training_step",
    "direction": "encoder trainable",
    "flow": "base, 1 targets",
    "shape": [4, 15, 3, 256, 256],
    "dtype": "bfloat16",
}


def write_results(folder, rows=ROWS, gpu=GPU, **more):
    """Write a folder of made-up results in the format of the harness."""
    folder.mkdir(exist_ok=True)
    lift = {
        "facts": {"torch": "2.13.0+cu130, of PyPI", "triton": "3.7.1", "CPU": "a CPU"},
        "threads": 2,
        "commit": "0123456789abcdef+",
        "gpus": [gpu] if gpu else [],
        "cuda": "13.0" if gpu else None,
    }
    (folder / "bench.json").write_text(
        json.dumps(
            {
                "machine_info": {
                    "lift": lift,
                    "cpu": {"brand_raw": "a CPU", "count": 2, "hz_actual_friendly": "2.6 GHz"},
                },
                "toy": False,
                "gpus_after": [gpu | {"clock": 1755, "lowered by": ["power limit"]}] if gpu else [],
                "datetime": "2026-11-24T10:11:12.1+00:00",
                "benchmarks": [{"extra_info": row} for row in rows],
            }
            | more
        )
    )
    return folder


def on_a_cpu(row: dict) -> dict:
    """The same row measured on a CPU."""
    return row | {
        "device": "cpu",
        "peak_memory": None,
        "variant": "cpp" if row["fused"] else row["variant"],
    }
