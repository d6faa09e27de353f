#!/usr/bin/env bash
# Everything that needs a GPU: build, canary, native tests, sanitizer, benchmarks, comparison of
# losses, profile of a training step, tuning of temporal_attention, hardware counters, report.
#
#   benchmarks/gpu.sh [1|2|3] [--steps "NAME ..."] [--minutes N] [--anyway] [--dry-run] [FOLDER]
#   benchmarks/gpu.sh --list [1|2|3]            the steps: part, name, seconds, command
#   make gpu PART=1                             the same as benchmarks/gpu.sh 1
#
# 1, 2, 3     a third of the steps with the most informative cases, in 540 s. Each part starts with
#             the build, so it works on a bare machine. Part 1 empties FOLDER, 2 and 3 add to it.
# no part     all steps and all cases, at most an hour per step.
# --steps     only these; FOLDER keeps the results of the others.
# --minutes   a time limit, divided between the steps in proportion to their seconds.
# --dry-run   all steps on the CPU at toy size, Triton interpreted; the figures mean nothing.
# --anyway    measure speed even if the build or the canary failed. Without it nothing is measured
#             then, since the kernels may be wrong. A canary that ran out of time is no failure.
#
# A failed step does not stop the others; the exit code is 1.
#
# FOLDER (default: build/gpu for a part, else benchmarks/results/<the GPU>) gets summary.md,
# summary.json, and a JSON file and a log per step. The summaries are updated when a step starts and
# every 20 s, so they are current if the run is killed. If OUT names a folder, summary.md and
# results.tar.gz (all of FOLDER) are written there at the same moments, and nothing else. Compiled
# kernels of Triton and Inductor are cached in build/, for the next part too.
#
# PYTHON names the Python (default: .venv's, else python3). It needs torch, Triton, ninja, pybind11,
# pytest, pytest-benchmark, hypothesis, nvidia-ml-py, a C++ compiler, and nvcc for the CUDA kernels;
# no network, and LIFT need not be installed. LIFT_COMMIT names the commit in a copy without git.
# Tests run in parallel if there is pytest-xdist. Counters need ncu, on the path or named by NCU.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

SECONDS_OF_A_PART=540

# Parts (a digit each), step, seconds at most (+: also the time left by earlier steps), command.
# `python`, FOLDER, DEVICE, CUDA and SECONDS in a command are replaced. `suite FILE...` and
# `tests MARKER` run pytest; `tuned` runs the suite of temporal_attention again.
table() {
  cat << 'TABLE'
123 build                     60  python -m lift.kernels.extension --cuda CUDA
1   canary                    60+ python -m benchmarks.gpu.canary --device DEVICE --seconds SECONDS --json FOLDER/canary.json
1   doctor                    30  env -u TRITON_INTERPRET python -m lift doctor --json FOLDER/doctor.json
1   tests                    180+ tests not large
1   tests_large               60  tests large
1   bench_grid_sample         60+ suite bench_grid_sample
1   bench_model               90+ suite bench_model --forms plain,graph
2   bench_streaming           90+ suite bench_streaming bench_methods --forms plain,graph
2   profile                   60  python -m benchmarks.gpu.profile_step --device DEVICE --json FOLDER/profile.json
2   convergence               45  python -m benchmarks.gpu.convergence --amp off --device DEVICE --json FOLDER/convergence.json
2   convergence_bf16          45  python -m benchmarks.gpu.convergence --amp bfloat16 --device DEVICE --json FOLDER/convergence_bf16.json
2   bench_warp_blend          60+ suite bench_warp_blend
2   bench_correlation         40+ suite bench_correlation
2   bench_lucas_kanade        20  suite bench_lucas_kanade
2   memcheck                  45  python -m benchmarks.gpu.sanitize --tool memcheck
2   racecheck                 25  python -m benchmarks.gpu.sanitize --tool racecheck
2   initcheck                 25  python -m benchmarks.gpu.sanitize --tool initcheck
2   synccheck                 25  python -m benchmarks.gpu.sanitize --tool synccheck
3   bench_frame_ops           60+ suite bench_frame_inputs bench_bias_act bench_group_norm bench_add_layer_norm bench_change_map bench_global_motion bench_propagate bench_convex_upsample bench_flow_inputs bench_path_inputs bench_curve_flows bench_refine_inputs bench_refine_output bench_census bench_adjacent_frames bench_time_mlp
3   bench_temporal_attention           80  suite bench_temporal_attention
3   tune                      80  python -m benchmarks.gpu.tune_temporal_attention --measure --seconds SECONDS
3   bench_temporal_attention_tuned     60  tuned
3   counters                  60  python -m benchmarks.gpu.counters FOLDER --json FOLDER/counters.json
3   roofline                  20  python -m benchmarks.report.roofline --measure --results FOLDER --json FOLDER/roofline.json
3   bench_streaming_compiled  50+ suite bench_streaming --forms compiled
3   bench_model_compiled      60+ suite bench_model --forms compiled
3   report                    10  python -m benchmarks.report.build FOLDER --documents
TABLE
}

# -- arguments -------------------------------------------------------------------------------------

refuse() { echo "gpu.sh: error: $1" >&2; exit 2; }

part="" dry=0 minutes="" only="" anyway=0 list=0 folder=""
while [ $# -gt 0 ]; do
  case "$1" in
    1 | 2 | 3) part="$1" ;;
    --list) list=1 ;;
    --dry-run) dry=1 ;;
    --anyway) anyway=1 ;;
    --minutes) minutes="${2:-}"; shift
      [[ "$minutes" =~ ^[1-9][0-9]*$ ]] \
        || refuse "--minutes takes a whole number, got '$minutes'" ;;
    --steps) only=" ${2:-} "; shift
      only="${only// bench_attention/ bench_temporal_attention}" ;;     # names of earlier versions
    -*) refuse "unknown flag '$1' (known: --steps, --minutes, --anyway, --dry-run, --list)" ;;
    *) folder="$1" ;;
  esac
  shift
done

declare -A limit more command state took
names=()
while read -r parts name seconds words; do
  [[ -z "$part" || "$parts" == *"$part"* ]] || continue
  [ "$list" = 0 ] || printf '%s\t%s\t%s\t%s\n' "$parts" "$name" "$seconds" "$words"
  names+=("$name") limit[$name]="${seconds%+}" command[$name]="$words"
  more[$name]=$((${#seconds} - ${#limit[$name]}))
done < <(table)
[ "$list" = 0 ] || exit 0
for name in $only; do
  [[ " ${names[*]} " == *" $name "* ]] || refuse "no step '$name' here (steps: ${names[*]})"
done
if [ -n "${only// /}" ]; then
  chosen=()
  for name in "${names[@]}"; do [[ " $only " == *" $name "* ]] && chosen+=("$name"); done
  names=("${chosen[@]}")
fi

python="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"
export TRITON_CACHE_DIR="${TRITON_CACHE_DIR:-$PWD/build/triton}"
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$PWD/build/inductor}"
# At toy size more threads would only wait.
[ "$dry" = 1 ] && export CUDA_VISIBLE_DEVICES="" TRITON_INTERPRET=1 OMP_NUM_THREADS=1

# The GPU, and the number of test processes: up to 4 GiB of GPU memory each, without the largest
# tests, which run in one process.
found="$("$python" -c 'import os, sys, torch
if not torch.cuda.is_available():
    sys.exit(4)
from benchmarks.report.gpus import find_gpu
name = torch.cuda.get_device_name()
gpu = find_gpu(name)
memory = torch.cuda.get_device_properties(0).total_memory
try:
    import xdist
    workers = max(1, min(16, os.cpu_count(), (memory - (12 << 30)) >> 32))
except ImportError:
    workers = 0
short = gpu.name if gpu else name.removeprefix("NVIDIA ")
print("gpu", short.lower().replace(" ", "_"), workers)' 2>&1)"
case $? in
  0) ;;
  4) [ "$dry" = 1 ] || refuse "torch finds no GPU here; --dry-run runs the steps without one" ;;
  *) refuse "$python cannot use torch (${found##*$'\n'}); run make env, or set PYTHON to another" ;;
esac
read -r gpu workers < <(sed -n 's/^gpu //p' <<< "$found")      # torch may print warnings, too

if [ "$dry" = 1 ]; then default=build/gpu-dry-run
elif [ -n "$part" ]; then default=build/gpu
else default="benchmarks/results/$gpu"; fi
folder="${folder:-$default}"
steps_file="$folder/steps${part:+-$part}.tsv"
mkdir -p "$folder" && : >> "$steps_file" || exit 2
[ -z "${OUT:-}" ] || { mkdir -p "$OUT" && rm -f "$OUT"/.aside.*; } || exit 2

total=0                                                 # seconds of the whole run; 0: no limit
if [ -n "$minutes" ]; then total=$((60 * minutes))
elif [ -n "$part" ] && [ "$dry" = 0 ]; then total=$SECONDS_OF_A_PART; fi

# Results of earlier runs: part 1 and a whole run delete them.
if [ -z "${only// /}" ] && [[ "$part" == "" || "$part" == 1 ]]; then
  rm -f "$folder"/{steps*.tsv,skipped.txt}
  while read -r _ name _; do rm -f "$folder/$name".{log,json,json.rows.jsonl}; done < <(table)
  rm -rf "$folder"/untuned
fi
for name in "${names[@]}"; do
  rm -f "$folder/$name".{log,json.rows.jsonl}
  state[$name]="not started" took[$name]=0
done
kept=()                                                 # lines of steps that are not in this run
if [ -s "$steps_file" ]; then
  while IFS=$'\t' read -r name line; do
    [[ -v "state[$name]" ]] || kept+=("$name"$'\t'"$line")
  done < "$steps_file"
fi

# -- the summary, current at any moment ------------------------------------------------------------

note() { grep -qxF "$1" "$folder/skipped.txt" 2> /dev/null || echo "$1" >> "$folder/skipped.txt"; }

write_steps() {
  local name
  { [ ${#kept[@]} = 0 ] || printf '%s\n' "${kept[@]}"
    for name in "${names[@]}"; do
      printf '%s\t%s\t%s\n' "$name" "${state[$name]}" "${took[$name]}"
    done; } > "$steps_file.new"
  mv -f "$steps_file.new" "$steps_file"
}

# refresh: write the summary, and the archive in OUT.
refresh() {
  local flags=() aside="${OUT:-}/.aside.$BASHPID" code
  [ "$dry" = 1 ] && flags=(--dry-run)
  "$python" -m benchmarks.gpu.summary "$folder" ${flags[@]+"${flags[@]}"}; code=$?
  [ -n "${OUT:-}" ] || return $code
  find "$folder" -type f -size -8192k ! -name '*.new' ! -name '.*' ! -name results.tar.gz \
    -printf '%P\0' \
    | tar --create --gzip --directory "$folder" --warning=no-file-changed --null --files-from - \
    > "$aside" 2> /dev/null
  [ -s "$aside" ] && mv -f "$aside" "$OUT/results.tar.gz"
  if [ ! "$folder" -ef "$OUT" ] && [ -s "$folder/summary.md" ]; then
    cp "$folder/summary.md" "$aside" && mv -f "$aside" "$OUT/summary.md"
  fi
  rm -f "$aside"
  return $code
}

# watch: refresh while a step runs. It is stopped during a nap, never during a refresh.
watch() {
  local nap
  trap 'kill "$nap" 2> /dev/null; exit' TERM
  while sleep "${REFRESH:-20}" & nap=$!; wait "$nap" && kill -0 $$; do refresh; done
}

current="" child="" watcher="" failed=0
unwatch() {
  [ -z "$watcher" ] || { kill "$watcher" 2> /dev/null; wait "$watcher" 2> /dev/null; watcher=""; }
}
# shellcheck disable=SC2329  # traps call it
interrupted() {
  trap '' INT TERM
  # `timeout` forwards the signal, and kills the step 10 s later.
  [ -z "$child" ] || { kill -s INT "$child" 2> /dev/null; wait "$child" 2> /dev/null; }
  unwatch
  [ -z "$current" ] || {
    state[$current]="FAILED (the run was stopped by SIG$1)"; took[$current]=$((SECONDS - start)); }
  write_steps
  refresh > /dev/null 2>&1
  echo "gpu.sh: stopped by SIG$1${current:+ in step $current}; see $folder/summary.md" >&2
  exit $((128 + $2))
}
trap 'interrupted INT 2' INT
trap 'interrupted TERM 15' TERM

# -- a step ----------------------------------------------------------------------------------------

# allowed NAME LATER: seconds that a step may take; LATER is the sum of the steps after it.
allowed() {
  local left=$((total - SECONDS)) own="${limit[$1]}"
  if [ "$total" = 0 ]; then echo 3600
  elif [ -n "$minutes" ]; then echo $((left * own / (own + $2)))
  elif [ "${more[$1]}" = 1 ] || [ $((left - $2)) -lt "$own" ]; then echo $((left - $2))
  else echo "$own"; fi
}

ended() { state[$1]="$2" took[$1]="$3" current=""; write_steps; echo "$1: $2, $3 s"; }

# step NAME SECONDS COMMAND...: run a step with its output in NAME.log. pytest writes its rows also
# when it is interrupted.
step() {
  local name="$1" seconds="$2" code; shift 2
  start=$SECONDS
  if [ "$seconds" -lt 10 ]; then ended "$name" "skipped, out of time" 0; return; fi
  current="$name" state[$name]="running since $(date -u +%H:%M:%S) UTC, for $seconds s at most"
  write_steps
  refresh > /dev/null 2>&1
  watch > /dev/null 2>&1 &
  watcher=$!
  timeout --signal INT --kill-after 10 "$seconds" "$@" >> "$folder/$name.log" 2>&1 &
  child=$!
  wait "$child"; code=$?
  child=""
  unwatch
  tail -n 3 "$folder/$name.log"
  case $code in
    0) ended "$name" passed $((SECONDS - start)) ;;
    5) ended "$name" "skipped, no test runs here" $((SECONDS - start)) ;;       # pytest's code
    6) ended "$name" "skipped, $(tail -n 1 "$folder/$name.log")" $((SECONDS - start)) ;;
    124 | 137) failed=1; ended "$name" "FAILED (stopped after $seconds s)" $((SECONDS - start)) ;;
    *) failed=1; ended "$name" "FAILED (exit code $code)" $((SECONDS - start)) ;;
  esac
  return $code
}

# words_of NAME SECONDS: set `words` to the command of a step.
words_of() {
  local i text="${command[$1]}" device=cuda cuda=required
  [ "$dry" = 1 ] && device=cpu cuda=off
  read -ra words <<< "$text"
  for i in "${!words[@]}"; do
    case "${words[i]}" in
      python) words[i]="$python" ;;
      DEVICE) words[i]="$device" ;;
      CUDA) words[i]="$cuda" ;;
      SECONDS) words[i]=$(($2 * 4 / 5)) ;;
      FOLDER*) words[i]="$folder${words[i]#FOLDER}" ;;
    esac
  done
}

# pytest_of SECONDS ARGUMENT...: set `words` to pytest, which starts no test in the last fifth.
pytest_of() {
  words=("$python" -m pytest -p no:cacheprovider -p benchmarks.harness.budget
    --budget $(($1 * 4 / 5)) "${@:2}")
}

suite() {                                            # suite NAME SECONDS FILE... ARGUMENT...
  local name="$1" seconds="$2" files=() size=()
  shift 2
  while [[ "${1:-}" == bench_* ]]; do files+=("benchmarks/suites/$1.py"); shift; done
  if [ "$dry" = 1 ]; then size=(--toy); elif [ -n "$part" ]; then size=(--quick); fi
  pytest_of "$seconds" "${files[@]}" ${size[@]+"${size[@]}"} "$@" \
    --benchmark-quiet --benchmark-json "$folder/$name.json"
}

tests() {                       # tests SECONDS MARKER...: tests that compute on a GPU
  local files only=() marker="${*:2}"
  mapfile -t files < <(grep -lE 'mark\.(gpu|native)\b' tests/*/test_*.py)
  "$python" -c 'import av, cv2, safetensors' 2> /dev/null || {
    mapfile -t files < <(grep -L 'mark\.videos\b' "${files[@]}")
    note "tests that read videos: PyAV, OpenCV or safetensors is missing"; }
  only=(-m "(gpu or native) and $marker" -k "not cpp")
  [ "$dry" = 1 ] && \
    only+=(-k "not cpp and (nothing_have or refused or gradient_of_the_result or replays)")
  # Large tests use the GPU's memory one at a time: more workers would only wait.
  [[ "$marker" != large && "$dry" = 0 && "${workers:-}" =~ ^[1-9][0-9]*$ ]] && only+=(-n "$workers")
  pytest_of "$1" --benchmark-disable --in-turn "${only[@]}" "${files[@]}"
}

# toy NAME: make a step small enough for a dry run; fails if it has none.
toy() {
  case "$1" in
    canary) words+=(--toy) ;;
    convergence*) words+=(--steps 2 --size 1 3 32 32) ;;
    profile) words+=(--preset tiny --batch 1 --frames 3 --size 32 --warm-up 1) ;;
    memcheck) words+=(--dry-run) ;;                     # the dry run is the same for every tool
    racecheck | initcheck | synccheck | tune | *_tuned | *_compiled) return 1 ;;
    counters | roofline | report) return 1 ;;
  esac
}

# is_timed NAME: whether a step measures or reports speed.
is_timed() {
  case "$1" in bench_* | tune | profile | counters | roofline | report) ;; *) return 1 ;; esac
}

# -- the run ---------------------------------------------------------------------------------------

later=0 wrong="" words=()
for name in "${names[@]}"; do later=$((later + limit[$name])); done
for name in "${names[@]}"; do
  later=$((later - limit[$name]))
  echo "== $name"
  if [ -n "$wrong" ] && is_timed "$name"; then
    ended "$name" "skipped, $wrong failed: the kernels may be wrong" 0
    continue
  fi
  seconds="$(allowed "$name" "$later")"
  words_of "$name" "$seconds"
  case "${words[0]}" in
    tests) tests "$seconds" "${words[@]:1}" ;;
    suite) suite "$name" "$seconds" "${words[@]:1}" ;;
  esac
  if [ "$dry" = 1 ] && ! toy "$name"; then ended "$name" "skipped, a dry run" 0; continue; fi
  case "$name" in
    build)
      command -v nvidia-smi > /dev/null && [ "$dry" = 0 ] && \
        timeout 10 nvidia-smi -q -d CLOCK,POWER > "$folder/build.log" 2>&1
      step build "$seconds" "${words[@]}" || [ "$dry$anyway" != 00 ] || wrong="the build" ;;
    canary)
      step canary "$seconds" "${words[@]}"
      case $? in
        0 | 6 | 124 | 137) ;;
        *) [ "$dry$anyway" != 00 ] || wrong="${wrong:-the canary}" ;;
      esac ;;
    tune)
      step tune "$seconds" "${words[@]}"
      cp kernels/ops/temporal_attention/configs.json "$folder/tuned.json" ;;
    bench_temporal_attention_tuned)                     # rows from before tuning move to untuned/
      if [ "${state[tune]:-}" != passed ]; then
        ended "$name" "skipped, the settings were not measured" 0
        continue
      fi
      mkdir -p "$folder/untuned"
      [ -f "$folder/bench_temporal_attention.json" ] && \
        mv "$folder"/bench_temporal_attention.json* "$folder/untuned/"
      suite bench_temporal_attention "$seconds" bench_temporal_attention
      step "$name" "$seconds" "${words[@]}"
      [ -s "$folder/bench_temporal_attention.json" ] || \
        mv "$folder"/untuned/bench_temporal_attention.json* "$folder/"
      rmdir "$folder/untuned" 2> /dev/null ;;
    report)
      if "$python" -c 'import matplotlib, PIL' 2> /dev/null; then
        step report "$seconds" "${words[@]}"
      else
        ended report "skipped, matplotlib or Pillow is missing: run make report elsewhere" 0
      fi ;;
    *) step "$name" "$seconds" "${words[@]}" ;;
  esac
done

echo
refresh || failed=1
for name in "${names[@]}"; do echo "$name ${state[$name]}"; done
echo "in $SECONDS s; $folder/summary.md has the figures"
[ "$dry" = 0 ] || echo "This was a dry run: its figures mean nothing."
exit $failed
