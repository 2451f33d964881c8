"""What to do when there is a GPU for half an hour: `python -m mohge.bench.batch PART`, or `make gpu PART=...`.

A part is a list of steps (`parts.py`), each a command with an estimate and a hard limit; a part ends within its budget
whatever its steps do (`runner.py`), and its summary is written again after every step (`summary.py`). Nothing here
imports CUDA: what uses the GPU runs in processes of its own.
"""
