"""`lift doctor`: this machine's facts, what serves each operation and why the rest does not, and
whether the answers are right.
"""

import json
import sys

import torch

from lift.config.flags import Parser
from lift.errors import LiftError
from lift.files import atomic
from lift.kernels import dispatch as backend
from lift.kernels import selfcheck
from lift.provenance import machine


def main(argv: list[str]) -> int:
    """Examine the machine, print the report, and return 0, or 1 where the flag cannot be served or
    a check fails.
    """
    parser = Parser(prog="lift doctor", description=__doc__)
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write the report as JSON; - prints it instead of the text",
    )
    arguments = parser.parse_args(argv)
    report = examine()
    if arguments.json == "-":
        print(json.dumps(report, indent=2))
    else:
        print(text(report))
    if arguments.json and arguments.json != "-":
        with atomic(arguments.json) as part:
            part.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["passed"] else 1


# -- examination -----------------------------------------------------------------------------------


def examine() -> dict:
    """The report: `machine` (facts), `flag`, `operations` (for each, for each device: what serves,
    and each implementation's reason and checks), `passed`.

    Raises:
        LiftError: LIFT_KERNELS holds no valid flag.
    """
    try:
        flag = {"value": backend.flag(), "origin": backend.origin()}
    except ValueError as error:
        raise LiftError(str(error)) from error
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    operations = {
        name: {device: _operation(name, device) for device in devices}
        for name in backend.operations()
    }
    passed = all(
        _passed(entry) for by_device in operations.values() for entry in by_device.values()
    )
    return {"machine": machine(), "flag": flag, "operations": operations, "passed": passed}


def _operation(name: str, device: str) -> dict:
    arguments = selfcheck.samples(name, device=device)
    try:
        serves, refusal = backend.serving(name, *arguments), None
    except RuntimeError as error:
        serves, refusal = None, str(error).removeprefix(f"{name}: ")
    implementations = []
    for implementation in backend.operations()[name]:
        reason = implementation.reason(*arguments)
        checks = (
            []
            if reason
            else [_check(name, implementation, dtype, device) for dtype in selfcheck.TOLERANCES]
        )
        implementations.append(
            {
                "name": implementation.name,
                "fused": implementation.fused,
                "automatic": implementation.automatic,
                "reason": reason,
                "checks": checks,
            }
        )
    return {"serves": serves, "refusal": refusal, "implementations": implementations}


def _check(
    name: str, implementation: backend.Implementation, dtype: torch.dtype, device: str
) -> dict:
    entry = {
        "dtype": str(dtype).removeprefix("torch."),
        "error": None,
        "tolerance": selfcheck.TOLERANCES[dtype],
        "passed": False,
        "failure": None,
    }
    try:
        check = selfcheck.check(name, implementation, dtype, device)
        entry |= {
            "error": check.error if check.error == check.error else None,
            "passed": check.passed,
            "failure": None if check.error == check.error else "NaN in the result",
        }
    except (
        Exception
    ) as error:  # a kernel that does not compile or launch is a finding, not the doctor's end
        entry["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return entry


def _passed(entry: dict) -> bool:
    return entry["serves"] is not None and all(
        check["passed"] for i in entry["implementations"] for check in i["checks"]
    )


# -- text ------------------------------------------------------------------------------------------


def text(report: dict) -> str:
    """The report for a person: facts, then what serves each operation, then every implementation
    with its reason or its errors.
    """
    flag = report["flag"]
    lines = [
        "Machine",
        *_columns(list(report["machine"].items())),
        "",
        f"Kernel flag: {flag['value']} (from {flag['origin']})",
        "",
    ]
    lines += [
        "What serves",
        *_columns(
            [
                (name, device, entry["serves"] or f"nothing: {entry['refusal']}")
                for name, by_device in report["operations"].items()
                for device, entry in by_device.items()
            ]
        ),
        "",
    ]
    dtypes = [str(dtype).removeprefix("torch.") for dtype in selfcheck.TOLERANCES]
    rows = [("operation", "device", "implementation", *(f"{dtype} error" for dtype in dtypes), "")]
    for name, by_device in report["operations"].items():
        for device, entry in by_device.items():
            for implementation in entry["implementations"]:
                rows.append(
                    (name, device, implementation["name"], *_findings(implementation, len(dtypes)))
                )
    allowed = ", ".join(
        f"{dtype} {tolerance:g}"
        for dtype, tolerance in zip(dtypes, selfcheck.TOLERANCES.values(), strict=True)
    )
    lines += [
        f"Largest error of results and gradients against the float64 reference (allowed: {allowed})",
        *_columns(rows),
        "",
    ]
    if not any(
        i["fused"]
        for by_device in report["operations"].values()
        for entry in by_device.values()
        for i in entry["implementations"]
    ):
        lines.append("No fused kernel is part of this build: plain PyTorch serves everything.")
    lines.append("All checks passed." if report["passed"] else "FAILED: see above.")
    return "\n".join(lines)


def _findings(implementation: dict, dtypes: int) -> tuple[str, ...]:
    if implementation["reason"]:
        return *["-"] * dtypes, "cannot serve: " + implementation["reason"]
    failures = sorted(
        {
            c["failure"] or f"{c['dtype']} is off"
            for c in implementation["checks"]
            if not c["passed"]
        }
    )
    errors = ["-" if c["error"] is None else f"{c['error']:.1e}" for c in implementation["checks"]]
    verdict = (
        "right" if implementation["automatic"] else "right; slow, so taken only when asked for"
    )
    return *errors, "FAILED: " + "; ".join(failures) if failures else verdict


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    from lift.errors import run

    sys.exit(run(main))
