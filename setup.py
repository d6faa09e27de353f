"""What pyproject.toml cannot say: the folders `lift` and `kernels` become one package, with `lift.kernels` inside `lift`."""
from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["lift", "lift.*"]),
        "lift.kernels",
        *(f"lift.kernels.{name}" for name in find_packages("kernels")),
    ],
    package_dir={"lift": "lift", "lift.kernels": "kernels"},
    package_data={"lift": ["configs/*.toml", "weights/*", "assets/*"]},
)
