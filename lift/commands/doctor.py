"""`lift doctor`: facts on this machine, the backend of each op, and whether results are right."""

import json
import sys

import torch

from lift.config.flags import Parser
from lift.errors import LiftError
from lift.files import atomic
from lift.kernels import dispatch, selfcheck
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
    """The report: `machine` (facts), `flag`, `operations` (for each, for each device: the selected
    backend, and each backend's `unsupported_reason` and checks), `passed`.

    Raises:
        LiftError: LIFT_KERNELS holds no valid flag.
    """
    try:
        flag = {"value": dispatch.flag(), "origin": dispatch.flag_source()}
    except ValueError as error:
        raise LiftError(str(error)) from error
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    operations = {
        name: {device: _operation(name, device) for device in devices}
        for name in dispatch.operations()
    }
    passed = all(
        _passed(entry) for by_device in operations.values() for entry in by_device.values()
    )
    return {"machine": machine(), "flag": flag, "operations": operations, "passed": passed}


def _operation(name: str, device: str) -> dict:
    arguments = selfcheck.samples(name, device=device)
    try:
        selected, error = dispatch.selected_backend(name, *arguments), None
    except RuntimeError as failure:
        selected, error = None, str(failure).removeprefix(f"{name}: ")
    backends = []
    for backend in dispatch.operations()[name]:
        reason = backend.unsupported_reason(*arguments)
        checks = (
            []
            if reason
            else [_check(name, backend, dtype, device) for dtype in selfcheck.TOLERANCES]
        )
        backends.append(
            {
                "name": backend.name,
                "fused": backend.fused,
                "automatic": backend.automatic,
                "unsupported_reason": reason,
                "checks": checks,
            }
        )
    return {"selected": selected, "error": error, "backends": backends}


def _check(name: str, backend: dispatch.Backend, dtype: torch.dtype, device: str) -> dict:
    entry = {
        "dtype": str(dtype).removeprefix("torch."),
        "error": None,
        "tolerance": selfcheck.TOLERANCES[dtype],
        "passed": False,
        "failure": None,
    }
    try:
        check = selfcheck.check(name, backend, dtype, device)
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
    return entry["selected"] is not None and all(
        check["passed"] for i in entry["backends"] for check in i["checks"]
    )


# -- text ------------------------------------------------------------------------------------------


def text(report: dict) -> str:
    """The report for a person: facts, then the selected backend of each op, then every backend
    with the reason why it is not supported, or its errors.
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
        "Selected backends",
        *_columns(
            [
                (name, device, entry["selected"] or f"none: {entry['error']}")
                for name, by_device in report["operations"].items()
                for device, entry in by_device.items()
            ]
        ),
        "",
    ]
    dtypes = [str(dtype).removeprefix("torch.") for dtype in selfcheck.TOLERANCES]
    rows = [("operation", "device", "backend", *(f"{dtype} error" for dtype in dtypes), "")]
    for name, by_device in report["operations"].items():
        for device, entry in by_device.items():
            for backend in entry["backends"]:
                rows.append((name, device, backend["name"], *_findings(backend, len(dtypes))))
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
        for i in entry["backends"]
    ):
        lines.append("This build has no fused kernel: plain PyTorch computes everything.")
    lines.append("All checks passed." if report["passed"] else "FAILED: see above.")
    return "\n".join(lines)


def _findings(backend: dict, dtypes: int) -> tuple[str, ...]:
    if backend["unsupported_reason"]:
        return *["-"] * dtypes, "not supported: " + backend["unsupported_reason"]
    failures = sorted(
        {c["failure"] or f"{c['dtype']} is off" for c in backend["checks"] if not c["passed"]}
    )
    errors = ["-" if c["error"] is None else f"{c['error']:.1e}" for c in backend["checks"]]
    verdict = "right" if backend["automatic"] else "right; slow, so taken only when asked for"
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
