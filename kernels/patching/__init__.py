"""`lift.kernels.patch`: LIFT's kernels in place of the warps of another model.

| file | contents |
|---|---|
| `conventions.py` | backward warps as data: origin, unit, padding, and the ops that compute them |
| `probe.py` | which convention a function follows, found by calling it |
| `surroundings.py` | what a function reads and keeps besides its arguments |
| `scope.py` | the code of a model: its modules, functions, methods and uses of `grid_sample` |
| `replacement.py` | functions that call LIFT's ops or, where these do not apply, the original |
| `patch.py` | the public function and what it returns |

The package is not called `patch`, because `lift.kernels.patch` is the function.
"""
