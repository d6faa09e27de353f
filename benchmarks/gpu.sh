#!/usr/bin/env bash
# Everything that only a machine with a GPU can tell, by one command: build, tests that run natively there, benchmarks.
#
#   benchmarks/gpu.sh [--quick] [--dry-run] [FOLDER]
#
# Results land in FOLDER (default: $OUT, else benchmarks/results/latest): a JSON file a suite, a log a step, summary.txt. A step that fails
# does not stop the others; the exit code is 1 when any did. --quick: the cases that say most. --dry-run: walks through every step on the
# CPU at toy size, Triton under its interpreter; its figures are worth nothing. PYTHON names the Python to use (default: .venv's, else
# python3). Needs torch, Triton, ninja, pybind11, pytest, pytest-benchmark, hypothesis, nvidia-ml-py, a C++ compiler, and no network;
# nvcc for the CUDA kernels. compute-sanitizer runs where it is on the path or COMPUTE_SANITIZER names it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=() dry=0 folder=""
for argument in "$@"; do
  case "$argument" in
    --quick) quick=(--quick) ;;
    --dry-run) dry=1 ;;
    -*) echo "gpu.sh: error: unknown flag '$argument' (there are --quick and --dry-run)" >&2; exit 2 ;;
    *) folder="$argument" ;;
  esac
done
folder="${folder:-${OUT:-benchmarks/results/latest}}"
python="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"
mkdir -p "$folder" && : > "$folder/summary.txt" || exit 2

if [ "$dry" = 1 ]; then
  export CUDA_VISIBLE_DEVICES="" TRITON_INTERPRET=1
  quick=(--toy) tests=(tests/test_warp_blend_cpp.py -k "serves or logits")
else
  "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "gpu.sh: error: torch finds no GPU here; --dry-run walks through the steps without one" >&2; exit 2; }
  unset TRITON_INTERPRET
  tests=(tests/test_*parity*.py tests/test_*gpu*.py tests/test_*native*.py tests/test_warp_blend_cpp.py)
fi

failed=0
# step NAME COMMAND...: run it, keep what it prints in NAME.log, note how it ended.
step() {
  local name="$1" start=$SECONDS; shift
  echo "== $name"
  if "$@" > "$folder/$name.log" 2>&1; then local ended=passed; else local ended="FAILED (exit code $?)"; failed=1; fi
  tail -n 3 "$folder/$name.log"
  echo "$name: $ended, $((SECONDS - start)) s" | tee -a "$folder/summary.txt"
}

step build "$python" -m lift.kernels.extension
step doctor "$python" -m lift doctor --json "$folder/doctor.json"
step tests "$python" -m pytest -p no:cacheprovider --benchmark-disable "${tests[@]}"

# A few of the CUDA kernels' cases, many times slower there; without torch's cache of memory, which would hide what lies outside a tensor.
sanitizer="${COMPUTE_SANITIZER:-$(command -v compute-sanitizer)}"
for tool in memcheck racecheck; do
  if [ "$dry" = 1 ] || [ -z "$sanitizer" ]; then
    echo "$tool: left out, $([ "$dry" = 1 ] && echo "a dry run" || echo "compute-sanitizer was not found")" | tee -a "$folder/summary.txt"
  else
    step "$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout 300 "$sanitizer" --tool "$tool" --error-exitcode 9 --target-processes all \
      "$python" -m pytest -p no:cacheprovider tests/test_grid_sample_native.py -k "pytorchs and bilinear and zeros and True"
  fi
done

for suite in benchmarks/bench_*.py; do
  name="$(basename "$suite" .py)"
  step "$name" "$python" -m pytest -p no:cacheprovider "$suite" "${quick[@]}" --benchmark-quiet --benchmark-json "$folder/$name.json"
done

echo
cat "$folder/summary.txt"
[ "$dry" = 1 ] && echo "This was a dry run: its figures are worth nothing."
exit $failed
