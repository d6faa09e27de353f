#!/usr/bin/env bash
# Everything that only a machine with a GPU can tell, by one command: build, tests that run natively there, the sanitizer, benchmarks,
# 32 training steps with and without the kernels, the profile of one, settings of the attention for the card and its benchmark again with
# them, hardware counters of the kernels furthest from their roofline, the report.
#
#   benchmarks/gpu.sh [--quick] [--minutes N] [--steps "NAME ..."] [--dry-run] [FOLDER]        (or: make gpu QUICK=1, make gpu-dry-run)
#
# Results land in FOLDER (default: $OUT, else benchmarks/results/<the card>, else for --quick build/gpu-quick): summary.md and summary.json, a
# JSON file and a log a step, and with the tuned settings tuned.json, a copy of kernels/attention/tuned.json. A step that fails does
# not stop the others; the exit code is 1 when any did. --quick: the cases that say most, in 8 minutes; what no time is left for is named.
# --minutes: the same limit for all cases. --steps: these alone, and FOLDER keeps what others found. --dry-run: walks through every step on
# the CPU at toy size, Triton under its interpreter; its figures are worth nothing.
# PYTHON names the Python to use (default: .venv's, else python3). It needs torch, Triton, ninja, pybind11, pytest, pytest-benchmark,
# hypothesis, nvidia-ml-py, a C++ compiler, and no network; nvcc for the CUDA kernels; LIFT need not be installed. Tests run side by side
# where pytest-xdist is there. compute-sanitizer runs where it is on the path or COMPUTE_SANITIZER names it, counters
# where ncu is or NCU names it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=0 dry=0 minutes="" only="" folder=""
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --dry-run) dry=1 ;;
    --minutes) minutes="${2:-}"; shift
      [[ "$minutes" =~ ^[0-9]+$ ]] || { echo "gpu.sh: error: --minutes takes a whole number, got '$minutes'" >&2; exit 2; } ;;
    --steps) only=" ${2:-} "; shift ;;
    -*) echo "gpu.sh: error: unknown flag '$1' (there are --quick, --minutes, --steps and --dry-run)" >&2; exit 2 ;;
    *) folder="$1" ;;
  esac
  shift
done
python="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"
"$python" -c 'import torch' 2>/dev/null || {
  echo "gpu.sh: error: $python has no torch; make env makes an environment, or PYTHON=... names a Python that has it" >&2; exit 2; }

size=() total=0 device=cuda
tests=(-m "gpu or native" -k "not cpp")                  # what computes on a GPU, without the kernels for CPUs
training=() profile=()
if [ "$dry" = 1 ]; then
  export CUDA_VISIBLE_DEVICES="" TRITON_INTERPRET=1
  size=(--toy) device=cpu tests+=(-k "not cpp and (nothing_have or refused or gradient_of_the_result or replays)")
  training+=(--steps 2 --size 1 3 32 32) profile+=(--preset tiny --batch 1 --frames 3 --size 32 --warm-up 1)
else
  "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
    echo "gpu.sh: error: torch finds no GPU here; --dry-run walks through the steps without one" >&2; exit 2; }
  unset TRITON_INTERPRET
  card="$("$python" -c 'import torch
from benchmarks.cards import named
found = torch.cuda.get_device_name()
print((card.name if (card := named(found)) else found.removeprefix("NVIDIA ")).lower().replace(" ", "_"))')"
  workers="$("$python" -c 'import os, torch, xdist
print(max(1, min(8, os.cpu_count(), torch.cuda.get_device_properties(0).total_memory >> 33)))' 2>/dev/null)"     # 8 GiB of the card each
  [ -n "$workers" ] && tests+=(-n "$workers")
  if [ "$quick" = 1 ]; then
    size=(--quick) total=470                            # seconds, of the 8 minutes that are promised
  fi
fi
[ -n "$minutes" ] && total=$((60 * minutes))
default="benchmarks/results/${card:-dry-run}"
[ "$quick$dry" = 00 ] || default="build/gpu-quick"
folder="${folder:-${OUT:-$default}}"
mkdir -p "$folder" && : >> "$folder/steps.tsv" && : > "$folder/left_out.txt" || exit 2
if [ -z "$only" ]; then                                 # what an earlier run left
  : > "$folder/steps.tsv"
  rm -rf "$folder"/untuned "$folder"/{build,doctor,tests,memcheck,racecheck,convergence*,profile,bench_*,tun*,counters,roofline,report}.{json,log}
fi
[ "$quick" = 1 ] && echo "cases beyond --quick, tuning, counters: benchmarks/gpu.sh without it runs them" >> "$folder/left_out.txt"

# usual NAME: seconds that a step takes of a quick run, at most; of --minutes in proportion.
usual() {
  case "$1" in
    build) echo 80 ;; tests) echo 90 ;; doctor | profile) echo 25 ;; memcheck | racecheck | roofline | bench_model | bench_streaming) echo 40 ;;
    tune | bench_attention_tuned | counters) echo 120 ;; report) echo 60 ;; *) echo 35 ;;
  esac
}
wanted() { [[ -z "$only" || "$only" == *" ${1/bench_attention_tuned/tune} "* ]]; }

suites=($(basename -s .py benchmarks/bench_*.py)) model=(bench_model bench_streaming)
operations=($(printf '%s\n' "${suites[@]}" | grep -vxF "$(printf '%s\n' "${model[@]}")"))
names=(build doctor tests memcheck racecheck "${operations[@]}" convergence convergence_bf16 profile "${model[@]}")
[ "$quick$dry" = 00 ] && names+=(tune bench_attention_tuned counters roofline report)
for name in $only; do
  [[ " ${names[*]} " == *" $name "* ]] || { echo "gpu.sh: error: no step '$name' here (there are ${names[*]})" >&2; exit 2; }
done
failed=0 rest=0                                         # rest: what the steps to come take usually
for name in "${names[@]}"; do wanted "$name" && rest=$((rest + $(usual "$name"))); done

ended() {
  sed -i "/^$1\t/d" "$folder/steps.tsv"                  # of an earlier run
  printf '%s\t%s\t%s\n' "$@" >> "$folder/steps.tsv"; echo "$1: $2, $3 s"
  rest=$((rest - $(usual "$1")))
}

# seconds NAME: what a step may take: of a quick run what it takes usually, of --minutes its part of what is left, else an hour.
seconds() {
  local left=$((total - SECONDS)) most; most="$(usual "$1")"
  if [ "$total" = 0 ]; then echo 3600; return; fi
  if [ "$quick" = 0 ]; then most=$((left * most / rest)); fi
  echo $((most < left ? most : left))
}

# step NAME COMMAND...: run it, keep what it prints in NAME.log, note how it ended. An interrupted pytest still writes its rows.
step() {
  local name="$1" start=$SECONDS allowed code; allowed="$(seconds "$1")"; shift
  wanted "$name" || return
  echo "== $name"
  if [ "$allowed" -lt 10 ]; then ended "$name" "left out, no time was left" 0; return; fi
  timeout --signal INT --kill-after 10 "$allowed" "$@" > "$folder/$name.log" 2>&1; code=$?
  tail -n 3 "$folder/$name.log"
  case $code in
    0) ended "$name" passed $((SECONDS - start)) ;;
    5) ended "$name" "left out, nothing of it runs here" $((SECONDS - start)) ;;          # pytest found no test
    6) ended "$name" "left out, $(tail -n 1 "$folder/$name.log")" $((SECONDS - start)) ;;
    124 | 137) failed=1; ended "$name" "FAILED (stopped after $allowed s)" $((SECONDS - start)) ;;
    *) failed=1; ended "$name" "FAILED (exit code $code)" $((SECONDS - start)) ;;
  esac
}

# pytest_step NAME ARGUMENT...: pytest, which begins nothing more when four fifths of the time are over.
pytest_step() {
  local name="$1"; shift
  step "$name" "$python" -m pytest -p no:cacheprovider -p benchmarks.budget --budget $(($(seconds "$name") * 4 / 5)) "$@"
}

marked=($(grep -lE 'mark\.(gpu|native)\b' tests/test_*.py))
"$python" -c 'import av, cv2, safetensors, scenedetect' 2> /dev/null || {
  marked=($(grep -L 'mark\.videos\b' "${marked[@]}"))
  echo "tests of commands that read videos: PyAV, OpenCV, PySceneDetect or safetensors is not there" >> "$folder/left_out.txt"; }

step build "$python" -m lift.kernels.extension
step doctor env -u TRITON_INTERPRET "$python" -m lift doctor --json "$folder/doctor.json"
pytest_step tests --benchmark-disable --in-turn "${tests[@]}" "${marked[@]}"

# A few cases of each kernel, many times slower there; without torch's cache of memory, which would hide what lies outside a tensor.
sanitizer="${COMPUTE_SANITIZER:-$(command -v compute-sanitizer)}"
few=(tests/test_grid_sample_native.py::test_gradients_are_pytorchs
  "tests/test_warp_blend_gpu.py::test_every_flow_in_every_layout[channels_last-float32-(1, 130, 13, 19)-warp_blend]"
  "tests/test_attention_gpu.py::test_values_shares_and_gradients[1-0-float32-32-1-15]"
  "tests/test_attention_gpu.py::test_values_shares_and_gradients[4-0-float32-32-1-15]"
  "tests/test_correlation_gpu.py::test_every_layout[3-True-64-channels_last-float32]")
for tool in memcheck racecheck; do
  wanted "$tool" || continue
  if [ "$dry" = 1 ] || [ -z "$sanitizer" ]; then
    echo "== $tool"
    ended "$tool" "left out, $([ "$dry" = 1 ] && echo "a dry run" || echo "compute-sanitizer was not found")" 0
  else
    step "$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$tool" --error-exitcode 9 --target-processes all \
      "$python" -m pytest -p no:cacheprovider "${few[@]}" \
      -k "not pytorchs or (float32 and bilinear-zeros-True)"
  fi
done

suite() { pytest_step "$1" "benchmarks/$1.py" ${size[@]+"${size[@]}"} --benchmark-quiet --benchmark-json "$folder/$1.json"; }

for name in "${operations[@]}"; do suite "$name"; done
for name in convergence convergence_bf16; do
  step "$name" "$python" -m benchmarks.convergence --device "$device" --json "$folder/$name.json" ${training[@]+"${training[@]}"} \
    --amp "$([ "$name" = convergence ] && echo off || echo bfloat16)"
done
step profile "$python" -m benchmarks.profile_step --device "$device" --json "$folder/profile.json" ${profile[@]+"${profile[@]}"}
for name in "${model[@]}"; do suite "$name"; done

# Settings of the attention for this card, and its benchmark again with them; the rows from before stay beside the others, in untuned/.
if [ "$quick$dry" = 00 ]; then
  step tune "$python" -m benchmarks.tune_attention --measure
  if wanted tune && grep -q $'^tune\tpassed' "$folder/steps.tsv"; then
    cp kernels/attention/tuned.json "$folder/tuned.json"
    mkdir -p "$folder/untuned"
    [ -f "$folder/bench_attention.json" ] && mv "$folder/bench_attention.json" "$folder/untuned/"
    pytest_step bench_attention_tuned benchmarks/bench_attention.py --benchmark-quiet --benchmark-json "$folder/bench_attention.json"
    [ -s "$folder/bench_attention.json" ] || mv "$folder/untuned/bench_attention.json" "$folder/"
    rmdir "$folder/untuned" 2> /dev/null
  fi
  step counters "$python" -m benchmarks.counters "$folder" --json "$folder/counters.json"
  step roofline "$python" -m benchmarks.roofline --measure --results "$folder" --json "$folder/roofline.json"
  if ! wanted report; then :; elif "$python" -c 'import matplotlib, PIL' 2> /dev/null; then
    step report "$python" -m benchmarks.report "$folder" --documents
  else
    ended report "left out, matplotlib or Pillow is not there: make report where they are" 0
  fi
fi

echo
"$python" -m benchmarks.summary "$folder" $([ "$dry" = 1 ] && echo --dry-run) || failed=1
cut -f 1,2 "$folder/steps.tsv" | tr '\t' ' '
echo "in $SECONDS s; $folder/summary.md has the figures$([ "$dry" = 1 ] && echo "; this was a dry run: they are worth nothing")"
exit $failed
