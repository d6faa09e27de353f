"""`lift doctor`: show which backend each op uses on this machine and verify it numerically."""

import json
import math
import sys

import torch

from lift.config.flags import Parser
from lift.errors import LiftError
from lift.files import atomic
from lift.kernels import dispatch, selfcheck
from lift.provenance import machine


def main(argv: list[str]) -> int:
    """Print the report.

    Returns:
        0, or 1 if an op has no backend under the kernels flag or a check fails.
    """
    parser = Parser(
        prog="lift doctor",
        description="Show which backend each op uses on this machine and verify it numerically.",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write the report as JSON; - prints JSON instead of text",
    )
    arguments = parser.parse_args(argv)
    report = examine()
    content = json.dumps(report, indent=2)
    print(content if arguments.json == "-" else text(report))
    if arguments.json and arguments.json != "-":
        with atomic(arguments.json) as part:
            part.write_text(content + "\n")
    return 0 if report["passed"] else 1


# -- examination -----------------------------------------------------------------------------------


def examine() -> dict:
    """Run all checks.

    Returns:
        `machine` (facts by name), `flag`, `operations` (for each op and device: the selected
        backend, and each backend's `unsupported_reason` and checks), and `passed`.

    Raises:
        LiftError: LIFT_KERNELS is not a valid flag.
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
    passed = all(map(_passed, _entries(operations)))
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
        dtypes = () if reason else selfcheck.TOLERANCES
        backends.append(
            {
                "name": backend.name,
                "fused": backend.fused,
                "automatic": backend.automatic,
                "unsupported_reason": reason,
                "checks": [_check(name, backend, dtype, device) for dtype in dtypes],
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
    if backend.unsupported_reason(*selfcheck.samples(name, dtype, device)):
        return entry | {"passed": None}  # nothing is computed in this dtype
    try:
        check = selfcheck.check(name, backend, dtype, device)
    except Exception as error:  # a kernel that does not compile or launch is a finding
        return entry | {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
    if math.isnan(check.error):
        return entry | {"failure": "NaN in the result"}
    return entry | {"error": check.error, "passed": check.passed}


def _entries(operations: dict) -> list[dict]:
    return [entry for by_device in operations.values() for entry in by_device.values()]


def _passed(entry: dict) -> bool:
    checks = [check for backend in entry["backends"] for check in backend["checks"]]
    return entry["selected"] is not None and all(check["passed"] is not False for check in checks)


# -- text ------------------------------------------------------------------------------------------


def text(report: dict) -> str:
    """The report as text: facts, selected backends, then reasons and errors of every backend."""
    dtypes = [str(dtype).removeprefix("torch.") for dtype in selfcheck.TOLERANCES]
    selected = []
    rows = [("op", "device", "backend", *(f"{dtype} error" for dtype in dtypes), "")]
    for name, by_device in report["operations"].items():
        for device, entry in by_device.items():
            selected.append((name, device, entry["selected"] or f"none: {entry['error']}"))
            for backend in entry["backends"]:
                rows.append((name, device, backend["name"], *_findings(backend, len(dtypes))))
    tolerances = zip(dtypes, selfcheck.TOLERANCES.values(), strict=True)
    allowed = ", ".join(f"{dtype} {tolerance:g}" for dtype, tolerance in tolerances)
    flag = report["flag"]
    lines = [
        "Machine",
        *_columns(list(report["machine"].items())),
        "",
        f"Kernels flag: {flag['value']} (from {flag['origin']})",
        "",
        "Selected backends",
        *_columns(selected),
        "",
        "Largest error of results and gradients against the float64 reference",
        f"(allowed: {allowed})",
        *_columns(rows),
        "",
    ]
    backends = [b for entry in _entries(report["operations"]) for b in entry["backends"]]
    if not any(backend["fused"] for backend in backends):
        lines.append("This build has no fused kernel: plain PyTorch computes everything.")
    lines.append("All checks passed." if report["passed"] else "FAILED: see above.")
    return "\n".join(lines)


def _findings(backend: dict, dtypes: int) -> tuple[str, ...]:
    if backend["unsupported_reason"]:
        return *["-"] * dtypes, f"not supported: {backend['unsupported_reason']}"
    failed = [check for check in backend["checks"] if check["passed"] is False]
    failures = sorted({c["failure"] or f"{c['dtype']} exceeds its tolerance" for c in failed})
    errors = ["-" if c["error"] is None else f"{c['error']:.1e}" for c in backend["checks"]]
    verdict = "passed" if backend["automatic"] else "passed; slow, so never selected automatically"
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
